# What the tasks do: Dataform, BigQuery, Cloud Storage.

locals {
  # Dataform's own account runs the SQL of an invocation.
  dataform_member = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-dataform.iam.gserviceaccount.com"
  uses_bigquery   = length(var.datasets_read) + length(var.datasets_written) > 0
  workers_on_data = merge({ environment = local.environment_member }, var.dataform ? { dataform = local.dataform_member } : {})
  dataset_roles = merge(
    { for pair in setproduct(keys(local.workers_on_data), var.datasets_read) : "${pair[0]} reads ${pair[1]}" => { who = pair[0], dataset = pair[1], role = "roles/bigquery.dataViewer" } },
    { for pair in setproduct(keys(local.workers_on_data), var.datasets_written) : "${pair[0]} writes ${pair[1]}" => { who = pair[0], dataset = pair[1], role = "roles/bigquery.dataEditor" } },
  )
  bucket_roles = merge(
    # An archive task copies the object, then deletes it where it was; a load job reads it.
    var.landing_bucket == null ? {} : { landing = { bucket = var.landing_bucket, role = var.archive_bucket == null ? "roles/storage.objectViewer" : "roles/storage.objectAdmin" } },
    var.archive_bucket == null ? {} : { archive = { bucket = var.archive_bucket, role = "roles/storage.objectAdmin" } },
  )
}

resource "google_project_iam_member" "dataform" {
  count = var.dataform ? 1 : 0

  project = var.project_id
  role    = "roles/dataform.editor"
  member  = local.environment_member

  depends_on = [google_project_service.used]
}

resource "google_project_iam_member" "jobs" {
  for_each = local.uses_bigquery ? toset(keys(local.workers_on_data)) : toset([])

  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = local.workers_on_data[each.key]

  depends_on = [google_project_service.used]
}

resource "google_bigquery_dataset_iam_member" "data" {
  for_each = local.dataset_roles

  dataset_id = each.value.dataset
  role       = each.value.role
  member     = local.workers_on_data[each.value.who]
}

resource "google_storage_bucket_iam_member" "objects" {
  for_each = local.bucket_roles

  bucket = each.value.bucket
  role   = each.value.role
  member = local.environment_member
}
