variable "project_name" {
  description = "What everything is called: the first part of each name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.project_name))
    error_message = "project_name is 3 to 22 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "environment" {
  description = "Which environment this is: the second part of each name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.environment))
    error_message = "environment is 2 to 12 lower-case letters and digits, and begins with a letter."
  }
}

variable "event_types" {
  description = "Beginnings of the event types that go from the bus to the router."
  type        = list(string)
  default     = ["coffee.", "inventory.", "defi.", "ai.", "notification.", "alert."]
  validation {
    condition     = length(var.event_types) > 0
    error_message = "event_types names at least one beginning; [\"\"] is every event."
  }
}

variable "functions" {
  description = "The functions: what each one takes, and what it may use. Their packages are made by `cargo xtask package`."
  type = map(object({
    event_types          = list(string)
    memory_mb            = optional(number, 256)
    timeout_seconds      = optional(number, 60)
    concurrency_max      = optional(number, 10)
    reserved_concurrency = optional(number, -1)
    environment          = optional(map(string), {})
  }))
  default = {}
}

variable "packages" {
  description = "The folder with the packages of the functions: NAME-aws.zip."
  type        = string
  default     = "target/packages"
}

variable "architecture" {
  description = "What the packages were built for: arm64 or x86_64."
  type        = string
  default     = "x86_64"
  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture is arm64 or x86_64."
  }
}

variable "output_url" {
  description = "Where the functions post the events that they reply with: a path of the router, https://…/events. Needed with functions."
  type        = string
  default     = ""
}

variable "archive_days" {
  description = "Days after which an archived segment is deleted; 0 keeps it for good."
  type        = number
  default     = 365
  validation {
    condition     = var.archive_days == 0 || var.archive_days > 90
    error_message = "archive_days is 0, or more than 90: after 30 and 90 days a segment goes to cheaper storage."
  }
}

variable "message_retention_days" {
  description = "Days that queues keep what nobody takes, at most 14."
  type        = number
  default     = 14
  validation {
    condition     = var.message_retention_days >= 1 && var.message_retention_days <= 14
    error_message = "message_retention_days is 1 to 14."
  }
}

variable "log_retention_days" {
  description = "Days that the logs of functions are kept."
  type        = number
  default     = 365
}

variable "router_oidc" {
  description = "The router's account in Kubernetes, where it runs on EKS: the cluster's OIDC provider and the subject. Null: it runs on the service of router_service."
  type = object({
    provider_arn = string
    issuer       = string
    subject      = string
  })
  default = null
}

variable "router_service" {
  description = "The service of AWS that the router runs on without router_oidc."
  type        = string
  default     = "ec2.amazonaws.com"
}

variable "api_destination" {
  description = "EventBridge pushes to the router's public address, beside the queue. Null: it does not."
  type = object({
    url            = string
    authorization  = string
    per_second_max = optional(number, 100)
  })
  default   = null
  sensitive = true
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

locals {
  name = "${var.project_name}-${var.environment}"
  tags = merge({ project = var.project_name, environment = var.environment, managed-by = "terraform" }, var.tags)
  # A beginning of "" is every event, which a pattern says by leaving the type out.
  all = contains(var.event_types, "")
}
