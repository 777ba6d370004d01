//! Targets: topics of Event Grid, and functions.
//!
//! A topic, a domain and a partner channel take lists of events, whole or not at all
//! ([`router_core::target::Partial::AllOrNothing`]), as CloudEvents or in Event Grid's own schema ([`crate::wire`]). A
//! namespace topic takes one CloudEvent, binary or structured, or a list. A list that would be larger than the service
//! takes is not sent: the path halves it, as it halves one that was refused.
//!
//! Event Grid keeps no idempotency keys: an event that was taken, and whose answer was lost, is there twice. Its
//! `source` and `id` tell.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use router_core::{
    id::TargetName,
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Rate, Reason, Target},
};
use router_http::client::Client;
use tokio::time::Instant;

use crate::{
    auth::{Authoriser, Service},
    call::{Caller, SAID_BYTES_MAX, content_type},
    wire,
};

/// What can be configured.
mod config;

/// Functions.
mod function;

pub use config::{
    BATCH_BYTES_MAX, ConfigError, EventGridConfig, IN_FLIGHT_MAX, Mode, NAMESPACE_BATCH_COUNT_MAX, REQUEST_BYTES_MAX,
    TIMEOUT, TOPIC_BATCH_COUNT_MAX, To,
};
pub(crate) use config::{NAMESPACE_API_VERSION, name, namespace};
pub use function::{FunctionConfig, function};

/// The path drops an attempt this long after it should have answered by itself.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);
const CHANNEL: HeaderName = HeaderName::from_static("aeg-channel-name");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

/// A topic of Event Grid.
pub struct EventGridTarget {
    name: TargetName,
    uri: Uri,
    to: To,
    channel: Option<HeaderValue>,
    limits: BatchLimits,
    request_bytes_max: usize,
    caller: Caller,
}

impl EventGridTarget {
    /// Checks the configuration; connects nowhere. The client is one that connects as the configuration says:
    /// [`EventGridConfig::client`].
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: EventGridConfig, client: Client) -> Result<Self, ConfigError> {
        let limits = config.limits()?;
        let (uri, resource) = config.to.uri(config.private)?;
        let service = match &config.to {
            To::Topic { .. } => Service::Topic,
            To::Namespace { .. } => Service::Namespace,
        };
        let auth = Authoriser::new(&config.auth, service, &resource, &client)?;
        let channel = config.to.channel()?;
        let EventGridConfig { name, to, request_bytes_max, timeout, .. } = config;
        let caller = Caller::new(client, auth, timeout);
        Ok(EventGridTarget { name, uri, to, channel, limits, request_bytes_max, caller })
    }

    /// Head and body of a request for deliveries that share its outcome.
    fn write(&self, batch: &[Delivery]) -> (HeaderMap, Bytes) {
        let (mut headers, body) = match (&self.to, batch) {
            (To::Topic { schema, topic, .. }, _) => {
                let events = batch.iter().map(|delivery| (&delivery.event, delivery.appended));
                (content_type(schema.media_type()), wire::encode(*schema, topic.as_deref(), events).into())
            }
            (To::Namespace { mode: Mode::Binary, .. }, [one]) if !schemas::http::needs_structured(&one.event) => {
                schemas::http::encode_binary(&one.event)
            }
            (To::Namespace { mode: Mode::Binary | Mode::Structured, .. }, [one]) => {
                (content_type(STRUCTURED), schemas::json::encode(&one.event).into())
            }
            _ => {
                let events = batch.iter().map(|delivery| &delivery.event);
                (content_type(wire::Schema::CloudEvents.media_type()), schemas::json::encode_batch(events).into())
            }
        };
        if let Some(channel) = &self.channel {
            headers.insert(CHANNEL, channel.clone());
        }
        // Microsoft's support asks for it; that of several is the first one's.
        let id = batch.first().and_then(|first| HeaderValue::from_str(&first.id.to_string()).ok());
        headers.extend(id.map(|id| (REQUEST_ID, id)));
        (headers, body)
    }

    /// One attempt for deliveries that share its outcome.
    async fn attempt(&self, batch: &[Delivery]) -> Outcome {
        let start = Instant::now();
        let (headers, body) = self.write(batch);
        if batch.len() > 1 && body.len() > self.request_bytes_max {
            let note = format!(
                "{} events are {} bytes as they are written, and a request has at most {}; it was not sent, they go in smaller ones",
                batch.len(),
                body.len(),
                self.request_bytes_max
            );
            let facts = Facts { took: start.elapsed(), note: Some(note.into()), ..Facts::default() };
            return Outcome::Refused { facts, code: router_core::codes::REFUSED };
        }
        let sent = self.caller.post(&self.uri, headers, body, start, SAID_BYTES_MAX).await;
        self.caller.outcome(&sent, batch.len() > 1, start)
    }

    fn takes_lists(&self) -> bool {
        self.limits.partial == Partial::AllOrNothing
    }
}

#[async_trait]
impl Target for EventGridTarget {
    fn name(&self) -> &TargetName {
        &self.name
    }

    fn limits(&self) -> BatchLimits {
        self.limits
    }

    /// Posts an empty list, which publishes nothing: the service says whether there is such a topic and whether we
    /// may publish to it before it looks at the list.
    async fn check(&self) -> Result<(), Reason> {
        self.caller.reach(&self.uri).await.map_err(|why| Reason(why.into()))?;
        let kind = match &self.to {
            To::Topic { schema, .. } => schema.media_type(),
            To::Namespace { .. } => wire::Schema::CloudEvents.media_type(),
        };
        let (start, none) = (Instant::now(), Bytes::from_static(b"[]"));
        let sent = self.caller.post(&self.uri, content_type(kind), none, start, SAID_BYTES_MAX).await;
        let why = match &sent.answer {
            Err(_) => return Err(Reason(self.caller.told(&sent).into())),
            Ok(answer) => match answer.status {
                StatusCode::UNAUTHORIZED => "does not know us; compare the key, or the application and its secret",
                StatusCode::FORBIDDEN => "does not let us publish; give the role EventGrid Data Sender at the topic",
                StatusCode::NOT_FOUND => "knows no such topic; compare the endpoint with the portal's",
                _ => return Ok(()),
            },
        };
        Err(Reason(format!("Event Grid {why}: {}", self.caller.told(&sent)).into()))
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        if self.takes_lists() {
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

/// Limits of calls, from what is configured.
fn limits(timeout: Duration, in_flight_max: usize, rate: Option<Rate>) -> BatchLimits {
    let deadline = timeout.saturating_add(DEADLINE_MARGIN);
    BatchLimits { in_flight_max, deadline, rate, ..BatchLimits::default() }
}

/// A header's value that the operator gave.
fn plain(text: &str) -> Option<HeaderValue> {
    let usable = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    usable.then(|| HeaderValue::from_str(text).ok()).flatten()
}
