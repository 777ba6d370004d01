//! What a push subscription of Pub/Sub delivers: one message in a request, wrapped in JSON or, by the subscription's
//! `--push-no-wrapper`, as it is.
//!
//! Pub/Sub takes 102, 200, 201, 202 and 204 as an acknowledgement, and sends the message again after everything else,
//! ever more slowly, until it is acknowledged, too old, or moved to the subscription's dead-letter topic
//! [cloud.google.com/pubsub/docs/push]. So 204 is answered only for what is durable, and no status gives anything up:
//!
//! | what | answer |
//! |---|---|
//! | the event is durable, was there before, or went through here before | 204 |
//! | the intake is full or closed; keys of tokens cannot be had, so that nobody knows who sends | 503, Retry-After |
//! | no token, or one that is forged, has ended, or is for somebody else | 401 |
//! | a request that is no push; a message that is no event, or too large | 400, 422, 413, and a line in the log |
//!
//! A message that is never taken therefore stays with Google, whose dead-letter topic is the place for it.

use std::{collections::BTreeMap, time::Duration, time::SystemTime};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use router_core::{
    id::SourceName,
    source::{IntakeClosed, Kind, RawEvent},
};
use router_http::{
    Endpoint, PathSpec,
    client::{Client, UrlError},
    endpoint::{Request, Response},
    events::EventsError,
    intake::{CLOSED_RETRY_AFTER, Submit},
    jwt::{Claim, Denied, Rules, Verifier},
    listener::is_path,
    problem::Problem,
};
use schemas::{Event, Invalid};
use serde::Deserialize;

use super::status;
use crate::{
    codes,
    wire::{self, CONTENT_TYPE, Came, Message},
};

/// Where Google publishes the keys that its tokens are signed with.
pub const KEYS_URL: &str = "https://www.googleapis.com/oauth2/v3/certs";
/// Who issues tokens of service accounts.
pub const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];
/// What `Retry-After` says while nobody knows who sends.
const UNKNOWN_RETRY_AFTER: Duration = Duration::from_secs(10);

/// A push subscription's endpoint as it is configured.
pub struct PushConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// Where it is mounted.
    pub path: String,
    /// Whether a request is the message itself, its attributes in headers.
    pub unwrapped: bool,
    /// Checks the token of each push; `None`: none is asked for.
    pub tokens: Option<Verifier>,
    /// The topic, which is the source of plain messages; `None`: the subscription is.
    pub topic: Option<String>,
    /// The attribute that holds the type of plain messages.
    pub type_attribute: Option<String>,
}

impl PushConfig {
    /// The defaults for a name and a path.
    pub fn new(name: SourceName, path: impl Into<String>) -> Self {
        let path = path.into();
        PushConfig { name, path, unwrapped: false, tokens: None, topic: None, type_attribute: None }
    }
}

/// What checks the tokens of pushes: Google's, for one of these audiences, of one of these service accounts.
///
/// # Errors
/// A URL of keys that cannot be called.
pub fn tokens(
    audiences: Vec<String>,
    accounts: Vec<String>,
    keys_url: Option<String>,
    client: Client,
) -> Result<Verifier, UrlError> {
    let claim = |name: &str, values| Claim { names: vec![name.to_owned()], values };
    let rules = Rules {
        keys_url: keys_url.unwrap_or_else(|| KEYS_URL.to_owned()),
        issuers: ISSUERS.map(str::to_owned).to_vec(),
        audiences,
        claims: vec![claim("email", accounts), claim("email_verified", vec!["true".to_owned()])],
    };
    Verifier::new(rules, client)
}

/// The endpoint of a push subscription.
pub struct Push {
    paths: [PathSpec; 1],
    name: SourceName,
    unwrapped: bool,
    tokens: Option<Verifier>,
    topic: Option<String>,
    type_attribute: Option<String>,
}

/// A push, with a wrapper. Google writes both spellings; one is enough.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped {
    message: WrappedMessage,
    #[serde(default)]
    subscription: String,
    #[serde(default)]
    delivery_attempt: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrappedMessage {
    data: String,
    attributes: BTreeMap<String, String>,
    message_id: String,
    publish_time: String,
    ordering_key: String,
}

/// A message, and what came beside it.
#[derive(Default)]
struct Pushed {
    message: Message,
    id: String,
    publish_time: String,
    subscription: String,
    attempt: Option<i64>,
}

impl Push {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: PushConfig) -> Result<Self, EventsError> {
        let PushConfig { name, path, unwrapped, tokens, topic, type_attribute } = config;
        if !is_path(&path) {
            return Err(EventsError::Path(path.into()));
        }
        let paths = [PathSpec { path: path.into(), methods: vec![Method::POST] }];
        Ok(Push { paths, name, unwrapped, tokens, topic, type_attribute })
    }

    async fn take(&self, req: &mut Request, intake: &dyn Submit) -> Result<Response, Problem> {
        if let Some(tokens) = &self.tokens {
            tokens.check(req.headers(), SystemTime::now()).await.map_err(|denied| self.denied(&denied))?;
        }
        // A wrapper holds the data in base64, and its attributes.
        let body = req.body(req.limits().batch_bytes_max).await?;
        let pushed = match self.unwrapped {
            true => unwrapped(req.headers(), body, self.type_attribute.as_deref()),
            false => wrapped(&body),
        };
        let event = pushed.map_err(|e| self.no_push(&e)).map(|pushed| self.event(&pushed))?;
        self.submit(event, intake).await
    }

    fn denied(&self, denied: &Denied) -> Problem {
        tracing::warn!(code = %codes::PUSH_REFUSED, source = %self.name, why = %denied, "a push is not taken in; if it is Pub/Sub's, it comes again");
        match denied {
            Denied::Unknown(_) => {
                let detail = format!("{denied}; send this again");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::PUSH_KEYS, detail).retry_after(UNKNOWN_RETRY_AFTER)
            }
            _ => Problem::new(StatusCode::UNAUTHORIZED, codes::PUSH_TOKEN, denied.to_string()),
        }
    }

    fn no_push(&self, why: &str) -> Problem {
        tracing::warn!(code = %codes::PUSH_REFUSED, source = %self.name, why, "a request that is no push of Pub/Sub is refused");
        Problem::new(StatusCode::BAD_REQUEST, codes::PUSH_FORM, why.to_owned())
    }

    fn event(&self, pushed: &Pushed) -> Result<Event, Invalid> {
        let from = self.topic.as_deref().unwrap_or(&pushed.subscription);
        let plain_source = format!("//pubsub.googleapis.com/{from}");
        let came = Came {
            message_id: &pushed.id,
            publish_time: &pushed.publish_time,
            subscription: &pushed.subscription,
            delivery_attempt: pushed.attempt,
            plain_source: &plain_source,
            type_attribute: self.type_attribute.as_deref(),
        };
        wire::decode(&pushed.message, &came)
    }

    async fn submit(&self, event: Result<Event, Invalid>, intake: &dyn Submit) -> Result<Response, Problem> {
        let answered = intake.submit(&self.name, vec![RawEvent::from(event)]).await;
        let first = answered.map(|results| results.into_iter().next());
        let rejection = match first {
            Ok(Some(Ok(_))) => {
                let mut done = Response::default();
                *done.status_mut() = StatusCode::NO_CONTENT;
                return Ok(done);
            }
            Ok(Some(Err(rejection))) => rejection,
            // Nothing is known of it, which is the same to Pub/Sub.
            Ok(None) | Err(IntakeClosed) => {
                let detail = format!("{IntakeClosed}; send this again");
                let closed = Problem::new(StatusCode::SERVICE_UNAVAILABLE, router_http::codes::INTAKE_CLOSED, detail);
                return Err(closed.retry_after(CLOSED_RETRY_AFTER));
            }
        };
        let mut problem = Problem::new(status(&rejection), rejection.code, String::from(&*rejection.message))
            .at(rejection.place.to_string());
        match rejection.kind {
            Kind::Busy { retry_after } => problem = problem.retry_after(retry_after),
            _ => {
                tracing::warn!(code = %codes::PUSH_REFUSED, source = %self.name, why = %rejection, "a message is never taken in; it stays with Pub/Sub until it is too old, or goes to the subscription's dead-letter topic");
            }
        }
        Err(problem)
    }
}

#[async_trait]
impl Endpoint for Push {
    fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    fn asks_for_a_key(&self) -> bool {
        self.tokens.is_some()
    }

    async fn handle(&self, mut req: Request, intake: &dyn Submit) -> Response {
        self.take(&mut req, intake).await.unwrap_or_else(Problem::into_response)
    }
}

fn wrapped(body: &Bytes) -> Result<Pushed, String> {
    let pushed: Wrapped = serde_json::from_slice(body).map_err(|e| {
        format!("the body is no push of Pub/Sub: {e}; a subscription without wrapper needs `unwrapped: true` here")
    })?;
    let Wrapped { message, subscription, delivery_attempt } = pushed;
    let data = STANDARD.decode(&message.data).map_err(|e| format!("the message's data is no base64: {e}"))?;
    Ok(Pushed {
        message: Message { data: data.into(), attributes: message.attributes, ordering_key: message.ordering_key },
        id: message.message_id,
        publish_time: message.publish_time,
        subscription,
        attempt: delivery_attempt,
    })
}

/// A push without wrapper: attributes are headers, and so is what Pub/Sub itself says with `--push-no-wrapper-write-metadata`.
fn unwrapped(headers: &HeaderMap, body: Bytes, type_attribute: Option<&str>) -> Result<Pushed, String> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        let wanted = name.starts_with("ce-")
            || name == CONTENT_TYPE
            || type_attribute.is_some_and(|wanted| wanted.eq_ignore_ascii_case(name));
        if !wanted {
            continue;
        }
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| format!("the header `{name}` is no UTF-8"))?;
        // Headers have no case, attributes do.
        let key = type_attribute.filter(|wanted| wanted.eq_ignore_ascii_case(name)).unwrap_or(name);
        if attributes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("the header `{name}` is there more than once"));
        }
    }
    let said = |name: &str| {
        let value = headers.get(format!("x-goog-pubsub-{name}")).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let id = said("message-id");
    if id.is_empty() && !attributes.contains_key("ce-specversion") && !is_structured(&attributes) {
        let why = "a message that is no CloudEvent has an id only where the subscription writes metadata; make it with `--push-no-wrapper-write-metadata`";
        return Err(why.to_owned());
    }
    Ok(Pushed {
        message: Message { data: body, attributes, ordering_key: said("ordering-key") },
        id,
        publish_time: said("publish-time"),
        subscription: said("subscription-name"),
        attempt: None,
    })
}

fn is_structured(attributes: &BTreeMap<String, String>) -> bool {
    schemas::http::mode(attributes.get(CONTENT_TYPE).map(String::as_str)) == schemas::http::Mode::Structured
}
