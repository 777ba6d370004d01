variable "project_name" {
  description = "What everything is called: the first part of each name. 3 to 10 lower-case letters, digits and hyphens."
  type        = string
}

variable "environment" {
  description = "Which environment this is: the second part of each name. 2 to 10 lower-case letters and digits."
  type        = string
}

variable "enable_aws" {
  description = "Whether there is anything at AWS."
  type        = bool
  default     = false
}

variable "enable_gcp" {
  description = "Whether there is anything at Google Cloud."
  type        = bool
  default     = false
}

variable "enable_azure" {
  description = "Whether there is anything at Azure."
  type        = bool
  default     = false
}

variable "event_types" {
  description = "Beginnings of the event types that go between the clouds."
  type        = list(string)
  default     = ["coffee.", "inventory.", "defi.", "ai.", "notification.", "alert."]
}

variable "mirror" {
  description = "Whether each cloud's bus gets what came in elsewhere; without it, only what its functions take."
  type        = bool
  default     = true
}

variable "functions" {
  description = "Where each function is, and its settings; what it takes is known. Null leaves a function out. Without a cloud it is in the first one that is enabled: AWS, Google, Azure."
  type = map(object({
    cloud           = optional(string)
    concurrency_max = optional(number, 10)
    environment     = optional(map(string), {})
  }))
  default = {
    order-processor         = {}
    inventory-optimizer     = {}
    defi-scanner            = {}
    ai-coordinator          = {}
    notification-dispatcher = {}
  }
  validation {
    condition     = alltrue([for name, _ in var.functions : contains(["order-processor", "inventory-optimizer", "defi-scanner", "ai-coordinator", "notification-dispatcher"], name)])
    error_message = "The functions are order-processor, inventory-optimizer, defi-scanner, ai-coordinator and notification-dispatcher."
  }
}

variable "packages" {
  description = "The folder with the packages of the functions at AWS and Azure."
  type        = string
  default     = "target/packages"
}

variable "images" {
  description = "The registry and folder of the functions' images at Google."
  type        = string
  default     = ""
}

variable "output_url" {
  description = "Where the functions post the events that they reply with: a path of the router, https://…/events."
  type        = string
}

variable "archive_days" {
  description = "Days after which an archived segment is deleted; 0 keeps it for good."
  type        = number
  default     = 365
}

variable "archive_in" {
  description = "The cloud that the router's configuration copies sealed segments to. Null: it copies none."
  type        = string
  default     = null
}

variable "aws_router_oidc" {
  description = "See router_oidc of infra/aws."
  type        = object({ provider_arn = string, issuer = string, subject = string })
  default     = null
}

variable "gcp_project_id" {
  description = "The project of Google Cloud. Needed with enable_gcp."
  type        = string
  default     = ""
}

variable "gcp_region" {
  description = "The region of Google Cloud."
  type        = string
  default     = "europe-west1"
}

variable "gcp_router_account" {
  description = "See router_account of infra/gcp."
  type        = string
  default     = null
}

variable "azure_location" {
  description = "The location at Azure."
  type        = string
  default     = "westeurope"
}

variable "azure_resource_group_name" {
  description = "The resource group, which is made. Needed with enable_azure."
  type        = string
  default     = ""
}

variable "azure_router_oidc" {
  description = "See router_oidc of infra/azure."
  type        = object({ issuer = string, subject = string })
  default     = null
}

variable "azure_webhook" {
  description = "See webhook of infra/azure: without it, and without azure_pull, nothing comes in from Azure."
  type        = object({ url = string, tenant_id = string, app_id = string })
  default     = null
}

variable "azure_pull" {
  description = "See pull of infra/azure."
  type        = bool
  default     = false
}

variable "router" {
  description = "What else stands in the router's configuration: listen, tls, keys, admin, store."
  type        = any
  default     = {}
}

variable "tags" {
  description = "Tags, or labels, of everything."
  type        = map(string)
  default     = {}
}
