# Who may do what, to these resources and no others: single roles, and none of the project but the one that Eventarc asks.

data "google_project" "this" {
  project_id = var.project_id
}

locals {
  # Pub/Sub itself, which moves what came too often.
  pubsub = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# The router.

resource "google_service_account" "router" {
  account_id   = "${local.name}-router"
  project      = var.project_id
  display_name = "The gocoffee router"
}

resource "google_service_account_iam_member" "router" {
  count              = var.router_account == null ? 0 : 1
  service_account_id = google_service_account.router.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project_id}.svc.id.goog[${var.router_account}]"
}

resource "google_pubsub_subscription_iam_member" "router" {
  project      = var.project_id
  subscription = google_pubsub_subscription.router.name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.router.member
}

resource "google_pubsub_topic_iam_member" "router" {
  project = var.project_id
  topic   = google_pubsub_topic.bus.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.router.member
}

resource "google_pubsub_topic_iam_member" "router_function" {
  for_each = var.functions
  project  = var.project_id
  topic    = google_pubsub_topic.function[each.key].name
  role     = "roles/pubsub.publisher"
  member   = google_service_account.router.member
}

resource "google_storage_bucket_iam_member" "router" {
  for_each = toset(["roles/storage.objectUser"])
  bucket   = google_storage_bucket.archive.name
  role     = each.key
  member   = google_service_account.router.member

  condition {
    title = "segments"
    # A listing is of the bucket: what it asks for is in an attribute of its own.
    expression = join(" || ", [
      "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.archive.name}/objects/segments/\")",
      "api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"segments/\")",
    ])
  }
}

# Pub/Sub, for what came too often.

resource "google_pubsub_topic_iam_member" "dead_letters" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letters.name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  project      = var.project_id
  subscription = google_pubsub_subscription.router.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub
}

resource "google_pubsub_subscription_iam_member" "dead_letters_push" {
  count        = var.push == null ? 0 : 1
  project      = var.project_id
  subscription = google_pubsub_subscription.push[0].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub
}

# Pub/Sub, where it calls the router itself: this is who its token says it is, and it may do nothing.

resource "google_service_account" "push" {
  count        = var.push == null ? 0 : 1
  account_id   = "${local.name}-push"
  project      = var.project_id
  display_name = "Pub/Sub, to the gocoffee router"
}

# The functions, each one for itself.

resource "google_service_account" "function" {
  for_each     = var.functions
  account_id   = local.account[each.key]
  project      = var.project_id
  display_name = "The gocoffee function ${each.key}"
}

resource "google_storage_bucket_iam_member" "function" {
  for_each = var.functions
  bucket   = google_storage_bucket.archive.name
  role     = "roles/storage.objectUser"
  member   = google_service_account.function[each.key].member

  condition {
    title      = "state"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.archive.name}/objects/state/${each.key}/\")"
  }
}

# Eventarc, which calls them.

resource "google_service_account" "trigger" {
  count        = length(var.functions) > 0 ? 1 : 0
  account_id   = "${local.name}-trigger"
  project      = var.project_id
  display_name = "Eventarc, to the gocoffee functions"
}

resource "google_project_iam_member" "trigger" {
  count   = length(var.functions) > 0 ? 1 : 0
  project = var.project_id
  role    = "roles/eventarc.eventReceiver"
  member  = google_service_account.trigger[0].member
}

resource "google_cloud_run_v2_service_iam_member" "trigger" {
  for_each = var.functions
  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.function[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.trigger[0].member
}
