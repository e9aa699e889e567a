locals {
  services = toset(concat(
    [
      "composer.googleapis.com",
      "sqladmin.googleapis.com",
      "secretmanager.googleapis.com",
      "pubsub.googleapis.com",
      "iamcredentials.googleapis.com",
      "servicenetworking.googleapis.com",
    ],
    var.dataform ? ["dataform.googleapis.com"] : [],
  ))
}

resource "google_project_service" "used" {
  for_each = local.services

  service = each.key
  # Others in the project may use them too.
  disable_on_destroy = false
}

data "google_project" "this" {}
