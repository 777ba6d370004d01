//! What sources and targets at Google Cloud can be told.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{Mode, Rate, thirty_seconds, value};

/// A topic of Pub/Sub.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PubSubTarget {
    /// Its name, `projects/PROJECT/topics/TOPIC`. Required.
    pub topic: String,
    /// Where Pub/Sub is, in place of `https://pubsub.googleapis.com`. Default: there.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who the router is to Google. Default: application default credentials.
    #[serde(default)]
    pub credentials: GoogleCredentials,
    /// How the event is written. Default `binary`.
    #[serde(default)]
    pub mode: Mode,
    /// Whether an event's `partitionkey` is its message's ordering key. Default `true`.
    #[serde(default = "yes")]
    pub ordering: bool,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// How many events go in one request. Default: 1,000 of 1 MiB.
    #[serde(default)]
    pub batch: PubSubBatch,
    /// Calls at a time. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// Who the router is to Google. Without it: application default credentials, in the order of Google's own libraries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoogleCredentials {
    /// A file of credentials: a service account's key, a workload identity pool's configuration. Default: none.
    pub file: Option<PathBuf>,
    /// Nobody, as emulators ask for. Default `false`.
    pub anonymous: bool,
    /// The address of a service account that the router acts as. Default: none.
    pub impersonate: Option<String>,
}

/// How many events go in one request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PubSubBatch {
    /// Messages of one request. Default 1000.
    pub count_max: u16,
    /// Their bytes; a larger message goes alone. Default `1MiB`.
    #[serde(deserialize_with = "value::size")]
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more. Default: not at all.
    #[serde(deserialize_with = "value::some_duration")]
    pub delay_max: Option<Duration>,
}

impl Default for PubSubBatch {
    fn default() -> Self {
        PubSubBatch { count_max: 1000, bytes_max: 1 << 20, delay_max: None }
    }
}

fn yes() -> bool {
    true
}

fn sixteen() -> u16 {
    16
}
