//! Codes of what Azure's sources answer and log. Each has a page in `docs/errors`.

schemas::codes! {
    WEBHOOK_SECRET = "webhook-secret",
    WEBHOOK_TOKEN = "webhook-token",
    VALIDATION_EVENT = "validation-event",
    ANSWER_LATE = "answer-late",
    KEYS_UNREACHABLE = "keys-unreachable",
    PUBLISHER_UNKNOWN = "publisher-unknown",
    EVENT_SCHEMA = "event-schema",
    SUBSCRIPTION_DELETED = "R0161",
    VALIDATION_FAILED = "R0162",
    WEBHOOK_REFUSED = "R0163",
    PULL_FAILED = "R0164",
    LOCKS_LOST = "R0165",
    MESSAGE_REJECTED = "R0166",
}
