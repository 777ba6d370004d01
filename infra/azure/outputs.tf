output "gocoffee" {
  description = "This cloud's part of the router's configuration."
  value = {
    sources = merge(
      var.webhook == null ? {} : { azure = { event_grid = { webhook = {
        path  = regex("^https://[^/]+(/[^?]*)", var.webhook.url)[0]
        entra = { tenant = var.webhook.tenant_id, audiences = [var.webhook.app_id] }
      } } } },
      var.pull ? { azure-pull = { event_grid = { pull = {
        endpoint     = "https://${azurerm_eventgrid_namespace.pull[0].name}.${azurerm_resource_group.this.location}-1.eventgrid.azure.net"
        topic        = "bus"
        subscription = "router"
        entra        = local.router_entra
      } } } } : {},
    )
    targets = { az-bus = { event_grid = { endpoint = azurerm_eventgrid_topic.bus.endpoint, entra = local.router_entra } } }
  }
}

output "bus" {
  description = "The topic."
  value       = azurerm_eventgrid_topic.bus.id
}

output "identity" {
  description = "The client id of the router's managed identity."
  value       = azurerm_user_assigned_identity.router.client_id
}

output "archive" {
  description = "What `archive` of the router's configuration says to use the container."
  value = {
    to      = "az://${azurerm_storage_container.archive.name}/segments"
    options = { azure_storage_account_name = azurerm_storage_account.this.name }
  }
}

output "functions" {
  description = "The names of the apps of the functions."
  value       = { for name, app in azurerm_linux_function_app.function : name => app.name }
}

output "dead_letters" {
  description = "The container that somebody has to look at when anything is in it."
  value       = { router = "${azurerm_storage_account.this.name}/${azurerm_storage_container.dead_letters.name}" }
}
