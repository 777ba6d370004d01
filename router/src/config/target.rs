//! Where events can go: every kind of target, and what one over HTTP can be told.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    AzureFunctionTarget, CloudRunTarget, EventBridgeTarget, EventBridgeV2Target, EventGridNamespaceTarget,
    EventGridTarget, LambdaTarget, PubSubTarget, SqsTarget,
    value::{self, Secret},
};

/// Where events can go.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A POST for each event.
    Http(HttpTarget),
    /// A bus of EventBridge at AWS.
    #[serde(rename = "eventbridge")]
    EventBridge(EventBridgeTarget),
    /// A custom event bus of EventBridge, the second generation.
    #[serde(rename = "eventbridge_v2")]
    EventBridgeV2(EventBridgeV2Target),
    /// A queue of SQS at AWS.
    Sqs(SqsTarget),
    /// A function of Lambda at AWS.
    Lambda(LambdaTarget),
    /// A topic, a domain or a channel of Event Grid at Azure.
    EventGrid(EventGridTarget),
    /// A topic of a namespace of Event Grid.
    EventGridNamespace(EventGridNamespaceTarget),
    /// A function at Azure.
    AzureFunction(AzureFunctionTarget),
    /// A topic of Pub/Sub at Google Cloud.
    #[serde(rename = "pubsub")]
    PubSub(PubSubTarget),
    /// A service of Cloud Run, or a function, at Google Cloud.
    CloudRun(CloudRunTarget),
}

impl Target {
    /// The key that says its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Http(_) => "http",
            Target::EventBridge(_) => "eventbridge",
            Target::EventBridgeV2(_) => "eventbridge_v2",
            Target::Sqs(_) => "sqs",
            Target::Lambda(_) => "lambda",
            Target::EventGrid(_) => "event_grid",
            Target::EventGridNamespace(_) => "event_grid_namespace",
            Target::AzureFunction(_) => "azure_function",
            Target::PubSub(_) => "pubsub",
            Target::CloudRun(_) => "cloud_run",
        }
    }

    /// The key below it that says where it is.
    pub fn address_key(&self) -> &'static str {
        match self {
            Target::Http(_) => "url",
            Target::EventBridge(_) | Target::EventBridgeV2(_) => "bus",
            Target::Sqs(_) => "queue_url",
            Target::Lambda(_) => "function",
            Target::EventGrid(_) | Target::EventGridNamespace(_) => "endpoint",
            Target::AzureFunction(_) => "url",
            Target::PubSub(_) => "topic",
            Target::CloudRun(_) => "url",
        }
    }
}

/// A POST for each event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTarget {
    /// Where to, `http://` or `https://`. Required.
    pub url: String,
    /// How the event is written. Default `binary`.
    #[serde(default)]
    pub mode: Mode,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// Headers that each request carries. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Sent as `Authorization: Bearer …`. Default: not sent.
    #[serde(default)]
    pub bearer: Option<Secret>,
    /// Sent as `Authorization: Basic …`. Default: not sent.
    #[serde(default)]
    pub basic: Option<Basic>,
    /// Sent as `Authorization: Bearer …`, with a token of an authorization server. Default: not sent.
    #[serde(default)]
    pub oauth: Option<OAuth>,
    /// Secrets that sign each request as Standard Webhooks does; two for a rotation. Default: not signed.
    #[serde(default)]
    pub webhook_secrets: Vec<Secret>,
    /// Several events in one request, in place of `mode`. Default: one.
    #[serde(default)]
    pub batch: Option<Batch>,
    /// Requests at a time. Default 64.
    #[serde(default = "sixty_four")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// TLS to the target. Default: what the machine trusts.
    #[serde(default)]
    pub tls: Option<TargetTls>,
    /// Whether its addresses may be of the own network: see `docs/security.md`. Default: unsaid.
    #[serde(default)]
    pub allow_private: Option<bool>,
    /// What answers mean, where that differs from the table. Default: no difference.
    #[serde(default)]
    pub retry: TargetRetry,
}

/// How an event is written over HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in `ce-` headers, the data as the body.
    #[default]
    Binary,
    /// The whole event as JSON in the body.
    Structured,
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "binary" => Ok(Mode::Binary),
            "structured" => Ok(Mode::Structured),
            other => Err(serde::de::Error::custom(format!("`{other}` is no mode: `binary` or `structured`"))),
        }
    }
}

/// HTTP basic authentication.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// Required.
    pub username: String,
    /// Required.
    pub password: Secret,
}

/// Several events in one request, as `application/cloudevents-batch+json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Events of one request. Default 100.
    pub count_max: u16,
    /// Bytes of their bodies, to which JSON adds; a larger event goes alone. Default `1MiB`.
    #[serde(deserialize_with = "value::size")]
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more. Default: not at all.
    #[serde(deserialize_with = "value::some_duration")]
    pub delay_max: Option<Duration>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { count_max: 100, bytes_max: 1 << 20, delay_max: None }
    }
}

/// How fast a target is sent to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Events per second, each attempt counted, over all routes. Required.
    pub events_per_second_max: u32,
    /// Events at once after a pause. Default: one second's.
    #[serde(default)]
    pub burst: Option<u32>,
}

/// OAuth 2.0 client credentials.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// Where tokens are had. Required.
    pub token_url: String,
    /// Who asks. Required.
    pub client_id: String,
    /// What shows it. Required.
    pub client_secret: Secret,
    /// What for, as the server names it. Default: not sent.
    #[serde(default)]
    pub scope: Option<String>,
    /// For whom, where the server asks for it. Default: not sent.
    #[serde(default)]
    pub audience: Option<String>,
    /// How the client names itself. Default `basic`.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// How an OAuth client names itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the header Authorization.
    #[default]
    Basic,
    /// In the body.
    Post,
}

impl<'de> Deserialize<'de> for ClientAuth {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "basic" => Ok(ClientAuth::Basic),
            "post" => Ok(ClientAuth::Post),
            other => Err(serde::de::Error::custom(format!("`{other}` is no way to name a client: `basic` or `post`"))),
        }
    }
}

/// TLS to a target. The files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetTls {
    /// Authorities that are trusted beside those of the machine. Default: none.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to the target; read again when it changes. Default: none.
    pub cert: Option<PathBuf>,
    /// Its private key. Default: none.
    pub key: Option<PathBuf>,
}

/// What answers mean.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetRetry {
    /// Verdicts that go before the table of statuses, by `409` or `5xx`. Default: none.
    pub statuses: BTreeMap<String, String>,
}

/// What every target takes when nothing is said.
pub(super) fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

/// As above.
pub(super) fn sixty_four() -> u16 {
    64
}
