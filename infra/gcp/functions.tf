# Each function: a topic for what it takes, the function as a service of Cloud Run, and a trigger from the one to the other.
# Eventarc cannot choose by the type of an event in a topic, so the router does: it has a target for each of these topics.

resource "google_pubsub_topic" "function" {
  for_each                   = var.functions
  name                       = "${local.name}-${each.key}"
  project                    = var.project_id
  labels                     = local.labels
  message_retention_duration = "${var.message_retention_days * 86400}s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
  depends_on = [google_project_service.this]
}

resource "google_cloud_run_v2_service" "function" {
  for_each            = var.functions
  name                = "${local.name}-${each.key}"
  project             = var.project_id
  location            = var.region
  labels              = local.labels
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = false

  template {
    service_account                  = google_service_account.function[each.key].email
    timeout                          = "${each.value.timeout_seconds}s"
    max_instance_request_concurrency = 80

    scaling {
      min_instance_count = 0
      max_instance_count = each.value.concurrency_max
    }
    containers {
      image = local.images[each.key]

      resources {
        limits = { cpu = "1", memory = "${each.value.memory_mb}Mi" }
      }
      dynamic "env" {
        for_each = merge({ OUTPUT_URL = var.output_url }, each.value.environment)
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = startswith(var.output_url, "https://")
      error_message = "A function needs output_url, the https:// address of the router's source: replies have nowhere to go without it."
    }
    precondition {
      condition     = var.images != "" || each.value.image != ""
      error_message = "A function needs an image: give images, or its own image."
    }
  }
  depends_on = [google_project_service.this]
}

resource "google_eventarc_trigger" "function" {
  for_each        = var.functions
  name            = "${local.name}-${each.key}"
  project         = var.project_id
  location        = var.region
  labels          = local.labels
  service_account = google_service_account.trigger[0].email

  matching_criteria {
    attribute = "type"
    value     = "google.cloud.pubsub.topic.v1.messagePublished"
  }
  transport {
    pubsub {
      topic = google_pubsub_topic.function[each.key].id
    }
  }
  destination {
    cloud_run_service {
      service = google_cloud_run_v2_service.function[each.key].name
      region  = var.region
    }
  }
  depends_on = [google_project_iam_member.trigger]
}
