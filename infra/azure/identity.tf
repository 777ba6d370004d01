# Who may do what, to these resources and no others.

# The router.

resource "azurerm_user_assigned_identity" "router" {
  name                = "${local.name}-router"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "router" {
  count               = var.router_oidc == null ? 0 : 1
  name                = "router"
  resource_group_name = azurerm_resource_group.this.name
  parent_id           = azurerm_user_assigned_identity.router.id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = var.router_oidc.issuer
  subject             = var.router_oidc.subject
}

locals {
  # Where a cluster lends the identity, its token is in a file; elsewhere the machine has it.
  router_entra = merge(
    { client_id = azurerm_user_assigned_identity.router.client_id },
    var.router_oidc == null ? {} : {
      tenant     = azurerm_user_assigned_identity.router.tenant_id
      token_file = "/var/run/secrets/azure/tokens/azure-identity-token"
    },
  )
}

resource "azurerm_role_assignment" "router_sends" {
  scope                = azurerm_eventgrid_topic.bus.id
  role_definition_name = "EventGrid Data Sender"
  principal_id         = azurerm_user_assigned_identity.router.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "router_pulls" {
  count                = var.pull ? 1 : 0
  scope                = azurerm_eventgrid_namespace.pull[0].id
  role_definition_name = "EventGrid Data Receiver"
  principal_id         = azurerm_user_assigned_identity.router.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "router_archives" {
  scope                = azurerm_storage_container.archive.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.router.principal_id
  principal_type       = "ServicePrincipal"
}

# Event Grid, for what it could not deliver.

resource "azurerm_role_assignment" "dead_letters" {
  scope                = azurerm_storage_container.dead_letters.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_eventgrid_topic.bus.identity[0].principal_id
  principal_type       = "ServicePrincipal"
}

# The functions, each one for itself. The host of an app keeps its own locks in the account, beside the function's state.

resource "azurerm_role_assignment" "function_host" {
  for_each             = var.functions
  scope                = azurerm_storage_account.this.id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = azurerm_linux_function_app.function[each.key].identity[0].principal_id
  principal_type       = "ServicePrincipal"

  # Not the archive, and not the dead letters.
  condition_version = "2.0"
  condition         = "(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringStartsWith 'azure-webjobs' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'state-${each.key}')"
}
