variable "database_instance" {
  description = "Name of the Cloud SQL instance. Google keeps a name for a week after an instance was deleted."
  type        = string
  default     = "accelerator"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,78}[a-z0-9])?$", var.database_instance))
    error_message = "database_instance has small letters, digits and hyphens, a letter first."
  }
}

variable "database_version" {
  description = "Version of PostgreSQL."
  type        = string
  default     = "POSTGRES_16"

  validation {
    condition     = can(regex("^POSTGRES_1[3-9]$", var.database_version))
    error_message = "database_version is one of Cloud SQL's for PostgreSQL, such as POSTGRES_16."
  }
}

variable "database_tier" {
  description = "Size of the instance. The tables are small: one core and 3.75 GB are enough for many thousand batches a day."
  type        = string
  default     = "db-custom-1-3840"

  validation {
    condition     = can(regex("^db-(custom-[0-9]+-[0-9]+|f1-micro|g1-small)$", var.database_tier))
    error_message = "database_tier is a machine type of Cloud SQL for PostgreSQL, such as db-custom-1-3840."
  }
}

variable "database_highly_available" {
  description = "Whether the instance has a standby in another zone. Without one DAGs live from the snapshot while it is repaired."
  type        = bool
  default     = true

  validation {
    condition     = var.database_highly_available != null
    error_message = "database_highly_available is true or false."
  }
}

variable "database_deletion_protection" {
  description = "Whether `terraform destroy` is refused while the instance is there. Set it to false, apply, then destroy."
  type        = bool
  default     = true

  validation {
    condition     = var.database_deletion_protection != null
    error_message = "database_deletion_protection is true or false."
  }
}

variable "max_connections" {
  description = "Connections that the server takes (flag max_connections): 5 for each triggerer and scheduler, one for each task that may run, and 10 for DAG processors, commands and Google's own."
  type        = number
  default     = 100

  validation {
    condition     = var.max_connections >= 5 * (var.triggerers + var.schedulers) + var.workers.max * var.workers.concurrency + 10
    error_message = "max_connections is too low: 5 for each triggerer and scheduler, workers.max * workers.concurrency for tasks, and 10 more."
  }
}

variable "database_password" {
  description = "Password of the database's user accelerator. Not stored by Terraform: give it in TF_VAR_database_password."
  type        = string
  sensitive   = true
  ephemeral   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9._~-]{16,100}$", var.database_password))
    error_message = "database_password has 16 to 100 letters, digits and . _ ~ -: it becomes a part of an address."
  }
}

variable "database_password_version" {
  description = "Raise it by one with each new password; without that Terraform does not send a new one."
  type        = number
  default     = 1

  validation {
    condition     = var.database_password_version >= 1 && floor(var.database_password_version) == var.database_password_version
    error_message = "database_password_version is a whole number, 1 or more."
  }
}

variable "private_services_range" {
  description = "Length of the range for Google's services in the network, for the database's private address (16 to 24). Null where the network has private services access already."
  type        = number
  default     = 20

  validation {
    condition     = var.private_services_range == null || try(var.private_services_range >= 16 && var.private_services_range <= 24, false)
    error_message = "private_services_range is a number from 16 to 24, or null."
  }
}
