//! A topic of Event Grid as it is configured, and what of a configuration cannot be.

use std::time::Duration;

use http::{HeaderValue, Uri};
use router_core::{
    id::TargetName,
    target::{BatchLimits, Partial, Rate},
};
use router_http::{
    address::{self, Private, Refused, Written},
    client::{self, Settings, TlsFiles},
    target::Batch,
};

use super::plain;
use crate::{
    auth::{Auth, AuthError, sas},
    wire::Schema,
};

/// How long an attempt may take, when nothing else is configured.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Requests at a time, when nothing else is configured.
pub const IN_FLIGHT_MAX: usize = 16;
/// Events in a request to a custom topic [learn.microsoft.com/azure/event-grid/quotas-limits].
pub const TOPIC_BATCH_COUNT_MAX: usize = 5_000;
/// Events in a request to a namespace topic [the same page].
pub const NAMESPACE_BATCH_COUNT_MAX: usize = 1_000;
/// Bytes of events in a request, before JSON adds its part.
pub const BATCH_BYTES_MAX: usize = 700_000;
/// Bytes of a request [the same page: 1 MB].
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// How a namespace topic is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One event in each request, its attributes as headers.
    Binary,
    /// One event in each request, whole as JSON.
    Structured,
    /// Lists of events.
    #[default]
    Batch,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A custom topic, a domain or a partner namespace.
    Topic {
        /// Its endpoint, as the portal shows it: `https://NAME.REGION-1.eventgrid.azure.net/api/events`.
        endpoint: String,
        /// What it takes; that is set when the topic is created.
        schema: Schema,
        /// The domain's topic, for events in Event Grid's schema. CloudEvents to a domain go by their `source`.
        topic: Option<String>,
        /// The channel of a partner namespace.
        channel: Option<String>,
    },
    /// A topic of a namespace.
    Namespace {
        /// The namespace's HTTP host: `https://NAME.REGION-1.eventgrid.azure.net`.
        endpoint: String,
        /// The topic's name.
        topic: String,
        /// How it is written to.
        mode: Mode,
    },
}

/// A topic as it is configured.
#[derive(Clone, Debug)]
pub struct EventGridConfig {
    /// The operator's name for it.
    pub name: TargetName,
    /// Where events go.
    pub to: To,
    /// How Event Grid knows us.
    pub auth: Auth,
    /// How many events go in one request.
    pub batch: Batch,
    /// Bytes of one request: [`REQUEST_BYTES_MAX`]. Several events that are more are sent in parts; one that is more
    /// goes alone, and the service judges.
    pub request_bytes_max: usize,
    /// How long an attempt may take: [`TIMEOUT`].
    pub timeout: Duration,
    /// Requests at a time: [`IN_FLIGHT_MAX`].
    pub in_flight_max: usize,
    /// How fast events are sent.
    pub rate: Option<Rate>,
    /// What its addresses may be.
    pub private: Private,
    /// Whom it trusts beside the machine's roots, and what it shows.
    pub tls: TlsFiles,
}

impl EventGridConfig {
    /// The defaults for a name, a place and an identity.
    pub fn new(name: TargetName, to: To, auth: Auth) -> Self {
        let count_max = match &to {
            To::Topic { .. } => TOPIC_BATCH_COUNT_MAX,
            To::Namespace { .. } => NAMESPACE_BATCH_COUNT_MAX,
        };
        EventGridConfig {
            name,
            to,
            auth,
            batch: Batch { count_max, bytes_max: BATCH_BYTES_MAX, delay_max: Duration::ZERO },
            request_bytes_max: REQUEST_BYTES_MAX,
            timeout: TIMEOUT,
            in_flight_max: IN_FLIGHT_MAX,
            rate: None,
            private: Private::default(),
            tls: TlsFiles::default(),
        }
    }

    /// How its client connects.
    pub fn client(&self) -> Settings {
        Settings { private: Some(self.private), tls: self.tls.clone(), ..Settings::default() }
    }

    /// What is sent at once.
    pub(super) fn limits(&self) -> Result<BatchLimits, ConfigError> {
        if self.timeout.is_zero() {
            return Err(ConfigError::Timeout);
        }
        if self.in_flight_max == 0 {
            return Err(ConfigError::InFlight);
        }
        let Batch { count_max, bytes_max, delay_max } = self.batch;
        if count_max == 0 || bytes_max == 0 || self.request_bytes_max == 0 {
            return Err(ConfigError::Batch);
        }
        let one = super::limits(self.timeout, self.in_flight_max, self.rate);
        Ok(match &self.to {
            To::Namespace { mode: Mode::Binary | Mode::Structured, .. } => one,
            _ => BatchLimits { count_max, bytes_max, delay_max, partial: Partial::AllOrNothing, ..one },
        })
    }
}

impl To {
    /// Where requests go, and what signatures are for.
    pub(super) fn uri(&self, private: Private) -> Result<(Uri, String), ConfigError> {
        let (resource, uri) = match self {
            To::Topic { endpoint, .. } => {
                let at = endpoint_url(endpoint, private)?;
                // The portal shows the path as well; who leaves it out means the only one that there is.
                let path = if at.path().len() > 1 { at.path() } else { "/api/events" };
                let resource = format!("{}{path}", origin(&at));
                (resource.clone(), format!("{resource}?api-version={}", sas::API_VERSION))
            }
            To::Namespace { endpoint, topic, .. } => {
                let origin = namespace(endpoint, topic, private)?;
                let uri = format!("{origin}/topics/{topic}:publish?api-version={NAMESPACE_API_VERSION}");
                (origin, uri)
            }
        };
        Ok((client::url(&uri)?, resource))
    }

    /// The header that names a partner's channel.
    pub(super) fn channel(&self) -> Result<Option<HeaderValue>, ConfigError> {
        match self {
            To::Topic { channel: Some(channel), .. } => plain(channel).map(Some).ok_or(ConfigError::Channel),
            _ => Ok(None),
        }
    }
}

/// The version of a namespace's data plane.
pub(crate) const NAMESPACE_API_VERSION: &str = "2024-06-01";

/// Scheme, host and port of a namespace, whose topic has a name that a path can carry.
pub(crate) fn namespace(endpoint: &str, topic: &str, private: Private) -> Result<String, ConfigError> {
    let at = endpoint_url(endpoint, private)?;
    if at.path().len() > 1 {
        return Err(ConfigError::Namespace);
    }
    name("topic", topic)?;
    Ok(origin(&at))
}

/// Reads the endpoint of a topic or a namespace, without a query.
fn endpoint_url(endpoint: &str, private: Private) -> Result<Uri, ConfigError> {
    let uri = client::url(endpoint)?;
    if uri.query().is_some() {
        return Err(ConfigError::Query);
    }
    let written = address::written_out(uri.host().unwrap_or_default());
    written.map_or(Ok(()), |ip| address::check(ip, Written::Out, private)).map_err(ConfigError::Address)?;
    Ok(uri)
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or("https"))
}

/// Names of topics and subscriptions: 3 to 50 letters, digits and hyphens; what a path cannot carry is refused here,
/// the rest by the service.
pub(crate) fn name<'n>(what: &'static str, name: &'n str) -> Result<&'n str, ConfigError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
        return Err(ConfigError::Name { what, name: name.to_owned() });
    }
    Ok(name)
}

/// Why a target cannot be: one variant per setting, never showing a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `endpoint`.
    #[error(transparent)]
    Url(#[from] client::UrlError),
    /// `endpoint`.
    #[error("an endpoint has no query; keys stand under `key`, and the version of the API is added")]
    Query,
    /// `endpoint` of a namespace.
    #[error(
        "the endpoint of a namespace has no path, e.g. https://coffee.westeurope-1.eventgrid.azure.net; its topic stands under `topic`"
    )]
    Namespace,
    /// The address that `endpoint` writes out.
    #[error("{0}")]
    Address(Refused),
    /// `topic`, `subscription`.
    #[error("`{name}` is no name of a {what}: letters, digits, `-`, `_` and `.`")]
    Name {
        /// Of what.
        what: &'static str,
        /// As it is written.
        name: String,
    },
    /// `channel`.
    #[error("a channel's name is visible ASCII without spaces")]
    Channel,
    /// `key`, `sas`, `entra`.
    #[error("auth: {0}")]
    Auth(#[from] AuthError),
    /// `timeout`.
    #[error("a timeout of zero leaves no time for an answer; the default is {TIMEOUT:?}")]
    Timeout,
    /// `in_flight_max`.
    #[error("with in_flight_max 0 nothing is ever sent; the default is {IN_FLIGHT_MAX}")]
    InFlight,
    /// `batch`, `request_bytes_max`.
    #[error("a batch of 0 events or bytes holds nothing; leave it out for the default")]
    Batch,
    /// A function.
    #[error(transparent)]
    Function(#[from] router_http::target::ConfigError),
}
