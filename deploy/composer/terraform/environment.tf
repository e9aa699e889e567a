locals {
  pypi_packages = { (var.package_name) = var.package_version }

  # Composer takes no AIRFLOW__… variables: everything is a configuration override, SECTION-OPTION.
  airflow_config_overrides = merge(
    # Three heartbeats of Composer's 30 s: with fewer, triggerers take each other's triggers over.
    { "triggerer-triggerer_health_check_threshold" = "90" },
    { for option, value in var.accelerator_options : "accelerator-${option}" => value },
    var.airflow_registration_role == null ? {} : { "api-composer_auth_user_registration_role" = var.airflow_registration_role },
    {
      "secrets-backend"                     = "airflow.providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend"
      "secrets-backend_kwargs"              = jsonencode({ project_id = var.project_id })
      "accelerator-sql_alchemy_conn_secret" = trimprefix(google_secret_manager_secret.database_url.secret_id, "airflow-config-")
      "accelerator-airflow_conn_id"         = "airflow_api"
      "accelerator-pubsub_subscriptions"    = google_pubsub_subscription.messages.id
      "celery-worker_concurrency"           = tostring(var.workers.concurrency)
    },
  )

  environment = var.manage_environment ? google_composer_environment.accelerator[0].config[0] : data.google_composer_environment.existing[0].config[0]
  airflow_uri = local.environment.airflow_uri
  bucket      = trimsuffix(local.environment.dag_gcs_prefix, "/dags")
}

data "google_composer_environment" "existing" {
  count = var.manage_environment ? 0 : 1

  name   = var.environment_name
  region = var.region
}

resource "google_composer_environment" "accelerator" {
  count = var.manage_environment ? 1 : 0

  name   = var.environment_name
  region = var.region

  config {
    environment_size = "ENVIRONMENT_SIZE_SMALL"

    node_config {
      service_account = local.environment_account
      network         = var.network
      subnetwork      = var.subnetwork
    }

    software_config {
      image_version            = var.image_version
      pypi_packages            = local.pypi_packages
      airflow_config_overrides = local.airflow_config_overrides
    }

    workloads_config {
      scheduler {
        count      = var.schedulers
        cpu        = 1
        memory_gb  = 4
        storage_gb = 1
      }

      triggerer {
        count     = var.triggerers
        cpu       = 1
        memory_gb = 2
      }

      dag_processor {
        count      = 1
        cpu        = 1
        memory_gb  = 4
        storage_gb = 1
      }

      web_server {
        cpu        = 1
        memory_gb  = 4
        storage_gb = 1
      }

      worker {
        min_count  = var.workers.min
        max_count  = var.workers.max
        cpu        = 2
        memory_gb  = 8
        storage_gb = 10
      }
    }
  }

  # Its first processes read the secret and the subscription.
  depends_on = [
    google_project_iam_member.environment_worker,
    google_project_service.used,
    google_pubsub_subscription_iam_member.environment,
    google_secret_manager_secret_version.database_url,
  ]
}
