//! The JSON format of CloudEvents 1.0.2: one event (`application/cloudevents+json`) and a batch
//! (`application/cloudevents-batch+json`). [CE: cloudevents/formats/json-format.md]
//!
//! What an intermediary owes its events is kept: JSON data byte for byte (numbers, escapes, order,
//! repeated members, white space inside), every attribute, and which of `data` and `data_base64` held the
//! data. White space between the envelope's members, their order, and the escapes of its strings are not
//! part of the event.
//!
//! | `datacontenttype` | member | form | written again as |
//! |---|---|---|---|
//! | JSON, or absent | `data`: any JSON | [`Form::Json`], the bytes as they came | the same bytes |
//! | other | `data`: a string | [`Form::Text`], its content | a string |
//! | other | `data`: no string | [`Form::Json`] (3.1.2 would let us refuse it; passing it on loses nothing) | the same bytes |
//! | any | `data_base64` | [`Form::Binary`], decoded | `data_base64` |
//!
//! Limits of [`crate::doc`] hold for each attribute and for the data; the envelope is one level more, so
//! that what fits in one mode fits in every mode.

mod line;

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub use self::line::{decode_line, encode_line_into};
use crate::codes;
use crate::doc::{self, Ignore, Kind, Reader, Span};
use crate::event::{ATTRIBUTES_MAX, Builder, Event, Form, ROUTER_ATTRIBUTES, Value, integer};
use crate::invalid::{Invalid, Place};
use crate::media;

/// The media type of one event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";
/// The media type of a batch.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// Attributes, those of routers among them, and the three other members that an envelope can have.
const ENVELOPE_MEMBERS_MAX: usize = ATTRIBUTES_MAX + ROUTER_ATTRIBUTES.len() + 3;

/// Standard alphabet; written with padding, taken with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads one event.
///
/// # Errors
/// What is wrong, with the attribute or the byte of `json`.
pub fn decode(json: &[u8]) -> Result<Event, Invalid> {
    decode_or(json, None)
}

/// Reads one event, which has this `id` unless it says its own.
///
/// # Errors
/// As [`decode`].
pub fn decode_with_id(json: &[u8], id: &str) -> Result<Event, Invalid> {
    decode_or(json, Some(id))
}

fn decode_or(json: &[u8], id: Option<&str>) -> Result<Event, Invalid> {
    let mut reader = Reader::new(json)?;
    let envelope = Envelope::read(&mut reader)?;
    reader.end()?;
    envelope.event(id)
}

/// Reads a batch of at most `count_max` events. A bad event never stops the others.
///
/// # Errors
/// The outer error, when nothing of the batch can be taken: it is not JSON, not an array, or longer than
/// `count_max`. The inner errors, for events that are JSON and no valid event. Bytes are those of the whole
/// `json` in both.
pub fn decode_batch(json: &[u8], count_max: usize) -> Result<Vec<Result<Event, Invalid>>, Invalid> {
    let events = decode_batch_or(json, count_max, |_| None)?;
    Ok(events.into_iter().map(|(_, event)| event).collect())
}

/// An event of a batch, or why it is none, and where in the batch it stands.
pub type Placed = (Range<usize>, Result<Event, Invalid>);

/// Reads a batch as [`decode_batch`] does; the event of each index has this `id` unless it says its own.
///
/// # Errors
/// As [`decode_batch`].
pub fn decode_batch_with_ids(
    json: &[u8],
    count_max: usize,
    id: impl Fn(usize) -> String,
) -> Result<Vec<Placed>, Invalid> {
    decode_batch_or(json, count_max, |index| Some(id(index)))
}

fn decode_batch_or(
    json: &[u8],
    count_max: usize,
    id: impl Fn(usize) -> Option<String>,
) -> Result<Vec<Placed>, Invalid> {
    let mut reader = Reader::new(json)?;
    if reader.peek() != b'[' {
        let message = "a batch is a JSON array of events; one event alone is sent as application/cloudevents+json";
        return Err(Invalid::new(codes::NOT_AN_ARRAY, Place::Byte(reader.at), message));
    }
    reader.take();
    let mut events = Vec::new();
    if reader.peek() == b']' {
        reader.take();
        return reader.end().map(|()| events);
    }
    loop {
        let start = reader.at;
        if events.len() >= count_max {
            let message = format!("a batch has at most {count_max} events here; send it in parts");
            return Err(Invalid::new(codes::BATCH_TOO_LONG, Place::Byte(start), message));
        }
        let event = match Envelope::read(&mut reader) {
            Ok(envelope) => envelope.event(id(events.len()).as_deref()),
            Err(invalid) if doc::is_limit(&invalid) => {
                reader.at = start;
                reader.skip_refused()?;
                Err(invalid)
            }
            Err(invalid) => return Err(invalid),
        };
        events.push((start..reader.at, event));
        reader.whitespace();
        match reader.peek() {
            b',' => reader.take(),
            b']' => {
                reader.take();
                return reader.end().map(|()| events);
            }
            _ => return Err(reader.unexpected("a comma or ]")),
        }
    }
}

/// The members of an event's object, found but not judged.
struct Envelope<'a> {
    at: usize,
    is_object: bool,
    members: Vec<Member<'a>>,
    members_count: usize,
}

struct Member<'a> {
    name: Cow<'a, str>,
    at: usize,
    value: &'a str,
    span: Span,
}

impl<'a> Envelope<'a> {
    /// Reads any JSON value to its end; an error says that the text cannot be read on from here, or that
    /// a limit was met.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Invalid> {
        let is_object = reader.peek() == b'{';
        let mut envelope = Envelope { at: reader.at, is_object, members: Vec::new(), members_count: 0 };
        if !is_object {
            reader.value(&mut Ignore)?;
            return Ok(envelope);
        }
        envelope.members.reserve(12);
        reader.take();
        if reader.peek() == b'}' {
            reader.at += 1;
            return Ok(envelope);
        }
        loop {
            let name = reader.member_name()?;
            let span = reader.value(&mut Ignore)?;
            envelope.members_count += 1;
            if envelope.members_count <= ENVELOPE_MEMBERS_MAX {
                let text = doc::string_content(reader.slice(&name));
                let text = if name.escaped { Cow::Owned(doc::unescape(text).0) } else { Cow::Borrowed(text) };
                envelope.members.push(Member { name: text, at: name.start, value: reader.slice(&span), span });
            }
            reader.whitespace();
            match reader.peek() {
                b',' => reader.take(),
                b'}' => {
                    reader.at += 1;
                    return Ok(envelope);
                }
                _ => return Err(reader.unexpected("a comma or }")),
            }
        }
    }

    /// The event, which has this id unless it says its own.
    fn event(&self, id: Option<&str>) -> Result<Event, Invalid> {
        if !self.is_object {
            return Err(Invalid::new(codes::NOT_AN_OBJECT, Place::Byte(self.at), "an event is a JSON object"));
        }
        if self.members_count > ENVELOPE_MEMBERS_MAX {
            let message = format!("{} members, at most {ATTRIBUTES_MAX} attributes are taken", self.members_count);
            return Err(Invalid::new(codes::TOO_MANY_ATTRIBUTES, Place::Byte(self.at), message));
        }
        self.refuse_repeated()?;
        self.check_specversion()?;
        let texts = self.members.iter().map(Member::text).collect::<Result<Vec<_>, _>>()?;
        let mut attrs = Vec::with_capacity(texts.len());
        for (member, text) in self.members.iter().zip(&texts) {
            if let Some(text) = text {
                attrs.push((member.name.as_ref(), member.attribute(text)));
            }
        }
        if let Some(id) = id.filter(|_| !attrs.iter().any(|(name, _)| *name == "id")) {
            attrs.push(("id", Value::String(id)));
        }
        let json = attrs
            .iter()
            .find(|(name, _)| *name == "datacontenttype")
            .is_none_or(|(_, value)| matches!(value, Value::String(s) if media::is_json(s)));
        self.add_data(Builder::from_attrs(attrs), json)
    }

    fn get(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|m| m.name == name)
    }

    fn refuse_repeated(&self) -> Result<(), Invalid> {
        for (i, member) in self.members.iter().enumerate() {
            if let Some(first) = self.members.iter().take(i).find(|m| m.name == member.name) {
                let message = format!("the member at byte {} is repeated at byte {}", first.at, member.at);
                return Err(Invalid::new(codes::REPEATED_MEMBER, Place::attribute(&member.name), message));
            }
        }
        Ok(())
    }

    fn check_specversion(&self) -> Result<(), Invalid> {
        let place = || Place::attribute("specversion");
        match self.get("specversion").filter(|m| m.span.kind != Kind::Null) {
            None => Err(Invalid::new(codes::MISSING_ATTRIBUTE, place(), "an event says \"specversion\": \"1.0\"")),
            Some(m) if m.span.kind == Kind::String && m.string() == "1.0" => Ok(()),
            Some(_) => Err(Invalid::new(codes::SPECVERSION, place(), "only the string \"1.0\" is taken")),
        }
    }

    fn add_data(&self, builder: Builder<'_>, json: bool) -> Result<Event, Invalid> {
        // A null `data_base64` is taken as unset: it can be no data, since base64 is a string.
        let base64 = self.get("data_base64").filter(|m| m.span.kind != Kind::Null);
        match (self.get("data"), base64) {
            (None, None) => builder.build_with_valid_data(),
            (Some(data), Some(_)) => {
                let message = "an event has \"data\" or \"data_base64\", not both";
                Err(Invalid::new(codes::BOTH_DATA_MEMBERS, Place::Byte(data.at), message))
            }
            (None, Some(member)) => {
                let invalid = |what: &str| Invalid::new(codes::DATA_NOT_BASE64, Place::Byte(member.span.start), what);
                if member.span.kind != Kind::String {
                    return Err(invalid("\"data_base64\" is a string"));
                }
                let bytes = BASE64
                    .decode(member.string().as_bytes())
                    .map_err(|e| invalid(&format!("\"data_base64\" is not base64: {e}")))?;
                builder.data_slice(Form::Binary, &bytes).build_with_valid_data()
            }
            (Some(member), None) if json || member.span.kind != Kind::String => {
                builder.data_slice(Form::Json, member.value.as_bytes()).build_with_valid_data()
            }
            (Some(member), None) => {
                builder.data_slice(Form::Text, member.unicode()?.as_bytes()).build_with_valid_data()
            }
        }
    }
}

impl Member<'_> {
    /// The text of a set attribute's value; `None` for what is none.
    fn text(&self) -> Result<Option<Cow<'_, str>>, Invalid> {
        if matches!(self.name.as_ref(), "specversion" | "data" | "data_base64") {
            return Ok(None);
        }
        match self.span.kind {
            // Also names that are not allowed: an unset attribute is not there.
            Kind::Null => Ok(None),
            Kind::String => self.unicode().map(Some),
            _ => Ok(Some(Cow::Borrowed(self.value))),
        }
    }

    fn attribute<'t>(&self, text: &'t str) -> Value<'t> {
        match self.span.kind {
            Kind::String => Value::String(text),
            Kind::Bool => Value::Boolean(text == "true"),
            _ => integer(text).map_or(Value::Json(text), Value::Integer),
        }
    }

    fn string(&self) -> Cow<'_, str> {
        let content = doc::string_content(self.value);
        if self.span.escaped { Cow::Owned(doc::unescape(content).0) } else { Cow::Borrowed(content) }
    }

    /// The content of a string that must be text, which half a surrogate pair is not.
    fn unicode(&self) -> Result<Cow<'_, str>, Invalid> {
        let content = doc::string_content(self.value);
        if !self.span.escaped {
            return Ok(Cow::Borrowed(content));
        }
        match doc::unescape(content) {
            (text, false) => Ok(Cow::Owned(text)),
            (_, true) => {
                let message = format!("the string of {} has half of a surrogate pair in it", self.name.escape_debug());
                Err(Invalid::new(codes::LONE_SURROGATE, Place::Byte(self.span.start), message))
            }
        }
    }
}

/// Writes one event.
pub fn encode(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(event, &mut out);
    out
}

/// Appends one event to `out`.
pub fn encode_into(event: &Event, out: &mut Vec<u8>) {
    let media_type = push_attrs(out, event);
    push_data(out, event, media_type.is_none_or(media::is_json));
    out.push(b'}');
}

/// Writes the beginning of an event's object, all its attributes; says what its data is declared as.
fn push_attrs<'e>(out: &mut Vec<u8>, event: &'e Event) -> Option<&'e str> {
    out.reserve(bytes_about(event));
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    let mut media_type = None;
    for (name, value) in event.attrs() {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Value::String(s) => push_string(out, s),
            Value::Boolean(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
            Value::Integer(i) => out.extend_from_slice(i.to_string().as_bytes()),
            Value::Json(json) => out.extend_from_slice(json.as_bytes()),
        }
        if let ("datacontenttype", Value::String(s)) = (name, value) {
            media_type = Some(s);
        }
    }
    media_type
}

/// About as many bytes as an event takes in JSON; room for so many saves copies of what is written before it.
pub fn bytes_about(event: &Event) -> usize {
    event.body().len() + 128
}

/// Writes a batch.
pub fn encode_batch<'a>(events: impl IntoIterator<Item = &'a Event, IntoIter: Clone>) -> Vec<u8> {
    let events = events.into_iter();
    let mut out = Vec::with_capacity(events.clone().map(bytes_about).sum::<usize>() + 2);
    out.push(b'[');
    for (i, event) in events.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        encode_into(event, &mut out);
    }
    out.push(b']');
    out
}

/// Writes data so that reading it gives the same bytes.
fn push_data(out: &mut Vec<u8>, event: &Event, json: bool) {
    let data = event.data();
    let quoted = || data.trim_ascii_start().starts_with(b"\"");
    let as_text = match event.form() {
        Form::None => return,
        // A string under another type than JSON is read as text: this JSON string is that text.
        Form::Json => !json && quoted(),
        // Text under a JSON type (or none) would be read as a JSON string: its bytes go as bytes.
        Form::Text => !json,
        Form::Binary => false,
    };
    match (event.form(), as_text.then(|| std::str::from_utf8(data).ok()).flatten()) {
        (_, Some(text)) => {
            out.extend_from_slice(br#","data":"#);
            push_string(out, text);
        }
        (Form::Json, None) => {
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(data);
        }
        _ => push_base64(out, data),
    }
}

fn push_base64(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(br#","data_base64":""#);
    out.extend_from_slice(BASE64.encode(data).as_bytes());
    out.push(b'"');
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, behind) = rest.split_at_checked(doc::plain_bytes(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((special, behind)) = behind.split_first() else { break };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = behind;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
