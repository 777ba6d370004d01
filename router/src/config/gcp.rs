//! What sources and targets at Google Cloud can be told.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use router_core::id::BusName;

use super::{
    Mode, OnInvalid, Rate, TargetRetry, Validate, default_bus,
    target::{sixty_four, thirty_seconds},
    value::{self, Secret},
};

/// A subscription of Pub/Sub that is pulled.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PubSubSource {
    /// Its name, `projects/PROJECT/subscriptions/SUBSCRIPTION`. Required.
    pub subscription: String,
    /// Where Pub/Sub is, in place of `https://pubsub.googleapis.com`. Default: there.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who the router is to Google. Default: application default credentials.
    #[serde(default)]
    pub credentials: GoogleCredentials,
    /// The topic, `projects/PROJECT/topics/TOPIC`, which is the source of plain messages. Default: the subscription is.
    #[serde(default)]
    pub topic: Option<String>,
    /// The attribute that says a plain message's type. Default: it is Google's own event.
    #[serde(default)]
    pub type_attribute: Option<String>,
    /// The bus that takes the events. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// What becomes of messages that are no event. Default `quarantine`.
    #[serde(default = "quarantine")]
    pub on_invalid: OnInvalid,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    #[serde(default)]
    pub validate: Validate,
    /// Messages that are under way at most. Default 1000.
    #[serde(default = "thousand")]
    pub messages_max: u32,
    /// Their bytes. Default `100MiB`.
    #[serde(default = "hundred_mebibytes", deserialize_with = "value::size")]
    pub bytes_max: usize,
    /// How long a message is held at a time, 10 s to 10 min; extended while it is under way. Default `60s`.
    #[serde(default = "sixty_seconds", deserialize_with = "value::duration")]
    pub lease: Duration,
}

/// What a push subscription of Pub/Sub delivers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PubSubPush {
    /// The path of the push endpoint. Required.
    pub path: String,
    /// Whether the subscription pushes without a wrapper. Default `false`.
    #[serde(default)]
    pub unwrapped: bool,
    /// Whose tokens each push must show. Default: none is asked for.
    #[serde(default)]
    pub tokens: Option<GoogleTokens>,
    /// The topic, `projects/PROJECT/topics/TOPIC`, which is the source of plain messages. Default: the subscription is.
    #[serde(default)]
    pub topic: Option<String>,
    /// The attribute that says a plain message's type. Default: it is Google's own event.
    #[serde(default)]
    pub type_attribute: Option<String>,
    /// The bus that takes the events. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    #[serde(default)]
    pub validate: Validate,
}

/// What Pub/Sub's clients publish, straight to us.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PubSubPublish {
    /// Topics that are there, `projects/PROJECT/topics/TOPIC`. Default: any.
    pub topics: Vec<String>,
    /// The attribute that says a plain message's type. Default: it is Google's own event.
    pub type_attribute: Option<String>,
    /// The bus that takes the events. Default `default`.
    pub bus: BusName,
    /// Keys that publishers show as their token. Default: none is asked for.
    pub keys: Vec<Secret>,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    pub validate: Validate,
}

impl Default for PubSubPublish {
    fn default() -> Self {
        PubSubPublish {
            topics: Vec::new(),
            type_attribute: None,
            bus: default_bus(),
            keys: Vec::new(),
            validate: Validate::default(),
        }
    }
}

/// Google's tokens that are accepted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleTokens {
    /// For whom they may be: what the subscription says, else the push endpoint's URL. Required.
    pub audiences: Vec<String>,
    /// The addresses of the service accounts that may show them. Required.
    pub accounts: Vec<String>,
    /// Where Google publishes its keys. Default: there.
    #[serde(default)]
    pub keys_url: Option<String>,
}

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

/// A service of Cloud Run, or a function, that asks who calls.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudRunTarget {
    /// Where it is, e.g. `https://NAME-HASH-REGION.a.run.app/`. Required.
    pub url: String,
    /// For whom the identity token is. Default: the service's own address, or a function's URL.
    #[serde(default)]
    pub audience: Option<String>,
    /// Who the router is to Google. Default: application default credentials.
    #[serde(default)]
    pub credentials: GoogleCredentials,
    /// How the event is written. Default `binary`.
    #[serde(default)]
    pub mode: Mode,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// Requests at a time. Default 64.
    #[serde(default = "sixty_four")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// What answers mean, where that differs from the table. Default: no difference.
    #[serde(default)]
    pub retry: TargetRetry,
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

fn quarantine() -> OnInvalid {
    OnInvalid::Quarantine
}

fn thousand() -> u32 {
    1000
}

fn hundred_mebibytes() -> usize {
    100 << 20
}

fn sixty_seconds() -> Duration {
    Duration::from_secs(60)
}

fn yes() -> bool {
    true
}

fn sixteen() -> u16 {
    16
}
