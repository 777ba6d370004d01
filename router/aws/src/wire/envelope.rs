//! What EventBridge sends, read as CloudEvents. Pure.
//!
//! | what comes | what it becomes |
//! |---|---|
//! | a CloudEvent: an event of a custom event bus as it was published, or what a rule took out of `detail` | that event |
//! | EventBridge's envelope around a CloudEvent of the same source and type | that event, whole: see [`super::Mapping`] |
//! | EventBridge's envelope around anything else | `id`, `source`, `time`, `detail-type` as `type`, `detail` as data, and `account`, `region`, `resources`, `replayname` where they are there |
//! | `Data` with its metadata, of a custom event bus | what `Data` is by the rows above |
//!
//! An entry of `resources` that says who the event was, as the mapping `data` writes it ([`identity`]), gives it its id
//! and its hops back, where the source is the same.
//!
//! `resources` is a list, which no CloudEvents attribute can be: it is the list's JSON as a string. Data that was sent as
//! base64 and says that it is JSON, or says nothing and is, is JSON again, with the same bytes.

use std::borrow::Cow;

use bytes::Bytes;
use router_core::{hops::HOPS, source::RawEvent};
use schemas::{Event, Form, Invalid, Place, media};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::identity::{self, Original};
use crate::codes;

/// The media type of what comes.
const MEDIA_TYPE: &str = "application/json";

/// What AWS puts around an event.
#[derive(Deserialize)]
struct Envelope<'a> {
    id: Option<String>,
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    time: Option<String>,
    account: Option<String>,
    region: Option<String>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(rename = "replay-name")]
    replay_name: Option<String>,
}

/// What tells the forms apart.
#[derive(Deserialize)]
struct Signs<'a> {
    specversion: Option<serde::de::IgnoredAny>,
    #[serde(rename = "detail-type")]
    detail_type: Option<serde::de::IgnoredAny>,
    #[serde(rename = "Data", borrow)]
    data: Option<&'a RawValue>,
    #[serde(rename = "SystemMetadata")]
    system_metadata: Option<serde::de::IgnoredAny>,
}

/// Reads a message; an envelope without an id of its own gets this one.
pub fn read(message: Bytes, id: &str) -> RawEvent {
    RawEvent { event: event(&message, id), raw: Some(message), content_type: Some(MEDIA_TYPE.into()) }
}

fn event(message: &[u8], id: &str) -> Result<Event, Invalid> {
    let signs: Signs<'_> =
        serde_json::from_slice(message).map_err(|e| no_event(&format!("the message is no JSON object: {e}")))?;
    match signs {
        Signs { specversion: Some(_), .. } => cloud_event(message),
        Signs { detail_type: Some(_), .. } => envelope(message, id),
        Signs { data: Some(data), system_metadata: Some(_), .. } => {
            let data = data.get().as_bytes();
            // Once: what lies deeper is the data of whoever sent it.
            match serde_json::from_slice(data) {
                Ok(Signs { specversion: Some(_), .. }) => cloud_event(data),
                Ok(Signs { detail_type: Some(_), .. }) => envelope(data, id),
                _ => Err(no_event("`Data` is neither a CloudEvent nor an event of EventBridge")),
            }
        }
        _ => Err(no_event("the message is neither a CloudEvent nor an event of EventBridge")),
    }
}

fn no_event(why: &str) -> Invalid {
    let message = format!("{why}; see what the rule or the subscriber in front of the queue sends");
    Invalid::new(codes::NO_EVENT, Place::Event, message)
}

fn cloud_event(json: &[u8]) -> Result<Event, Invalid> {
    let event = schemas::json::decode(json)?;
    let says_json = match event.get("datacontenttype") {
        None => true,
        Some(kind) => media::is_json(&kind.to_string()),
    };
    if event.form() != Form::Binary || !says_json {
        return Ok(event);
    }
    // Bytes that only look so stay bytes.
    let json = event.rebuild().data(Form::Json, event.data_bytes()).build();
    Ok(json.unwrap_or(event))
}

fn envelope(json: &[u8], id: &str) -> Result<Event, Invalid> {
    let invalid = |e: serde_json::Error| no_event(&format!("the envelope of EventBridge cannot be read: {e}"));
    let envelope: Envelope<'_> = serde_json::from_slice(json).map_err(invalid)?;
    classic(&envelope, id)
}

/// The event of an entry of `PutEvents`: what EventBridge would have sent of it.
///
/// # Errors
/// As of [`read`].
pub fn entry(
    id: &str,
    source: &str,
    detail_type: &str,
    time: Option<&str>,
    resources: Option<&RawValue>,
    detail: &RawValue,
) -> Result<Event, Invalid> {
    let (source, detail_type, time) = (source.to_owned(), detail_type.to_owned(), time.map(str::to_owned));
    let (account, region, replay_name) = (None, None, None);
    let detail = Some(detail);
    let envelope = Envelope { id: None, source, detail_type, time, account, region, resources, detail, replay_name };
    classic(&envelope, id)
}

fn classic(envelope: &Envelope<'_>, id: &str) -> Result<Event, Invalid> {
    if let Some(event) = envelope.detail.and_then(|detail| embedded(envelope, detail.get().as_bytes())) {
        return Ok(event);
    }
    let Envelope { id: own, source, detail_type, time, account, region, resources, detail, replay_name } = envelope;
    let (original, resources) = originally(source, *resources);
    let id = original.as_ref().map(|original| original.id.as_str()).or(own.as_deref()).unwrap_or(id);
    let source = as_uri(source);
    let mut event = Event::builder(id, &source, detail_type);
    let more = [
        ("time", time.as_deref()),
        ("account", account.as_deref()),
        ("region", region.as_deref()),
        ("resources", resources.as_deref()),
        ("replayname", replay_name.as_deref()),
        (HOPS, original.as_ref().and_then(|original| original.hops.as_deref())),
    ];
    for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?))) {
        event = event.attr(name, value);
    }
    if let Some(detail) = detail {
        let bytes = Bytes::copy_from_slice(detail.get().as_bytes());
        event = event.attr("datacontenttype", MEDIA_TYPE).data(Form::Json, bytes);
    }
    event.build()
}

/// Who an event was before EventBridge gave it another identity, where its resources say so, and what else they say:
/// the list's JSON, unless it is empty.
fn originally<'a>(source: &str, resources: Option<&'a RawValue>) -> (Option<Original>, Option<Cow<'a, str>>) {
    let text = resources.map(RawValue::get).filter(|list| *list != "[]" && *list != "null");
    let list: Vec<Cow<'_, str>> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let of = |entry: &Cow<'_, str>| identity::original([&**entry]).filter(|original| original.source == source);
    let Some(original) = list.iter().find_map(of) else { return (None, text.map(Cow::Borrowed)) };
    let others: Vec<_> = list.iter().filter(|entry| of(entry).is_none()).collect();
    let others = if others.is_empty() { None } else { serde_json::to_string(&others).ok() };
    (Some(original), others.map(Cow::Owned))
}

/// The CloudEvent in the detail, when it is the one that the envelope was made for.
fn embedded(envelope: &Envelope<'_>, detail: &[u8]) -> Option<Event> {
    let event = cloud_event(detail).ok()?;
    (event.source() == envelope.source && event.kind() == envelope.detail_type).then_some(event)
}

/// EventBridge's sources are any text; a CloudEvent's is a URI reference.
fn as_uri(source: &str) -> Cow<'_, str> {
    if source.bytes().all(|b| b.is_ascii_graphic()) {
        return Cow::Borrowed(source);
    }
    let mut uri = String::with_capacity(source.len() + 16);
    for c in source.chars() {
        if c == ' ' || c.is_control() {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|b| uri.push_str(&format!("%{b:02X}")));
        } else {
            uri.push(c);
        }
    }
    Cow::Owned(uri)
}

#[cfg(test)]
mod tests;
