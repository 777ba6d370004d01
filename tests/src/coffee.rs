//! Events as the world writes and reads them: its own encoder and decoder of CloudEvents over HTTP, so that
//! a mistake in the router's codec is not made twice, and fingerprints to compare both ends by.
//!
//! Wire facts: CloudEvents 1.0.2, `bindings/http-protocol-binding.md` and `formats/json-format.md`.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use siphasher::sip::SipHasher13;

/// The identity of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// `source`.
    pub source: Arc<str>,
    /// `id`.
    pub id: Arc<str>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.id)
    }
}

/// What must be the same at both ends: the attributes that are not the router's own, and the data bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Hash of all attributes, by name.
    pub attrs: u64,
    /// Hash of the data bytes.
    pub data: u64,
}

impl Fingerprint {
    /// Takes the fingerprint of an event, `specversion` left out.
    pub fn of<'a>(attrs: impl IntoIterator<Item = (&'a str, &'a str)>, data: &[u8]) -> Self {
        let mut attrs: BTreeMap<&str, &str> = attrs.into_iter().filter(|(name, _)| !added_by_router(name)).collect();
        // A JSON event without it means this, and says so in the other modes.
        attrs.entry("datacontenttype").or_insert("application/json");
        let mut text = Vec::new();
        for (name, value) in attrs {
            text.extend_from_slice(name.as_bytes());
            text.push(0);
            text.extend_from_slice(value.as_bytes());
            text.push(0);
        }
        Fingerprint { attrs: hash(&text), data: hash(data) }
    }
}

fn added_by_router(name: &str) -> bool {
    name == "specversion" || name.starts_with("gocoffee") || name.starts_with("cause")
}

/// A hash that is the same in every process.
pub fn hash(bytes: &[u8]) -> u64 {
    SipHasher13::new().hash(bytes)
}

/// How an event is put into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Attributes as headers, data as body.
    Binary,
    /// One JSON document.
    Structured,
    /// A JSON array of them.
    Batched,
}

/// An event that the world publishes, with the fields that the tests' own filters look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coffee {
    /// Its identity.
    pub key: Key,
    /// `type`.
    pub kind: Arc<str>,
    /// All other attributes, as text.
    pub attrs: Vec<(&'static str, String)>,
    /// The data, a JSON text.
    pub data: Bytes,
    /// `data.total`, in cents.
    pub total: u64,
    /// `data.shop`.
    pub shop: u64,
}

/// The types of [`coffee`], in the order in which they take turns.
pub const KINDS: [&str; 5] =
    ["coffee.order.created", "coffee.order.updated", "ai.task.created", "defi.price.update", "inventory.low"];

/// The `n`th event of a series: the same for the same arguments; types take turns.
pub fn coffee(series: &str, n: u64) -> Coffee {
    let kind = KINDS[(n % KINDS.len() as u64) as usize];
    let (total, shop) = (n * 37 % 2_000, n % 12);
    // Bytes that a router which parses and prints again would change: spaces, order, escapes, 1.50.
    let data = format!(
        r#"{{"shop":{shop}, "total":{total},"note":"caf\u00e9 ☕ {n}","weight":1.50,"items":[{{"z":1,"a":null}}]}}"#
    );
    let attrs = vec![
        ("subject", format!("orders/{n} größe 50%")),
        ("time", "2026-01-15T06:30:00.120+01:00".to_owned()),
        ("datacontenttype", "application/json; charset=utf-8".to_owned()),
        ("partitionkey", format!("shop-{shop}")),
        ("priority", (n % 5).to_string()),
    ];
    Coffee {
        key: Key { source: format!("/shops/{shop}").into(), id: format!("{series}-{n}").into() },
        kind: kind.into(),
        attrs,
        data: data.into(),
        total,
        shop,
    }
}

impl Coffee {
    /// What must arrive.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.all_attrs(), &self.data)
    }

    fn all_attrs(&self) -> impl Iterator<Item = (&str, &str)> {
        let first = [("id", &*self.key.id), ("source", &*self.key.source), ("type", &*self.kind)];
        first.into_iter().chain(self.attrs.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// The binary form.
    pub fn binary(&self) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
        for (name, value) in self.all_attrs() {
            let (name, value) = match name {
                "datacontenttype" => (CONTENT_TYPE, value.to_owned()),
                _ => (format!("ce-{name}").parse().expect("an attribute's name"), percent_encode(value)),
            };
            headers.insert(name, HeaderValue::from_str(&value).expect("a header's value"));
        }
        (headers, self.data.clone())
    }

    /// The JSON form; the data bytes stand in it as they are.
    pub fn structured(&self) -> String {
        let mut text = String::from(r#"{"specversion":"1.0""#);
        for (name, value) in self.all_attrs() {
            let value = if name == "priority" { value.to_owned() } else { json!(value).to_string() };
            text += &format!(r#","{name}":{value}"#);
        }
        text + &format!(r#","data":{}}}"#, std::str::from_utf8(&self.data).expect("JSON is text"))
    }
}

/// Headers and body of one request.
pub fn request(mode: Mode, events: &[Coffee]) -> (HeaderMap, Bytes) {
    let typed = |content_type: &'static str, body: String| {
        (HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]), Bytes::from(body))
    };
    match mode {
        Mode::Binary => events[0].binary(),
        Mode::Structured => typed("application/cloudevents+json; charset=utf-8", events[0].structured()),
        Mode::Batched => {
            let all: Vec<String> = events.iter().map(Coffee::structured).collect();
            typed("application/cloudevents-batch+json", format!("[{}]", all.join(",")))
        }
    }
}

/// Percent-encodes a header's value: space, `"`, `%` and all outside U+0021–7E.
fn percent_encode(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            0x21..=0x7E if byte != b'"' && byte != b'%' => text.push(byte as char),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

fn percent_decode(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (hex, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// An event as a sink reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its identity.
    pub key: Key,
    /// `type`.
    pub kind: String,
    /// What it looks like.
    pub print: Fingerprint,
}

/// Reads a delivery in binary or structured mode.
///
/// # Errors
/// Why it is no event.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Arrived, String> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (attrs, data) = match content_type.starts_with("application/cloudevents") {
        true => read_structured(body)?,
        false => (read_headers(headers, content_type)?, body.to_vec()),
    };
    arrived(&attrs, &data)
}

/// Reads a request in any mode: one event, or those of a batch.
///
/// # Errors
/// Why it holds no events.
pub fn read_all(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Arrived>, String> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/cloudevents-batch") {
        return Ok(vec![read(headers, body)?]);
    }
    let events: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    events.iter().map(|event| read_json(event.get().as_bytes())).collect()
}

/// Reads an event's JSON form.
///
/// # Errors
/// Why it is no event.
pub fn read_json(text: &[u8]) -> Result<Arrived, String> {
    let (attrs, data) = read_structured(text)?;
    arrived(&attrs, &data)
}

fn arrived(attrs: &BTreeMap<String, String>, data: &[u8]) -> Result<Arrived, String> {
    let get = |name: &str| attrs.get(name).cloned().ok_or(format!("the event has no {name}"));
    if get("specversion")? != "1.0" {
        return Err("specversion is not 1.0".into());
    }
    let key = Key { source: get("source")?.into(), id: get("id")?.into() };
    let print = Fingerprint::of(attrs.iter().map(|(n, v)| (n.as_str(), v.as_str())), data);
    Ok(Arrived { key, kind: get("type")?, print })
}

fn read_headers(headers: &HeaderMap, content_type: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attrs = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let value = percent_decode(value.as_bytes()).ok_or(format!("header ce-{name} is not encoded as it must be"))?;
        if attrs.insert(name.to_owned(), value).is_some() {
            return Err(format!("header ce-{name} is there twice"));
        }
    }
    if !content_type.is_empty() {
        attrs.insert("datacontenttype".into(), content_type.into());
    }
    Ok(attrs)
}

fn read_structured(body: &[u8]) -> Result<(BTreeMap<String, String>, Vec<u8>), String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let (mut attrs, mut data) = (BTreeMap::new(), Vec::new());
    for (name, raw) in &members {
        let value: Value = serde_json::from_str(raw.get()).map_err(|e| e.to_string())?;
        match (name.as_str(), value) {
            ("data", _) => data = raw.get().as_bytes().to_vec(),
            ("data_base64", Value::String(text)) => {
                data = base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| e.to_string())?;
            }
            (_, Value::Null) => {}
            (name, Value::String(text)) => drop(attrs.insert(name.to_owned(), text)),
            (name, other) => drop(attrs.insert(name.to_owned(), other.to_string())),
        }
    }
    // Data that is not JSON is a JSON string with the text.
    let json = attrs.get("datacontenttype").is_none_or(|t: &String| t.contains("json"));
    if let (false, Some(raw)) = (json, members.get("data")) {
        data = serde_json::from_str::<String>(raw.get()).map_err(|e| e.to_string())?.into_bytes();
    }
    Ok((attrs, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_modes_are_read_as_the_event_that_was_written() {
        for n in 0..10 {
            let event = coffee("a", n);
            for mode in [Mode::Binary, Mode::Structured] {
                let (headers, body) = request(mode, std::slice::from_ref(&event));
                let arrived = read(&headers, &body).unwrap();
                assert_eq!((&arrived.key, &*arrived.kind), (&event.key, &*event.kind), "{mode:?}");
                assert_eq!(arrived.print, event.fingerprint(), "{mode:?}");
            }
        }
    }

    #[test]
    fn a_changed_byte_or_attribute_changes_the_fingerprint() {
        let event = coffee("a", 1);
        let mut changed = event.clone();
        changed.data = Bytes::from(event.data.iter().map(|b| if *b == b'5' { b'6' } else { *b }).collect::<Vec<u8>>());
        assert_ne!(changed.fingerprint().data, event.fingerprint().data);
        let mut changed = event.clone();
        changed.attrs[0].1.push('!');
        assert_ne!(changed.fingerprint().attrs, event.fingerprint().attrs);
        let mut added = event.clone();
        added.attrs.push(("gocoffeehops", "x".into()));
        assert_eq!(added.fingerprint(), event.fingerprint(), "the router's own attributes do not count");
    }
}
