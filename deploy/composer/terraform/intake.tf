locals {
  # Pub/Sub's own account moves the dead letters, and needs a role on both sides.
  pubsub_member = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "messages" {
  name = var.topic

  depends_on = [google_project_service.used]
}

resource "google_pubsub_topic" "dead" {
  name = "${var.topic}-dead"

  depends_on = [google_project_service.used]
}

# Without a subscription nobody keeps what arrives at the dead-letter topic.
resource "google_pubsub_subscription" "dead" {
  name                       = "${var.topic}-dead-kept"
  topic                      = google_pubsub_topic.dead.id
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_subscription" "messages" {
  name                       = "${var.topic}-accelerator"
  topic                      = google_pubsub_topic.messages.id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 50
  }
}

resource "google_pubsub_topic_iam_member" "dead_letters" {
  topic  = google_pubsub_topic.dead.name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_member
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  subscription = google_pubsub_subscription.messages.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_member
}

resource "google_pubsub_subscription_iam_member" "environment" {
  subscription = google_pubsub_subscription.messages.name
  role         = "roles/pubsub.subscriber"
  member       = local.environment_member
}

resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = var.publishers

  topic  = google_pubsub_topic.messages.name
  role   = "roles/pubsub.publisher"
  member = each.key
}

# Files: Cloud Storage's own account publishes what is new in the landing bucket.
data "google_storage_project_service_account" "this" {
  count = var.landing_bucket == null ? 0 : 1
}

resource "google_pubsub_topic_iam_member" "files" {
  count = var.landing_bucket == null ? 0 : 1

  topic  = google_pubsub_topic.messages.name
  role   = "roles/pubsub.publisher"
  member = data.google_storage_project_service_account.this[0].member
}

resource "google_storage_notification" "files" {
  count = var.landing_bucket == null ? 0 : 1

  bucket             = var.landing_bucket
  topic              = google_pubsub_topic.messages.id
  payload_format     = "JSON_API_V1"
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = var.landing_prefix

  depends_on = [google_pubsub_topic_iam_member.files]
}
