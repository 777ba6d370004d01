# A function is a custom handler, and an app has one custom handler: so each function is an app of its own, on one plan. A
# subscription of the topic calls it with the events of its types.

resource "azurerm_service_plan" "functions" {
  count               = length(var.functions) > 0 ? 1 : 0
  name                = "${local.name}-functions"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  os_type             = "Linux"
  # Paid for by what runs.
  sku_name = "Y1"
  tags     = local.tags
}

resource "azurerm_linux_function_app" "function" {
  for_each                      = var.functions
  name                          = "${local.name}-${each.key}"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  service_plan_id               = azurerm_service_plan.functions[0].id
  storage_account_name          = azurerm_storage_account.this.name
  storage_uses_managed_identity = true
  https_only                    = true
  public_network_access_enabled = true
  builtin_logging_enabled       = false
  zip_deploy_file               = "${var.packages}/${each.key}-azure.zip"
  tags                          = local.tags
  app_settings = merge({
    FUNCTIONS_WORKER_RUNTIME = "custom"
    WEBSITE_RUN_FROM_PACKAGE = "1"
    OUTPUT_URL               = var.output_url
  }, each.value.environment)

  ftp_publish_basic_authentication_enabled       = false
  webdeploy_publish_basic_authentication_enabled = false

  identity {
    type = "SystemAssigned"
  }
  site_config {
    app_scale_limit         = each.value.concurrency_max
    ftps_state              = "Disabled"
    http2_enabled           = true
    minimum_tls_version     = "1.2"
    scm_minimum_tls_version = "1.2"

    application_stack {
      use_custom_runtime = true
    }
  }
  lifecycle {
    precondition {
      condition     = startswith(var.output_url, "https://")
      error_message = "A function needs output_url, the https:// address of the router's source: replies have nowhere to go without it."
    }
    precondition {
      condition     = fileexists("${var.packages}/${each.key}-azure.zip")
      error_message = "The package ${each.key}-azure.zip is not in the folder packages: run `cargo xtask package ${each.key} --cloud azure`."
    }
  }
}

resource "azurerm_eventgrid_event_subscription" "function" {
  for_each              = var.functions
  name                  = each.key
  scope                 = azurerm_eventgrid_topic.bus.id
  event_delivery_schema = "CloudEventSchemaV1_0"
  included_event_types  = each.value.event_types

  azure_function_endpoint {
    function_id                       = "${azurerm_linux_function_app.function[each.key].id}/functions/${each.key}"
    max_events_per_batch              = 1
    preferred_batch_size_in_kilobytes = 64
  }
  retry_policy {
    max_delivery_attempts = 30
    event_time_to_live    = 1440
  }
  dead_letter_identity {
    type = "SystemAssigned"
  }
  storage_blob_dead_letter_destination {
    storage_account_id          = azurerm_storage_account.this.id
    storage_blob_container_name = azurerm_storage_container.dead_letters.name
  }
  depends_on = [azurerm_role_assignment.dead_letters]
}
