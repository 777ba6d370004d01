# The topic, and the way from it to the router: a subscription that calls the router's webhook, or a namespace topic that the
# router pulls from. What could not be delivered ends in a container.

resource "azurerm_resource_group" "this" {
  name     = var.resource_group_name
  location = var.location
  tags     = local.tags
}

resource "azurerm_eventgrid_topic" "bus" {
  name                = local.name
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  input_schema        = "CloudEventSchemaV1_0"
  # Identities alone, no keys.
  local_auth_enabled            = false
  public_network_access_enabled = true
  tags                          = local.tags

  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_eventgrid_event_subscription" "router" {
  count                 = var.webhook == null ? 0 : 1
  name                  = "router"
  scope                 = azurerm_eventgrid_topic.bus.id
  event_delivery_schema = "CloudEventSchemaV1_0"

  webhook_endpoint {
    url                               = var.webhook.url
    active_directory_tenant_id        = var.webhook.tenant_id
    active_directory_app_id_or_uri    = var.webhook.app_id
    max_events_per_batch              = 100
    preferred_batch_size_in_kilobytes = 1024
  }
  dynamic "advanced_filter" {
    for_each = local.beginnings
    content {
      string_begins_with {
        key    = "type"
        values = advanced_filter.value
      }
    }
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

# Pull delivery. The provider has the namespace, and neither its topics nor their subscriptions: those are a template.

resource "azurerm_eventgrid_namespace" "pull" {
  count                 = var.pull ? 1 : 0
  name                  = "${local.name}-pull"
  location              = azurerm_resource_group.this.location
  resource_group_name   = azurerm_resource_group.this.name
  sku                   = "Standard"
  capacity              = 1
  public_network_access = "Enabled"
  tags                  = local.tags

  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_resource_group_template_deployment" "pull" {
  count               = var.pull ? 1 : 0
  name                = "${local.name}-pull"
  resource_group_name = azurerm_resource_group.this.name
  deployment_mode     = "Incremental"
  tags                = local.tags
  template_content = jsonencode({
    "$schema"      = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    contentVersion = "1.0.0.0"
    resources = [
      {
        type       = "Microsoft.EventGrid/namespaces/topics"
        apiVersion = "2025-02-15"
        name       = "${azurerm_eventgrid_namespace.pull[0].name}/bus"
        properties = {
          publisherType        = "Custom"
          inputSchema          = "CloudEventSchemaV1_0"
          eventRetentionInDays = var.message_retention_days
        }
      },
      {
        type       = "Microsoft.EventGrid/namespaces/topics/eventSubscriptions"
        apiVersion = "2025-02-15"
        name       = "${azurerm_eventgrid_namespace.pull[0].name}/bus/router"
        dependsOn  = ["[resourceId('Microsoft.EventGrid/namespaces/topics', '${azurerm_eventgrid_namespace.pull[0].name}', 'bus')]"]
        properties = {
          eventDeliverySchema = "CloudEventSchemaV1_0"
          deliveryConfiguration = {
            deliveryMode = "Queue"
            queue = {
              receiveLockDurationInSeconds = 60
              maxDeliveryCount             = 10
              eventTimeToLive              = "P${var.message_retention_days}D"
            }
          }
        }
      },
    ]
  })
}
