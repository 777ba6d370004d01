# The buses, and the five functions on them.

locals {
  # What each function takes; the tests hold this to the functions themselves.
  event_types = {
    order-processor         = ["coffee.order.created", "coffee.order.updated"]
    inventory-optimizer     = ["inventory.low", "inventory.forecast"]
    defi-scanner            = ["defi.price.update"]
    ai-coordinator          = ["ai.task.created", "ai.response.needed"]
    notification-dispatcher = ["notification.send", "alert.trigger"]
  }
  first = try([for cloud, enabled in { "1-aws" = var.enable_aws, "2-gcp" = var.enable_gcp, "3-azure" = var.enable_azure } : substr(cloud, 2, -1) if enabled][0], "aws")
}

module "events" {
  source                    = "../event-orchestration"
  project_name              = var.project_name
  environment               = var.environment
  enable_aws                = var.enable_aws
  enable_gcp                = var.enable_gcp
  enable_azure              = var.enable_azure
  event_types               = var.event_types
  mirror                    = var.mirror
  packages                  = var.packages
  images                    = var.images
  output_url                = var.output_url
  archive_days              = var.archive_days
  archive_in                = var.archive_in
  aws_router_oidc           = var.aws_router_oidc
  gcp_project_id            = var.gcp_project_id
  gcp_region                = var.gcp_region
  gcp_router_account        = var.gcp_router_account
  azure_location            = var.azure_location
  azure_resource_group_name = var.azure_resource_group_name
  azure_router_oidc         = var.azure_router_oidc
  azure_webhook             = var.azure_webhook
  azure_pull                = var.azure_pull
  router                    = var.router
  tags                      = var.tags
  functions = { for name, function in var.functions : name => {
    cloud           = coalesce(function.cloud, local.first)
    event_types     = local.event_types[name]
    concurrency_max = function.concurrency_max
    environment     = function.environment
  } if function != null }
}
