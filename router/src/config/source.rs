//! Where events come from: every kind of source, and what is asked of each.

use router_core::id::BusName;
use serde::Deserialize;

use super::{
    AwsSource, EventBridgeSource, EventGridSource, PubSubPublish, PubSubPush, PubSubSource, Validate, default_bus,
    value::Secret,
};

/// Where events come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// CloudEvents over HTTP at the public listener.
    Http(HttpSource),
    /// A queue of SQS that EventBridge feeds.
    #[serde(rename = "eventbridge")]
    EventBridge(Box<EventBridgeSource>),
    /// What AWS's SDKs publish, straight to us.
    Aws(AwsSource),
    /// Event Grid at Azure.
    EventGrid(EventGridSource),
    /// A subscription of Pub/Sub at Google Cloud that is pulled.
    #[serde(rename = "pubsub")]
    PubSub(Box<PubSubSource>),
    /// A push subscription of Pub/Sub at Google Cloud.
    #[serde(rename = "pubsub_push")]
    PubSubPush(PubSubPush),
    /// What Pub/Sub's clients publish, straight to us.
    #[serde(rename = "pubsub_publish")]
    PubSubPublish(PubSubPublish),
}

/// What becomes of what a source that pulls cannot read, or what is never taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// It is quarantined, and acknowledged where it came from.
    Quarantine,
    /// It stays where it came from, or goes to the dead letters there.
    Reject,
}

impl<'de> Deserialize<'de> for OnInvalid {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "quarantine" => Ok(OnInvalid::Quarantine),
            "reject" => Ok(OnInvalid::Reject),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `quarantine` and `reject`"))),
        }
    }
}

/// Below what the gRPC of Pub/Sub is called.
const PUBSUB_PATH: &str = "/google.pubsub.v1.Publisher/";

/// None, for a source that knows its senders otherwise.
static NO_KEYS: Vec<Secret> = Vec::new();

/// Where a source is called.
#[derive(Debug, Clone, Copy)]
pub struct Called<'c> {
    /// The keys below its name, of what follows.
    pub(crate) at: &'static [&'static str],
    /// The path.
    pub(crate) path: &'c str,
    /// Keys that open it alone.
    pub(crate) keys: &'c [Secret],
    /// Whether it asks who calls.
    pub(crate) asks: bool,
}

impl Source {
    /// The keys below its name, and the bus that it feeds.
    pub fn bus(&self) -> (&'static [&'static str], &BusName) {
        match self {
            Source::Http(http) => (&["http"], &http.bus),
            Source::EventBridge(queue) => (&["eventbridge"], &queue.bus),
            Source::Aws(AwsSource::PutEvents(put)) => (&["aws", "put_events"], &put.bus),
            Source::Aws(AwsSource::ApiDestination(sent)) => (&["aws", "api_destination"], &sent.bus),
            Source::EventGrid(EventGridSource::Webhook(webhook)) => (&["event_grid", "webhook"], &webhook.bus),
            Source::EventGrid(EventGridSource::Pull(pull)) => (&["event_grid", "pull"], &pull.bus),
            Source::EventGrid(EventGridSource::Publish(publish)) => (&["event_grid", "publish"], &publish.bus),
            Source::PubSub(pull) => (&["pubsub"], &pull.bus),
            Source::PubSubPush(push) => (&["pubsub_push"], &push.bus),
            Source::PubSubPublish(publish) => (&["pubsub_publish"], &publish.bus),
        }
    }

    /// Where it is called; `None`: it pulls.
    pub fn called(&self) -> Option<Called<'_>> {
        let (at, _) = self.bus();
        let (path, keys, tokens): (&str, _, _) = match self {
            Source::Http(http) => (&http.path, &http.keys, false),
            // Its keys are no bearer tokens, but what requests are signed with.
            Source::Aws(AwsSource::PutEvents(put)) => (&put.path, &NO_KEYS, !put.access_keys.is_empty()),
            // Nor are these: they stand in another header, or beside a name.
            Source::Aws(AwsSource::ApiDestination(sent)) => (&sent.path, &NO_KEYS, sent.asks()),
            Source::EventGrid(EventGridSource::Webhook(webhook)) => {
                (&webhook.path, &webhook.keys, webhook.entra.is_some())
            }
            Source::EventGrid(EventGridSource::Publish(publish)) => {
                (&publish.path, &publish.keys, publish.entra.is_some())
            }
            Source::EventBridge(_) | Source::EventGrid(EventGridSource::Pull(_)) | Source::PubSub(_) => return None,
            Source::PubSubPush(push) => (&push.path, &NO_KEYS, push.tokens.is_some()),
            // Google's clients know no other.
            Source::PubSubPublish(publish) => (PUBSUB_PATH, &publish.keys, false),
        };
        Some(Called { at, path, keys, asks: !keys.is_empty() || tokens })
    }

    /// Whether it keeps what is no event in the quarantine.
    pub fn quarantines(&self) -> bool {
        let on_invalid = match self {
            Source::EventBridge(queue) => queue.on_invalid,
            Source::EventGrid(EventGridSource::Pull(pull)) => pull.on_invalid,
            Source::PubSub(pull) => pull.on_invalid,
            Source::Http(_)
            | Source::Aws(_)
            | Source::EventGrid(_)
            | Source::PubSubPush(_)
            | Source::PubSubPublish(_) => return false,
        };
        on_invalid == OnInvalid::Quarantine
    }
}

impl Source {
    /// What it does with an event whose data its schema refuses.
    pub fn validate(&self) -> Validate {
        match self {
            Source::Http(http) => http.validate,
            Source::EventBridge(queue) => queue.validate,
            Source::Aws(AwsSource::PutEvents(put)) => put.validate,
            Source::Aws(AwsSource::ApiDestination(sent)) => sent.validate,
            Source::EventGrid(EventGridSource::Webhook(webhook)) => webhook.validate,
            Source::EventGrid(EventGridSource::Pull(pull)) => pull.validate,
            Source::EventGrid(EventGridSource::Publish(publish)) => publish.validate,
            Source::PubSub(pull) => pull.validate,
            Source::PubSubPush(push) => push.validate,
            Source::PubSubPublish(publish) => publish.validate,
        }
    }
}

/// CloudEvents over HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    /// The path of the URL, e.g. `/events`. Required.
    pub path: String,
    /// The bus that takes them. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// Keys, one of which a sender must show as `Authorization: Bearer KEY`. Default: none is asked for.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    #[serde(default)]
    pub validate: Validate,
}
