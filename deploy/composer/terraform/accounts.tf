# Who acts: each account has the roles that it needs, on the one thing where that can be, and no other.

locals {
  makes_account         = var.environment_service_account == null
  environment_account   = local.makes_account ? google_service_account.environment[0].email : var.environment_service_account
  environment_member    = "serviceAccount:${local.environment_account}"
  environment_unique_id = local.makes_account ? google_service_account.environment[0].unique_id : data.google_service_account.environment[0].unique_id
}

# The environment: workers, triggerer and DAG processor run as it.
resource "google_service_account" "environment" {
  count = local.makes_account ? 1 : 0

  account_id   = "accelerator-environment"
  display_name = "Composer environment ${var.environment_name}"
}

data "google_service_account" "environment" {
  count = local.makes_account ? 0 : 1

  account_id = var.environment_service_account
}

resource "google_project_iam_member" "environment_worker" {
  count = local.makes_account ? 1 : 0

  project = var.project_id
  role    = "roles/composer.worker"
  member  = local.environment_member
}

# The reader of Airflow's REST API: the reconciler is it, in the environment by impersonation, or anywhere else.
resource "google_service_account" "reader" {
  account_id   = "accelerator-reader"
  display_name = "Reads Airflow's REST API for the reconciler"
}

resource "google_project_iam_member" "reader" {
  project = var.project_id
  role    = "roles/composer.user"
  member  = google_service_account.reader.member
}

resource "google_service_account_iam_member" "environment_as_reader" {
  service_account_id = google_service_account.reader.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.environment_member
}

# Commands from a machine of people, over the Cloud SQL Auth Proxy. The environment reaches the database by its private address and
# needs no role for that.
resource "google_service_account" "commands" {
  account_id   = "accelerator-commands"
  display_name = "Runs accelerator commands"
}

resource "google_project_iam_member" "commands_database" {
  project = var.project_id
  role    = "roles/cloudsql.client"
  member  = google_service_account.commands.member
}

resource "google_service_account_iam_member" "command_users" {
  for_each = var.command_users

  service_account_id = google_service_account.commands.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.key
}
