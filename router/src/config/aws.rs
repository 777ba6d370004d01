//! What sources and targets at AWS can be told.

use std::time::Duration;

use router_core::id::BusName;
use serde::{Deserialize, Deserializer};

use super::{
    OnInvalid, Rate, Validate, default_bus,
    target::{sixty_four, thirty_seconds},
    value::{self, Secret},
};

/// A queue of SQS that a rule of EventBridge feeds, or a subscriber of a custom event bus.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventBridgeSource {
    /// Its URL. Required.
    pub queue_url: String,
    /// The bus that takes the events. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// Its region. Default: that of the URL, of the environment or of the profile.
    #[serde(default)]
    pub region: Option<String>,
    /// Where SQS is, in place of the region's own address. Default: where the URL says.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who the router is to AWS. Default: what the environment says.
    #[serde(default)]
    pub credentials: AwsCredentials,
    /// What becomes of messages that are no event. Default `quarantine`.
    #[serde(default = "quarantine")]
    pub on_invalid: OnInvalid,
    /// What becomes of events whose data their schema refuses. Default `off`.
    #[serde(default)]
    pub validate: Validate,
    /// Polls at a time. Default 4.
    #[serde(default = "four")]
    pub receivers: u16,
    /// How long a message is hidden from other receivers; renewed while it waits for the bus. Default `60s`.
    #[serde(default = "one_minute", deserialize_with = "value::duration")]
    pub visibility: Duration,
}

/// What AWS's SDKs publish, straight to us.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwsSource {
    /// Calls of `PutEvents`, as to EventBridge.
    PutEvents(PutEventsSource),
    /// What EventBridge sends to an API destination.
    ApiDestination(ApiDestinationSource),
}

/// What EventBridge sends to an API destination. At most one of `api_key`, `basic` and `oauth`: that of the connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiDestinationSource {
    /// The path of the destination's URL. Required.
    pub path: String,
    /// The bus that takes the events. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// The key that each request holds. Default: none is asked for.
    #[serde(default)]
    pub api_key: Option<ApiKey>,
    /// The name and the password that each request holds. Default: none is asked for.
    #[serde(default)]
    pub basic: Option<BasicLogin>,
    /// Whose tokens each request holds. Default: none is asked for.
    #[serde(default)]
    pub oauth: Option<OAuthTokens>,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    #[serde(default)]
    pub validate: Validate,
}

impl ApiDestinationSource {
    /// Whether it asks who sends.
    pub fn asks(&self) -> bool {
        self.api_key.is_some() || self.basic.is_some() || self.oauth.is_some()
    }
}

/// A header that holds a key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The header's name. Default `x-api-key`.
    #[serde(default = "x_api_key")]
    pub header: String,
    /// The keys, several at once so that they can be rotated. Required.
    pub keys: Vec<Secret>,
}

/// A name and its passwords.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicLogin {
    /// The name. Required.
    pub username: String,
    /// Its passwords, several at once so that they can be rotated. Required.
    pub passwords: Vec<Secret>,
}

/// Tokens of an authorization server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthTokens {
    /// Where it publishes its keys. Required.
    pub keys_url: String,
    /// Who it says that it is, `iss`. Required.
    pub issuers: Vec<String>,
    /// For whom its tokens may be, `aud`. Required.
    pub audiences: Vec<String>,
    /// The clients that may show them, `client_id` or `azp`. Default: any.
    #[serde(default)]
    pub clients: Vec<String>,
}

/// Calls of `PutEvents`, as to EventBridge.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PutEventsSource {
    /// The path of the URL that SDKs are given as their endpoint. Default `/aws`.
    pub path: String,
    /// The bus that takes the events. Default `default`.
    pub bus: BusName,
    /// Keys that calls are signed with. Default: no signature is looked at.
    pub access_keys: Vec<AwsAccessKey>,
    /// Names of event buses that publishers may give. Default: any.
    pub event_buses: Vec<String>,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    pub validate: Validate,
}

impl Default for PutEventsSource {
    fn default() -> Self {
        PutEventsSource {
            path: "/aws".into(),
            bus: default_bus(),
            access_keys: Vec::new(),
            event_buses: Vec::new(),
            validate: Validate::default(),
        }
    }
}

/// A key that calls are signed with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsAccessKey {
    /// What the SDK is given as the id of its access key. Required.
    pub id: String,
    /// What it is given as its secret. Required.
    pub secret: Secret,
}

/// A bus of EventBridge.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventBridgeTarget {
    /// Its name, or its ARN. Required.
    pub bus: String,
    /// Its region. Default: that of the ARN, of the environment or of the profile.
    #[serde(default)]
    pub region: Option<String>,
    /// Where EventBridge is, in place of the region's own address. Default: there.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who the router is to AWS. Default: what the environment says.
    #[serde(default)]
    pub credentials: AwsCredentials,
    /// What of an event becomes of `Detail`. Default `structured`.
    #[serde(default)]
    pub mapping: Option<EventBridgeMapping>,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// How many events go in one call. Default: as many as AWS takes.
    #[serde(default)]
    pub batch: AwsBatch,
    /// Calls at a time. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// A custom event bus of EventBridge, the second generation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventBridgeV2Target {
    /// Its ARN. Required.
    pub bus: String,
    /// Its region. Default: that of the ARN.
    #[serde(default)]
    pub region: Option<String>,
    /// Where EventBridge is, in place of the region's own address. Default: there.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who the router is to AWS. Default: what the environment says.
    #[serde(default)]
    pub credentials: AwsCredentials,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// How many events go in one call. Default: as many as AWS takes.
    #[serde(default)]
    pub batch: RawEventsBatch,
    /// Calls at a time. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// How many events go in one call of `PutRawEvents`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEventsBatch {
    /// Events of one call. Default 100.
    pub count_max: u16,
    /// Their bytes, the texts beside them included; a larger event is refused. Default `1MiB`.
    #[serde(deserialize_with = "value::size")]
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more. Default: not at all.
    #[serde(deserialize_with = "value::some_duration")]
    pub delay_max: Option<Duration>,
}

impl Default for RawEventsBatch {
    fn default() -> Self {
        RawEventsBatch { count_max: 100, bytes_max: 1 << 20, delay_max: None }
    }
}

/// Who the router is to AWS. Without it: environment, profile, web identity, container, instance, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsCredentials {
    /// A profile of the shared configuration files. Default: `AWS_PROFILE`.
    pub profile: Option<String>,
    /// The id of an access key, where it is written out. Default: none is.
    pub access_key_id: Option<String>,
    /// Its secret. Required with it.
    pub secret_access_key: Option<Secret>,
    /// The token of a temporary one. Default: none.
    pub session_token: Option<Secret>,
    /// The ARN of a role that is assumed. Default: none is.
    pub role_arn: Option<String>,
    /// What the owner of the role asks for. Default: nothing.
    pub external_id: Option<String>,
    /// What the owner of the role sees of the router. Default `gocoffee`.
    pub session_name: Option<String>,
}

/// A queue of SQS.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqsTarget {
    /// Its URL; one that ends in `.fifo` is in order. Required.
    pub queue_url: String,
    /// Its region. Default: that of the URL, of the environment or of the profile.
    #[serde(default)]
    pub region: Option<String>,
    /// Where SQS is, in place of the region's own address. Default: where the URL says.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who the router is to AWS. Default: what the environment says.
    #[serde(default)]
    pub credentials: AwsCredentials,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// How many events go in one call. Default: as many as AWS takes.
    #[serde(default)]
    pub batch: AwsBatch,
    /// Calls at a time. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// A function of Lambda.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaTarget {
    /// Its name, `NAME:ALIAS`, or its ARN. Required.
    pub function: String,
    /// Its region. Default: that of the ARN, of the environment or of the profile.
    #[serde(default)]
    pub region: Option<String>,
    /// Where Lambda is, in place of the region's own address. Default: there.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who the router is to AWS. Default: what the environment says.
    #[serde(default)]
    pub credentials: AwsCredentials,
    /// Who waits for it. Default `request-response`.
    #[serde(default)]
    pub invocation: Invocation,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// Calls at a time. Default 64.
    #[serde(default = "sixty_four")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// Who waits for a function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Invocation {
    /// The router, until it is done.
    #[default]
    RequestResponse,
    /// Lambda: the router is done when it is queued.
    Event,
}

impl<'de> Deserialize<'de> for Invocation {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "request-response" => Ok(Invocation::RequestResponse),
            "event" => Ok(Invocation::Event),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `request-response` and `event`"))),
        }
    }
}

/// How many events go in one call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsBatch {
    /// Events of one call. Default 10.
    pub count_max: u16,
    /// Their bytes, as AWS counts them; a larger event is refused. Default `1MiB`.
    #[serde(deserialize_with = "value::size")]
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more. Default: not at all.
    #[serde(deserialize_with = "value::some_duration")]
    pub delay_max: Option<Duration>,
}

impl Default for AwsBatch {
    fn default() -> Self {
        AwsBatch { count_max: 10, bytes_max: 1 << 20, delay_max: None }
    }
}

/// What of an event becomes of `Detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventBridgeMapping {
    /// The CloudEvent as JSON.
    Structured,
    /// The CloudEvent as JSON, its data as base64.
    Opaque,
    /// The data alone.
    Data,
}

impl<'de> Deserialize<'de> for EventBridgeMapping {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "structured" => Ok(EventBridgeMapping::Structured),
            "opaque" => Ok(EventBridgeMapping::Opaque),
            "data" => Ok(EventBridgeMapping::Data),
            other => {
                Err(serde::de::Error::custom(format!("`{other}` is no mapping: `structured`, `opaque` or `data`")))
            }
        }
    }
}

fn quarantine() -> OnInvalid {
    OnInvalid::Quarantine
}

fn four() -> u16 {
    4
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn x_api_key() -> String {
    "x-api-key".into()
}

fn sixteen() -> u16 {
    16
}
