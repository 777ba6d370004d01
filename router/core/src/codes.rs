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
    STORE_FAILED = "R0101",
    STORE_FULL = "R0102",
    TRIMMED = "R0103",
    FENCED = "R0104",
    DAMAGED = "R0105",
    NO_SEGMENT = "R0107",
    START_REFUSED = "R0106",
    BREAKER_OPEN = "R0110",
    LANE_STOPPED = "R0111",
    DUPLICATE_DIFFERS = "R0112",
    ADAPTER_BUG = "R0113",
    LANE_UNKNOWN = "R0114",
}
