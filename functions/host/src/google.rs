//! Google Cloud Functions and Cloud Run: CloudEvents over HTTP as Eventarc and the router send them, Pub/Sub
//! push wrapped and unwrapped, and the background events of the first generation.
//!
//! A failure is never answered with a success, so that nothing is lost: 500 and 503 are tried again; 422 is
//! refused for good, which Eventarc Advanced and the router understand, while Pub/Sub tries again until its
//! dead-letter topic takes the message. `GOOGLE_REFUSED=ack` acknowledges refused Pub/Sub messages instead;
//! the log then holds what was refused.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use schemas::{Event, doc::Doc};

use crate::{
    function::{Failure, Function, Kind},
    host::{Call, Host},
    local,
    output::Reader,
    settings::{SettingError, Settings},
    wire::{self, envelope},
};

/// What functions of the first generation get.
mod background;

/// The setting.
pub const GOOGLE_REFUSED: &str = "GOOGLE_REFUSED";

/// What is done with refused Pub/Sub messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They are answered 422: Pub/Sub tries again, until its dead-letter topic takes them.
    Fail,
    /// They are acknowledged; the log holds what was refused.
    Ack,
}

impl Refused {
    /// Reads the setting.
    ///
    /// # Errors
    /// Another word than `fail` or `ack`.
    pub fn new(settings: &Settings) -> Result<Self, SettingError> {
        match settings.get(GOOGLE_REFUSED) {
            None | Some("fail") => Ok(Refused::Fail),
            Some("ack") => Ok(Refused::Ack),
            Some(_) => Err(SettingError::new(GOOGLE_REFUSED, "is neither `fail` nor `ack`")),
        }
    }
}

/// Answers one request.
pub async fn respond<F: Function>(host: &Host<F>, refused: Refused, request: Request<Bytes>) -> Response<Bytes> {
    if request.method() == Method::GET {
        return wire::ready();
    }
    let (answer, of_pubsub) = handle(host, &request).await;
    let mut response = match answer {
        Err(failure) if of_pubsub && refused == Refused::Ack && failure.kind == Kind::Refuse => {
            let mut acknowledged = Response::new(Bytes::new());
            *acknowledged.status_mut() = StatusCode::NO_CONTENT;
            return acknowledged;
        }
        answer => local::answer(answer),
    };
    if !response.status().is_success() {
        // As the Functions Frameworks say it: the platform counts it as the function's own error.
        response.headers_mut().insert("x-google-status", HeaderValue::from_static("error"));
    }
    response
}

/// The answer, and whether the request is a push of Pub/Sub.
async fn handle<F: Function>(host: &Host<F>, request: &Request<Bytes>) -> (Result<Vec<Event>, Failure>, bool) {
    let headers = request.headers();
    let unwrapped = headers.contains_key("x-goog-pubsub-message-id");
    if wire::is_cloudevent(headers) || request.method() != Method::POST {
        let reader = if unwrapped || is_one_way(request) { Reader::Nobody } else { Reader::Sender };
        return (local::handle(host, request, reader).await, unwrapped);
    }
    match read(request) {
        Ok(Push { events, attempt }) => {
            let call = |event| Call { attempt, ..Call::from(event) };
            let calls = events.into_iter().map(call).collect();
            (host.deliver_all(calls, Reader::Nobody).await.answer, true)
        }
        Err(failure) => {
            local::refused(host, &failure);
            (Err(failure), true)
        }
    }
}

/// Whether Google's own deliverers sent it: they look at the status only.
fn is_one_way(request: &Request<Bytes>) -> bool {
    let of_google = |name, start: &str| wire::text(request.headers(), name).is_some_and(|v| v.starts_with(start));
    of_google("user-agent", "APIs-Google") || of_google("ce-source", "//")
}

struct Push {
    events: Vec<Event>,
    attempt: u32,
}

/// Reads a Pub/Sub push or a background event.
fn read(request: &Request<Bytes>) -> Result<Push, Failure> {
    let body = request.body();
    let doc = Doc::parse(body).map_err(|e| wire::not_json("the request has no ce- headers and is not JSON", &e))?;
    let root = doc.root();
    if let Some(message) = root.get("message") {
        let attempt = root.get("deliveryAttempt").and_then(|n| n.as_number()).and_then(|n| n.parse().ok());
        let whole = String::from_utf8_lossy(body);
        let events = envelope::pubsub(&message, topic(request.uri().path()).as_deref(), whole.trim())?;
        return Ok(Push { events, attempt: attempt.unwrap_or(1) });
    }
    if root.get("context").is_some() || root.get("eventType").is_some() {
        return Ok(Push { events: background::read(&root)?, attempt: 1 });
    }
    let message = "the request is no event: it has neither ce- headers, nor a Content-Type of CloudEvents, nor \
                   `message` (Pub/Sub push), nor `context` (background event)";
    Err(Failure::refuse("payload-unknown", message))
}

/// `projects/P/topics/T` where the path of the push endpoint says it, as the Functions Frameworks take it.
fn topic(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let at = parts.windows(4).find(|w| matches!(w, ["projects", _, "topics", _]))?;
    Some(at.join("/"))
}
