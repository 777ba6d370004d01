//! Codes of what the targets at Google refuse by themselves, because Google would, and of what messages are no events.
//! Each has a page in `docs/errors`.

schemas::codes! {
    MESSAGE_TOO_LARGE = "pubsub-size",
    ORDERING_KEY = "pubsub-ordering-key",
    MESSAGE_FORMAT = "pubsub-format",
    PUSH_TOKEN = "push-token",
    PUSH_KEYS = "push-keys",
    PUSH_FORM = "push-form",
    PUSH_REFUSED = "R0171",
    PULL_REJECTED = "R0172",
    ACK_LOST = "R0173",
}
