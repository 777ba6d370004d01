//! What Azure's sources and targets can be told.

use std::{path::PathBuf, time::Duration};

use router_core::id::BusName;
use serde::{Deserialize, Deserializer};

use super::{
    OnInvalid, Rate, TargetRetry, TargetTls, Validate, default_bus,
    target::{sixty_four, thirty_seconds},
    value::{self, Secret},
};

/// Event Grid, as a source: one of the three.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventGridSource {
    /// What a subscription delivers to us.
    Webhook(EventGridWebhook),
    /// What waits in a subscription of a namespace topic.
    Pull(EventGridPull),
    /// What Event Grid's official clients publish, straight to us.
    Publish(EventGridPublish),
}

/// What a subscription delivers to us.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventGridWebhook {
    /// The path of the URL, e.g. `/azure`. Required.
    pub path: String,
    /// The bus that takes the events. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// Secrets, one of which the subscription's URL holds as `?key=`; two for a rotation. Default: none is asked for.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// Whose tokens each delivery must show. Default: none is asked for.
    #[serde(default)]
    pub entra: Option<AzureTokens>,
    /// Whether a handshake is answered by a call back in place of its code. Default `false`.
    #[serde(default)]
    pub manual_validation: bool,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    #[serde(default)]
    pub validate: Validate,
}

/// What waits in a subscription of a namespace topic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventGridPull {
    /// The namespace's HTTP host, `https://NAME.REGION-1.eventgrid.azure.net`. Required.
    pub endpoint: String,
    /// The topic's name. Required.
    pub topic: String,
    /// The subscription's name. Required.
    pub subscription: String,
    /// The bus that takes the events. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// An access key of the namespace. One of `key`, `sas` and `entra` is required.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Signatures that an access key makes.
    #[serde(default)]
    pub sas: Option<AzureSas>,
    /// Tokens of Microsoft Entra ID.
    #[serde(default)]
    pub entra: Option<AzureEntra>,
    /// Events of one answer, 1 to 100. Default 100.
    #[serde(default = "hundred")]
    pub events_max: u16,
    /// How long a poll waits for events, 10 s to 120 s. Default `60s`.
    #[serde(default = "sixty_seconds", deserialize_with = "value::duration")]
    pub wait: Duration,
    /// Polls at a time. Default 2.
    #[serde(default = "two")]
    pub polls: u16,
    /// How often locks are renewed while events wait. Default `20s`.
    #[serde(default = "twenty_seconds", deserialize_with = "value::duration")]
    pub renew_every: Duration,
    /// What becomes of what is no event. Default `reject`: it goes to the subscription's dead letters.
    #[serde(default = "reject")]
    pub on_invalid: OnInvalid,
    /// TLS to the namespace. Default: what the machine trusts.
    #[serde(default)]
    pub tls: Option<TargetTls>,
    /// Whether its addresses may be of the own network. Default: unsaid.
    #[serde(default)]
    pub allow_private: Option<bool>,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    #[serde(default)]
    pub validate: Validate,
}

/// What Event Grid's official clients publish.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventGridPublish {
    /// Where custom topics are published to. Default `/api/events`.
    pub path: String,
    /// Namespace topics that are published to beside it. Default: none.
    pub topics: Vec<String>,
    /// The source of events in Event Grid's own schema, which name none. Default `/eventgrid/NAME`.
    pub topic: Option<String>,
    /// The bus that takes the events. Default `default`.
    pub bus: BusName,
    /// Keys that publishers show, or sign with. Default: none is asked for.
    pub keys: Vec<Secret>,
    /// Whose tokens open it as well. Default: none's.
    pub entra: Option<AzureTokens>,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    pub validate: Validate,
}

impl Default for EventGridPublish {
    fn default() -> Self {
        EventGridPublish {
            path: "/api/events".into(),
            topics: Vec::new(),
            topic: None,
            bus: default_bus(),
            keys: Vec::new(),
            entra: None,
            validate: Validate::default(),
        }
    }
}

/// Tokens that are accepted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureTokens {
    /// The tenant's id, which issues them. Required.
    pub tenant: String,
    /// For whom they may be: the application's id or URI. Required.
    pub audiences: Vec<String>,
    /// Who may show them. Default: Event Grid itself.
    #[serde(default = "event_grid_itself")]
    pub applications: Vec<String>,
    /// Where the tenant publishes its keys. Default: at Azure's public cloud.
    #[serde(default)]
    pub keys_url: Option<String>,
}

/// Signatures that an access key makes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureSas {
    /// The access key, in base64 as Azure shows it. Required.
    pub key: Secret,
    /// How long a signature is good for; it is renewed at half of it. Default `1h`.
    #[serde(default = "one_hour", deserialize_with = "value::duration")]
    pub life: Duration,
}

/// Who the router is to Entra ID: a client with a secret, a workload with a file, else the machine's own identity.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AzureEntra {
    /// The tenant's id or name. Required with a secret or a file.
    pub tenant: Option<String>,
    /// The application's id. Required with a secret or a file; else which identity of the machine.
    pub client_id: Option<String>,
    /// What shows a client. Default: none.
    pub client_secret: Option<Secret>,
    /// The file with a workload's token. Default: none.
    pub token_file: Option<PathBuf>,
    /// Where tokens are had. Default `https://login.microsoftonline.com`.
    pub authority: Option<String>,
    /// What for. Default `https://eventgrid.azure.net/.default`; required for a function.
    pub scope: Option<String>,
}

/// A custom topic, a domain, or a partner's channel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventGridTarget {
    /// Its endpoint, `https://NAME.REGION-1.eventgrid.azure.net/api/events`. Required.
    pub endpoint: String,
    /// An access key. One of `key`, `sas` and `entra` is required.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Signatures that an access key makes.
    #[serde(default)]
    pub sas: Option<AzureSas>,
    /// Tokens of Microsoft Entra ID.
    #[serde(default)]
    pub entra: Option<AzureEntra>,
    /// What the topic takes. Default `cloudevents`.
    #[serde(default)]
    pub schema: EventGridSchema,
    /// A domain's topic, for events in Event Grid's own schema. Default: none is named.
    #[serde(default)]
    pub topic: Option<String>,
    /// A partner's channel. Default: none is named.
    #[serde(default)]
    pub channel: Option<String>,
    /// How many events go in one request. Default: as many as Event Grid takes.
    #[serde(default)]
    pub batch: EventGridBatch,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// Requests at a time. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// TLS to the topic. Default: what the machine trusts.
    #[serde(default)]
    pub tls: Option<TargetTls>,
    /// Whether its addresses may be of the own network. Default: unsaid.
    #[serde(default)]
    pub allow_private: Option<bool>,
}

/// A topic of a namespace.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventGridNamespaceTarget {
    /// The namespace's HTTP host, `https://NAME.REGION-1.eventgrid.azure.net`. Required.
    pub endpoint: String,
    /// The topic's name. Required.
    pub topic: String,
    /// An access key. One of `key`, `sas` and `entra` is required.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Signatures that an access key makes.
    #[serde(default)]
    pub sas: Option<AzureSas>,
    /// Tokens of Microsoft Entra ID.
    #[serde(default)]
    pub entra: Option<AzureEntra>,
    /// How it is written to. Default `batch`.
    #[serde(default)]
    pub mode: EventGridMode,
    /// How many events go in one request. Default: as many as Event Grid takes.
    #[serde(default)]
    pub batch: EventGridBatch,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// Requests at a time. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// TLS to the namespace. Default: what the machine trusts.
    #[serde(default)]
    pub tls: Option<TargetTls>,
    /// Whether its addresses may be of the own network. Default: unsaid.
    #[serde(default)]
    pub allow_private: Option<bool>,
}

/// A function with an HTTP trigger.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureFunctionTarget {
    /// Where it is, `https://APP.azurewebsites.net/api/NAME`. Required.
    pub url: String,
    /// The function's key, or the host's. Default: none is shown.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Tokens of Microsoft Entra ID. Default: none is shown.
    #[serde(default)]
    pub entra: Option<AzureEntra>,
    /// How the event is written. Default `binary`.
    #[serde(default)]
    pub mode: super::Mode,
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

/// How many events go in one request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventGridBatch {
    /// Events of one request. Default: 5,000 to a topic, 1,000 to a namespace.
    pub count_max: Option<u16>,
    /// Bytes of their bodies, to which JSON adds; a larger event goes alone. Default `683KiB`.
    #[serde(deserialize_with = "value::size")]
    pub bytes_max: usize,
    /// Bytes of the request; several events that are more go in parts. Default `1MiB`.
    #[serde(deserialize_with = "value::size")]
    pub request_bytes_max: usize,
    /// How long a batch that is not full waits for more. Default: not at all.
    #[serde(deserialize_with = "value::some_duration")]
    pub delay_max: Option<Duration>,
}

impl Default for EventGridBatch {
    fn default() -> Self {
        EventGridBatch { count_max: None, bytes_max: 683 << 10, request_bytes_max: 1 << 20, delay_max: None }
    }
}

/// What a custom topic takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventGridSchema {
    /// CloudEvents 1.0.
    #[default]
    CloudEvents,
    /// Event Grid's own.
    EventGrid,
}

impl<'de> Deserialize<'de> for EventGridSchema {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "cloudevents" => Ok(EventGridSchema::CloudEvents),
            "event_grid" => Ok(EventGridSchema::EventGrid),
            other => Err(serde::de::Error::custom(format!("`{other}` is no schema: `cloudevents` or `event_grid`"))),
        }
    }
}

/// How a namespace topic is written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventGridMode {
    /// Lists of events.
    #[default]
    Batch,
    /// One event, its attributes as headers.
    Binary,
    /// One event, whole as JSON.
    Structured,
}

impl<'de> Deserialize<'de> for EventGridMode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "batch" => Ok(EventGridMode::Batch),
            "binary" => Ok(EventGridMode::Binary),
            "structured" => Ok(EventGridMode::Structured),
            other => Err(serde::de::Error::custom(format!("`{other}` is no mode: `batch`, `binary` or `structured`"))),
        }
    }
}

/// The application as which Event Grid itself shows tokens, in every tenant
/// [learn.microsoft.com/azure/event-grid/secure-webhook-delivery].
fn event_grid_itself() -> Vec<String> {
    vec!["4962773b-9cdb-44cf-a8bf-237846a00ab7".into()]
}

fn sixteen() -> u16 {
    16
}

fn reject() -> OnInvalid {
    OnInvalid::Reject
}

fn hundred() -> u16 {
    100
}

fn two() -> u16 {
    2
}

fn one_hour() -> Duration {
    Duration::from_secs(3600)
}

fn sixty_seconds() -> Duration {
    Duration::from_secs(60)
}

fn twenty_seconds() -> Duration {
    Duration::from_secs(20)
}
