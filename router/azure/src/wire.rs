//! Event Grid writes events in two forms: CloudEvents, which pass unchanged, and a schema of its own, an object of
//! eight members in a list [MicrosoftDocs/azure-docs, articles/event-grid/event-schema.md]. This is the mapping both
//! ways.
//!
//! | Event Grid's | CloudEvents | |
//! |---|---|---|
//! | `id` | `id` | |
//! | `topic` | `source` | spaces as `%20`; on the way out it is the service that sets it |
//! | `subject` | `subject` | empty: not there |
//! | `eventType` | `type` | |
//! | `eventTime` | `time` | |
//! | `data` | data | the JSON text byte for byte |
//! | `dataVersion` | extension `dataversion` | empty: not there |
//! | `metadataVersion` | a fact beside the event | it tells of the other members, and is always 1 |
//! | any other | extension of that name in small letters | |
//!
//! What a CloudEvent loses on its way into the schema is the list [`losses`].

use std::borrow::Cow;

use base64::Engine;
use bytes::Bytes;
use router_core::clock::Timestamp;
use schemas::{
    Code, Event, Form, Invalid, Place, Value, codes,
    doc::{Doc, Item, Kind},
};
use serde_json::value::RawValue;

/// Which form events are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schema {
    /// CloudEvents 1.0, as JSON.
    #[default]
    CloudEvents,
    /// Event Grid's own.
    EventGrid,
}

impl Schema {
    /// The media type of a list.
    pub const fn media_type(self) -> &'static str {
        match self {
            Schema::CloudEvents => "application/cloudevents-batch+json; charset=utf-8",
            Schema::EventGrid => "application/json; charset=utf-8",
        }
    }
}

/// Something of an event that does not arrive as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The attribute, or `data`, or `extensions`.
    pub member: &'static str,
    /// What becomes of it.
    pub what: &'static str,
}

/// What an event loses in Event Grid's own schema.
const LOSSES: [Loss; 7] = [
    Loss { member: "source", what: "is not sent: subscribers find the topic's resource id in its place" },
    Loss { member: "subject", what: "is the event's `source` where the event has none, since the schema asks for one" },
    Loss { member: "time", what: "is the time at which the event was appended where the event has none" },
    Loss { member: "datacontenttype", what: "is not sent: the schema knows JSON alone" },
    Loss { member: "dataschema", what: "is not sent" },
    Loss { member: "data", what: "is a JSON string where it is text, and one of base64 where it is bytes" },
    Loss { member: "extensions", what: "are not sent but for `dataversion`, those against loops among them" },
];

/// What an event loses where it is written like this; nothing as CloudEvents.
pub fn losses(schema: Schema) -> &'static [Loss] {
    match schema {
        Schema::CloudEvents => &[],
        Schema::EventGrid => &LOSSES,
    }
}

/// Writes events as the list that Event Grid takes. `topic` is what a domain asks for, and no custom topic.
pub fn encode<'e>(
    schema: Schema,
    topic: Option<&str>,
    events: impl IntoIterator<Item = (&'e Event, Timestamp), IntoIter: Clone>,
) -> Vec<u8> {
    let events = events.into_iter();
    let bytes: usize = events.clone().map(|(event, _)| schemas::json::bytes_about(event)).sum();
    let mut out = Vec::with_capacity(bytes + 2);
    out.push(b'[');
    for (index, (event, appended)) in events.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match schema {
            Schema::CloudEvents => schemas::json::encode_into(event, &mut out),
            Schema::EventGrid => encode_event_grid(event, appended, topic, &mut out),
        }
    }
    out.push(b']');
    out
}

/// Appends one event in Event Grid's own schema.
fn encode_event_grid(event: &Event, appended: Timestamp, topic: Option<&str>, out: &mut Vec<u8>) {
    let text = |name: &str| match event.get(name) {
        Some(Value::String(text)) => Some(Cow::Borrowed(text)),
        other => other.map(|value| Cow::Owned(value.to_string())),
    };
    out.extend_from_slice(b"{\"id\":");
    push_string(out, event.id());
    if let Some(topic) = topic {
        out.extend_from_slice(b",\"topic\":");
        push_string(out, topic);
    }
    let members = [
        ("subject", text("subject").unwrap_or(Cow::Borrowed(event.source()))),
        ("eventType", Cow::Borrowed(event.kind())),
        ("eventTime", text("time").unwrap_or_else(|| Cow::Owned(rfc3339(appended)))),
        ("dataVersion", text("dataversion").unwrap_or_default()),
    ];
    for (name, value) in members {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        push_string(out, &value);
    }
    push_data(event, out);
    out.push(b'}');
}

fn push_data(event: &Event, out: &mut Vec<u8>) {
    if event.form() == Form::None {
        return;
    }
    out.extend_from_slice(b",\"data\":");
    match (event.form(), std::str::from_utf8(event.data())) {
        (Form::Json, _) => out.extend_from_slice(event.data()),
        (Form::Text, Ok(text)) => push_string(out, text),
        _ => push_string(out, &base64::engine::general_purpose::STANDARD.encode(event.data())),
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing text into memory cannot fail; an empty string would still be JSON.
    match serde_json::to_string(text) {
        Ok(quoted) => out.extend_from_slice(quoted.as_bytes()),
        Err(_) => out.extend_from_slice(b"\"\""),
    }
}

/// A time as Event Grid writes it.
fn rfc3339(at: Timestamp) -> String {
    let time = i64::try_from(at.0).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// The objects of a list, or the one object that stands alone; each as its own JSON text.
///
/// # Errors
/// What is no JSON, or a list that is too long.
pub fn split(body: &[u8], count_max: usize) -> Result<Vec<&str>, Invalid> {
    let invalid = |code: Code, place: Place, message: String| Invalid::new(code, place, message);
    let syntax = |at: usize, why: String| invalid(codes::JSON_SYNTAX, Place::Byte(at), why);
    let text = std::str::from_utf8(body).map_err(|e| syntax(e.valid_up_to(), "JSON is UTF-8".into()))?;
    let text = text.trim_ascii();
    if !text.starts_with('[') {
        return Ok(vec![text]);
    }
    let events: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|e| syntax(0, format!("the list cannot be read: {e}")))?;
    if events.len() > count_max {
        let message =
            format!("{} events in a list, at most {count_max} are taken here; send it in parts", events.len());
        return Err(invalid(codes::BATCH_TOO_LONG, Place::Event, message));
    }
    Ok(events.into_iter().map(RawValue::get).collect())
}

/// Reads one event, in whichever of the two forms it is; `topic` is the source of an event in Event Grid's schema
/// that names none.
///
/// # Errors
/// What is wrong with it, and where.
pub fn decode(json: &str, topic: Option<&str>) -> Result<Event, Invalid> {
    let doc = Doc::parse(json.as_bytes())?;
    if doc.root().members().any(|(name, _)| name == "specversion") {
        return schemas::json::decode(json.as_bytes());
    }
    read_event_grid(doc.root(), topic)
}

/// Reads one event in Event Grid's own schema.
///
/// # Errors
/// What is wrong with it, and where.
pub fn decode_event_grid(json: &str, topic: Option<&str>) -> Result<Event, Invalid> {
    let doc = Doc::parse(json.as_bytes())?;
    read_event_grid(doc.root(), topic)
}

/// The members of an event in Event Grid's schema, each once.
struct Members<'a>(Vec<(Cow<'a, str>, Item<'a>)>);

impl<'a> Members<'a> {
    fn new(root: Item<'a>) -> Result<Self, Invalid> {
        if root.kind() != Kind::Object {
            return Err(Invalid::new(
                codes::NOT_AN_OBJECT,
                Place::Byte(root.span().start),
                "an event is a JSON object",
            ));
        }
        let members: Vec<_> = root.members().collect();
        for (index, (name, item)) in members.iter().enumerate() {
            if members.iter().take(index).any(|(earlier, _)| earlier == name) {
                let message = format!("the member is repeated at byte {}", item.span().start);
                return Err(Invalid::new(codes::REPEATED_MEMBER, Place::attribute(name), message));
            }
        }
        Ok(Members(members))
    }

    fn get(&self, name: &str) -> Option<Item<'a>> {
        self.0.iter().find(|(n, item)| n == name && !item.is_null()).map(|(_, item)| *item)
    }

    /// A member that is text; an empty one is as good as none, which is how Event Grid fills them.
    fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Invalid> {
        let Some(item) = self.get(name) else { return Ok(None) };
        let wrong = || Invalid::new(codes::ATTRIBUTE_TYPE, Place::attribute(name), "this member is a string");
        Ok(Some(item.as_str().ok_or_else(wrong)?).filter(|text| !text.is_empty()))
    }

    fn required(&self, name: &str) -> Result<Cow<'a, str>, Invalid> {
        let message = "every event in Event Grid's schema has this member";
        self.text(name)?.ok_or_else(|| Invalid::new(codes::MISSING_ATTRIBUTE, Place::attribute(name), message))
    }
}

/// Members with a place of their own.
const KNOWN: [&str; 8] = ["id", "topic", "subject", "eventType", "eventTime", "data", "dataVersion", "metadataVersion"];

fn read_event_grid(root: Item<'_>, topic: Option<&str>) -> Result<Event, Invalid> {
    let members = Members::new(root)?;
    let (id, kind) = (members.required("id")?, members.required("eventType")?);
    let named = members.text("topic")?;
    let Some(source) = named.as_deref().or(topic) else {
        let message = "events of a topic name it, since it is their source";
        return Err(Invalid::new(codes::MISSING_ATTRIBUTE, Place::attribute("topic"), message));
    };
    let source = source.replace(' ', "%20");
    let optional = [
        ("subject", members.text("subject")?),
        ("time", members.text("eventTime")?),
        ("dataversion", members.text("dataVersion")?),
    ];
    let metadata = members.text("metadataVersion")?;
    let others: Vec<(String, Item<'_>)> = members
        .0
        .iter()
        .filter(|(name, item)| !KNOWN.contains(&&**name) && !item.is_null())
        .map(|(name, item)| (name.to_ascii_lowercase(), *item))
        .collect();
    let others: Vec<(&str, Other<'_>)> = others.iter().map(|(name, item)| (name.as_str(), Other::of(*item))).collect();
    let mut event = Event::builder(&id, &source, &kind);
    for (name, value) in optional.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))) {
        event = event.attr(name, value);
    }
    for (name, value) in &others {
        event = event.attr(name, value.value());
    }
    if let Some(version) = &metadata {
        event = event.fact("metadataVersion", version);
    }
    // A `data` that is null is one: CloudEvents tells it from none, and so does Event Grid.
    if let Some((_, data)) = members.0.iter().find(|(name, _)| name == "data") {
        event = event.data(Form::Json, Bytes::copy_from_slice(data.raw().as_bytes()));
    }
    event.build()
}

/// The value of a member that is none of the eight.
enum Other<'a> {
    Text(Cow<'a, str>),
    Plain(Value<'a>),
}

impl<'a> Other<'a> {
    fn of(item: Item<'a>) -> Self {
        match (item.as_str(), item.as_bool(), item.raw().parse::<i32>()) {
            (Some(text), ..) => Other::Text(text),
            (_, Some(truth), _) => Other::Plain(Value::Boolean(truth)),
            (_, _, Ok(number)) if item.raw() != "-0" => Other::Plain(Value::Integer(number)),
            _ => Other::Plain(Value::Json(item.raw())),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Other::Text(text) => Value::String(text),
            Other::Plain(value) => *value,
        }
    }
}

#[cfg(test)]
mod tests;
