//! Codes of what a data folder has. Each has a page in `docs/errors`.

schemas::codes! {
    FOLDER_HELD = "R0121",
    FOLDER_UNREADABLE = "R0122",
    LOG_WITHOUT_LEDGER = "R0123",
    SIDE_FILE_LATER = "R0124",
    LEDGER_MISCOUNTED = "R0125",
}
