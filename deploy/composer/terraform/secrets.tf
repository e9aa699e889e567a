# Airflow's secrets backend reads them; the beginnings of their names are its own.

locals {
  connections = merge(
    # The reconciler's: the address of Airflow's REST API, and as whom to ask.
    {
      accelerator_reader = {
        conn_type = "google_cloud_platform"
        extra     = { impersonation_chain = google_service_account.reader.email }
      }
      airflow_api = {
        conn_type = "airflow_api"
        host      = local.airflow_uri
        extra     = { gcp_conn_id = "accelerator_reader" }
      }
    },
    var.power_bi == null ? {} : {
      powerbi_default = {
        conn_type = "powerbi"
        login     = var.power_bi.client_id
        extra     = { tenant_id = var.power_bi.tenant_id, auth = "google_federation" }
      }
    },
  )
  # Names that are known before anything is there; for_each needs them.
  connection_names = toset(concat(
    ["accelerator_reader", "airflow_api"],
    var.power_bi == null ? [] : ["powerbi_default"],
  ))
}

resource "google_secret_manager_secret" "database_url" {
  secret_id = "airflow-config-accelerator-url"

  replication {
    auto {}
  }

  depends_on = [google_project_service.used]
}

resource "google_secret_manager_secret_version" "database_url" {
  secret                 = google_secret_manager_secret.database_url.id
  secret_data_wo         = "postgresql://${google_sql_user.accelerator.name}:${var.database_password}@${google_sql_database_instance.accelerator.private_ip_address}/${google_sql_database.accelerator.name}?sslmode=require"
  secret_data_wo_version = var.database_password_version
}

resource "google_secret_manager_secret" "connection" {
  for_each = local.connection_names

  secret_id = "airflow-connections-${each.key}"

  replication {
    auto {}
  }

  depends_on = [google_project_service.used]
}

resource "google_secret_manager_secret_version" "connection" {
  for_each = local.connection_names

  secret      = google_secret_manager_secret.connection[each.key].id
  secret_data = jsonencode(local.connections[each.key])
}

resource "google_secret_manager_secret_iam_member" "environment" {
  for_each = merge(
    { database_url = google_secret_manager_secret.database_url.secret_id },
    { for name in local.connection_names : name => google_secret_manager_secret.connection[name].secret_id },
  )

  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = local.environment_member
}

resource "google_secret_manager_secret_iam_member" "commands" {
  secret_id = google_secret_manager_secret.database_url.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.commands.member
}
