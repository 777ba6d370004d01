//! Goal: an event that goes through any chain of codecs arrives as itself, and says to the CloudEvents SDK
//! what it says to us.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails, in its helpers too")]

use std::fmt::Write as _;

use ::http::HeaderMap;
use bytes::Bytes;
use cloudevents::{AttributesReader, Data, EventBuilder, EventBuilderV10};
use proptest::prelude::*;
use schemas::{Event, Form, Value, doc, http, json};

/// An owned attribute value, so that proptest can make one.
#[derive(Clone, Debug)]
enum Owned {
    String(String),
    Boolean(bool),
    Integer(i32),
    Json(String),
}

impl Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Owned::String(s) => Value::String(s),
            Owned::Boolean(b) => Value::Boolean(*b),
            Owned::Integer(i) => Value::Integer(*i),
            Owned::Json(j) => Value::Json(j),
        }
    }
}

/// Text that an attribute may have: all of Unicode but controls and noncharacters.
fn text() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![' ', '"', '%', '\\', 'é', '€', '😀', '\u{7e}', '\u{fffd}', '/']);
    let any = any::<char>().prop_filter("a String of CloudEvents", |c| {
        !c.is_control() && (*c as u32) & 0xFFFE != 0xFFFE && !(0xFDD0..=0xFDEF).contains(&(*c as u32))
    });
    prop::collection::vec(prop_oneof![any, special, prop::char::range('!', '~')], 1..20)
        .prop_map(|chars| chars.into_iter().collect())
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        Just(r#""\ud800\u0041\/""#.to_owned()),
    ];
    json_of(leaf)
}

/// JSON that serde_json can read: no half surrogate pairs.
fn extension_json() -> impl Strategy<Value = String> {
    json_of(prop_oneof![
        Just("null".to_owned()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ])
}

fn json_of(leaf: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", " ", "\n\t"]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let name = prop::sample::select(vec!["\"a\"", "\"b\"", r#""\u0061""#, "\"\""]);
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), space.clone())
                .prop_map(|(items, s)| format!("[{s}{}{s}]", items.join(&format!("{s},")))),
            (prop::collection::vec((name, inner), 0..5), space.clone()).prop_map(|(members, s)| {
                let members: Vec<_> = members.iter().map(|(n, v)| format!("{n}{s}:{s}{v}")).collect();
                format!("{{{}{s}}}", members.join(","))
            }),
        ]
    })
}

fn extension() -> impl Strategy<Value = Owned> {
    prop_oneof![
        4 => text().prop_map(Owned::String),
        1 => any::<bool>().prop_map(Owned::Boolean),
        1 => any::<i32>().prop_map(Owned::Integer),
        1 => extension_json()
            .prop_filter("kinds of their own", |j| j.starts_with(['{', '[']) || j.contains('.'))
            .prop_filter("no string", |j| !j.starts_with('"'))
            .prop_map(Owned::Json),
    ]
}

/// The media type, and data that is said to be of it.
fn typed_data() -> impl Strategy<Value = (Option<&'static str>, Form, Vec<u8>)> {
    let json = prop::sample::select(vec![None, Some("application/json"), Some("Application/Coffee+JSON; v=1")]);
    let text = prop::sample::select(vec![Some("text/plain"), Some("application/xml; charset=utf-8")]);
    let other = prop::sample::select(vec![None, Some("image/png"), Some("application/json"), Some("text/plain")]);
    prop_oneof![
        other.clone().prop_map(|m| (m, Form::None, Vec::new())),
        (json, json_text()).prop_map(|(m, j)| (m, Form::Json, j.into_bytes())),
        (text, any::<String>()).prop_map(|(m, t)| (m, Form::Text, t.into_bytes())),
        (other, prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(m, b)| (m, Form::Binary, b)),
    ]
}

prop_compose! {
    fn event()(
        id in text(),
        source in text().prop_map(|s| s.replace(' ', "-")),
        kind in text(),
        subject in prop::option::of(text()),
        extensions in prop::collection::btree_map("x[a-z0-9]{0,20}", extension(), 0..6),
        (media_type, form, data) in typed_data(),
    ) -> Event {
        let mut builder = Event::builder(&id, &source, &kind).data(form, data);
        for (name, value) in [("subject", subject.as_deref()), ("datacontenttype", media_type)] {
            builder = value.into_iter().fold(builder, |b, v| b.attr(name, v));
        }
        extensions.iter().fold(builder, |b, (name, value)| b.attr(name, value.value())).build().unwrap()
    }
}

/// Attributes as strings, as binary mode has them, in one order. JSON values by what they say: in a
/// header their white space and some characters are written otherwise.
fn strings(event: &Event) -> Vec<(String, String)> {
    let string = |v: Value<'_>| {
        let text = v.to_string();
        if text.starts_with(['{', '[']) { serde_json::from_str(&text).map_or(text, said_by_json) } else { text }
    };
    let mut all: Vec<_> = event.attrs().map(|(n, v)| (n.to_owned(), string(v))).collect();
    all.sort();
    all
}

fn said_by_json(value: serde_json::Value) -> String {
    value.to_string()
}

/// [`strings`], with the media type that the JSON format implies.
fn strings_in_another_mode(event: &Event) -> Vec<(String, String)> {
    let mut all = strings(event);
    if event.form() == Form::Json && event.get("datacontenttype").is_none() {
        all.push(("datacontenttype".into(), "application/json".into()));
        all.sort();
    }
    all
}

/// Whether binary mode can carry it: bytes that are said to be JSON and are not are refused there.
fn is_what_it_says(event: &Event) -> bool {
    let media_type = event.get("datacontenttype").map(|v| v.to_string());
    let says_json = media_type.is_some_and(|m| schemas::media::is_json(&m));
    !says_json || event.data().is_empty() || doc::validate(event.data()).is_ok()
}

fn through_binary(event: &Event) -> Event {
    let (headers, body) = http::encode_binary(event);
    http::decode_binary(&headers, body).unwrap()
}

proptest! {
    #[test]
    fn structured_event_arrives_equal(event in event()) {
        let arrived = json::decode(&json::encode(&event)).unwrap();
        prop_assert_eq!(&arrived, &event);
        prop_assert_eq!(Event::from_body(event.body().clone()).unwrap(), arrived);
    }

    #[test]
    fn batched_events_arrive_equal(events in prop::collection::vec(event(), 0..5)) {
        let arrived = json::decode_batch(&json::encode_batch(&events), 5).unwrap();
        prop_assert_eq!(arrived.into_iter().map(Result::unwrap).collect::<Vec<_>>(), events);
    }

    #[test]
    fn binary_event_arrives_with_its_strings_and_bytes(event in event().prop_filter("declared", is_what_it_says)) {
        prop_assert!(!http::needs_structured(&event));
        let arrived = through_binary(&event);
        prop_assert_eq!(strings(&arrived), strings_in_another_mode(&event));
        prop_assert_eq!(arrived.data(), event.data());
        prop_assert_eq!(strings(&through_binary(&arrived)), strings(&arrived));
    }

    #[test]
    fn event_through_all_modes_keeps_its_strings_and_bytes(event in event().prop_filter("declared", is_what_it_says)) {
        let structured = json::decode(&json::encode(&event)).unwrap();
        let binary = through_binary(&structured);
        let arrived = json::decode(&json::encode(&binary)).unwrap();
        prop_assert_eq!(strings(&arrived), strings_in_another_mode(&event));
        prop_assert_eq!(arrived.data(), event.data());
    }

    #[test]
    fn our_json_is_json_to_others(event in event()) {
        let ours = json::encode(&event);
        prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&ours).is_ok());
        prop_assert!(doc::validate(&ours).is_ok());
    }

    #[test]
    fn sdk_reads_what_we_write(event in event().prop_filter("sdk", sdk_can_carry)) {
        let theirs: cloudevents::Event = serde_json::from_slice(&json::encode(&event)).unwrap();
        prop_assert_eq!(said_by(&theirs), said_by_ours(&event));
    }

    #[test]
    fn we_read_what_the_sdk_writes(event in event().prop_filter("sdk", sdk_can_carry)) {
        let theirs: cloudevents::Event = serde_json::from_slice(&json::encode(&event)).unwrap();
        let ours = json::decode(&serde_json::to_vec(&theirs).unwrap()).unwrap();
        prop_assert_eq!(said_by_ours(&ours), said_by(&theirs));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(json::decode(&bytes).is_err());
        let events = json::decode_batch(&bytes, 10).unwrap_or_default();
        prop_assert!(events.iter().all(Result::is_err));
        if let Err(refused) = Event::from_body(bytes.clone().into()) {
            prop_assert!(!refused.to_string().is_empty());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in [("ce-specversion", b"1.0".as_slice()), ("ce-id", &bytes), ("ce-source", b"/s"), ("ce-type", b"t")] {
            if let Ok(value) = ::http::HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        }
        if let Ok(event) = http::decode_binary(&headers, Bytes::from(bytes)) {
            prop_assert_eq!(through_binary(&event), event);
        }
    }

    #[test]
    fn damaged_event_never_panics(event in event(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut damaged = json::encode(&event);
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if let Ok(read) = json::decode(&damaged) {
            prop_assert_eq!(json::decode(&json::encode(&read)).unwrap(), read);
        }
    }
}

/// What the SDK holds unchanged: extensions of its three types, and JSON data that survives
/// serde_json: at most 128 levels, no half surrogate pairs, numbers that it writes as they came. It counts `+json` as JSON in lower case and without parameters only.
fn sdk_can_carry(event: &Event) -> bool {
    let plain = event
        .attrs()
        .all(|(n, v)| !matches!(v, Value::Json(_)) && (n != "datacontenttype" || !v.to_string().contains("; v=")));
    let json = || serde_json::from_slice::<serde_json::Value>(event.data());
    plain
        && (event.form() != Form::Json
            || json().is_ok_and(|v| serde_json::from_value(v.clone()).is_ok_and(|w: serde_json::Value| v == w)))
}

/// One line per attribute, then the data; JSON by its value, since the SDK writes it anew.
fn said_by_ours(event: &Event) -> String {
    let attrs = strings(event);
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).map(|v| format!("json {v}"));
    let media_type = event.get("datacontenttype").map_or("application/json".into(), |v| v.to_string());
    let data = match event.form() {
        Form::None => String::new(),
        Form::Json => json(event.data()).unwrap(),
        Form::Text => format!("text {:?}", event.data()),
        // The SDK takes base64 under a JSON type for the JSON in it.
        Form::Binary if schemas::media::is_json(&media_type) => {
            json(event.data()).unwrap_or_else(|_| format!("bytes {:?}", event.data()))
        }
        Form::Binary => format!("bytes {:?}", event.data()),
    };
    format!("{attrs:?} {data}")
}

fn said_by(event: &cloudevents::Event) -> String {
    let mut attrs: Vec<_> =
        event.iter().map(|(n, v)| (n.to_owned(), v.to_string())).filter(|(n, _)| n != "specversion").collect();
    attrs.sort();
    let mut out = format!("{attrs:?} ");
    match event.data() {
        None => Ok(()),
        Some(Data::Json(value)) => write!(out, "json {value}"),
        Some(Data::String(text)) => write!(out, "text {:?}", text.as_bytes()),
        Some(Data::Binary(bytes)) => write!(out, "bytes {bytes:?}"),
    }
    .unwrap();
    out
}

#[test]
fn times_are_the_same_instant_to_the_sdk() {
    for time in ["2018-04-05T17:31:00Z", "2026-12-31T23:59:59.123456789+14:00", "1969-07-20t20:17:40.5z"] {
        let event = Event::builder("1", "/s", "t").attr("time", time).build().unwrap();
        let theirs: cloudevents::Event = serde_json::from_slice(&json::encode(&event)).unwrap();
        let built = EventBuilderV10::new().id("1").source("/s").ty("t").time(time).build().unwrap();
        assert_eq!(theirs.time(), built.time());
        assert!(json::decode(&serde_json::to_vec(&theirs).unwrap()).is_ok());
    }
}

#[test]
fn example_of_the_binding_is_read_and_written() {
    let event = Event::builder("1", "/s", "t").attr("comment", "Euro € 😀").build().unwrap();
    let (headers, _) = http::encode_binary(&event);
    assert_eq!(headers["ce-comment"], "Euro%20%E2%82%AC%20%F0%9F%98%80");
    assert_eq!(through_binary(&event), event);
}

/// The four examples of the JSON format, 3.2, in structured mode and as the page writes them in HTTP.
#[test]
fn examples_of_the_json_format_become_their_binary_form() {
    let attrs = r#""specversion":"1.0","type":"com.example.someevent","source":"/mycontext","subject":null,"id":"1",
        "time":"2018-04-05T17:31:00Z","comexampleextension1":"value","comexampleothervalue":5"#;
    for (members, media_type, body) in [
        (
            r#""datacontenttype":"application/vnd.apache.thrift.binary","data_base64":"AAEC/w==""#,
            "application/vnd.apache.thrift.binary",
            b"\x00\x01\x02\xff".as_slice(),
        ),
        (
            r#""unsetextension":null,"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>""#,
            "application/xml",
            b"<much wow=\"xml\"/>",
        ),
        (
            r#""datacontenttype":"application/json","data":{ "appinfoA" : "abc" }"#,
            "application/json",
            b"{ \"appinfoA\" : \"abc\" }",
        ),
        (r#""data":"I'm just a string""#, "application/json", b"\"I'm just a string\""),
    ] {
        let event = json::decode(format!("{{{attrs},{members}}}").as_bytes()).unwrap();
        let (headers, sent) = http::encode_binary(&event);
        let mut names: Vec<_> = headers.keys().map(|n| n.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "ce-comexampleextension1",
                "ce-comexampleothervalue",
                "ce-id",
                "ce-source",
                "ce-specversion",
                "ce-time",
                "ce-type",
                "content-type"
            ]
        );
        assert_eq!((headers["content-type"].to_str().unwrap(), sent.as_ref()), (media_type, body));
        assert_eq!(headers["ce-comexampleothervalue"], "5");
    }
}

#[test]
fn hostile_texts_end_in_an_answer() {
    let start = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"#;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{start}{}1{}}}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(json::decode(deep.as_bytes()).unwrap_err().code.0, "json-too-deep");
        let events = json::decode_batch(format!("[{deep},{start}1}}]").as_bytes(), 2).unwrap();
        assert!(events[0].is_err() && events[1].is_ok());
        let unclosed = format!("[{start}{}", open.repeat(100_000));
        assert_eq!(json::decode_batch(unclosed.as_bytes(), 2).unwrap_err().code.0, "json-syntax");
    }
    let wide = format!("{start}[{}]}}", vec!["0"; 1_000_000].join(","));
    let event = json::decode(wide.as_bytes()).unwrap();
    assert_eq!(event.data().len(), 2_000_001);
    assert_eq!(doc::Doc::parse(event.data()).unwrap().root().elements().count(), 1_000_000);
    let many = format!("[{}]", vec!["1"; 1_000_000].join(","));
    assert_eq!(json::decode_batch(many.as_bytes(), 1_000).unwrap_err().code.0, "batch-too-long");
}
