# In this order: each says the next command. docs/composer.md explains them.

locals {
  # Airflow's REST API, as who runs the command: needs roles/composer.user and a role in Airflow.
  post         = "curl --fail-with-body -X POST -H \"Authorization: Bearer $(gcloud auth print-access-token)\" -H 'Content-Type: application/json'"
  maintenance  = "${local.post} ${local.airflow_uri}/api/v2/dags/accelerator_maintenance/dagRuns"
  reader_roles = ["Viewer", "AuditLogReader"]
  update       = "gcloud composer environments update ${var.environment_name} --project ${var.project_id} --location ${var.region}"
  # ^~^ makes ~ what separates: a value may have commas.
  overrides = "^~^${join("~", [for name, value in local.airflow_config_overrides : "${name}=${value}"])}"
  # Google tells Airflow who it is; the password that Airflow wants is for nobody.
  reader_user = {
    username   = "accounts.google.com:${google_service_account.reader.unique_id}"
    email      = google_service_account.reader.email
    first_name = "accelerator"
    last_name  = "reader"
    roles      = [for name in local.reader_roles : { name = name }]
    password   = "PASSWORD"
  }
  federated_credential = {
    name      = "composer-${var.environment_name}"
    issuer    = "https://accounts.google.com"
    subject   = local.environment_unique_id
    audiences = ["api://AzureADTokenExchange"]
  }
}

output "next_1_configure_environment" {
  description = "Only with manage_environment = false: adds package and settings to the environment that is there. Takes some minutes."
  value = var.manage_environment ? "Nothing to do: Terraform has made the environment." : join(" && ", [
    "${local.update} --update-airflow-configs '${local.overrides}'",
    "${local.update} --update-pypi-package '${var.package_name}${var.package_version}'",
  ])
}

output "next_2_copy_dag_files" {
  description = "Writes the DAG files and copies them into the environment's bucket."
  value       = "accelerator init dags-for-composer && gcloud storage cp 'dags-for-composer/*.py' ${local.bucket}/dags/"
}

output "next_3_upgrade_schema" {
  description = "Makes the tables; again after each new version of the package. Or trigger the DAG accelerator_maintenance in Airflow's UI."
  value       = "${local.maintenance} -d '{\"logical_date\": null}'"
}

output "next_4_import_workflows" {
  description = "Puts a file of workflows into the bucket and stores them."
  value       = "gcloud storage cp workflows.yaml ${local.bucket}/data/accelerator/import/ && ${local.maintenance} -d '{\"logical_date\": null, \"conf\": {\"action\": \"import\", \"file\": \"${local.bucket}/data/accelerator/import/workflows.yaml\"}}'"
}

output "next_5_register_reader" {
  description = "Makes the reader an Airflow user who may look and change nothing, before its first request would give it composer_auth_user_registration_role. Who runs it is an Admin in Airflow."
  value = join(" && ", [
    "${local.post} ${local.airflow_uri}/auth/fab/v1/roles -d '${jsonencode({ name = local.reader_roles[1], actions = [{ action = { name = "can_read" }, resource = { name = "Audit Logs" } }] })}'",
    "${local.post} ${local.airflow_uri}/auth/fab/v1/users -d '${replace(jsonencode(local.reader_user), "PASSWORD", "'\"$(openssl rand -hex 24)\"'")}'",
  ])
}

output "next_6_trust_in_entra_id" {
  description = "Lets the environment's account stand for the application in Entra ID; nothing is kept secret. Only with power_bi."
  value       = var.power_bi == null ? "Nothing to do without power_bi." : "az ad app federated-credential create --id ${var.power_bi.client_id} --parameters '${jsonencode(local.federated_credential)}'"
}

output "next_7_publish_a_message" {
  description = "Starts the first batch: put a task_id of yours in. Only members of publishers may."
  value       = "gcloud pubsub topics publish ${google_pubsub_topic.messages.name} --project ${var.project_id} --message '{\"task_id\": \"TASK\", \"batch_id\": \"Batch_20240316_001\"}'"
}

output "watch_backlog" {
  description = "Age of the oldest message that nobody has taken, in seconds: an alert above 300 says that the dispatcher does not listen."
  value       = "pubsub.googleapis.com/subscription/oldest_unacked_message_age of ${google_pubsub_subscription.messages.id}"
}

output "watch_dead_letters" {
  description = "Messages that were given up: any is worth a look."
  value       = "pubsub.googleapis.com/subscription/num_undelivered_messages of ${google_pubsub_subscription.dead.id}"
}

output "watch_connections" {
  description = "Connections to the database, out of max_connections."
  value       = "cloudsql.googleapis.com/database/postgresql/num_backends of ${google_sql_database_instance.accelerator.connection_name}, at most ${var.max_connections}"
}

output "entra_federated_credential" {
  description = "What Entra ID has to trust, for whoever sets it up there by other means than az."
  value       = local.federated_credential
}

output "environment_service_account" {
  description = "The account that workers, triggerer and DAG processor run as."
  value       = local.environment_account
}

output "airflow_uri" {
  description = "Address of Airflow's pages and REST API."
  value       = local.airflow_uri
}
