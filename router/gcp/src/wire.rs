//! Events as messages of Pub/Sub, and messages as events, by Google's protocol binding for CloudEvents
//! [googleapis/google-cloudevents, docs/spec/pubsub.md]. Pure.
//!
//! | mode | attributes of the message | data of the message |
//! |---|---|---|
//! | binary | `ce-NAME` for each attribute, as it is and not percent-encoded; `content-type` | the data, byte for byte |
//! | structured | `content-type: application/cloudevents+json` | the whole event as JSON |
//!
//! Binary is the default. Pub/Sub takes at most [`ATTRIBUTES_MAX`] attributes of [`KEY_BYTES_MAX`] and
//! [`VALUE_BYTES_MAX`] bytes, so that an event with a longer attribute goes structured by itself, and so does one whose
//! attributes are more than texts. The ordering key of a message is the event's `partitionkey`.
//!
//! A message that is no CloudEvent becomes one: `google.cloud.pubsub.topic.v1.messagePublished`, as Google's own
//! functions see it, or an event whose type is the value of one of its attributes.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use schemas::{Event, Form, Invalid, Place, Value, http::Mode as HttpMode, media};
use serde_json::json;

use crate::codes;

/// Attributes of one message [cloud.google.com/pubsub/quotas].
pub const ATTRIBUTES_MAX: usize = 100;
/// Bytes of an attribute's key.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes of an attribute's value.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Bytes of an ordering key.
pub const ORDERING_KEY_BYTES_MAX: usize = 1024;
/// Messages of one request.
pub const COUNT_MAX: usize = 1000;
/// Bytes of one request, and of one message.
pub const BYTES_MAX: usize = 10_000_000;
/// What a request has beside its messages' texts: the topic, tags and lengths of a message and of its attributes.
const MESSAGE_BYTES: usize = 64;
const ATTRIBUTE_BYTES: usize = 16;
/// Attributes that a delivery has beside those of its event.
const OF_DELIVERY: usize = 3;

/// The attribute of a message that names the format of its data.
pub const CONTENT_TYPE: &str = "content-type";
/// The attribute of an event that is a message's ordering key.
pub const PARTITION_KEY: &str = "partitionkey";
/// The type of an event that was a message without one.
pub const MESSAGE_PUBLISHED: &str = "google.cloud.pubsub.topic.v1.messagePublished";

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Attributes as attributes, the data as it is.
    #[default]
    Binary,
    /// The whole event as JSON.
    Structured,
}

/// A message, as publishers and subscribers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Any bytes.
    pub data: Bytes,
    /// Texts by their keys.
    pub attributes: BTreeMap<String, String>,
    /// What keeps its order among those with the same key; empty: nothing does.
    pub ordering_key: String,
}

impl Message {
    /// Its bytes in a request, a little more than they are.
    pub fn bytes(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(k, v)| k.len() + v.len() + ATTRIBUTE_BYTES).sum();
        MESSAGE_BYTES + self.data.len() + self.ordering_key.len() + attributes
    }
}

/// An event as a message.
pub fn encode(event: &Event, mode: Mode) -> Message {
    let message = match mode {
        Mode::Binary if !needs_structured(event) => binary(event),
        Mode::Binary | Mode::Structured => structured(event),
    };
    let key = event.get(PARTITION_KEY).map(|key| text(key).into_owned()).unwrap_or_default();
    Message { ordering_key: key, ..message }
}

fn binary(event: &Event) -> Message {
    let mut attributes = BTreeMap::from([("ce-specversion".to_owned(), "1.0".to_owned())]);
    for (name, value) in event.attrs() {
        let key = if name == "datacontenttype" { CONTENT_TYPE.to_owned() } else { ["ce-", name].concat() };
        attributes.insert(key, text(value).into_owned());
    }
    if event.form() == Form::Json {
        attributes.entry(CONTENT_TYPE.to_owned()).or_insert_with(|| "application/json".to_owned());
    }
    Message { data: event.data_bytes(), attributes, ordering_key: String::new() }
}

fn structured(event: &Event) -> Message {
    let attributes =
        BTreeMap::from([(CONTENT_TYPE.to_owned(), format!("{}; charset=utf-8", schemas::json::MEDIA_TYPE))]);
    Message { data: schemas::json::encode(event).into(), attributes, ordering_key: String::new() }
}

/// Whether attributes of a message cannot hold those of the event.
fn needs_structured(event: &Event) -> bool {
    let long = |(name, value): (&str, Value<'_>)| {
        name.len() + "ce-".len() > KEY_BYTES_MAX
            || text(value).len() > VALUE_BYTES_MAX
            || matches!(value, Value::Json(_))
    };
    // `specversion` and `content-type` come in addition.
    event.attrs().count() + 2 + OF_DELIVERY > ATTRIBUTES_MAX
        || event.attrs().any(long)
        || schemas::http::needs_structured(event)
}

fn text(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// How a message came, and what becomes of one that is no CloudEvent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Came<'c> {
    /// Pub/Sub's id of it.
    pub message_id: &'c str,
    /// When it was published, as Pub/Sub writes it.
    pub publish_time: &'c str,
    /// The subscription that it came through: `projects/P/subscriptions/S`.
    pub subscription: &'c str,
    /// How often Pub/Sub has tried, where it counts.
    pub delivery_attempt: Option<i64>,
    /// The source of a plain message's event, e.g. `//pubsub.googleapis.com/projects/P/topics/T`.
    pub plain_source: &'c str,
    /// The attribute that holds a plain message's type; `None`: it is [`MESSAGE_PUBLISHED`].
    pub type_attribute: Option<&'c str>,
}

/// A message as an event, with how it came as facts beside it.
///
/// # Errors
/// What makes it none, with its place: an attribute of the message is a header.
pub fn decode(message: &Message, came: &Came<'_>) -> Result<Event, Invalid> {
    let event = match schemas::http::mode(message.attributes.get(CONTENT_TYPE).map(String::as_str)) {
        HttpMode::Batch => {
            let why = "Pub/Sub carries one event in a message; publish each event of the batch as a message of its own";
            return Err(Invalid::new(codes::MESSAGE_FORMAT, Place::header(CONTENT_TYPE), why));
        }
        HttpMode::Structured => from_structured(message)?,
        HttpMode::Binary if message.attributes.contains_key("ce-specversion") => from_binary(message)?,
        HttpMode::Binary => match came.type_attribute.and_then(|name| message.attributes.get(name)) {
            Some(kind) => of_type(message, came, kind)?,
            None => published(message, came)?,
        },
    };
    with_facts(&event, message, came)
}

fn from_structured(message: &Message) -> Result<Event, Invalid> {
    let format = message.attributes.get(CONTENT_TYPE).map(String::as_str).unwrap_or_default();
    if !schemas::http::is_json_format(format) {
        let why = format!("the event is written as `{format}`; of the formats of CloudEvents JSON alone is read");
        return Err(Invalid::new(codes::MESSAGE_FORMAT, Place::header(CONTENT_TYPE), why));
    }
    schemas::json::decode(&message.data)
}

fn from_binary(message: &Message) -> Result<Event, Invalid> {
    let get = |name: &str| message.attributes.get(name).map(String::as_str);
    if get("ce-specversion") != Some("1.0") {
        let at = Place::header("ce-specversion");
        return Err(Invalid::new(schemas::codes::SPECVERSION, at, "only 1.0 is taken"));
    }
    let required = |name: &str| {
        let missing =
            || Invalid::new(schemas::codes::MISSING_ATTRIBUTE, Place::header(name), "every event has this attribute");
        get(name).ok_or_else(missing)
    };
    let (id, source, kind) = (required("ce-id")?, required("ce-source")?, required("ce-type")?);
    let mut event = Event::builder(id, source, kind);
    for (key, value) in &message.attributes {
        match key.strip_prefix("ce-") {
            None | Some("specversion" | "id" | "source" | "type") => {}
            Some("datacontenttype") => {
                let why = "the attribute `content-type` says it; a `ce-datacontenttype` must not be there as well";
                return Err(Invalid::new(schemas::codes::RESERVED_NAME, Place::header(key), why));
            }
            Some(name) => event = event.attr(name, value.as_str()),
        }
    }
    let content_type = get(CONTENT_TYPE).map(str::trim).filter(|media_type| !media_type.is_empty());
    if let Some(media_type) = content_type {
        event = event.attr("datacontenttype", media_type);
    }
    event.data(form(content_type, &message.data), message.data.clone()).build()
}

/// What the data of a message in binary mode is, as over HTTP.
fn form(content_type: Option<&str>, data: &[u8]) -> Form {
    let Some(media_type) = content_type else {
        return if data.is_empty() { Form::None } else { Form::Binary };
    };
    let utf8 = media::is_utf8(media_type);
    if data.is_empty() {
        Form::None
    } else if utf8 && media::is_json(media_type) {
        Form::Json
    } else if utf8 && media::is_text(media_type) && std::str::from_utf8(data).is_ok() {
        Form::Text
    } else {
        Form::Binary
    }
}

/// A plain message, as Google's functions get it.
fn published(message: &Message, came: &Came<'_>) -> Result<Event, Invalid> {
    let mut inner = serde_json::Map::new();
    inner.insert("data".into(), STANDARD.encode(&message.data).into());
    if !message.attributes.is_empty() {
        inner.insert("attributes".into(), json!(message.attributes));
    }
    inner.insert("messageId".into(), came.message_id.into());
    inner.insert("publishTime".into(), came.publish_time.into());
    if !message.ordering_key.is_empty() {
        inner.insert("orderingKey".into(), message.ordering_key.as_str().into());
    }
    let mut data = json!({ "message": inner });
    // What was published straight to us came through none.
    if !came.subscription.is_empty()
        && let Some(members) = data.as_object_mut()
    {
        members.insert("subscription".into(), came.subscription.into());
    }
    let data = data.to_string();
    let event = Event::builder(came.message_id, came.plain_source, MESSAGE_PUBLISHED);
    let event = if came.publish_time.is_empty() { event } else { event.attr("time", came.publish_time) };
    event.attr("datacontenttype", "application/json").data(Form::Json, data).build()
}

/// A plain message whose type one of its attributes says; its other attributes are the event's where their names can be.
fn of_type(message: &Message, came: &Came<'_>, kind: &str) -> Result<Event, Invalid> {
    let mut event = Event::builder(came.message_id, came.plain_source, kind);
    if !came.publish_time.is_empty() {
        event = event.attr("time", came.publish_time);
    }
    let given =
        message.attributes.get(CONTENT_TYPE).map(|media_type| media_type.trim()).filter(|text| !text.is_empty());
    let json = !message.data.is_empty() && schemas::doc::validate(&message.data).is_ok();
    let content_type = given.or(json.then_some("application/json"));
    if let Some(media_type) = content_type {
        event = event.attr("datacontenttype", media_type);
    }
    for (key, value) in &message.attributes {
        if came.type_attribute != Some(key.as_str()) && is_extension(key) {
            event = event.attr(key, value.as_str());
        }
    }
    event.data(form(content_type, &message.data), message.data.clone()).build()
}

/// Whether a name can be an extension's, and is not one that CloudEvents has given a meaning.
fn is_extension(name: &str) -> bool {
    const KNOWN: [&str; 9] =
        ["specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"];
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) && !name.is_empty() && !KNOWN.contains(&name)
}

/// Beside the event, shown and never delivered: how it came. An ordering key is the event's `partitionkey`, unless it
/// has one.
fn with_facts(event: &Event, message: &Message, came: &Came<'_>) -> Result<Event, Invalid> {
    let attempt = came.delivery_attempt.map(|attempt| attempt.to_string()).unwrap_or_default();
    let facts = [
        ("pubsub-message-id", came.message_id),
        ("pubsub-publish-time", came.publish_time),
        ("pubsub-subscription", came.subscription),
        ("pubsub-delivery-attempt", attempt.as_str()),
        ("pubsub-ordering-key", message.ordering_key.as_str()),
    ];
    let key = Some(message.ordering_key.as_str()).filter(|key| !key.is_empty() && event.get(PARTITION_KEY).is_none());
    if key.is_none() && facts.iter().all(|(_, value)| value.is_empty()) {
        return Ok(event.clone());
    }
    let mut event = event.rebuild();
    if let Some(key) = key {
        event = event.attr(PARTITION_KEY, key);
    }
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        event = event.fact(name, value);
    }
    event.build()
}

#[cfg(test)]
mod tests;
