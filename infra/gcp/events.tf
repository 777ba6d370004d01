# The topic, and the way from it to the router: a subscription that the router pulls from, and a topic for what came too
# often. A subscription keeps what is in that topic.

resource "google_project_service" "this" {
  for_each           = toset(["pubsub.googleapis.com", "run.googleapis.com", "eventarc.googleapis.com", "storage.googleapis.com", "iam.googleapis.com"])
  project            = var.project_id
  service            = each.key
  disable_on_destroy = false
}

resource "google_pubsub_topic" "bus" {
  name                       = local.name
  project                    = var.project_id
  labels                     = local.labels
  message_retention_duration = "${var.message_retention_days * 86400}s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
  depends_on = [google_project_service.this]
}

resource "google_pubsub_topic" "dead_letters" {
  name    = "${local.name}-dead-letters"
  project = var.project_id
  labels  = local.labels

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
  depends_on = [google_project_service.this]
}

resource "google_pubsub_subscription" "dead_letters" {
  name                       = "${local.name}-dead-letters"
  project                    = var.project_id
  topic                      = google_pubsub_topic.dead_letters.id
  labels                     = local.labels
  message_retention_duration = "${31 * 86400}s"

  # It is there however long nobody looks.
  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_subscription" "router" {
  name                       = "${local.name}-router"
  project                    = var.project_id
  topic                      = google_pubsub_topic.bus.id
  labels                     = local.labels
  filter                     = local.filter
  ack_deadline_seconds       = 60
  enable_message_ordering    = true
  message_retention_duration = "${var.message_retention_days * 86400}s"

  expiration_policy {
    ttl = ""
  }
  # The router acknowledges a message once its event is durable; one that comes back so often is not readable for it.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = 100
  }
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }
}

# By choice Pub/Sub calls the router itself, with a token that says who it is.

resource "google_pubsub_subscription" "push" {
  count                      = var.push == null ? 0 : 1
  name                       = "${local.name}-router-push"
  project                    = var.project_id
  topic                      = google_pubsub_topic.bus.id
  labels                     = local.labels
  filter                     = local.filter
  ack_deadline_seconds       = 60
  message_retention_duration = "${var.message_retention_days * 86400}s"

  push_config {
    push_endpoint = var.push.url
    oidc_token {
      service_account_email = google_service_account.push[0].email
      audience              = var.push.audience
    }
  }
  expiration_policy {
    ttl = ""
  }
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = 100
  }
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }
}
