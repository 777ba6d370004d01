output "gocoffee_yaml" {
  description = "The router's configuration for what was made."
  value       = yamlencode(local.gocoffee)
}

output "identities" {
  description = "Who the router is, by cloud."
  value       = { for cloud in local.clouds : cloud => local.made[cloud].identity }
}

output "archives" {
  description = "What `archive` of the router's configuration says, by cloud."
  value       = { for cloud in local.clouds : cloud => local.made[cloud].archive }
}

output "functions" {
  description = "The functions, by cloud."
  value       = { for cloud in local.clouds : cloud => local.made[cloud].functions }
}

output "dead_letters" {
  description = "What somebody has to look at when anything is in it, by cloud."
  value       = { for cloud in local.clouds : cloud => local.made[cloud].dead_letters }
}
