//! What all platforms share on the wire: requests with CloudEvents in their three modes, envelopes of the
//! clouds' own, answers, and errors as problem documents (RFC 9457).

pub mod envelope;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use schemas::{Event, Invalid, Place};
use serde::Serialize;

use crate::function::{Failure, Kind};

/// Bytes of a request: what Lambda takes at once, so that a function takes the same everywhere.
pub const BODY_BYTES_MAX: usize = 6 << 20;
/// Events in one request.
pub const BATCH_EVENTS_MAX: usize = 1_000;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Whether a request carries CloudEvents, by its headers.
pub fn is_cloudevent(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion") || schemas::http::mode(content_type(headers)) != schemas::http::Mode::Binary
}

/// The `Content-Type`, if it is text.
pub fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// Reads the events of a request in binary, structured or batched mode. One bad event refuses the request:
/// nothing of it has been done by then, and its sender sees which one it was.
///
/// # Errors
/// A refusal with the place.
pub fn events(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, Failure> {
    let content_type = content_type(headers);
    let mode = schemas::http::mode(content_type);
    if mode == schemas::http::Mode::Binary {
        return Ok(vec![schemas::http::decode_binary(headers, body.clone())?]);
    }
    if !schemas::http::is_json_format(content_type.unwrap_or_default()) {
        let message = "header content-type: events are read in the JSON format only: application/cloudevents+json";
        return Err(Failure::refuse("format-unknown", message));
    }
    if mode == schemas::http::Mode::Structured {
        return Ok(vec![schemas::json::decode(body)?]);
    }
    let batch = schemas::json::decode_batch(body, BATCH_EVENTS_MAX)?;
    batch.into_iter().enumerate().map(|(index, event)| event.map_err(|e| at_index(index, &e))).collect()
}

/// Says which event of a batch it was.
pub(crate) fn at_index(index: usize, invalid: &Invalid) -> Failure {
    Failure::refuse(invalid.code.0, format!("event {index}: {}: {}", invalid.place, invalid.message))
}

/// A header's value, if it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

/// What the sender says keeps this delivery apart; an Idempotency-Key may stand in quotes
/// (draft-ietf-httpapi-idempotency-key-header).
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Option<Box<str>> {
    text(headers, "idempotency-key").map(|key| key.trim_matches('"')).filter(|key| !key.is_empty()).map(Into::into)
}

/// The number of the attempt, as the router says it.
pub(crate) fn attempt(headers: &HeaderMap) -> u32 {
    text(headers, "gocoffee-attempt").and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The answer with events: none is 204, one is structured, more are a batch.
pub fn answer(events: &[Event]) -> Response<Bytes> {
    let (media_type, body) = match events {
        [] => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        [event] => (HeaderValue::from_static(schemas::json::MEDIA_TYPE), schemas::json::encode(event)),
        events => (HeaderValue::from_static(schemas::json::BATCH_MEDIA_TYPE), schemas::json::encode_batch(events)),
    };
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'static str,
    status: u16,
    code: &'a str,
    detail: &'a str,
}

/// The status that makes a caller do what the failure asks for.
pub fn status(failure: &Failure) -> StatusCode {
    match (failure.kind, failure.code.0) {
        (Kind::Retry, _) => StatusCode::INTERNAL_SERVER_ERROR,
        (Kind::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Kind::Refuse, "body-too-large") => StatusCode::PAYLOAD_TOO_LARGE,
        (Kind::Refuse, "method") => StatusCode::METHOD_NOT_ALLOWED,
        (Kind::Refuse, "format-unknown") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (Kind::Refuse, _) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// A failure as a response.
pub fn problem(failure: &Failure) -> Response<Bytes> {
    let status = status(failure);
    let title = match failure.kind {
        Kind::Retry => "The event was not handled; send it again",
        Kind::Unavailable => "The function cannot work now; send the event again",
        Kind::Refuse => "The event is refused for good",
    };
    let problem = Problem { title, status: status.as_u16(), code: failure.code.0, detail: &failure.message };
    let mut response = Response::new(Bytes::from(serde_json::to_vec(&problem).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(after) = failure.after.filter(|_| failure.kind != Kind::Refuse) {
        // Whole seconds, never too early.
        let seconds = after.as_millis().div_ceil(1_000);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}

/// An answer for programs that ask whether this one is there.
pub(crate) fn ready() -> Response<Bytes> {
    Response::new(Bytes::from_static(b"ready\n"))
}

/// Refuses what is no POST.
pub(crate) fn only_post<B>(request: &Request<B>) -> Result<(), Failure> {
    if request.method() == http::Method::POST {
        return Ok(());
    }
    Err(Failure::refuse("method", format!("events are posted; this is a {}", request.method())))
}

/// What cannot be read as JSON where JSON is due.
pub(crate) fn not_json(what: &str, invalid: &Invalid) -> Failure {
    let at = match &invalid.place {
        Place::Byte(at) => format!(" at byte {at}"),
        _ => String::new(),
    };
    Failure::refuse("payload-not-json", format!("{what}{at}: {}", invalid.message))
}
