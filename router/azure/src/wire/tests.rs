use schemas::Event;

use super::*;

const DELIVERED: &str = r#"{
  "id":"2d1781af-3a4c", "topic":"/subscriptions/S/resourceGroups/r g/providers/Microsoft.EventGrid/topics/coffee",
  "subject":"orders/7", "eventType":"coffee.order.created", "eventTime":"2026-01-02T03:04:05.1234567Z",
  "data": {"total": 4.50, "total": 4.5e0, "note":"caf\u00e9"}, "dataVersion":"1.0", "metadataVersion":"1", "tenantId": 7
}"#;

fn attr(event: &Event, name: &str) -> Option<String> {
    event.get(name).map(|value| value.to_string())
}

/// An event in Event Grid's schema, as our own target writes it.
fn encoded(event: &Event) -> serde_json::Value {
    let written = encode(Schema::EventGrid, None, [(event, Timestamp(1_767_323_045_000_000))]);
    let mut list: Vec<serde_json::Value> = serde_json::from_slice(&written).unwrap();
    assert_eq!(list.len(), 1);
    list.remove(0)
}

#[test]
fn an_event_of_the_schema_becomes_a_cloudevent() {
    let event = decode(DELIVERED, None).unwrap();
    assert_eq!((event.id(), event.kind()), ("2d1781af-3a4c", "coffee.order.created"));
    assert_eq!(event.source(), "/subscriptions/S/resourceGroups/r%20g/providers/Microsoft.EventGrid/topics/coffee");
    assert_eq!(attr(&event, "subject").as_deref(), Some("orders/7"));
    assert_eq!(attr(&event, "time").as_deref(), Some("2026-01-02T03:04:05.1234567Z"));
    assert_eq!((attr(&event, "dataversion").as_deref(), attr(&event, "tenantid").as_deref()), (Some("1.0"), Some("7")));
    assert_eq!(event.data(), br#"{"total": 4.50, "total": 4.5e0, "note":"caf\u00e9"}"#);
    assert_eq!(event.facts().collect::<Vec<_>>(), [("metadataVersion", "1")]);
}

#[test]
fn what_the_schema_can_hold_comes_back_as_it_was() {
    for data in [r#"{"n": 1.50}"#, "null", "\"text\"", "[1 , 2]"] {
        let event = Event::builder("1", "/topics/coffee", "t")
            .attr("subject", "s\u{e9}\"")
            .attr("time", "2026-01-02T03:04:05Z")
            .attr("dataversion", "2")
            .data(Form::Json, data)
            .build()
            .unwrap();
        let written = encode(Schema::EventGrid, Some("/topics/coffee"), [(&event, Timestamp(0))]);
        let text = split(&written, 1).unwrap()[0].to_owned();
        assert_eq!(decode(&text, None).unwrap(), event, "{text}");
    }
    let none =
        Event::builder("1", "/t", "t").attr("subject", "s").attr("time", "2026-01-02T03:04:05Z").build().unwrap();
    let written = encode(Schema::EventGrid, None, [(&none, Timestamp(0))]);
    assert_eq!(decode(split(&written, 1).unwrap()[0], Some("/t")).unwrap(), none);
}

/// Goal: each loss that is named is one, and an event that has none of them loses nothing.
#[test]
fn every_loss_is_named_and_is_one() {
    let plain = || Event::builder("1", "/shop/7", "t").attr("subject", "s").attr("time", "2026-01-02T03:04:05Z");
    let whole = |event: Event| (encoded(&event), event);
    for loss in losses(Schema::EventGrid) {
        let (written, lost) = match loss.member {
            "source" => {
                let (written, event) = whole(plain().build().unwrap());
                let lost = !written.to_string().contains(event.source());
                (written, lost)
            }
            "subject" => {
                let (written, event) = whole(Event::builder("1", "/shop/7", "t").build().unwrap());
                let lost = written["subject"] == event.source();
                (written, lost)
            }
            "time" => {
                let (written, _) = whole(Event::builder("1", "/shop/7", "t").build().unwrap());
                let lost = written["eventTime"] == "2026-01-02T03:04:05Z";
                (written, lost)
            }
            "datacontenttype" | "dataschema" => {
                let (written, _) = whole(plain().attr(loss.member, "text/x").build().unwrap());
                let lost = !written.to_string().contains("text/x");
                (written, lost)
            }
            "data" => {
                let text = encoded(&plain().data(Form::Text, "a\"b").build().unwrap());
                let bytes = encoded(&plain().data(Form::Binary, vec![0, 255]).build().unwrap());
                (text.clone(), text["data"] == "a\"b" && bytes["data"] == "AP8=")
            }
            "extensions" => {
                let (written, _) = whole(plain().attr("tenant", "blue").build().unwrap());
                let lost = !written.to_string().contains("blue");
                (written, lost)
            }
            other => panic!("{other} is named and not shown to be lost"),
        };
        assert!(lost, "{}: {written}", loss.member);
    }
    let (written, _) = whole(plain().attr("dataversion", "3").data(Form::Json, "{}").build().unwrap());
    let names: Vec<_> = written.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "subject", "eventType", "eventTime", "dataVersion", "data"]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let refused = |json: &str| {
        let invalid = decode(json, Some("/t")).unwrap_err();
        (invalid.code.0, invalid.place.to_string())
    };
    for (json, code, place) in [
        ("", "json-syntax", "byte 0"),
        ("7", "not-an-object", "byte 0"),
        (r#"{"eventType":"t"}"#, "missing-attribute", "attribute id"),
        (r#"{"id":"1"}"#, "missing-attribute", "attribute eventType"),
        (r#"{"id":"","eventType":"t"}"#, "missing-attribute", "attribute id"),
        (r#"{"id":1,"eventType":"t"}"#, "attribute-type", "attribute id"),
        (r#"{"id":"1","eventType":"t","id":"2"}"#, "repeated-member", "attribute id"),
        (r#"{"id":"1","eventType":"t","eventTime":"soon"}"#, "not-a-time", "attribute time"),
        (r#"{"id":"1","eventType":"t","my-member":1}"#, "attribute-name", "attribute my-member"),
        (r#"{"id":"1","eventType":"t","Subject":"a","subject":"b"}"#, "repeated-attribute", "attribute subject"),
        (r#"{"specversion":"1.0","id":"1","type":"t"}"#, "missing-attribute", "attribute source"),
    ] {
        assert_eq!(refused(json), (code, place.to_owned()), "{json}");
    }
    assert_eq!(decode(r#"{"id":"1","eventType":"t"}"#, None).unwrap_err().place.to_string(), "attribute topic");
}

#[test]
fn lists_are_split_without_touching_what_is_in_them() {
    assert_eq!(split(b" [ {\"a\": 1.50 } ,7, \"x\" ] ", 3).unwrap(), [r#"{"a": 1.50 }"#, "7", "\"x\""]);
    assert_eq!(split(b"{\"a\":1}", 1).unwrap(), ["{\"a\":1}"]);
    assert!(split(b"[]", 0).unwrap().is_empty());
    assert_eq!(split(b"[1,2]", 1).unwrap_err().code.0, "batch-too-long");
    assert_eq!(split(b"[1,", 1).unwrap_err().code.0, "json-syntax");
    assert_eq!(split(b"[\xff]", 1).unwrap_err().code.0, "json-syntax");
    let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(split(deep.as_bytes(), 1).unwrap().len(), 1);
}

#[test]
fn cloudevents_pass_unchanged() {
    let text = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","odd":{"a": 1.0},"data":{"n": 1.50}}"#;
    let event = decode(text, None).unwrap();
    let written = encode(Schema::CloudEvents, None, [(&event, Timestamp(0)), (&event, Timestamp(0))]);
    assert_eq!(String::from_utf8(written).unwrap(), format!("[{text},{text}]"));
}
