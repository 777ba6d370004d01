variable "project_name" {
  description = "What everything is called: the first part of each name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,8}[a-z0-9]$", var.project_name))
    error_message = "project_name is 3 to 10 lower-case letters, digits and hyphens, and begins with a letter: names of service accounts are short."
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

variable "project_id" {
  description = "The project of Google Cloud."
  type        = string
}

variable "region" {
  description = "Where everything is, and where messages are kept."
  type        = string
  default     = "europe-west1"
}

variable "event_types" {
  description = "Beginnings of the event types that go from the topic to the router."
  type        = list(string)
  default     = ["coffee.", "inventory.", "defi.", "ai.", "notification.", "alert."]
  validation {
    condition     = length(var.event_types) > 0
    error_message = "event_types names at least one beginning; [\"\"] is every event."
  }
}

variable "functions" {
  description = "The functions: what each one takes, and what it may use. Their images are made of what `cargo xtask package` writes."
  type = map(object({
    event_types     = list(string)
    image           = optional(string, "")
    memory_mb       = optional(number, 256)
    timeout_seconds = optional(number, 60)
    concurrency_max = optional(number, 10)
    environment     = optional(map(string), {})
  }))
  default = {}
}

variable "images" {
  description = "The registry and folder of the functions' images, for those that name none: IMAGES/NAME:IMAGE_TAG."
  type        = string
  default     = ""
}

variable "image_tag" {
  description = "Their tag."
  type        = string
  default     = "v0.1.0"
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
  description = "Days that topics and subscriptions keep what nobody takes, at most 31."
  type        = number
  default     = 14
  validation {
    condition     = var.message_retention_days >= 1 && var.message_retention_days <= 31
    error_message = "message_retention_days is 1 to 31."
  }
}

variable "router_account" {
  description = "The router's account in Kubernetes, as NAMESPACE/NAME, where it runs on GKE with workload identity. Null: nobody is lent its identity."
  type        = string
  default     = null
}

variable "push" {
  description = "Pub/Sub pushes to this path of the router, beside the subscription that it pulls from. Null: it does not."
  type = object({
    url      = string
    audience = optional(string, "")
  })
  default = null
}

variable "labels" {
  description = "Labels of everything."
  type        = map(string)
  default     = {}
}

locals {
  name   = "${var.project_name}-${var.environment}"
  labels = merge({ project = var.project_name, environment = var.environment, managed-by = "terraform" }, var.labels)
  # Service accounts have at most 30 characters: a long name is cut, and told apart by a hash of the whole.
  account = {
    for name, _ in var.functions : name =>
    length("${local.name}-${name}") <= 30 ? "${local.name}-${name}" : "${substr("${local.name}-${name}", 0, 23)}-${substr(sha1(name), 0, 6)}"
  }
  images = { for name, function in var.functions : name => function.image != "" ? function.image : "${var.images}/${name}:${var.image_tag}" }
  # A beginning of "" is every event, which is no filter.
  filter = contains(var.event_types, "") ? "" : join(" OR ", [for beginning in var.event_types : "hasPrefix(attributes.\"ce-type\", \"${beginning}\")"])
}
