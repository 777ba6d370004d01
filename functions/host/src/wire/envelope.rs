//! The clouds' own envelopes, read into CloudEvents. A CloudEvent that an envelope carries whole comes out
//! as it was put in; else the envelope itself becomes the event:
//!
//! | envelope | id | source | type | time | data | others |
//! |---|---|---|---|---|---|---|
//! | EventBridge | `id` | `source` | `detail-type` | `time` | `detail` | `account`, `region`, `resources` (JSON), `replayname` |
//! | Event Grid schema | `id` | `topic` | `eventType` | `eventTime` | `data` | `subject`, `dataversion` |
//! | Pub/Sub message | `messageId` | `//pubsub.googleapis.com/TOPIC` | `google.cloud.pubsub.topic.v1.messagePublished` | `publishTime` | `{"message":…,"subscription":…}` | |
//!
//! Data bytes are those of the envelope, digit for digit.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use schemas::{
    Event, Form, Value,
    doc::{Doc, Item, Kind},
};

use crate::{
    function::Failure,
    wire::{BATCH_EVENTS_MAX, not_json},
};

/// Levels of JSON inside strings that are unpacked: what the Azure host does to a string, once more than it
/// is known to do it.
#[cfg(feature = "azure")]
const STRING_LEVELS_MAX: usize = 3;

/// The text of a member that is a string.
pub(crate) fn text<'a>(item: &Item<'a>, name: &str) -> Option<Cow<'a, str>> {
    item.get(name)?.as_str()
}

/// Reads JSON that is a CloudEvent, an EventBridge event, an Event Grid event, or an array of these.
///
/// # Errors
/// A refusal with the place.
pub fn events(json: &[u8]) -> Result<Vec<Event>, Failure> {
    let doc = Doc::parse(json).map_err(|e| not_json("the payload is not JSON", &e))?;
    let root = doc.root();
    if root.kind() != Kind::Array {
        return Ok(vec![event(&root)?]);
    }
    if root.elements().count() > BATCH_EVENTS_MAX {
        let message = format!("the payload has more than {BATCH_EVENTS_MAX} events; send them in parts");
        return Err(Failure::refuse("batch-too-long", message));
    }
    let in_batch = |(index, item): (usize, Item<'_>)| {
        let failed = |f: Failure| Failure { message: format!("event {index}: {}", f.message).into(), ..f };
        event(&item).map_err(failed)
    };
    root.elements().enumerate().map(in_batch).collect()
}

/// Reads one event from a JSON object in any of the forms, by its members.
fn event(item: &Item<'_>) -> Result<Event, Failure> {
    let has = |name: &str| item.get(name).is_some();
    if has("specversion") {
        return Ok(schemas::json::decode(item.raw().as_bytes())?);
    }
    if has("detail-type") && has("detail") {
        return eventbridge(item);
    }
    if has("eventType") && has("eventTime") {
        return event_grid(item);
    }
    let message = "the payload is no event: it has neither `specversion` (CloudEvents), `detail-type` (EventBridge) \
                   nor `eventType` (Event Grid)";
    Err(Failure::refuse("payload-unknown", message))
}

fn required<'a>(item: &Item<'a>, envelope: &str, name: &str) -> Result<Cow<'a, str>, Failure> {
    let missing =
        || Failure::refuse("payload-invalid", format!("{envelope}: member {name} is no string, or not there"));
    text(item, name).ok_or_else(missing)
}

/// Reads an EventBridge event.
fn eventbridge(item: &Item<'_>) -> Result<Event, Failure> {
    let detail = item.get("detail").filter(|d| d.kind() == Kind::Object);
    let detail = detail.ok_or_else(|| Failure::refuse("payload-invalid", "EventBridge: member detail is no object"))?;
    // A bridge that keeps CloudEvents whole puts them there.
    if ["specversion", "id", "source", "type"].iter().all(|name| detail.get(name).is_some()) {
        return Ok(schemas::json::decode(detail.raw().as_bytes())?);
    }
    let [id, source, kind] = [
        required(item, "EventBridge", "id")?,
        required(item, "EventBridge", "source")?,
        required(item, "EventBridge", "detail-type")?,
    ];
    let [time, account, region, replay] = ["time", "account", "region", "replay-name"].map(|name| text(item, name));
    let mut builder = Event::builder(&id, &source, &kind).attr("datacontenttype", "application/json");
    let named = [("time", &time), ("account", &account), ("region", &region), ("replayname", &replay)];
    for (name, value) in named {
        if let Some(value) = value {
            builder = builder.attr(name, &**value);
        }
    }
    let resources = item.get("resources").filter(|r| r.elements().next().is_some());
    if let Some(resources) = &resources {
        builder = builder.attr("resources", Value::Json(resources.raw()));
    }
    Ok(builder.data(Form::Json, detail.raw().to_owned()).build()?)
}

/// Reads an event in the Event Grid schema.
fn event_grid(item: &Item<'_>) -> Result<Event, Failure> {
    let of = |name: &str| required(item, "Event Grid", name);
    let [id, topic, kind, time] = [of("id")?, of("topic")?, of("eventType")?, of("eventTime")?];
    let [subject, version] = ["subject", "dataVersion"].map(|name| text(item, name).filter(|value| !value.is_empty()));
    let mut builder = Event::builder(&id, &topic, &kind).attr("time", &*time);
    if let Some(subject) = &subject {
        builder = builder.attr("subject", &**subject);
    }
    if let Some(version) = &version {
        builder = builder.attr("dataversion", &**version);
    }
    Ok(match item.get("data") {
        Some(data) => {
            builder.attr("datacontenttype", "application/json").data(Form::Json, data.raw().to_owned()).build()?
        }
        None => builder.build()?,
    })
}

/// Reads a Pub/Sub message: a CloudEvent in its attributes (binary mode) or its data (structured), else the
/// message itself, `whole` being the data of that event.
///
/// # Errors
/// A refusal with the place.
pub fn pubsub(message: &Item<'_>, topic: Option<&str>, whole: &str) -> Result<Vec<Event>, Failure> {
    let data = match text(message, "data") {
        Some(encoded) => STANDARD
            .decode(encoded.as_bytes())
            .map_err(|e| Failure::refuse("payload-invalid", format!("Pub/Sub: message.data is not base64: {e}")))?,
        None => Vec::new(),
    };
    let mut headers = HeaderMap::new();
    if let Some(attributes) = message.get("attributes") {
        for (name, value) in attributes.members() {
            let name_lower = name.to_ascii_lowercase();
            if !(name_lower.starts_with("ce-") || name_lower == "content-type") {
                continue;
            }
            let invalid = || Failure::refuse("payload-invalid", format!("Pub/Sub: attribute {name} is no text"));
            let header = HeaderName::try_from(&name_lower).map_err(|_| invalid())?;
            let value = value.as_str().ok_or_else(invalid)?;
            let value = match header == CONTENT_TYPE {
                true => HeaderValue::from_str(&value).ok(),
                false => attribute_value(&value),
            };
            headers.insert(header, value.ok_or_else(invalid)?);
        }
    }
    if super::is_cloudevent(&headers) {
        return super::events(&headers, &data.into());
    }
    let (id, time) = (either(message, "messageId", "message_id"), either(message, "publishTime", "publish_time"));
    let id = id.ok_or_else(|| Failure::refuse("payload-invalid", "Pub/Sub: message has no messageId"))?;
    let source = format!("//pubsub.googleapis.com/{}", topic.unwrap_or("UNKNOWN_PUBSUB_TOPIC"));
    let mut builder = Event::builder(&id, &source, "google.cloud.pubsub.topic.v1.messagePublished");
    if let Some(time) = &time {
        builder = builder.attr("time", &**time);
    }
    Ok(vec![builder.attr("datacontenttype", "application/json").data(Form::Json, whole.to_owned()).build()?])
}

/// A Pub/Sub attribute is the value itself; a header is percent-encoded. [CE: pubsub-protocol-binding.md]
fn attribute_value(value: &str) -> Option<HeaderValue> {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b' ' | b'"' | b'%' | 0x7F.. | 0..0x20 => encoded.push_str(&format!("%{byte:02X}")),
            other => encoded.push(char::from(other)),
        }
    }
    HeaderValue::from_str(&encoded).ok()
}

fn either<'a>(item: &Item<'a>, camel: &str, snake: &str) -> Option<Cow<'a, str>> {
    text(item, camel).or_else(|| text(item, snake))
}

/// Unpacks JSON that came inside of a JSON string, as often as it was packed, as it is or in base64.
#[cfg(feature = "azure")]
pub(crate) fn unpacked(item: &Item<'_>) -> Vec<u8> {
    let mut json = item.raw().as_bytes().to_vec();
    for _ in 0..STRING_LEVELS_MAX {
        let Some(inner) = Doc::parse(&json).ok().and_then(|doc| doc.root().as_str().map(Cow::into_owned)) else {
            break;
        };
        // Only what is JSON again is unpacked further: a plain text stays one.
        json = match Doc::parse(inner.as_bytes()) {
            Ok(_) => inner.into_bytes(),
            Err(_) => match STANDARD.decode(inner.as_bytes()) {
                Ok(bytes) if Doc::parse(&bytes).is_ok() => bytes,
                _ => break,
            },
        };
    }
    json
}

/// Builds the headers of a request that came inside of JSON.
///
/// # Errors
/// A header that HTTP cannot carry.
#[cfg(any(feature = "azure", feature = "lambda"))]
pub(crate) fn headers<'a>(pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let invalid = || Failure::refuse("payload-invalid", format!("header {name}: is no header of HTTP"));
        let header = HeaderName::try_from(&*name).map_err(|_| invalid())?;
        headers.append(header, HeaderValue::from_str(&value).map_err(|_| invalid())?);
    }
    Ok(headers)
}

/// The events of an HTTP request that came inside of JSON.
#[cfg(any(feature = "azure", feature = "lambda"))]
pub(crate) fn http_events(headers: &HeaderMap, body: bytes::Bytes) -> Result<Vec<Event>, Failure> {
    if super::is_cloudevent(headers) {
        return super::events(headers, &body);
    }
    if headers.get(CONTENT_TYPE).is_none() && body.is_empty() {
        return Err(Failure::refuse("payload-unknown", "the request has no body and no ce- headers: it is no event"));
    }
    events(&body)
}
