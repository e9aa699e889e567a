variable "topic" {
  description = "Name of the Pub/Sub topic for messages that start batches. Subscription, dead-letter topic and its subscription take their names from it."
  type        = string
  default     = "task-batches"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,200}$", var.topic)) && !startswith(var.topic, "goog")
    error_message = "topic has 3 to 201 letters, digits and - . _ ~ + %, a letter first, and does not begin with goog."
  }
}

variable "publishers" {
  description = "Who may publish messages, as IAM members: [\"serviceAccount:crm@my-project.iam.gserviceaccount.com\"]."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.publishers : can(regex("^(serviceAccount|user|group|principal|principalSet):", member))])
    error_message = "publishers are IAM members that are named one by one: serviceAccount:…, user:…, group:…, principal:… or principalSet:…"
  }
}

variable "landing_bucket" {
  description = "Bucket whose new objects start batches (workflows with a file_pattern). Null: no files. The bucket is there already."
  type        = string
  default     = null

  validation {
    condition     = var.landing_bucket == null || can(regex("^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", var.landing_bucket))
    error_message = "landing_bucket is the name of a bucket, without gs://."
  }
}

variable "landing_prefix" {
  description = "Objects whose names begin so, and no others, are told of; empty: all of the landing bucket."
  type        = string
  default     = ""

  validation {
    condition     = !startswith(var.landing_prefix, "/") && !startswith(var.landing_prefix, "gs:")
    error_message = "landing_prefix is the beginning of an object's name, such as incoming/, without bucket and slash before it."
  }
}

variable "archive_bucket" {
  description = "Bucket that tasks of type gcs_archive move objects to. Null: no such tasks. The bucket is there already."
  type        = string
  default     = null

  validation {
    condition     = var.archive_bucket == null || can(regex("^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", var.archive_bucket))
    error_message = "archive_bucket is the name of a bucket, without gs://."
  }
}

variable "dataform" {
  description = "Whether tasks run Dataform in this project: the environment's account may then compile and invoke, and Dataform's own account reads and writes the datasets below."
  type        = bool
  default     = true

  validation {
    condition     = var.dataform != null
    error_message = "dataform is true or false."
  }
}

variable "datasets_read" {
  description = "BigQuery datasets of this project that tasks read."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.datasets_read : can(regex("^[A-Za-z0-9_]+$", name))])
    error_message = "datasets_read has ids of datasets, without a project."
  }
}

variable "datasets_written" {
  description = "BigQuery datasets of this project that tasks write."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.datasets_written : can(regex("^[A-Za-z0-9_]+$", name))])
    error_message = "datasets_written has ids of datasets, without a project."
  }
}

variable "power_bi" {
  description = "Application in Entra ID that refreshes Power BI: client and tenant id. No secret: the environment's account stands for it. Null: no Power BI."
  type        = object({ client_id = string, tenant_id = string })
  default     = null

  validation {
    condition = var.power_bi == null || alltrue([
      for id in try([var.power_bi.client_id, var.power_bi.tenant_id], []) : can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", lower(id)))
    ])
    error_message = "power_bi has two GUIDs: { client_id = \"…\", tenant_id = \"…\" }."
  }
}

variable "command_users" {
  description = "Who may run `accelerator` commands from a machine of their own, as the account accelerator-commands, as IAM members: [\"user:ada@example.com\"]."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.command_users : can(regex("^(serviceAccount|user|group|principal|principalSet):", member))])
    error_message = "command_users are IAM members that are named one by one: user:…, group:…, serviceAccount:…, principal:… or principalSet:…"
  }
}
