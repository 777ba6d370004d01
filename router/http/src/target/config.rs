//! A webhook target as it is configured, and what of a configuration cannot be.

use std::{collections::BTreeMap, time::Duration};

use base64::Engine;
use http::{HeaderName, HeaderValue, Uri, header};
use router_core::{id::TargetName, target::Rate};

use super::{
    BATCH_BYTES_MAX, BATCH_COUNT_MAX, HEADERS_MAX, IN_FLIGHT_MAX, MASKED_BYTES_MIN, TIMEOUT,
    oauth::OAuth,
    verdict::{StatusError, Statuses},
};
use crate::{
    address::{self, Private, Refused, Written},
    client::{self, Settings, TlsFiles},
    secret::Secret,
};

/// How an event is written into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Attributes as headers, the data as the body. Extensions that are no strings arrive as strings; an
    /// event that headers would make another event goes out structured.
    #[default]
    Binary,
    /// The whole event as one JSON text.
    Structured,
    /// Several events as one JSON list.
    Batch(Batch),
}

/// How many events go in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Events: [`BATCH_COUNT_MAX`].
    pub count_max: usize,
    /// Bytes of their bodies: [`BATCH_BYTES_MAX`]; what JSON adds comes on top, and a larger event goes alone.
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more: not at all.
    pub delay_max: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { count_max: BATCH_COUNT_MAX, bytes_max: BATCH_BYTES_MAX, delay_max: Duration::ZERO }
    }
}

/// How the target knows us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer TOKEN`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic {
        /// The user's name; without a colon.
        user: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: Bearer TOKEN`, with a token that is had from an authorization server.
    OAuth(OAuth),
}

/// A webhook target as it is configured.
#[derive(Clone, Debug)]
pub struct HttpTargetConfig {
    /// The operator's name for it.
    pub name: TargetName,
    /// Where events are posted.
    pub url: String,
    /// How they are written.
    pub mode: Mode,
    /// How long an attempt may take: [`TIMEOUT`].
    pub timeout: Duration,
    /// Headers of every request; their values count as secrets.
    pub headers: BTreeMap<String, Secret>,
    /// How the target knows us.
    pub auth: Auth,
    /// Requests at a time: [`IN_FLIGHT_MAX`].
    pub in_flight_max: usize,
    /// How fast events are sent.
    pub rate: Option<Rate>,
    /// Secrets that sign each request as Standard Webhooks does; none: not signed.
    pub webhook_secrets: Vec<Secret>,
    /// What statuses mean, where that differs from [`verdict`](super::verdict()).
    pub statuses: Statuses,
    /// What its addresses may be.
    pub private: Private,
    /// Whom it trusts beside the machine's roots, and what it shows.
    pub tls: TlsFiles,
}

impl HttpTargetConfig {
    /// The defaults for a name and a URL.
    pub fn new(name: TargetName, url: impl Into<String>) -> Self {
        HttpTargetConfig {
            name,
            url: url.into(),
            mode: Mode::default(),
            timeout: TIMEOUT,
            headers: BTreeMap::new(),
            auth: Auth::default(),
            in_flight_max: IN_FLIGHT_MAX,
            rate: None,
            webhook_secrets: Vec::new(),
            statuses: Statuses::default(),
            private: Private::default(),
            tls: TlsFiles::default(),
        }
    }

    /// How its client connects.
    pub fn client(&self) -> Settings {
        Settings { private: Some(self.private), tls: self.tls.clone(), ..Settings::default() }
    }
}

/// Why a target cannot be: one variant per setting, never showing a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `url`.
    #[error(transparent)]
    Url(#[from] client::UrlError),
    /// `headers`.
    #[error("header `{name}` {why}")]
    Header {
        /// The header's name as it is written.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// `auth`.
    #[error("auth: {0}")]
    Auth(&'static str),
    /// `timeout`.
    #[error("a timeout of zero leaves no time for an answer; the default is {TIMEOUT:?}")]
    Timeout,
    /// `in_flight_max`.
    #[error("with in_flight_max 0 nothing is ever sent; the default is {IN_FLIGHT_MAX}")]
    InFlight,
    /// Too many headers.
    #[error("{0} headers, at most {HEADERS_MAX} are sent")]
    Headers(usize),
    /// `batch`.
    #[error("a batch of 0 events or bytes holds nothing; the defaults are {BATCH_COUNT_MAX} and {BATCH_BYTES_MAX}")]
    Batch,
    /// `oauth.token_url`.
    #[error("the URL {0}")]
    TokenUrl(&'static str),
    /// `oauth`.
    #[error("{0}")]
    OAuth(&'static str),
    /// `webhook_secrets`.
    #[error("webhook secrets {0}")]
    WebhookSecrets(&'static str),
    /// `retry.statuses`.
    #[error("statuses: {0}")]
    Status(StatusError),
    /// The address that `url` writes out.
    #[error("{0}")]
    Address(Refused),
    /// The address that `oauth.token_url` writes out.
    #[error("{0}")]
    TokenAddress(Refused),
}

/// Whether the address that a URL writes out, if it does, may be connected to.
pub(super) fn check_address(uri: &Uri, private: Private) -> Result<(), Refused> {
    let host = uri.host().unwrap_or_default();
    match address::written_out(host) {
        Some(ip) => address::check(ip, Written::Out, private),
        None => Ok(()),
    }
}

/// What of a header's value a note must not show: all of it, and each word. Shorter ones are words like
/// `true`, whose masking would only make notes hard to read.
pub(super) fn words(text: &str) -> Vec<String> {
    let words = text.split_whitespace().chain([text]);
    words.filter(|word| word.len() >= MASKED_BYTES_MIN).map(str::to_owned).collect()
}

/// The values of a query, as they stand there.
pub(super) fn query_values(query: &str) -> Vec<String> {
    let value = |pair: &'_ str| pair.split_once('=').map_or(pair, |(_, value)| value).to_owned();
    query.split('&').map(value).filter(|value| value.len() >= MASKED_BYTES_MIN).collect()
}

/// A header that the operator adds to every request.
pub(super) fn static_header(name: &str, value: &Secret, auth: &Auth) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let refused = |why| ConfigError::Header { name: name.to_owned(), why };
    let header: HeaderName = name.parse().map_err(|_| refused("is no name of a header"))?;
    if let Some(why) = forbidden(header.as_str()) {
        return Err(refused(why));
    }
    if header == header::AUTHORIZATION && *auth != Auth::None {
        return Err(refused("is set by `auth` already; give one of them"));
    }
    let mut value = HeaderValue::from_str(value.expose())
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or_else(|| refused("has a value that no header can carry; it is one line of ASCII"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// Why a header is not the operator's to set.
fn forbidden(name: &str) -> Option<&'static str> {
    match name {
        "host" => Some("comes from the URL; leave it out"),
        "content-type" | "content-encoding" => Some("comes from the event; leave it out"),
        "content-length" | "transfer-encoding" | "connection" | "proxy-connection" | "keep-alive" | "te"
        | "trailer" | "upgrade" | "expect" => Some("belongs to the connection; leave it out"),
        "idempotency-key" | "traceparent" | "tracestate" | "webhook-id" | "webhook-timestamp" | "webhook-signature" => {
            Some("is set for each delivery; leave it out")
        }
        _ if name.starts_with("ce-") => Some("would be an attribute of the event; leave it out"),
        _ if name.starts_with("gocoffee-") => Some("is set for each delivery; leave it out"),
        _ => None,
    }
}

/// The value of `Authorization`; what of it must never be shown goes to `secrets`.
pub(super) fn credentials(auth: &Auth, secrets: &mut Vec<String>) -> Result<Option<HeaderValue>, ConfigError> {
    let text = match auth {
        // A token is had for each attempt.
        Auth::None | Auth::OAuth(_) => return Ok(None),
        Auth::Bearer(token) if token.expose().is_empty() => return Err(ConfigError::Auth("the bearer token is empty")),
        Auth::Bearer(token) => {
            secrets.push(token.expose().to_owned());
            format!("Bearer {}", token.expose())
        }
        // RFC 7617, section 2: the first colon ends the name.
        Auth::Basic { user, .. } if user.contains(':') => {
            return Err(ConfigError::Auth("a user name for `basic` holds no colon"));
        }
        Auth::Basic { user, password } => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose()));
            secrets.extend([password.expose().to_owned(), pair.clone()]);
            format!("Basic {pair}")
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or(ConfigError::Auth("the token holds characters that no header can carry; it is one line of ASCII"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
