output "gocoffee" {
  description = "This cloud's part of the router's configuration."
  value = {
    sources = { gcp = { pubsub = { subscription = google_pubsub_subscription.router.id } } }
    targets = merge(
      { gcp-bus = { pubsub = { topic = google_pubsub_topic.bus.id } } },
      { for name, topic in google_pubsub_topic.function : "gcp-${name}" => { pubsub = { topic = topic.id } } },
    )
  }
}

output "bus" {
  description = "The topic."
  value       = google_pubsub_topic.bus.id
}

output "identity" {
  description = "The address of the router's service account."
  value       = google_service_account.router.email
}

output "archive" {
  description = "What `archive` of the router's configuration says to use the bucket."
  value       = { to = "gs://${google_storage_bucket.archive.name}/segments" }
}

output "functions" {
  description = "The addresses of the functions."
  value       = { for name, service in google_cloud_run_v2_service.function : name => service.uri }
}

output "dead_letters" {
  description = "The subscription that somebody has to look at when anything is in it."
  value       = { router = google_pubsub_subscription.dead_letters.id }
}
