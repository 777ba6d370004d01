//! The HTTP binding of CloudEvents 1.0.2: which mode a message is in, and the binary mode.
//! [CE: cloudevents/bindings/http-protocol-binding.md]
//!
//! In binary mode each attribute is a header `ce-NAME`, percent-encoded, `datacontenttype` is
//! `Content-Type`, and the body is the data. What binary mode cannot say is changed on the way, and that is
//! all: extensions that were booleans, integers or JSON arrive as strings, and empty data as no data.
//! [`needs_structured`] names the events that would arrive as something else.
//!
//! | body | `Content-Type` | form |
//! |---|---|---|
//! | empty | any | [`Form::None`] |
//! | JSON | `*/json`, `*/*+json`, in UTF-8 | [`Form::Json`], the bytes as they came |
//! | UTF-8 | `text/*`, `*/xml`, `*/*+xml`, in UTF-8 | [`Form::Text`] |
//! | any other | any other, or none | [`Form::Binary`] |

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::codes;
use crate::doc;
use crate::event::{Builder, Event, Form, Value, in_data, is_allowed};
use crate::invalid::{Code, Invalid, Place};
use crate::json;
use crate::media;

/// How an HTTP message carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One event: attributes in headers, data in the body.
    Binary,
    /// One event: all in the body.
    Structured,
    /// An array of events in the body.
    Batch,
}

/// The mode of a message with this `Content-Type`.
pub fn mode(content_type: Option<&str>) -> Mode {
    let content_type = content_type.unwrap_or_default().trim_start();
    let starts_with =
        |prefix: &str| content_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    // The order matters: one prefix holds the other.
    if starts_with("application/cloudevents-batch") {
        Mode::Batch
    } else if starts_with("application/cloudevents") {
        Mode::Structured
    } else {
        Mode::Binary
    }
}

/// Whether a structured or batched message is in the JSON format, the one format that is read here; any
/// other (Avro, Protobuf, XML) is for the caller to refuse, over HTTP with 415.
pub fn is_json_format(content_type: &str) -> bool {
    let essence = media::essence(content_type);
    [json::MEDIA_TYPE, json::BATCH_MEDIA_TYPE, "application/cloudevents", "application/cloudevents-batch"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

/// Reads an event in binary mode.
///
/// # Errors
/// What is wrong, with the header, or the data.
pub fn decode_binary(headers: &HeaderMap, body: Bytes) -> Result<Event, Invalid> {
    decode_binary_or(headers, body, None)
}

/// Reads an event in binary mode, which has this `id` unless it says its own.
///
/// # Errors
/// As [`decode_binary`].
pub fn decode_binary_with_id(headers: &HeaderMap, body: Bytes, id: &str) -> Result<Event, Invalid> {
    decode_binary_or(headers, body, Some(id))
}

fn decode_binary_or(headers: &HeaderMap, body: Bytes, id: Option<&str>) -> Result<Event, Invalid> {
    let media_type = content_type(headers)?;
    let values = ce_headers(headers)?;
    check_specversion(&values)?;
    let mut attrs: Vec<(&str, Value<'_>)> = Vec::with_capacity(values.len() + 1);
    for (name, value) in &values {
        if *name == "datacontenttype" {
            let message = "Content-Type says it; a ce-datacontenttype must not be there as well";
            return Err(Invalid::new(codes::RESERVED_NAME, Place::header("ce-datacontenttype"), message));
        }
        if *name != "specversion" {
            attrs.push((name, Value::String(value)));
        }
    }
    attrs.extend(media_type.map(|m| ("datacontenttype", Value::String(m))));
    if let Some(id) = id.filter(|_| !attrs.iter().any(|(name, _)| *name == "id")) {
        attrs.push(("id", Value::String(id)));
    }
    let form = form(media_type, &body)?;
    Builder::from_attrs(attrs).data_slice(form, &body).build_with_valid_data().map_err(at_header)
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    let invalid = |code, message: &str| Invalid::new(code, Place::header("content-type"), message);
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(invalid(codes::REPEATED_HEADER, "the header is there twice"));
    }
    let text =
        std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(codes::HEADER_VALUE, "the header is not UTF-8"))?;
    Ok(Some(text.trim()).filter(|t| !t.is_empty()))
}

/// All `ce-` headers: attribute name and decoded value.
fn ce_headers(headers: &HeaderMap) -> Result<Vec<(&str, Cow<'_, str>)>, Invalid> {
    let mut found = Vec::with_capacity(headers.keys_len().min(16));
    for header in headers.keys() {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        let mut values = headers.get_all(header).iter();
        let first = values.next().map(HeaderValue::as_bytes).unwrap_or_default();
        if values.next().is_some() {
            let message = "the header is there more than once; an attribute has one value";
            return Err(Invalid::new(codes::REPEATED_HEADER, Place::header(header.as_str()), message));
        }
        let value = decode_value(first)
            .map_err(|(code, message)| Invalid::new(code, Place::header(header.as_str()), message))?;
        found.push((name, value));
    }
    Ok(found)
}

fn check_specversion(values: &[(&str, Cow<'_, str>)]) -> Result<(), Invalid> {
    let invalid = |code, message: &str| Invalid::new(code, Place::header("ce-specversion"), message);
    match values.iter().find(|(name, _)| *name == "specversion") {
        Some((_, value)) if value == "1.0" => Ok(()),
        Some(_) => Err(invalid(codes::SPECVERSION, "only 1.0 is taken")),
        None => Err(invalid(
            codes::MISSING_ATTRIBUTE,
            "an event in binary mode has this header; one in JSON has the Content-Type application/cloudevents+json",
        )),
    }
}

fn form(media_type: Option<&str>, body: &[u8]) -> Result<Form, Invalid> {
    let Some(media_type) = media_type else {
        return Ok(if body.is_empty() { Form::None } else { Form::Binary });
    };
    // Another charset than UTF-8 is no JSON that could be read, and still data that can be carried.
    let utf8 = media::is_utf8(media_type);
    if body.is_empty() {
        Ok(Form::None)
    } else if utf8 && media::is_json(media_type) {
        doc::validate(body).map_err(in_data)?;
        Ok(Form::Json)
    } else if utf8 && media::is_text(media_type) && std::str::from_utf8(body).is_ok() {
        Ok(Form::Text)
    } else {
        Ok(Form::Binary)
    }
}

/// The place of an attribute, as the sender of a binary message knows it.
fn at_header(mut invalid: Invalid) -> Invalid {
    if let Place::Attribute(name) = &invalid.place {
        invalid.place = match name.as_ref() {
            "datacontenttype" => Place::header("content-type"),
            name => Place::Header(format!("ce-{name}").into()),
        };
    }
    invalid
}

/// Header value to attribute value: first the quotes of RFC 7230, 3.2.6, then one round of
/// percent-decoding. [CE: http-protocol-binding.md, 3.1.3.2]
fn decode_value(value: &[u8]) -> Result<Cow<'_, str>, (Code, &'static str)> {
    let not_utf8 = |_| (codes::HEADER_VALUE, "what the header says is not UTF-8");
    if !value.iter().any(|b| matches!(b, b'"' | b'%')) {
        return std::str::from_utf8(value).map(Cow::Borrowed).map_err(not_utf8);
    }
    let unquoted = unquote(value).ok_or((codes::HEADER_QUOTES, "a double quote is not closed; write it as %22"))?;
    let decoded = percent_decode(&unquoted).ok_or((
        codes::PERCENT_ENCODING,
        "behind % there are not two hexadecimal digits; write a percent sign as %25",
    ))?;
    String::from_utf8(decoded).map(Cow::Owned).map_err(|e| not_utf8(e.utf8_error()))
}

fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut quoted = false;
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => out.push(*bytes.next()?),
            other => out.push(*other),
        }
    }
    (!quoted).then_some(out)
}

fn percent_decode(value: &[u8]) -> Option<Vec<u8>> {
    let hex = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => *other,
        });
    }
    Some(out)
}

/// Writes an event in binary mode: its headers and its body.
pub fn encode_binary(event: &Event) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(16);
    let body = encode_binary_into(event, &mut headers);
    (headers, body)
}

/// Writes an event in binary mode: sets its headers in `headers`, in place of any of the same names, and
/// gives the body, which shares the event's buffer.
pub fn encode_binary_into(event: &Event, headers: &mut HeaderMap) -> Bytes {
    headers.insert(const { HeaderName::from_static("ce-specversion") }, const { HeaderValue::from_static("1.0") });
    let mut media_type = None;
    for (name, value) in event.attrs() {
        if name == "datacontenttype" {
            media_type = Some(value);
            continue;
        }
        let text = match value {
            Value::String(s) => Cow::Borrowed(s),
            Value::Json(json) => json_as_string(json),
            other => Cow::Owned(other.to_string()),
        };
        // Neither can fail: names are [a-z0-9]+ and values are now within U+0021 to U+007E.
        if let (Ok(header), Ok(value)) = (header_name(name), HeaderValue::from_str(&encode_value(&text))) {
            headers.insert(header, value);
        }
    }
    match media_type {
        // An attribute has no control characters, so this cannot fail either.
        Some(value) => {
            if let Ok(value) = HeaderValue::from_bytes(value.to_string().as_bytes()) {
                headers.insert(CONTENT_TYPE, value);
            }
        }
        // What the JSON format implies is said aloud in another. [CE: json-format.md, 3.1.2]
        None if event.form() == Form::Json => {
            headers.insert(CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
        }
        None => {
            headers.remove(CONTENT_TYPE);
        }
    }
    event.data_bytes()
}

fn header_name(attribute: &str) -> Result<HeaderName, http::header::InvalidHeaderName> {
    Ok(match attribute {
        "id" => const { HeaderName::from_static("ce-id") },
        "source" => const { HeaderName::from_static("ce-source") },
        "type" => const { HeaderName::from_static("ce-type") },
        "subject" => const { HeaderName::from_static("ce-subject") },
        "time" => const { HeaderName::from_static("ce-time") },
        "dataschema" => const { HeaderName::from_static("ce-dataschema") },
        other => HeaderName::try_from(format!("ce-{other}"))?,
    })
}

/// A JSON text as a String of CloudEvents, which has no control characters nor noncharacters: between
/// values they are white space and become spaces, within strings they are written as escapes.
fn json_as_string(json: &str) -> Cow<'_, str> {
    if json.chars().all(is_allowed) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            '\t' | '\n' | '\r' => out.push(' '),
            c if is_allowed(c) => out.push(c),
            c => out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    Cow::Owned(out)
}

/// Attribute value to header value. [CE: http-protocol-binding.md, 3.1.3.2]
fn encode_value(text: &str) -> Cow<'_, str> {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let as_it_is = |b: u8| matches!(b, 0x21..=0x7E if b != b'"' && b != b'%');
    if text.bytes().all(as_it_is) {
        return Cow::Borrowed(text);
    }
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if as_it_is(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    Cow::Owned(out)
}

/// Whether binary mode would say something else than this event does, so that a target should get it in
/// structured mode: its `datacontenttype` is one that the binding reads as a mode, is none that a header
/// can hold, or names another charset than the text is in.
pub fn needs_structured(event: &Event) -> bool {
    let Some(Value::String(media_type)) = event.get("datacontenttype") else { return false };
    mode(Some(media_type)) != Mode::Binary
        || media_type.trim() != media_type
        || (matches!(event.form(), Form::Json | Form::Text) && !media::is_utf8(media_type))
}

#[cfg(test)]
mod tests;
