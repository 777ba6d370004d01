//! `POST /events`: CloudEvents in binary, structured and batched mode, as the Content-Type tells
//! (CloudEvents 1.0.2, HTTP protocol binding, section 3). The answers are those of [`crate::intake`];
//! what is no CloudEvent at all gets 415 with an example of one.
//!
//! A page in a browser cannot reach it unasked: each of the three modes needs a header or a content type
//! for which browsers ask leave first, with an OPTIONS request that is answered 405.
//!
//! Senders that ask leave themselves (CloudEvents 1.0.2, HTTP webhook, section 4) send OPTIONS with
//! `WebHook-Request-Origin`, and with a key where one is asked for. The answer grants it by
//! `WebHook-Allowed-Origin` and `WebHook-Allowed-Rate`; a `WebHook-Request-Callback` is never called, since
//! no event and no sender makes the router open a connection.
//!
//! `Content-Encoding: gzip` is taken; the limits of a body hold for what comes out of it as well.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use router_core::{
    id::{BusName, SourceName},
    source::RawEvent,
};
use schemas::http::Mode;

use crate::{
    codes,
    endpoint::{Endpoint, PathSpec, Request, Response},
    intake::{Arity, Submit, prefers_multistatus, submit, submit_as},
    keys::{Key, KeyError, KeySpec, Keys},
    listener::is_path,
    problem::Problem,
    secret::Secret,
};

/// The path of the default instance.
pub const PATH: &str = "/events";

/// What is sent to who sent no CloudEvent.
const EXAMPLE: &str = "this is no CloudEvent; send headers `ce-specversion: 1.0`, `ce-id`, `ce-source`, `ce-type` and the data as the body, or a JSON event as `application/cloudevents+json`, or a list as `application/cloudevents-batch+json`. For example: curl http://127.0.0.1:8080/events -H 'Content-Type: application/cloudevents+json' -d '{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/shop/7\",\"type\":\"coffee.order.created\",\"data\":{\"total\":4.5}}'";

/// Why an endpoint cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// A path that no request can have.
    #[error("`{0}` is no path: it begins with `/` and holds no space, `?` or `#`")]
    Path(Box<str>),
    /// Keys that are none.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The CloudEvents endpoint of one source; several instances feed several buses.
#[derive(Debug)]
pub struct Events {
    paths: [PathSpec; 1],
    from: SourceName,
    /// What it feeds, where keys may be bound to buses.
    bus: Option<BusName>,
    keys: Keys,
}

impl Events {
    /// An endpoint at exactly this path, on behalf of this source. With `keys`, each request carries one
    /// of them as `Authorization: Bearer KEY`; without, everyone on this machine may send.
    ///
    /// # Errors
    /// [`EventsError`].
    pub fn new(path: &str, from: SourceName, keys: &[Secret]) -> Result<Self, EventsError> {
        let numbered = (1..).zip(keys);
        let key = |(n, secret): (usize, &Secret)| Key::new(KeySpec::new(n.to_string(), secret.clone()));
        let keys: Result<Vec<Arc<Key>>, KeyError> = numbered.map(key).collect();
        Self::make(path, from, None, keys?)
    }

    /// As [`Events::new`], with keys that have rights, for a source that feeds this bus.
    ///
    /// # Errors
    /// [`EventsError`].
    pub fn with_keys(path: &str, from: SourceName, bus: BusName, keys: Vec<Arc<Key>>) -> Result<Self, EventsError> {
        Self::make(path, from, Some(bus), keys)
    }

    fn make(path: &str, from: SourceName, bus: Option<BusName>, keys: Vec<Arc<Key>>) -> Result<Self, EventsError> {
        if !is_path(path) {
            return Err(EventsError::Path(path.into()));
        }
        let paths = [PathSpec { path: path.into(), methods: vec![Method::POST, Method::OPTIONS] }];
        Ok(Events { paths, from, bus, keys: Keys::new(keys)? })
    }

    async fn take(&self, req: &mut Request, intake: &dyn Submit) -> Result<Response, Problem> {
        if req.method() == Method::OPTIONS && !req.headers().contains_key(ORIGIN) {
            let detail =
                "OPTIONS is answered only with `WebHook-Request-Origin`; no page of another site may send events";
            let allow = HeaderValue::from_static("POST, OPTIONS");
            return Err(
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, codes::METHOD, detail).header(header::ALLOW, allow)
            );
        }
        let key = self.keys.check(req.headers())?;
        if let (Some(key), Some(bus)) = (key, &self.bus) {
            key.feeds(bus)?;
        }
        if req.method() == Method::OPTIONS {
            return grant(req.headers(), key);
        }
        let kind = req.headers().get(header::CONTENT_TYPE).map(HeaderValue::to_str);
        let kind = kind.transpose().map_err(|_| not_an_event())?;
        let mode = schemas::http::mode(kind);
        if !is_event(mode, req.headers()) {
            return Err(not_an_event());
        }
        if mode != Mode::Binary && !kind.is_some_and(schemas::http::is_json_format) {
            let detail = "of the event formats only JSON is read: application/cloudevents+json, or application/cloudevents-batch+json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::EVENT_FORMAT, detail));
        }
        if let Some(key) = key {
            key.take()?;
        }
        let body = req.body(bytes_max(mode, req)).await?;
        let (arity, batch) = decode(mode, req, body)?;
        let Some(key) = key else { return Ok(submit(intake, &self.from, arity, batch).await) };
        key.owe(batch.len().saturating_sub(1));
        Ok(submit_as(intake, &self.from, arity, batch, |event| key.may(event)).await)
    }
}

#[async_trait]
impl Endpoint for Events {
    fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    fn asks_for_a_key(&self) -> bool {
        !self.keys.is_empty()
    }

    async fn handle(&self, mut req: Request, intake: &dyn Submit) -> Response {
        self.take(&mut req, intake).await.unwrap_or_else(Problem::into_response)
    }
}

/// Whose origin asks leave to send.
pub const ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Grants a sender that asked leave what it asked for, at most the rate of its key; requests per minute.
///
/// # Errors
/// 400 for an origin that can be no name of a host.
pub fn grant(headers: &HeaderMap, key: Option<&Key>) -> Result<Response, Problem> {
    // It is sent back, so that it is held to what a name of a host can be (RFC 1035, section 2.3.4).
    let host = |v: &&HeaderValue| (1..=253).contains(&v.len()) && v.as_bytes().iter().all(u8::is_ascii_graphic);
    let Some(origin) = headers.get(ORIGIN).filter(host) else {
        let detail = "`WebHook-Request-Origin` is the name of a host, e.g. `eventemitter.example.com`";
        return Err(Problem::new(StatusCode::BAD_REQUEST, codes::WEBHOOK_ORIGIN, detail));
    };
    let asked = headers.get(RATE).and_then(|rate| rate.to_str().ok()?.parse::<u64>().ok()).filter(|rate| *rate > 0);
    let rate = match (asked, key.and_then(Key::per_minute)) {
        (Some(asked), Some(most)) => asked.min(most).into(),
        (Some(rate), None) | (None, Some(rate)) => rate.into(),
        (None, None) => HeaderValue::from_static("*"),
    };
    let mut response = Response::default();
    let answer = response.headers_mut();
    answer.insert(header::ALLOW, HeaderValue::from_static("POST"));
    answer.insert(ALLOWED_ORIGIN, origin.clone());
    answer.insert(ALLOWED_RATE, rate);
    Ok(response)
}

fn not_an_event() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::NOT_A_CLOUDEVENT, EXAMPLE)
}

/// Everything that is not structured or batched is binary mode by the letter of the binding; without one
/// `ce-` header it is no event.
fn is_event(mode: Mode, headers: &HeaderMap) -> bool {
    !matches!(mode, Mode::Binary) || headers.keys().any(|name| name.as_str().starts_with("ce-"))
}

/// A structured event may carry its data as base64, four bytes for three, beside its attributes.
fn bytes_max(mode: Mode, req: &Request) -> usize {
    let limits = req.limits();
    match mode {
        Mode::Binary => limits.event_bytes_max,
        Mode::Structured => (limits.event_bytes_max / 3).saturating_mul(4).saturating_add(limits.header_bytes_max),
        Mode::Batch => limits.batch_bytes_max,
    }
}

fn decode(mode: Mode, req: &Request, body: Bytes) -> Result<(Arity, Vec<RawEvent>), Problem> {
    match mode {
        Mode::Binary => Ok((Arity::One, vec![schemas::http::decode_binary(req.headers(), body).into()])),
        Mode::Structured => Ok((Arity::One, vec![schemas::json::decode(&body).into()])),
        Mode::Batch => match schemas::json::decode_batch(&body, req.limits().batch_count_max) {
            Ok(events) => {
                let arity = Arity::Many { multistatus: prefers_multistatus(req.headers()) };
                Ok((arity, events.into_iter().map(RawEvent::from).collect()))
            }
            Err(invalid) if invalid.code == schemas::codes::BATCH_TOO_LONG => {
                let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, invalid.code, invalid.message.into_string());
                Err(problem.at(invalid.place.to_string()))
            }
            // Nothing of it can be told apart, so that it is refused as one, at its own place.
            Err(invalid) => Ok((Arity::One, vec![Err(invalid).into()])),
        },
    }
}
