output "gocoffee_yaml" {
  description = "The router's configuration for what was made."
  value       = module.events.gocoffee_yaml
}

output "identities" {
  description = "Who the router is, by cloud."
  value       = module.events.identities
}

output "archives" {
  description = "What `archive` of the router's configuration says, by cloud."
  value       = module.events.archives
}

output "functions" {
  description = "The functions, by cloud."
  value       = module.events.functions
}

output "dead_letters" {
  description = "What somebody has to look at when anything is in it, by cloud."
  value       = module.events.dead_letters
}
