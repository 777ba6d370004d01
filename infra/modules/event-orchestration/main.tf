# The buses of up to three clouds around one router, and the router's configuration for them.

module "aws" {
  source       = "../../aws"
  count        = var.enable_aws ? 1 : 0
  project_name = var.project_name
  environment  = var.environment
  event_types  = var.event_types
  functions = { for name, function in var.functions : name => {
    event_types = function.event_types, concurrency_max = function.concurrency_max, environment = function.environment
  } if function.cloud == "aws" }
  packages     = var.packages
  output_url   = var.output_url
  archive_days = var.archive_days
  router_oidc  = var.aws_router_oidc
  tags         = var.tags
}

module "gcp" {
  source       = "../../gcp"
  count        = var.enable_gcp ? 1 : 0
  project_name = var.project_name
  environment  = var.environment
  project_id   = var.gcp_project_id
  region       = var.gcp_region
  event_types  = var.event_types
  functions = { for name, function in var.functions : name => {
    event_types = function.event_types, concurrency_max = function.concurrency_max, environment = function.environment
  } if function.cloud == "gcp" }
  images         = var.images
  output_url     = var.output_url
  archive_days   = var.archive_days
  router_account = var.gcp_router_account
  labels         = var.tags
}

module "azure" {
  source              = "../../azure"
  count               = var.enable_azure ? 1 : 0
  project_name        = var.project_name
  environment         = var.environment
  resource_group_name = var.azure_resource_group_name
  location            = var.azure_location
  event_types         = var.event_types
  functions = { for name, function in var.functions : name => {
    event_types = function.event_types, concurrency_max = function.concurrency_max, environment = function.environment
  } if function.cloud == "azure" }
  packages     = var.packages
  output_url   = var.output_url
  archive_days = var.archive_days
  router_oidc  = var.azure_router_oidc
  webhook      = var.azure_webhook
  pull         = var.azure_pull
  tags         = var.tags
}

locals {
  made    = { aws = one(module.aws), gcp = one(module.gcp), azure = one(module.azure) }
  enabled = { aws = var.enable_aws, gcp = var.enable_gcp, azure = var.enable_azure }
  clouds  = [for cloud in ["aws", "gcp", "azure"] : cloud if local.enabled[cloud]]
  bus_of  = { aws = "aws-bus", gcp = "gcp-bus", azure = "az-bus" }
}

# A function in a cloud that is not there would be called by nobody.
resource "terraform_data" "placed" {
  input = local.clouds
  lifecycle {
    precondition {
      condition     = length(local.clouds) > 0
      error_message = "Enable at least one cloud: enable_aws, enable_gcp or enable_azure."
    }
    precondition {
      condition     = alltrue([for function in var.functions : local.enabled[function.cloud]])
      error_message = "Every function is in a cloud that is enabled: ${join(", ", [for name, function in var.functions : "${name} (${function.cloud})" if !local.enabled[function.cloud]])}."
    }
    precondition {
      condition     = var.archive_in == null || contains(local.clouds, coalesce(var.archive_in, "none"))
      error_message = "archive_in is a cloud that is enabled: ${join(", ", local.clouds)}."
    }
    precondition {
      condition     = !var.enable_gcp || var.gcp_project_id != ""
      error_message = "enable_gcp needs gcp_project_id."
    }
    precondition {
      condition     = !var.enable_azure || var.azure_resource_group_name != ""
      error_message = "enable_azure needs azure_resource_group_name."
    }
  }
}
