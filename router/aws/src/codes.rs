//! Codes of what the AWS targets refuse by themselves, because AWS would, and of what its sources meet. Each has a page in `docs/errors`.

schemas::codes! {
    SOURCE = "eventbridge-source",
    DETAIL_TYPE = "eventbridge-detail-type",
    NOT_AN_OBJECT = "eventbridge-data",
    ENTRY_TOO_LARGE = "eventbridge-size",
    MESSAGE = "sqs-message",
    NO_EVENT = "eventbridge-message",
    CREDENTIALS = "eventbridge-credentials",
    REJECTED = "R0160",
    NOT_DELETED = "R0167",
    NOT_HIDDEN = "R0168",
    NOT_LET_IN = "R0180",
    GIVEN_UP = "R0181",
}
