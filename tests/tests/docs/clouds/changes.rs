//! Telling events, and what of each became of it, in words.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemas::{Builder, Event, Form};
use serde_json::Value;

use super::ways::Went;

type Go = fn(&Event) -> Went;
type Cell = fn(Go) -> String;

/// What a column is about, and what it says of a way.
pub const COLUMNS: [(&str, Cell); 11] = [
    ("JSON", |go| data(go, &json())),
    ("no object", |go| data(go, &of(Form::Json, b"[1.10]", Some("application/json")))),
    ("text", |go| data(go, &of(Form::Text, "Grüße, <7>".as_bytes(), Some("text/plain; charset=utf-8")))),
    ("bytes", |go| data(go, &of(Form::Binary, &(0..=255).collect::<Vec<u8>>(), Some("application/octet-stream")))),
    ("none", |go| data(go, &plain().build().unwrap())),
    ("identity", |go| attributes(go, &json(), &["id", "source", "type"])),
    ("`time`", |go| with_and_without(go, "time", &with("time", "2026-01-15T06:30:00.123456789+01:00"), &json())),
    ("`datacontenttype`", |go| {
        with_and_without(go, "datacontenttype", &json(), &of(Form::Json, DATA.as_bytes(), None))
    }),
    ("`dataschema`", |go| attributes(go, &with("dataschema", "https://example.com/order.json"), &["dataschema"])),
    ("extensions", extensions),
    ("long", long),
];

/// What no mapping may change: numbers that can be written otherwise, and a letter outside ASCII.
const DATA: &str = r#"{"a":1.10,"b":1e2,"c":"é"}"#;

fn plain<'a>() -> Builder<'a> {
    Event::builder("1", "/shops/7", "coffee.order.created")
}

fn of(form: Form, data: &[u8], kind: Option<&str>) -> Event {
    let event = plain().data(form, data.to_vec());
    let event = match kind {
        Some(kind) => event.attr("datacontenttype", kind).build(),
        None => event.build(),
    };
    event.unwrap()
}

fn json() -> Event {
    of(Form::Json, DATA.as_bytes(), Some("application/json; charset=utf-8"))
}

fn with(name: &str, value: &str) -> Event {
    json().rebuild().attr(name, value).build().unwrap()
}

fn refused(code: &str) -> String {
    format!("refused: `{code}`")
}

fn data(go: Go, before: &Event) -> String {
    let after = match go(before) {
        Ok(after) => after,
        Err(code) => return refused(&code),
    };
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let words = match (before.form(), after.form()) {
        (was, is) if was == is && before.data() == after.data() => "kept",
        (_, Form::Binary) if before.data() == after.data() => "kept, as bytes",
        (_, Form::Json) if equal(value(after.data()).as_ref(), value(before.data()).as_ref()) => "equal as JSON",
        (_, Form::Json) if value(after.data()) == Some(STANDARD.encode(before.data()).into()) => {
            "base64 in a JSON string"
        }
        (Form::Text, Form::Json) if value(after.data()) == Some(String::from_utf8_lossy(before.data()).into()) => {
            "a JSON string"
        }
        (was, is) => panic!("{was:?} became {is:?}: {}", String::from_utf8_lossy(after.data())),
    };
    words.to_owned()
}

/// Whether two are the same JSON, however their numbers are written.
fn equal(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => one.as_f64() == other.as_f64(),
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(Some(one), Some(other)))
        }
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            one.len() == other.len() && one.iter().all(|(name, value)| equal(Some(value), other.get(name)))
        }
        (one, other) => one.is_some() && one == other,
    }
}

/// What became of one attribute.
fn attribute(before: &Event, after: &Event, name: &str) -> String {
    let (was, is) = (before.get(name), after.get(name));
    match (was, is) {
        _ if was == is => "kept".into(),
        (Some(was), Some(is)) if was.to_string() == is.to_string() => "as text".into(),
        (Some(_), Some(is)) => match is.to_string().len() {
            0..=40 => format!("`{is}`"),
            _ => "another".into(),
        },
        (Some(_), None) => "lost".into(),
        (None, Some(_)) => "added".into(),
        (None, None) => "kept".into(),
    }
}

/// The same words once, for several attributes that fare alike.
fn attributes(go: Go, before: &Event, names: &[&str]) -> String {
    let after = match go(before) {
        Ok(after) => after,
        Err(code) => return refused(&code),
    };
    let words: Vec<(String, &str)> = names.iter().map(|name| (attribute(before, &after, name), *name)).collect();
    let changed: Vec<String> =
        words.iter().filter(|(word, _)| word != "kept").map(|(word, name)| format!("`{name}` is {word}")).collect();
    match (changed.is_empty(), names) {
        (true, _) => "kept".into(),
        (false, [_]) => words[0].0.clone(),
        (false, _) => changed.join(", "),
    }
}

fn with_and_without(go: Go, name: &str, with: &Event, without: &Event) -> String {
    let kept = attributes(go, with, &[name]);
    match attributes(go, without, &[name]).as_str() {
        "kept" => kept,
        "added" => format!("{kept}; added where there is none"),
        other => panic!("{name}: {other}"),
    }
}

fn extensions(go: Go) -> String {
    let before = json().rebuild().attr("tenant", "blue").attr("priority", 3).attr("gift", true).build().unwrap();
    let after = match go(&before) {
        Ok(after) => after,
        Err(code) => return refused(&code),
    };
    let of = |name| attribute(&before, &after, name);
    let words = match (of("tenant").as_str(), of("priority").as_str(), of("gift").as_str()) {
        ("kept", "kept", "kept") => "kept".to_owned(),
        ("kept", "as text", "as text") => "kept, as text".into(),
        ("lost", "lost", "lost") => "lost".into(),
        other => panic!("{other:?}"),
    };
    let of_core = ["subject", "time", "datacontenttype", "dataschema"];
    let added =
        after.attrs().map(|(name, _)| name).filter(|name| before.get(name).is_none() && !of_core.contains(name));
    let added: Vec<String> = added.map(|name| format!("`{name}`")).collect();
    if added.is_empty() { words } else { format!("{words}; {} added", added.join(" and ")) }
}

fn long(go: Go) -> String {
    let subject: String = "größe 50% \"x\" 🫘 ".chars().cycle().take(2_000).collect();
    let names: Vec<String> = (0..80).map(|n| format!("extension{n}")).collect();
    let before = json();
    let mut event = before.rebuild().attr("subject", subject.as_str());
    for name in &names {
        event = event.attr(name, "x");
    }
    let event = event.build().unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match (attributes(go, &event, &["subject"]).as_str(), attributes(go, &event, &names).contains("lost")) {
        ("kept", false) => "kept".into(),
        ("kept", true) => "`subject` kept, extensions lost".into(),
        ("lost", true) => "lost".into(),
        (other, _) => other.to_owned(),
    }
}
