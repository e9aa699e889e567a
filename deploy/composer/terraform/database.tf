resource "google_compute_global_address" "private_services" {
  count = var.private_services_range == null ? 0 : 1

  name          = "${var.database_instance}-private-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = var.private_services_range
  network       = var.network
}

resource "google_service_networking_connection" "private_services" {
  count = var.private_services_range == null ? 0 : 1

  network                 = var.network
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.private_services[0].name]

  depends_on = [google_project_service.used]
}

resource "google_sql_database_instance" "accelerator" {
  name                = var.database_instance
  region              = var.region
  database_version    = var.database_version
  deletion_protection = var.database_deletion_protection

  settings {
    edition           = "ENTERPRISE"
    tier              = var.database_tier
    availability_type = var.database_highly_available ? "REGIONAL" : "ZONAL"

    ip_configuration {
      ipv4_enabled    = false
      private_network = var.network
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
    }

    database_flags {
      name  = "max_connections"
      value = tostring(var.max_connections)
    }
  }

  depends_on = [google_service_networking_connection.private_services, google_project_service.used]
}

resource "google_sql_database" "accelerator" {
  name     = "accelerator"
  instance = google_sql_database_instance.accelerator.name
}

resource "google_sql_user" "accelerator" {
  name                = "accelerator"
  instance            = google_sql_database_instance.accelerator.name
  password_wo         = var.database_password
  password_wo_version = var.database_password_version
  # A user who owns tables cannot be deleted by itself.
  deletion_policy = "ABANDON"
}
