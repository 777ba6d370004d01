//! What is known of the copies, for whoever watches.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, id::BusName, stats::Counter};

/// What of one bus waits to be copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Sealed segments that have no copy yet, or none of a part of them.
    pub segments: u64,
    /// Their bytes here.
    pub bytes: u64,
    /// When the last event of the oldest of them was appended.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
}

/// The archive in object storage, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// Where it is, as it was configured.
    pub place: String,
    /// Its copies are known: until then none counts.
    pub ready: bool,
    /// Why copying does not work, when it does not.
    #[serde(default)]
    pub failing: Option<String>,
    /// By bus.
    pub waiting: BTreeMap<BusName, Waiting>,
}

/// Counters of the archive in object storage, and how it stands.
#[derive(Debug, Default)]
pub struct ArchiveStats {
    /// Copies that were made.
    pub copied: Counter,
    /// Their bytes in the archive.
    pub copied_bytes: Counter,
    /// Times that the archive could not be written or listed.
    pub failures: Counter,
    /// Copies that were removed, older than `age_max`.
    pub removed: Counter,
    status: Mutex<Option<ArchiveStatus>>,
}

impl ArchiveStats {
    /// How it stands; `None` where there is none.
    pub fn status(&self) -> Option<ArchiveStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it stands from now on.
    pub fn stands(&self, status: ArchiveStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}
