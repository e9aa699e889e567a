# `terraform test`: what comes of the settings, without a cloud.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789" }
  }

  mock_data "google_service_account" {
    defaults = { unique_id = "1000" }
  }

  mock_data "google_storage_project_service_account" {
    defaults = { member = "serviceAccount:service-123456789@gs-project-accounts.iam.gserviceaccount.com" }
  }

  mock_data "google_composer_environment" {
    defaults = { config = [{ airflow_uri = "https://airflow.example", dag_gcs_prefix = "gs://there/dags" }] }
  }

  mock_resource "google_service_account" {
    defaults = { email = "accelerator-environment@my-project.iam.gserviceaccount.com", unique_id = "2000" }
  }

  mock_resource "google_composer_environment" {
    defaults = { config = { airflow_uri = "https://airflow.example", dag_gcs_prefix = "gs://made/dags" } }
  }

  mock_resource "google_sql_database_instance" {
    defaults = { private_ip_address = "10.0.0.5", connection_name = "my-project:europe-west3:accelerator" }
  }

  mock_resource "google_pubsub_subscription" {
    defaults = { id = "projects/my-project/subscriptions/task-batches-accelerator" }
  }
}

override_resource {
  target = google_service_account.reader
  values = {
    name      = "projects/my-project/serviceAccounts/accelerator-reader@my-project.iam.gserviceaccount.com"
    email     = "accelerator-reader@my-project.iam.gserviceaccount.com"
    member    = "serviceAccount:accelerator-reader@my-project.iam.gserviceaccount.com"
    unique_id = "3000"
  }
}

override_resource {
  target = google_service_account.commands
  values = {
    name   = "projects/my-project/serviceAccounts/accelerator-commands@my-project.iam.gserviceaccount.com"
    email  = "accelerator-commands@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:accelerator-commands@my-project.iam.gserviceaccount.com"
  }
}

variables {
  project_id        = "my-project"
  region            = "europe-west3"
  network           = "projects/my-project/global/networks/default"
  subnetwork        = "projects/my-project/regions/europe-west3/subnetworks/default"
  database_password = "0123456789abcdef"
}

# Before anything is there, ids and addresses are not known; the plan must not need them.
run "everything_planned" {
  command = plan

  variables {
    landing_bucket   = "landing"
    archive_bucket   = "archive"
    datasets_read    = ["raw"]
    datasets_written = ["sales"]
    publishers       = ["serviceAccount:crm@my-project.iam.gserviceaccount.com"]
    command_users    = ["user:ada@example.com"]
    power_bi         = { client_id = "11111111-1111-1111-1111-111111111111", tenant_id = "22222222-2222-2222-2222-222222222222" }
  }

  assert {
    condition     = google_storage_notification.files[0].bucket == "landing"
    error_message = "The landing bucket is planned to tell of its files."
  }
}

run "defaults" {
  command = apply

  assert {
    condition     = local.airflow_config_overrides["accelerator-sql_alchemy_conn_secret"] == "accelerator-url"
    error_message = "The database's URL is the secret airflow-config-accelerator-url, which Airflow's backend knows by its end."
  }

  assert {
    condition     = local.airflow_config_overrides["accelerator-pubsub_subscriptions"] == "projects/my-project/subscriptions/task-batches-accelerator"
    error_message = "The dispatcher listens to the subscription that was made."
  }

  assert {
    condition     = alltrue([for name in keys(local.airflow_config_overrides) : can(regex("^[a-z_]+-[a-z_]+$", name))])
    error_message = "An override is SECTION-OPTION."
  }

  assert {
    condition     = google_composer_environment.accelerator[0].config[0].software_config[0].pypi_packages["airflow-provider-cloud-accelerator"] == "[postgres]==0.1.0"
    error_message = "The environment has the package with the driver of PostgreSQL."
  }

  assert {
    condition     = google_sql_database_instance.accelerator.settings[0].ip_configuration[0].ipv4_enabled == false
    error_message = "The database has no public address."
  }

  assert {
    condition     = google_secret_manager_secret_version.connection["airflow_api"].secret_data == "{\"conn_type\":\"airflow_api\",\"extra\":{\"gcp_conn_id\":\"accelerator_reader\"},\"host\":\"https://airflow.example\"}"
    error_message = "The reconciler finds Airflow's REST API by its connection."
  }

  assert {
    condition     = length(google_storage_notification.files) == 0 && length(google_storage_bucket_iam_member.objects) == 0 && length(google_bigquery_dataset_iam_member.data) == 0
    error_message = "Where nothing is named, nothing is permitted."
  }

  assert {
    condition     = output.next_2_copy_dag_files == "accelerator init dags-for-composer && gcloud storage cp 'dags-for-composer/*.py' gs://made/dags/"
    error_message = "The next command names the environment's bucket."
  }
}

run "everything" {
  command = apply

  variables {
    landing_bucket            = "landing"
    landing_prefix            = "incoming/"
    archive_bucket            = "archive"
    datasets_read             = ["raw"]
    datasets_written          = ["sales", "marts"]
    publishers                = ["serviceAccount:crm@my-project.iam.gserviceaccount.com"]
    command_users             = ["user:ada@example.com"]
    airflow_registration_role = "Viewer"
    accelerator_options       = { outage_wait_hours = "6", burst_helpers = "0" }
    power_bi                  = { client_id = "11111111-1111-1111-1111-111111111111", tenant_id = "22222222-2222-2222-2222-222222222222" }
  }

  assert {
    condition     = toset([for binding in google_bigquery_dataset_iam_member.data : "${binding.role} ${binding.dataset_id}"]) == toset(["roles/bigquery.dataViewer raw", "roles/bigquery.dataEditor sales", "roles/bigquery.dataEditor marts"])
    error_message = "What is read may be read, what is written may be written."
  }

  assert {
    condition     = length(google_bigquery_dataset_iam_member.data) == 6
    error_message = "The environment and Dataform's own account work on the datasets."
  }

  assert {
    condition     = toset(google_storage_notification.files[0].event_types) == toset(["OBJECT_FINALIZE"]) && google_storage_notification.files[0].payload_format == "JSON_API_V1"
    error_message = "New objects, and nothing else, are told of."
  }

  assert {
    condition     = local.airflow_config_overrides["accelerator-outage_wait_hours"] == "6" && local.airflow_config_overrides["api-composer_auth_user_registration_role"] == "Viewer"
    error_message = "Further settings are overrides too."
  }

  assert {
    condition     = jsondecode(google_secret_manager_secret_version.connection["powerbi_default"].secret_data).extra.auth == "google_federation"
    error_message = "Power BI is reached without a secret."
  }

  assert {
    condition     = output.entra_federated_credential == { name = "composer-accelerator", issuer = "https://accounts.google.com", subject = "2000", audiences = ["api://AzureADTokenExchange"] }
    error_message = "Entra ID trusts the numeric id of the environment's account."
  }
}

run "files_alone" {
  command = apply

  variables {
    landing_bucket = "landing"
    dataform       = false
  }

  assert {
    condition     = [for binding in google_storage_bucket_iam_member.objects : "${binding.role} ${binding.bucket}"] == ["roles/storage.objectViewer landing"]
    error_message = "What is only read may only be read."
  }

  assert {
    condition     = !contains(keys(google_project_service.used), "dataform.googleapis.com") && length(google_project_iam_member.dataform) == 0
    error_message = "Without Dataform nothing of it is set up."
  }
}

run "an_environment_that_is_there" {
  command = apply

  variables {
    manage_environment          = false
    environment_service_account = "composer@my-project.iam.gserviceaccount.com"
  }

  assert {
    condition     = length(google_composer_environment.accelerator) == 0 && length(google_service_account.environment) == 0
    error_message = "Neither environment nor account is made."
  }

  assert {
    condition     = google_pubsub_subscription_iam_member.environment.member == "serviceAccount:composer@my-project.iam.gserviceaccount.com"
    error_message = "The account that is there gets the roles."
  }

  assert {
    condition     = strcontains(output.next_1_configure_environment, "accelerator-sql_alchemy_conn_secret=accelerator-url~") && strcontains(output.next_1_configure_environment, "'airflow-provider-cloud-accelerator[postgres]==0.1.0'")
    error_message = "The next command adds settings and package."
  }

  assert {
    condition     = strcontains(output.next_4_import_workflows, "gs://there/data/accelerator/import/")
    error_message = "The bucket is the one that is there."
  }
}

run "too_few_connections" {
  command = plan

  variables {
    max_connections = 37
  }

  expect_failures = [var.max_connections]
}

run "a_password_that_would_break_the_address" {
  command = plan

  variables {
    database_password = "p@ss/word:0123456789"
  }

  expect_failures = [var.database_password]
}

run "no_account_for_an_environment_that_is_there" {
  command = plan

  variables {
    manage_environment = false
  }

  expect_failures = [var.manage_environment]
}

run "an_option_that_there_is_not" {
  command = plan

  variables {
    accelerator_options = { sql_alchemy_conn = "postgresql://x" }
  }

  expect_failures = [var.accelerator_options]
}
