//! What an HTTP target can be told beyond where it is: batches, a rate, tokens, TLS, statuses.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::value::{self, Secret};

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
