//! Codes of what the path refuses, and why it gives up. Each has a page in `docs/errors`.

schemas::codes! {
    EVENT_TOO_LARGE = "event-too-large",
    NO_ANSWER = "no-answer",
    INTAKE_FULL = "intake-full",
    NO_SPACE = "no-space",
    ATTEMPTS_EXHAUSTED = "attempts-exhausted",
    TOO_OLD = "too-old",
    REFUSED = "refused",
    GONE = "gone",
}
