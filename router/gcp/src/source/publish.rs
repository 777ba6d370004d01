//! What publishers of Pub/Sub publish, taken in directly: a program that publishes to a topic publishes to the router
//! when its endpoint is the router's, by `PUBSUB_EMULATOR_HOST` or by the client's own options, and nothing else of it
//! changes.
//!
//! | path | what |
//! |---|---|
//! | `/google.pubsub.v1.Publisher/…` | gRPC, over HTTP/2: `Publish`, `GetTopic`, `ListTopics`, `CreateTopic` |
//! | `/v1/projects/…` | the same in JSON: `POST …/topics/T:publish`, `GET …/topics/T`, `GET …/topics`, `PUT …/topics/T` |
//!
//! Messages become events as those of a subscription do ([`crate::wire::decode`]); an ordering key becomes
//! `partitionkey`. A message that is no CloudEvent has the id that its publisher is told, and its topic as source.
//!
//! A call is taken whole or not at all, as Pub/Sub does it: nothing is appended before all of its messages are events
//! that are small enough. What only the bus can know (a schema, no room for some) may refuse some of a call whose
//! others are durable by then; the error says which, and a call that is made again finds the CloudEvents among them as
//! duplicates. What an answer without an error names is durable.

use std::{collections::BTreeSet, sync::Arc, time::Duration, time::SystemTime};

use async_trait::async_trait;
use google_cloud_gax::error::rpc::Code;
use http::{Method, StatusCode};
use router_core::{
    hops,
    id::SourceName,
    source::{IntakeClosed, Kind, RawEvent, Rejection},
};
use router_http::{
    Endpoint, Key, PathSpec,
    endpoint::{Request, Response},
    events::EventsError,
    intake::{CLOSED_RETRY_AFTER, Submit},
    keys::Keys,
    listener::Limits,
    problem::Problem,
};
use schemas::Event;

use crate::wire::{self, COUNT_MAX, Came, Message};

/// Frames, and how errors go out.
mod grpc;

/// The same in JSON.
mod rest;

/// Where gRPC is called.
pub const GRPC: &str = "/google.pubsub.v1.Publisher/";
/// Where the calls in JSON are.
pub const REST: &str = "/v1/projects/";

/// What publishers publish to, as it is configured.
#[derive(Debug)]
pub struct PublishConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// Topics that are there, `projects/PROJECT/topics/TOPIC`; none: any.
    pub topics: Vec<String>,
    /// What publishers show as a bearer token; none: everyone may publish.
    pub keys: Vec<Arc<Key>>,
    /// The attribute that holds the type of plain messages.
    pub type_attribute: Option<String>,
}

impl PublishConfig {
    /// The defaults for a name.
    pub fn new(name: SourceName) -> Self {
        PublishConfig { name, topics: Vec::new(), keys: Vec::new(), type_attribute: None }
    }
}

/// The endpoint that stands for Pub/Sub.
#[derive(Debug)]
pub struct Publish {
    below: [PathSpec; 2],
    name: SourceName,
    topics: BTreeSet<String>,
    keys: Keys,
    type_attribute: Option<String>,
}

/// A call that is refused.
#[derive(Debug, PartialEq)]
struct Refusal {
    code: Code,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), retry_after: None }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Refusal::new(Code::InvalidArgument, message)
    }

    fn closed() -> Self {
        let message = format!("{IntakeClosed}; publish this again");
        Refusal { retry_after: Some(CLOSED_RETRY_AFTER), ..Refusal::new(Code::Unavailable, message) }
    }

    /// What the listener says of a request.
    fn of(problem: &Problem) -> Self {
        let code = match problem.status() {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Code::Unavailable,
            _ => Code::InvalidArgument,
        };
        Refusal::new(code, problem.detail())
    }
}

impl Publish {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: PublishConfig) -> Result<Self, EventsError> {
        let PublishConfig { name, topics, keys, type_attribute } = config;
        let below = [
            PathSpec { path: GRPC.into(), methods: vec![Method::POST] },
            PathSpec { path: REST.into(), methods: vec![Method::GET, Method::POST, Method::PUT] },
        ];
        Ok(Publish { below, name, topics: topics.into_iter().collect(), keys: Keys::new(keys)?, type_attribute })
    }

    /// Who calls, and with what.
    async fn read(&self, req: &mut Request) -> Result<bytes::Bytes, Refusal> {
        let refused = |problem: Problem| Refusal::of(&problem);
        self.keys.check(req.headers()).map_err(refused)?;
        let bytes_max = req.limits().batch_bytes_max;
        req.body(bytes_max).await.map_err(refused)
    }

    /// Whether a topic is there.
    fn known(&self, topic: &str) -> Result<(), Refusal> {
        if !is_topic(topic) {
            let message = format!("`{topic}` is no topic; write it whole, e.g. `projects/go-coffee/topics/coffee`");
            return Err(Refusal::invalid(message));
        }
        if self.topics.is_empty() || self.topics.contains(topic) {
            return Ok(());
        }
        let message = format!("Resource not found (resource={topic}). This router's `topics` do not name it.");
        Err(Refusal::new(Code::NotFound, message))
    }

    /// The topics of a project, `projects/PROJECT`, that are named in the configuration.
    fn list(&self, project: &str) -> Vec<&str> {
        let of = |topic: &&str| topic.strip_prefix(project).is_some_and(|rest| rest.starts_with("/topics/"));
        self.topics.iter().map(String::as_str).filter(of).collect()
    }

    /// Publishes; the ids of the messages.
    async fn publish(
        &self,
        topic: &str,
        messages: &[Message],
        limits: &Limits,
        intake: &dyn Submit,
    ) -> Result<Vec<String>, Refusal> {
        self.known(topic)?;
        if !(1..=COUNT_MAX).contains(&messages.len()) {
            let message = format!("a call publishes 1 to {COUNT_MAX} messages, and this one has {}", messages.len());
            return Err(Refusal::invalid(message));
        }
        let call = drawn()?;
        let ids: Vec<String> = (0..messages.len()).map(|n| format!("{call}-{n}")).collect();
        let now = prost_types::Timestamp::from(SystemTime::now()).to_string();
        let plain_source = format!("//pubsub.googleapis.com/{topic}");
        let mut events = Vec::with_capacity(messages.len());
        for (n, (message, id)) in messages.iter().zip(&ids).enumerate() {
            let came = Came {
                message_id: id,
                publish_time: &now,
                plain_source: &plain_source,
                type_attribute: self.type_attribute.as_deref(),
                ..Came::default()
            };
            let event = read(message, &came, limits.event_bytes_max);
            let refused = |why| Refusal::invalid(format!("message {n}: {why}; nothing of the call is taken"));
            events.push(RawEvent::from(event.map_err(refused)?));
        }
        let answers = intake.submit(&self.name, events).await.map_err(|IntakeClosed| Refusal::closed())?;
        // The intake lost count, which is its bug.
        if answers.len() != ids.len() {
            return Err(Refusal::new(Code::Internal, "nothing is known of these messages; publish them again"));
        }
        refused(answers.iter().map(|answer| answer.as_ref().err())).map_or(Ok(ids), Err)
    }
}

/// The event of a message.
fn read(message: &Message, came: &Came<'_>, bytes_max: usize) -> Result<Event, String> {
    if message.data.is_empty() && message.attributes.is_empty() {
        return Err("it has neither data nor attributes".into());
    }
    let event = wire::decode(message, came).map_err(|e| format!("{}: {} ({})", e.place, e.message, e.code))?;
    let bytes = event.body().len().saturating_sub(hops::own_bytes(&event));
    if bytes > bytes_max {
        return Err(format!("its event has {bytes} bytes, and at most {bytes_max} are taken"));
    }
    Ok(event)
}

/// What the bus refused of a call, as one error: a passing reason outweighs one for good, because the publisher must
/// send again; what it sends again in vain is then told so.
fn refused<'r>(answers: impl Iterator<Item = Option<&'r Rejection>>) -> Option<Refusal> {
    let all: Vec<(usize, &Rejection)> =
        answers.enumerate().filter_map(|(n, rejection)| Some((n, rejection?))).collect();
    let wait = |rejection: &Rejection| match rejection.kind {
        Kind::Busy { retry_after } => Some(retry_after),
        Kind::Invalid | Kind::Unauthorised | Kind::TooLarge => None,
    };
    let retry_after = all.iter().filter_map(|(_, rejection)| wait(rejection)).max();
    let (n, first) = match retry_after {
        Some(_) => *all.iter().find(|(_, rejection)| wait(rejection).is_some())?,
        None => *all.first()?,
    };
    let code = match first.kind {
        Kind::Busy { .. } => Code::Unavailable,
        Kind::Unauthorised => Code::PermissionDenied,
        Kind::Invalid | Kind::TooLarge => Code::InvalidArgument,
    };
    let which: Vec<String> = all.iter().map(|(n, _)| n.to_string()).collect();
    let which = which.join(", ");
    let message = format!("message {n}: {first}; of this call all are durable but messages {which}");
    Some(Refusal { code, message, retry_after })
}

/// What no other call has.
fn drawn() -> Result<String, Refusal> {
    let mut drawn = [0; 12];
    let random = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&random, &mut drawn)
        .map_err(|_| Refusal::new(Code::Unavailable, "no id can be drawn; publish this again"))?;
    Ok(drawn.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether a text is a topic's whole name, in the letters that Pub/Sub takes.
pub fn is_topic(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.~+%:".contains(&b);
    let word = |part: &str| !part.is_empty() && part.bytes().all(letter);
    matches!(parts[..], ["projects", project, "topics", topic] if word(project) && word(topic))
}

#[async_trait]
impl Endpoint for Publish {
    fn paths(&self) -> &[PathSpec] {
        &[]
    }

    fn below(&self) -> &[PathSpec] {
        &self.below
    }

    fn asks_for_a_key(&self) -> bool {
        !self.keys.is_empty()
    }

    async fn handle(&self, mut req: Request, intake: &dyn Submit) -> Response {
        let path = req.uri().path().to_owned();
        match path.strip_prefix(GRPC) {
            Some(method) => grpc::answer(self.grpc(method, &mut req, intake).await),
            None => rest::answer(self.rest(&path, &mut req, intake).await),
        }
    }
}

#[cfg(test)]
mod tests;
