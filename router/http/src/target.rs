//! The webhook target: one event per POST, in binary or structured mode, or several as one batch.
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
//! | `webhook-id`, `webhook-timestamp`, `webhook-signature` | with secrets for it: see the signature's own module |
//!
//! There is no header of our own for the `DeliveryId`: `Idempotency-Key` is the name that the field knows
//! (draft-ietf-httpapi-idempotency-key-header), and two names for one thing would drift apart.
//!
//! A batch of several events carries the route alone, since the others are of one delivery; so that what it
//! holds is told apart by `source` and `id`. Its `webhook-id` is a hash of its `DeliveryId`s: the same
//! events make the same id. The answer is for the whole batch: see [`Partial::AllOrNothing`]. Statuses that
//! blame an event and ask for a wait (404, or `Retry-After`) blame the target there: which one would have
//! to wait is not known.
//!
//! What an answer means is the table of [`verdict`]. Redirects are never followed: a `Location` that the
//! operator did not configure gets no event.

use std::{
    hash::Hasher,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use router_core::{
    id::TargetName,
    reply::{REPLIES_BYTES_MAX, ReplyTo},
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Rate, Reason, Scope, Target},
};
use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::time::Instant;

use crate::{
    client::{self, Answer, Client, ERROR_BYTES_MAX, USER_AGENT},
    secret::{self, Secret},
};

/// The events in an answer, as other targets read them too.
pub mod answer;

/// What can be configured.
mod config;

/// Tokens of an authorization server.
mod oauth;

/// Signatures of requests.
mod sign;

/// The trace of a delivery, as other targets write it too.
pub mod trace;

/// What a status means.
mod verdict;

pub use config::{Auth, Batch, ConfigError, HttpTargetConfig, Mode};
use config::{check_address, credentials, query_values, static_header, words};
pub use oauth::{Ask, ClientAuth, Fetch, Fetched, Fetching, NoToken, OAuth, Token, Tokens, encoded};
use sign::Signer;
pub use verdict::{RETRY_AFTER_MAX, SLOW, StatusError, Statuses, Verdict, retry_after, verdict, wait_of};

/// Bytes of [`Facts::note`].
pub const NOTE_BYTES_MAX: usize = 1 << 10;
/// How long an attempt may take, when nothing else is configured.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Requests at a time, when nothing else is configured.
pub const IN_FLIGHT_MAX: usize = 64;
/// Events of one batch, when nothing else is configured.
pub const BATCH_COUNT_MAX: usize = 100;
/// Bytes of the bodies of one batch, when nothing else is configured.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
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
const BATCHED: HeaderValue = HeaderValue::from_static("application/cloudevents-batch+json");

/// The webhook target.
pub struct HttpTarget {
    name: TargetName,
    uri: Uri,
    mode: Mode,
    timeout: Duration,
    in_flight_max: usize,
    rate: Option<Rate>,
    /// Headers that every request has.
    headers: HeaderMap,
    /// What no note may show, in every form that a target may echo, the longest first.
    secrets: Vec<Secret>,
    statuses: Statuses,
    signer: Option<Signer>,
    tokens: Option<Tokens>,
    client: Client,
}

impl HttpTarget {
    /// Checks the configuration; connects nowhere. The client is one that connects as the configuration
    /// says: [`HttpTargetConfig::client`].
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: HttpTargetConfig, client: Client) -> Result<Self, ConfigError> {
        let uri = client::url(&config.url)?;
        check_address(&uri, config.private).map_err(ConfigError::Address)?;
        check_numbers(&config)?;
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
        secrets.extend(config.webhook_secrets.iter().map(|secret| secret.expose().to_owned()));
        let tokens = match &config.auth {
            Auth::OAuth(oauth) => {
                let token_uri = client::url(&oauth.token_url).map_err(|e| ConfigError::TokenUrl(e.0))?;
                check_address(&token_uri, config.private).map_err(ConfigError::TokenAddress)?;
                Some(Tokens::new(oauth, client.clone())?)
            }
            _ => None,
        };
        let signer = Signer::new(&config.webhook_secrets)?;
        let mut secrets = secret::echoes(secrets);
        secrets.extend(tokens.iter().flat_map(|tokens| tokens.secrets().iter().cloned()));
        let HttpTargetConfig { name, mode, timeout, in_flight_max, rate, statuses, .. } = config;
        Ok(HttpTarget {
            name,
            uri,
            mode,
            timeout,
            in_flight_max,
            rate,
            headers,
            secrets,
            statuses,
            signer,
            tokens,
            client,
        })
    }

    /// As [`HttpTarget::new`], with tokens that are had in a way of their own, in place of `auth`.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn with_tokens(config: HttpTargetConfig, client: Client, tokens: Tokens) -> Result<Self, ConfigError> {
        let mut target = Self::new(HttpTargetConfig { auth: Auth::None, ..config }, client)?;
        target.secrets.extend(tokens.secrets().iter().cloned());
        target.tokens = Some(tokens);
        Ok(target)
    }

    /// The request of one attempt.
    fn request(&self, batch: &[Delivery], token: Option<&Token>) -> Request<Bytes> {
        let (mut headers, body) = write(self.mode, batch);
        headers.reserve(self.headers.len() + 8);
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut put = |name, text: String| {
            // Ids, names and traces are visible ASCII; only a `tracestate` of an event may be anything.
            if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
                headers.insert(name, value);
            }
        };
        if let Some(first) = batch.first() {
            put(ROUTE, first.route.as_str().to_owned());
        }
        if let [delivery] = batch {
            put(IDEMPOTENCY_KEY, delivery.id.to_string());
            put(TRACEPARENT, trace::traceparent(delivery));
            if let Some(state) = trace::tracestate(delivery) {
                put(TRACESTATE, state);
            }
            headers.insert(ATTEMPT, delivery.attempt.into());
        }
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token.header.clone());
        }
        if let Some(signer) = &self.signer {
            signer.sign(&mut headers, &webhook_id(batch), SystemTime::now(), &body);
        }
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    /// One attempt for deliveries that share its outcome. A token that is not accepted is had anew, once.
    async fn attempt(&self, batch: &[Delivery]) -> Outcome {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let Some(tokens) = &self.tokens else {
            return self.send(batch, None, start).await.0;
        };
        let mut again = true;
        loop {
            let token = match tokens.get(deadline).await {
                Ok(token) => token,
                Err(none) => {
                    let facts = Facts { took: start.elapsed(), note: Some(none.note.into()), ..Facts::default() };
                    return Outcome::Retry { facts, scope: Scope::Target, not_before: none.not_before };
                }
            };
            let (outcome, status) = self.send(batch, Some(&token), start).await;
            if status != Some(401) || !std::mem::take(&mut again) || !tokens.rejected(&token).await {
                return outcome;
            }
        }
    }

    /// Sends one request; its outcome, and the status of its answer.
    async fn send(&self, batch: &[Delivery], token: Option<&Token>, start: Instant) -> (Outcome, Option<u16>) {
        let left = (start + self.timeout).saturating_duration_since(Instant::now());
        // Which event of several a reply would answer is not known.
        let to = if let [one] = batch { one.reply.as_ref() } else { None };
        let bytes_max = if to.is_some() { REPLIES_BYTES_MAX } else { ERROR_BYTES_MAX };
        let sent = self.client.send(self.request(batch, token), left, bytes_max).await;
        let took = start.elapsed();
        match sent {
            Ok(answer) => {
                let outcome = self.judge(&answer, batch.len() > 1, token, took);
                (with_replies(outcome, &answer, to), Some(answer.status.as_u16()))
            }
            Err(error) => {
                let note = self.redacted(error.to_string().as_bytes(), false, token);
                let facts = Facts { took, note: Some(note.into()), ..Facts::default() };
                let scope = match error {
                    client::Error::Connect { .. } => Scope::Target,
                    // It was sent: perhaps it is this event that the target cannot bear.
                    _ => Scope::Event,
                };
                (Outcome::Retry { facts, scope, not_before: None }, None)
            }
        }
    }

    /// What may be shown of a text, in which a token may be repeated, too.
    fn redacted(&self, text: &[u8], cut: bool, token: Option<&Token>) -> String {
        match token {
            None => secret::redact(text, cut, &self.secrets, NOTE_BYTES_MAX),
            Some(token) => {
                let mut secrets = secret::echoes([token.secret.expose().to_owned()]);
                secrets.extend(self.secrets.iter().cloned());
                secret::redact(text, cut, &secrets, NOTE_BYTES_MAX)
            }
        }
    }

    fn judge(&self, answer: &Answer, several: bool, token: Option<&Token>, took: Duration) -> Outcome {
        let status = answer.status.as_u16();
        let facts = |note| Facts { status: Some(status), took, reference: None, note };
        let said = || {
            let note = self.redacted(&answer.body, answer.cut, token);
            (!note.is_empty()).then(|| note.into_boxed_str())
        };
        match self.statuses.verdict(status) {
            // What a success says is read only where replies are asked for: see `with_replies`.
            Verdict::Delivered => Outcome::Delivered { facts: facts(None), replies: Vec::new() },
            Verdict::Retry { scope, slow } => {
                let asked = wait_of(&answer.headers);
                let not_before = if slow { Some(asked.unwrap_or_default().max(SLOW)) } else { asked };
                let scope = if several && not_before.is_some() { Scope::Target } else { scope };
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
        let one = BatchLimits {
            in_flight_max: self.in_flight_max,
            deadline: self.timeout.saturating_add(DEADLINE_MARGIN),
            rate: self.rate,
            ..BatchLimits::default()
        };
        match self.mode {
            Mode::Binary | Mode::Structured => one,
            Mode::Batch(Batch { count_max, bytes_max, delay_max }) => {
                BatchLimits { count_max, bytes_max, delay_max, partial: Partial::AllOrNothing, ..one }
            }
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        if let Some(tokens) = &self.tokens {
            let had = tokens.get(Instant::now() + self.timeout).await;
            had.map_err(|none| Reason(none.note.into()))?;
        }
        self.client.connect(&self.uri).await.map_err(|error| {
            Reason(secret::redact(error.to_string().as_bytes(), false, &self.secrets, NOTE_BYTES_MAX).into())
        })
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        if let Mode::Batch(_) = self.mode {
            let outcome = self.attempt(batch).await;
            return vec![outcome; batch.len()];
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            outcomes.push(self.attempt(std::slice::from_ref(delivery)).await);
        }
        outcomes
    }
}

/// A success with the events of its answer, where they are asked for. One that breaks off is no success yet: what it
/// would have said is lost, and the target is asked again.
fn with_replies(outcome: Outcome, answer: &Answer, to: Option<&ReplyTo>) -> Outcome {
    let (Outcome::Delivered { facts, .. }, Some(to)) = (&outcome, to) else { return outcome };
    let too_large = answer.body.len() >= REPLIES_BYTES_MAX;
    if answer.cut && !too_large {
        let note = "the answer, whose events are wanted, broke off or was not complete in time".into();
        let facts = Facts { note: Some(note), ..facts.clone() };
        return Outcome::Retry { facts, scope: Scope::Event, not_before: None };
    }
    let replies = answer::replies(&answer.headers, &answer.body, answer.cut, to);
    Outcome::Delivered { facts: facts.clone(), replies }
}

fn check_numbers(config: &HttpTargetConfig) -> Result<(), ConfigError> {
    if config.timeout.is_zero() {
        return Err(ConfigError::Timeout);
    }
    if config.in_flight_max == 0 {
        return Err(ConfigError::InFlight);
    }
    if matches!(config.mode, Mode::Batch(batch) if batch.count_max == 0 || batch.bytes_max == 0) {
        return Err(ConfigError::Batch);
    }
    if config.headers.len() > HEADERS_MAX {
        return Err(ConfigError::Headers(config.headers.len()));
    }
    Ok(())
}

fn write(mode: Mode, batch: &[Delivery]) -> (HeaderMap, Bytes) {
    let json = |kind, body: Vec<u8>| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind);
        (headers, body.into())
    };
    match (mode, batch) {
        (Mode::Binary, [one]) if !schemas::http::needs_structured(&one.event) => {
            schemas::http::encode_binary(&one.event)
        }
        (Mode::Binary | Mode::Structured, [one]) => json(STRUCTURED, schemas::json::encode(&one.event)),
        _ => json(BATCHED, schemas::json::encode_batch(batch.iter().map(|delivery| &delivery.event))),
    }
}

/// The id of what is signed: the delivery's, or for several one that hangs on which they are.
fn webhook_id(batch: &[Delivery]) -> String {
    if let [delivery] = batch {
        return delivery.id.to_string();
    }
    // Keyed with nothing: the value has to be the same on every machine and after every update.
    let mut hasher = SipHasher13::new();
    for delivery in batch {
        hasher.write(delivery.id.to_string().as_bytes());
        hasher.write_u8(b' ');
    }
    format!("batch-{:032x}", u128::from(hasher.finish128()))
}

#[cfg(test)]
mod tests;
