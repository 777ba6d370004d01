//! What targets at AWS can be told.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{
    Rate, thirty_seconds,
    value::{self, Secret},
};

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
    pub batch: EventBridgeBatch,
    /// Calls at a time. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
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

/// How many events go in one call of `PutEvents`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventBridgeBatch {
    /// Events of one call. Default 10.
    pub count_max: u16,
    /// Their bytes, as AWS counts them; a larger event is refused. Default `1MiB`.
    #[serde(deserialize_with = "value::size")]
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more. Default: not at all.
    #[serde(deserialize_with = "value::some_duration")]
    pub delay_max: Option<Duration>,
}

impl Default for EventBridgeBatch {
    fn default() -> Self {
        EventBridgeBatch { count_max: 10, bytes_max: 1 << 20, delay_max: None }
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

fn sixteen() -> u16 {
    16
}
