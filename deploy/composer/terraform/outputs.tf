# In this order: each says the next command. docs/composer.md explains them.

locals {
  run    = "gcloud composer environments run ${var.environment_name} --project ${var.project_id} --location ${var.region}"
  update = "gcloud composer environments update ${var.environment_name} --project ${var.project_id} --location ${var.region}"
  # ^~^ makes ~ what separates: a value may have commas.
  overrides = "^~^${join("~", [for name, value in local.airflow_config_overrides : "${name}=${value}"])}"
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
  description = "Makes the tables; again after each new version of the package."
  value       = "${local.run} dags trigger -- accelerator_maintenance"
}

output "next_4_import_workflows" {
  description = "Puts a file of workflows into the bucket and stores them."
  value       = "gcloud storage cp workflows.yaml ${local.bucket}/data/accelerator/import/ && ${local.run} dags trigger -- accelerator_maintenance --conf '{\"workflows\": \"workflows.yaml\"}'"
}

output "next_5_register_reader" {
  description = "Makes the reader an Airflow user with the role Viewer, before its first request would give it composer_auth_user_registration_role."
  value       = "${local.run} users create -- --username accounts.google.com:${google_service_account.reader.unique_id} --email ${google_service_account.reader.email} --firstname accelerator --lastname reader --role Viewer --use-random-password"
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
