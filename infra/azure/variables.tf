variable "project_name" {
  description = "What everything is called: the first part of each name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,8}[a-z0-9]$", var.project_name))
    error_message = "project_name is 3 to 10 lower-case letters, digits and hyphens, and begins with a letter: names of storage accounts are short."
  }
}

variable "environment" {
  description = "Which environment this is: the second part of each name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.environment))
    error_message = "environment is 2 to 10 lower-case letters and digits, and begins with a letter."
  }
}

variable "resource_group_name" {
  description = "The resource group, which is made."
  type        = string
}

variable "location" {
  description = "Where everything is."
  type        = string
  default     = "westeurope"
}

variable "event_types" {
  description = "Beginnings of the event types that go from the topic to the router."
  type        = list(string)
  default     = ["coffee.", "inventory.", "defi.", "ai.", "notification.", "alert."]
  validation {
    condition     = length(var.event_types) > 0 && length(var.event_types) <= 25
    error_message = "event_types names 1 to 25 beginnings; [\"\"] is every event."
  }
}

variable "functions" {
  description = "The functions: what each one takes, and what it may use. Their packages are made by `cargo xtask package`."
  type = map(object({
    event_types     = list(string)
    concurrency_max = optional(number, 10)
    environment     = optional(map(string), {})
  }))
  default = {}
}

variable "packages" {
  description = "The folder with the packages of the functions: NAME-azure.zip."
  type        = string
  default     = "target/packages"
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
  description = "Days that the namespace topic keeps what nobody takes, at most 7."
  type        = number
  default     = 7
  validation {
    condition     = var.message_retention_days >= 1 && var.message_retention_days <= 7
    error_message = "message_retention_days is 1 to 7."
  }
}

variable "router_oidc" {
  description = "The router's account in Kubernetes: the cluster's issuer and the subject, system:serviceaccount:NAMESPACE:NAME. Null: nobody is lent its identity."
  type = object({
    issuer  = string
    subject = string
  })
  default = null
}

variable "webhook" {
  description = "Event Grid pushes to this path of the router, with a token of Entra ID. Null: it does not."
  type = object({
    url       = string
    tenant_id = string
    app_id    = string
  })
  default = null
}

variable "pull" {
  description = "A namespace topic that the router pulls from, where nothing of Azure can reach it. It is paid for by the hour."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

locals {
  name = "${var.project_name}-${var.environment}"
  tags = merge({ project = var.project_name, environment = var.environment, managed-by = "terraform" }, var.tags)
  # Names of storage accounts are the world's, of 24 letters and digits.
  storage = substr("${replace(local.name, "-", "")}${sha1(var.resource_group_name)}", 0, 24)
  # A beginning of "" is every event, which is no filter.
  beginnings = contains(var.event_types, "") ? [] : [var.event_types]
}
