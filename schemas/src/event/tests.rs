//! Goal: an event holds exactly what its builder was given, or is refused for a reason that CloudEvents gives.

use super::rules::is_rfc3339;
use super::*;

fn sample() -> Event {
    Event::builder("1", "/shop/7", "coffee.order.created")
        .attr("subject", "latte")
        .attr("urgent", true)
        .attr("sequence", -7)
        .attr("nested", Value::Json("{\"a\": 1.0}"))
        .fact("publishtime", "2026-01-02T03:04:05Z")
        .data(Form::Json, r#"{"total":4.50}"#)
        .build()
        .unwrap()
}

fn code(builder: Builder<'_>) -> &'static str {
    builder.build().err().map_or("ok", |e| e.code.0)
}

fn start<'a>() -> Builder<'a> {
    Event::builder("1", "/s", "t")
}

#[test]
fn event_gives_back_what_it_was_built_from() {
    let event = sample();
    assert_eq!((event.id(), event.source(), event.kind()), ("1", "/shop/7", "coffee.order.created"));
    assert_eq!(event.get("specversion"), Some(Value::String("1.0")));
    assert_eq!(event.get("urgent"), Some(Value::Boolean(true)));
    assert_eq!(event.get("sequence"), Some(Value::Integer(-7)));
    assert_eq!(event.get("nested"), Some(Value::Json("{\"a\": 1.0}")));
    assert_eq!(event.get("publishtime"), None, "a fact is no attribute");
    assert_eq!(event.facts().collect::<Vec<_>>(), [("publishtime", "2026-01-02T03:04:05Z")]);
    let names: Vec<_> = event.attrs().map(|(n, _)| n).collect();
    assert_eq!(names, ["id", "source", "type", "subject", "urgent", "sequence", "nested"]);
    assert_eq!((event.form(), event.data()), (Form::Json, br#"{"total":4.50}"#.as_slice()));
    assert!(!format!("{event:?}").contains("4.50"), "payloads are not printed");
}

#[test]
fn body_reads_back_as_the_same_event() {
    let event = sample();
    let read = Event::from_body(event.body().clone()).unwrap();
    assert_eq!(read, event);
    assert_eq!(read.detached(), event);
    assert_eq!(read.rebuild().build().unwrap(), event);
}

#[test]
fn body_bytes_are_as_documented() {
    let event = Event::builder("i", "s", "t").fact("f", "x").data(Form::Text, "d").build().unwrap();
    let want = b"\x01\x02\x03\x00\x1e\0\0\0\x08\0\0\0\
        \0\x02\x01\0\0\0idi\0\x06\x01\0\0\0sources\0\x04\x01\0\0\0typet\0\x01\x01\0\0\0fxd";
    let want = [&want[..4], &[33, 0, 0, 0], &want[8..]].concat();
    assert_eq!(event.body().as_ref(), want);
}

#[test]
fn damaged_body_is_refused_and_never_panics() {
    let body = sample().body().clone();
    let data_at = body.len() - sample().data().len();
    for end in 0..data_at {
        assert!(Event::from_body(body.slice(..end)).is_err(), "cut at {end}");
    }
    for at in 0..data_at {
        for bit in 0..8 {
            let mut damaged = body.to_vec();
            damaged[at] ^= 1 << bit;
            if let Ok(event) = Event::from_body(damaged.into()) {
                let read = event.attrs().count() + event.facts().count() + event.data().len();
                assert!(read >= 3 && event.get("none").is_none());
            }
        }
    }
    let mut future = body.to_vec();
    future[0] = 2;
    assert_eq!(Event::from_body(future.into()), Err(BodyError::Version(2)));
}

#[test]
fn set_replaces_and_keeps_the_first_three_first() {
    let event = sample().rebuild().set("subject", "mocha").set("id", "2").set("added", 1).build().unwrap();
    assert_eq!(event.get("subject"), Some(Value::String("mocha")));
    assert_eq!((event.id(), event.source(), event.kind()), ("2", "/shop/7", "coffee.order.created"));
    assert_eq!(event.attrs().count(), 8);
}

#[test]
fn attributes_outside_the_specification_are_refused() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    for (builder, want) in [
        (start(), "ok"),
        (Event::builder("", "/s", "t"), "empty-attribute"),
        (Event::builder("1", "", "t"), "empty-attribute"),
        (Event::builder("1", "/s", ""), "empty-attribute"),
        (Event::builder("1", "/a b", "t"), "not-a-uri"),
        (start().attr("Upper", "x"), "attribute-name"),
        (start().attr("under_score", "x"), "attribute-name"),
        (start().attr("", "x"), "attribute-name"),
        (start().attr("é", "x"), "attribute-name"),
        (start().attr(&long, "x"), "attribute-name"),
        (start().attr("data", "x"), "reserved-name"),
        (start().attr("specversion", "1.0"), "reserved-name"),
        (start().attr("ext", ""), "ok"),
        (start().attr("ext", "é 😀 \""), "ok"),
        (start().attr("ext", "a\nb"), "attribute-character"),
        (start().attr("ext", "\u{85}"), "attribute-character"),
        (start().attr("ext", "\u{fdd0}"), "attribute-character"),
        (start().attr("ext", "\u{1ffff}"), "attribute-character"),
        (start().attr("subject", ""), "empty-attribute"),
        (start().attr("subject", 1), "attribute-type"),
        (start().attr("time", "yesterday"), "not-a-time"),
        (start().attr("ext", "x").attr("ext", "y"), "repeated-attribute"),
        (start().attr("id", "2"), "repeated-attribute"),
        (start().attr("ext", Value::Json("[1]")), "ok"),
        (start().attr("ext", Value::Json("2147483648")), "ok"),
        (start().attr("ext", Value::Json("-0")), "ok"),
        (start().attr("ext", Value::Json("1")), "attribute-type"),
        (start().attr("ext", Value::Json("null")), "attribute-type"),
        (start().attr("ext", Value::Json("\"x\"")), "attribute-type"),
        (start().attr("ext", Value::Json("{\"a\"}")), "attribute-type"),
        (start().attr("ext", Value::Json("{} ")), "attribute-type"),
        (start().data(Form::Json, "{"), "data-not-json"),
        (start().data(Form::Json, ""), "data-not-json"),
        (start().data(Form::Json, "[".repeat(1_001)), "json-too-deep"),
        (start().data(Form::Text, b"\xFF".as_slice()), "data-not-text"),
        (start().data(Form::None, "x"), "data-without-form"),
        (start().data(Form::Binary, b"\xFF".as_slice()), "ok"),
    ] {
        let shown = format!("{builder:?}");
        assert_eq!(code(builder), want, "{shown}");
    }
}

#[test]
fn attributes_end_at_their_limit() {
    let names: Vec<_> = (0..=ATTRIBUTES_MAX).map(|n| format!("x{n}")).collect();
    let with = |n: usize| names.iter().take(n).fold(start(), |b, name| b.attr(name, "v"));
    assert_eq!(code(with(ATTRIBUTES_MAX - 3)), "ok");
    assert_eq!(code(with(ATTRIBUTES_MAX - 2)), "too-many-attributes");
}

#[test]
fn what_routers_add_does_not_count_as_an_attribute() {
    let names: Vec<_> = (3..ATTRIBUTES_MAX).map(|n| format!("x{n}")).collect();
    let full = names.iter().fold(start(), |b, name| b.attr(name, "v")).data(Form::Json, "{ }").build().unwrap();
    let stamped = full.with("gocoffeehops", "a.1").unwrap().with("gocoffeelate", true).unwrap();
    assert_eq!((stamped.attrs().count(), stamped.data()), (ATTRIBUTES_MAX + 2, full.data()));
    assert_eq!(Event::from_body(stamped.body().clone()), Ok(stamped.clone()), "it is read again");
    assert_eq!(crate::json::decode(&crate::json::encode(&stamped)).unwrap().attrs().count(), ATTRIBUTES_MAX + 2);
    assert_eq!(full.with("one", "more").unwrap_err().code.0, "too-many-attributes");
    assert_eq!(full.with("x3", "other").unwrap().get("x3"), Some(Value::String("other")));
}

#[test]
fn foreign_name_is_shown_short_and_printable() {
    let name = format!("a\n{}", "b".repeat(100));
    let refused = start().attr(&name, "x").build().unwrap_err();
    assert_eq!(refused.place.to_string(), format!("attribute a\u{fffd}{}…", "b".repeat(62)));
}

#[test]
fn times_are_those_of_rfc_3339() {
    for time in [
        "2026-01-02T03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05.123456789012345Z",
        "2026-12-31T23:59:60Z",
        "2024-02-29T00:00:00+23:59",
        "0000-01-01T00:00:00-00:00",
        "2000-02-29T00:00:00Z",
        "2018-04-05T17:31:00.5-01:30",
    ] {
        assert!(is_rfc3339(time), "{time}");
    }
    for time in [
        "",
        "2026-01-02",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-13-02T03:04:05Z",
        "2026-00-02T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2026-01-00T03:04:05Z",
        "2026-04-31T03:04:05Z",
        "2026-01-02T24:04:05Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+01",
        "2026-01-02T03:04:05Z[UTC]",
        "20260102T030405Z",
        "+002026-01-02T03:04:05Z",
        "2026-01-02T03:04:05Zé",
        "２026-01-02T03:04:05Z",
        "2026-01-02T0a:04:05Z",
        "202a-01-02T03:04:05Z",
    ] {
        assert!(!is_rfc3339(time), "{time}");
    }
}

#[test]
fn what_came_beside_an_event_does_not_make_it_another() {
    let made = |count: &str, subject: &str, data: &str| {
        let event = Event::builder("1", "/s", "t").attr("subject", subject).fact("aeg-delivery-count", count);
        event.data(Form::Json, data.to_owned()).build().unwrap()
    };
    let first = made("0", "s", "{}");
    assert!(first.same_but_facts(&made("17", "s", "{}")) && first != made("17", "s", "{}"));
    assert!(!first.same_but_facts(&made("0", "other", "{}")));
    assert!(!first.same_but_facts(&made("0", "s", "[]")));
    let text = Event::builder("1", "/s", "t").attr("subject", "s").data(Form::Text, "{}").build().unwrap();
    assert!(!first.same_but_facts(&text));
}
