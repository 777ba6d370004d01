# Sealed segments of the router's log, and the state of functions. Nothing here is public.

resource "google_storage_bucket" "archive" {
  name                        = "${var.project_id}-${local.name}-archive"
  project                     = var.project_id
  location                    = var.region
  labels                      = local.labels
  force_destroy               = false
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }
  soft_delete_policy {
    retention_duration_seconds = 7 * 86400
  }
  lifecycle_rule {
    condition {
      age            = 30
      matches_prefix = ["segments/"]
    }
    action {
      type          = "SetStorageClass"
      storage_class = "NEARLINE"
    }
  }
  lifecycle_rule {
    condition {
      age            = 90
      matches_prefix = ["segments/"]
    }
    action {
      type          = "SetStorageClass"
      storage_class = "COLDLINE"
    }
  }
  dynamic "lifecycle_rule" {
    for_each = var.archive_days > 0 ? [var.archive_days] : []
    content {
      condition {
        age            = lifecycle_rule.value
        matches_prefix = ["segments/"]
      }
      action {
        type = "Delete"
      }
    }
  }
  # What a function remembers of a delivery is of no use once its deliveries have ended.
  lifecycle_rule {
    condition {
      age            = 30
      matches_prefix = ["state/"]
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 30
    }
    action {
      type = "Delete"
    }
  }
  depends_on = [google_project_service.this]
}
