//! The webhook target: one event per POST, in binary or structured mode.
//!
//! Beside the event, a request carries:
//!
//! | header | what |
//! |---|---|
//! | `Idempotency-Key` | the `DeliveryId`, the same at each attempt: a function that remembers it does its work once |
//! | `gocoffee-attempt` | the number of this attempt, from 1 |
//! | `gocoffee-route` | the route that owes the event |
//! | `traceparent`, `tracestate` | the event's own, or one made from the `DeliveryId` |
//! | `User-Agent` | `gocoffee/VERSION` |
//!
//! There is no header of our own for the `DeliveryId`: `Idempotency-Key` is the name that the field knows
//! (draft-ietf-httpapi-idempotency-key-header), and two names for one thing would drift apart.
//!
//! What an answer means is the table of [`verdict`]. Redirects are never followed: a `Location` that the
//! operator did not configure gets no event.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use router_core::{
    id::TargetName,
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Reason, Scope, Target},
};
use schemas::Event;
use serde::Deserialize;

use crate::{
    client::{self, Answer, Client, ERROR_BYTES_MAX, USER_AGENT},
    secret::{self, Secret},
};

/// The trace of a delivery.
mod trace;

/// What a status means.
mod verdict;

pub use verdict::{RETRY_AFTER_MAX, SLOW, Verdict, retry_after, verdict};

/// Bytes of [`Facts::note`].
pub const NOTE_BYTES_MAX: usize = 1 << 10;
/// How long an attempt may take, when nothing else is configured.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Requests at a time, when nothing else is configured.
pub const IN_FLIGHT_MAX: usize = 64;
/// Static headers of one target.
pub const HEADERS_MAX: usize = 32;
/// Words of a header's value, and values of the query, that have fewer bytes are not taken for secrets in a note;
/// what stands under `auth` always is.
const MASKED_BYTES_MIN: usize = 4;
/// The path drops an attempt this long after it should have answered by itself.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ATTEMPT: HeaderName = HeaderName::from_static("gocoffee-attempt");
const ROUTE: HeaderName = HeaderName::from_static("gocoffee-route");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const STRUCTURED: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

/// How an event is written into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Attributes as headers, the data as the body. Extensions that are no strings arrive as strings; an
    /// event that headers would make another event goes out structured.
    #[default]
    Binary,
    /// The whole event as one JSON text.
    Structured,
}

/// How the target knows us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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
        }
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
}

/// The webhook target.
pub struct HttpTarget {
    name: TargetName,
    uri: Uri,
    mode: Mode,
    timeout: Duration,
    in_flight_max: usize,
    /// Headers that every request has.
    headers: HeaderMap,
    /// What no note may show, in every form that a target may echo, the longest first.
    secrets: Vec<Secret>,
    client: Client,
}

impl HttpTarget {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: HttpTargetConfig, client: Client) -> Result<Self, ConfigError> {
        let uri = client::url(&config.url)?;
        if config.timeout.is_zero() {
            return Err(ConfigError::Timeout);
        }
        if config.in_flight_max == 0 {
            return Err(ConfigError::InFlight);
        }
        if config.headers.len() > HEADERS_MAX {
            return Err(ConfigError::Headers(config.headers.len()));
        }
        let mut headers = HeaderMap::new();
        let mut secrets: Vec<String> = Vec::new();
        for (text, value) in &config.headers {
            let (name, value) = static_header(text, value, &config.auth)?;
            if headers.insert(name, value).is_some() {
                return Err(ConfigError::Header {
                    name: text.clone(),
                    why: "is there twice, in other letters; give it once",
                });
            }
        }
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        secrets.extend(config.headers.values().flat_map(|value| words(value.expose())));
        if let Some(credentials) = credentials(&config.auth, &mut secrets)? {
            headers.insert(header::AUTHORIZATION, credentials);
        }
        // A key in the query is as secret as one in a header.
        secrets.extend(uri.query().map(query_values).unwrap_or_default());
        let HttpTargetConfig { name, mode, timeout, in_flight_max, .. } = config;
        Ok(HttpTarget { name, uri, mode, timeout, in_flight_max, headers, secrets: secret::echoes(secrets), client })
    }

    /// The request of one attempt.
    fn request(&self, delivery: &Delivery) -> Request<Bytes> {
        let (mut headers, body) = write(self.mode, &delivery.event);
        headers.reserve(self.headers.len() + 5);
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut put = |name, text: String| {
            // Ids, names and traces are visible ASCII; only a `tracestate` of an event may be anything.
            if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
                headers.insert(name, value);
            }
        };
        put(IDEMPOTENCY_KEY, delivery.id.to_string());
        put(ROUTE, delivery.route.as_str().to_owned());
        put(TRACEPARENT, trace::traceparent(delivery));
        if let Some(state) = trace::tracestate(delivery) {
            put(TRACESTATE, state);
        }
        headers.insert(ATTEMPT, delivery.attempt.into());
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let start = Instant::now();
        match self.client.send(self.request(delivery), self.timeout, ERROR_BYTES_MAX).await {
            Ok(answer) => self.judge(&answer, start.elapsed()),
            Err(error) => {
                let note = secret::redact(error.to_string().as_bytes(), false, &self.secrets, NOTE_BYTES_MAX);
                let facts = Facts { took: start.elapsed(), note: Some(note.into()), ..Facts::default() };
                let scope = match error {
                    client::Error::Connect { .. } => Scope::Target,
                    // It was sent: perhaps it is this event that the target cannot bear.
                    _ => Scope::Event,
                };
                Outcome::Retry { facts, scope, not_before: None }
            }
        }
    }

    fn judge(&self, answer: &Answer, took: Duration) -> Outcome {
        let status = answer.status.as_u16();
        let facts = |note| Facts { status: Some(status), took, reference: None, note };
        let said = || {
            let note = secret::redact(&answer.body, answer.cut, &self.secrets, NOTE_BYTES_MAX);
            (!note.is_empty()).then(|| note.into_boxed_str())
        };
        match verdict(status) {
            // Nobody reads what a success says, so that it is not even decoded.
            Verdict::Delivered => Outcome::Delivered { facts: facts(None), replies: Vec::new() },
            Verdict::Retry { scope, slow } => {
                let asked = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let asked = asked.and_then(|value| retry_after(value, SystemTime::now()));
                let not_before = if slow { Some(asked.unwrap_or_default().max(SLOW)) } else { asked };
                Outcome::Retry { facts: facts(said()), scope, not_before }
            }
            Verdict::Refused => Outcome::Refused { facts: facts(said()), code: router_core::codes::REFUSED },
            Verdict::Stop => Outcome::Stop { facts: facts(said()), code: router_core::codes::GONE },
        }
    }
}

#[async_trait]
impl Target for HttpTarget {
    fn name(&self) -> &TargetName {
        &self.name
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            count_max: 1,
            bytes_max: usize::MAX,
            in_flight_max: self.in_flight_max,
            partial: Partial::PerEvent,
            deadline: self.timeout.saturating_add(DEADLINE_MARGIN),
            ..BatchLimits::default()
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        self.client.connect(&self.uri).await.map_err(|error| {
            Reason(secret::redact(error.to_string().as_bytes(), false, &self.secrets, NOTE_BYTES_MAX).into())
        })
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            outcomes.push(self.attempt(delivery).await);
        }
        outcomes
    }
}

/// What of a header's value a note must not show: all of it, and each word. Shorter ones are words like
/// `true`, whose masking would only make notes hard to read.
fn words(text: &str) -> Vec<String> {
    let words = text.split_whitespace().chain([text]);
    words.filter(|word| word.len() >= MASKED_BYTES_MIN).map(str::to_owned).collect()
}

/// The values of a query, as they stand there.
fn query_values(query: &str) -> Vec<String> {
    let value = |pair: &'_ str| pair.split_once('=').map_or(pair, |(_, value)| value).to_owned();
    query.split('&').map(value).filter(|value| value.len() >= MASKED_BYTES_MIN).collect()
}

fn write(mode: Mode, event: &Event) -> (HeaderMap, Bytes) {
    match mode {
        Mode::Binary if !schemas::http::needs_structured(event) => schemas::http::encode_binary(event),
        Mode::Binary | Mode::Structured => {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, STRUCTURED);
            (headers, schemas::json::encode(event).into())
        }
    }
}

/// A header that the operator adds to every request.
fn static_header(name: &str, value: &Secret, auth: &Auth) -> Result<(HeaderName, HeaderValue), ConfigError> {
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
        "idempotency-key" | "traceparent" | "tracestate" => Some("is set for each delivery; leave it out"),
        _ if name.starts_with("ce-") => Some("would be an attribute of the event; leave it out"),
        _ if name.starts_with("gocoffee-") => Some("is set for each delivery; leave it out"),
        _ => None,
    }
}

/// The value of `Authorization`; what of it must never be shown goes to `secrets`.
fn credentials(auth: &Auth, secrets: &mut Vec<String>) -> Result<Option<HeaderValue>, ConfigError> {
    let text = match auth {
        Auth::None => return Ok(None),
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

#[cfg(test)]
mod tests;
