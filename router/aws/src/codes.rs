//! Codes of what the AWS targets refuse by themselves, because AWS would. Each has a page in `docs/errors`.

schemas::codes! {
    SOURCE = "eventbridge-source",
    DETAIL_TYPE = "eventbridge-detail-type",
    NOT_AN_OBJECT = "eventbridge-data",
    ENTRY_TOO_LARGE = "eventbridge-size",
}
