# What has no default has to be said, see terraform.tfvars.example. Further variables: variables_database.tf, variables_intake.tf.

variable "project_id" {
  description = "Project that everything is made in. Environment, database, topics and secrets share it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is the id of a project: 6 to 30 small letters, digits and hyphens, a letter first."
  }
}

variable "region" {
  description = "Region of environment and database, such as europe-west3."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "region is a region such as europe-west3, no zone."
  }
}

variable "environment_name" {
  description = "Name of the Composer environment."
  type        = string
  default     = "accelerator"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$", var.environment_name))
    error_message = "environment_name has at most 64 small letters, digits and hyphens, a letter first."
  }
}

variable "manage_environment" {
  description = "Whether Terraform makes the environment. False: there is one already; configure_environment among the outputs is the command that adds what the accelerator needs."
  type        = bool
  default     = true

  validation {
    condition     = var.manage_environment || var.environment_service_account != null
    error_message = "manage_environment = false needs environment_service_account, the account that the environment has."
  }
}

variable "environment_service_account" {
  description = "E-mail of the service account of an environment that is there already; null makes one."
  type        = string
  default     = null

  validation {
    condition     = var.environment_service_account == null || can(regex("^[^@ ]+@[^@ ]+\\.gserviceaccount\\.com$", var.environment_service_account))
    error_message = "environment_service_account is the e-mail of a service account: it ends with .gserviceaccount.com."
  }
}

variable "image_version" {
  description = "Image of the environment: Composer 3 with Airflow 3.3."
  type        = string
  default     = "composer-3-airflow-3.3.1-build.0"

  validation {
    condition     = can(regex("^composer-3-airflow-3\\.3(\\.[0-9]+(-build\\.[0-9]+)?)?$", var.image_version))
    error_message = "image_version is a Composer 3 image with Airflow 3.3, such as composer-3-airflow-3.3.1-build.0."
  }
}

variable "network" {
  description = "VPC network of environment and database: projects/PROJECT/global/networks/NAME."
  type        = string

  validation {
    condition     = can(regex("^projects/[^/]+/global/networks/[^/]+$", var.network))
    error_message = "network is the whole name: projects/PROJECT/global/networks/NAME."
  }
}

variable "subnetwork" {
  description = "Subnetwork that the environment is attached to: projects/PROJECT/regions/REGION/subnetworks/NAME."
  type        = string

  validation {
    condition     = can(regex("^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$", var.subnetwork))
    error_message = "subnetwork is the whole name: projects/PROJECT/regions/REGION/subnetworks/NAME."
  }
}

variable "package_name" {
  description = "Name of the package to install. Another one only where you publish your own build."
  type        = string
  default     = "airflow-provider-cloud-accelerator"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", var.package_name))
    error_message = "package_name is the name of a Python package in small letters, without extras and version."
  }
}

variable "package_version" {
  description = "Which version of the package, with extras: [postgres]==0.1.0. A roll-back changes this one value."
  type        = string
  default     = "[postgres]==0.1.0"

  validation {
    condition     = can(regex("^\\[postgres\\](==|>=|~=)[0-9]+(\\.[0-9]+)*$", var.package_version))
    error_message = "package_version has the extra for PostgreSQL and a version: [postgres]==0.1.0."
  }
}

variable "workers" {
  description = "Workers of the environment: fewest, most, and tasks that each runs at a time (Composer takes 1 to 24)."
  type        = object({ min = number, max = number, concurrency = number })
  default     = { min = 1, max = 3, concurrency = 6 }

  validation {
    condition     = var.workers.min >= 1 && var.workers.max >= var.workers.min && var.workers.concurrency >= 1 && var.workers.concurrency <= 24
    error_message = "workers needs 1 <= min <= max and 1 <= concurrency <= 24."
  }
}

variable "triggerers" {
  description = "Triggerers of the environment. Remote jobs and the dispatcher wait there, so there is one at least; with two, one can fail."
  type        = number
  default     = 1

  validation {
    condition     = contains(range(1, 11), var.triggerers)
    error_message = "triggerers is a number from 1 to 10."
  }
}

variable "schedulers" {
  description = "Schedulers of the environment."
  type        = number
  default     = 1

  validation {
    condition     = contains(range(1, 11), var.schedulers)
    error_message = "schedulers is a number from 1 to 10."
  }
}

variable "airflow_registration_role" {
  description = "Role in Airflow of whoever uses its REST API for the first time ([api] composer_auth_user_registration_role). Null leaves Composer's own, Op."
  type        = string
  default     = null

  validation {
    condition     = var.airflow_registration_role == null || can(regex("^[A-Za-z][A-Za-z0-9_ -]*$", var.airflow_registration_role))
    error_message = "airflow_registration_role is the name of a role in Airflow, such as Viewer."
  }
}

variable "accelerator_options" {
  description = "Further options of [accelerator], such as { outage_wait_hours = \"6\" }. Those that the kit sets itself are not among them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.accelerator_options) : contains(["burst_helpers", "inbox_retention_days", "outage_wait_hours", "reconcile_interval", "snapshot_dir"], name)])
    error_message = "accelerator_options takes burst_helpers, inbox_retention_days, outage_wait_hours, reconcile_interval and snapshot_dir."
  }
}
