use schemas::Value;

use super::*;
use crate::wire::{Mapping, tests::delivery};

const DATA: &str = r#"{"a":1.10,"b":1e2,"c":"é"}"#;

fn of(message: &str) -> Result<Event, Invalid> {
    read(Bytes::from(message.to_owned()), "m-1").event
}

fn told(event: &Event) -> Vec<String> {
    event.attrs().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn an_event_of_a_service_becomes_a_cloudevent() {
    let event =
        of(r#"{"version":"0","id":"e-1","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2",
        "account":"111122223333","time":"2026-11-20T18:01:52Z","region":"us-west-1",
        "resources":["arn:aws:ec2:us-west-1:1:instance/i-1"],"detail":{"state": 1.10},"replay-name":"again"}"#);
    let event = event.unwrap();
    assert_eq!(
        told(&event),
        [
            "id=e-1",
            "source=aws.ec2",
            "type=EC2 Instance State-change Notification",
            "time=2026-11-20T18:01:52Z",
            "account=111122223333",
            "region=us-west-1",
            r#"resources=["arn:aws:ec2:us-west-1:1:instance/i-1"]"#,
            "replayname=again",
            "datacontenttype=application/json",
        ]
    );
    assert_eq!((event.form(), event.data()), (Form::Json, br#"{"state": 1.10}"#.as_slice()), "as it came");
    let bare = of(r#"{"detail-type":"T","source":"my app é","resources":[]}"#).unwrap();
    assert_eq!(told(&bare), ["id=m-1", "source=my%20app%20é", "type=T"]);
    assert_eq!(bare.form(), Form::None);
}

#[test]
fn a_cloudevent_that_went_through_comes_back_whole() {
    let data = [(Form::Json, DATA), (Form::Text, "é\n"), (Form::Binary, "\u{1}\u{2}"), (Form::None, "")];
    for (form, data) in data {
        let kind = if form == Form::Text { "text/plain" } else { "application/json" };
        let sent = Event::builder("1", "/shops/7", "coffee.order.created")
            .attr("datacontenttype", kind)
            .attr("priority", 3)
            .attr("rush", true)
            .data(form, data)
            .build()
            .unwrap();
        for mapping in [Mapping::Structured, Mapping::Opaque] {
            let entry = crate::wire::entry(&delivery(sent.clone()), mapping, "b").unwrap().entry;
            let message = format!(
                r#"{{"version":"0","id":"aws","detail-type":"{}","source":"{}","detail":{}}}"#,
                entry.detail_type().unwrap(),
                entry.source().unwrap(),
                entry.detail().unwrap()
            );
            let back = of(&message).unwrap();
            assert_eq!(told(&back), told(&sent), "{mapping:?} {form:?}");
            assert_eq!(back.data(), sent.data(), "{mapping:?} {form:?}");
            if form == Form::Json {
                assert_eq!(back, sent, "and filters see the same");
            }
        }
    }
}

#[test]
fn a_cloudevent_in_the_detail_of_another_event_is_data() {
    let inner = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    for (source, kind) in [("/s", "other"), ("/other", "t")] {
        let event =
            of(&format!(r#"{{"id":"e","detail-type":"{kind}","source":"{source}","detail":{inner}}}"#)).unwrap();
        assert_eq!((event.id(), event.data()), ("e", inner.as_bytes()));
    }
    let broken = of(r#"{"id":"e","detail-type":"t","source":"/s","detail":{"specversion":"1.0","type":"t"}}"#).unwrap();
    assert_eq!(broken.id(), "e", "what only looks like one is data, too");
}

#[test]
fn forms_of_a_custom_event_bus_are_read() {
    let inner = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":1.0}}"#;
    let raw = of(inner).unwrap();
    assert_eq!((raw.id(), raw.data()), ("1", br#"{"n":1.0}"#.as_slice()));
    let with = |data: &str| of(&format!(r#"{{"Data":{data},"Metadata":{{}},"SystemMetadata":{{"aws:EventId":"x"}}}}"#));
    assert_eq!(with(inner).unwrap(), raw);
    let put = with(r#"{"version":"0","id":"e","detail-type":"T","source":"s","detail":{"x":1}}"#).unwrap();
    assert_eq!((put.id(), put.kind(), put.get("datacontenttype")), ("e", "T", Some(Value::String("application/json"))));
    let nested = with(&format!(r#"{{"Data":{inner},"SystemMetadata":{{}}}}"#));
    assert_eq!(nested.unwrap_err().code, codes::NO_EVENT, "one envelope, not any number of them");
}

#[test]
fn bytes_that_only_look_like_json_stay_bytes() {
    let of_type = |kind: &str, data: &str| {
        let event = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"{kind}","data_base64":"{data}"}}"#
        );
        of(&event).unwrap().form()
    };
    assert_eq!(of_type("application/json", "eyJhIjoxfQ=="), Form::Json);
    assert_eq!(of_type("application/json", "eyJhIjox"), Form::Binary);
    assert_eq!(of_type("application/avro", "eyJhIjoxfQ=="), Form::Binary);
}

#[test]
fn what_is_no_event_says_so_and_keeps_its_bytes() {
    for message in ["", "hello", "[1]", "{}", r#"{"Message":"x","Type":"Notification"}"#, r#"{"detail-type":"T"}"#] {
        let raw = read(Bytes::from(message.to_owned()), "m");
        let invalid = raw.event.unwrap_err();
        assert_eq!(invalid.code, codes::NO_EVENT, "{message}: {invalid}");
        assert_eq!(raw.raw.as_deref(), Some(message.as_bytes()));
    }
    // A CloudEvent with a mistake says which.
    assert_eq!(of(r#"{"specversion":"1.0","id":"1","type":"t"}"#).unwrap_err().code, schemas::codes::MISSING_ATTRIBUTE);
}

#[test]
fn what_went_with_data_alone_comes_back_as_who_it_was() {
    let sent = schemas::Event::builder("7 é", "/s", "t")
        .attr(HOPS, "a.0011223344556677")
        .attr("datacontenttype", "application/json")
        .data(Form::Json, br#"{"a":1}"#.to_vec())
        .build()
        .unwrap();
    let sent = crate::wire::entry(&delivery(sent), Mapping::Data, "b").unwrap().entry;
    let envelope = |source: &str, resources: &[&str]| {
        serde_json::json!({"id": "aws-1", "source": source, "detail-type": "t", "resources": resources,
            "detail": {"a": 1}})
        .to_string()
    };
    let ours = sent.resources()[0].as_str();
    let back = of(&envelope("/s", &[ours])).unwrap();
    assert_eq!((back.id(), back.source()), ("7 é", "/s"));
    assert_eq!(back.get(HOPS).map(|hops| hops.to_string()).as_deref(), Some("a.0011223344556677"));
    assert!(back.get("resources").is_none());
    let others = of(&envelope("/s", &["arn:1", ours])).unwrap();
    assert_eq!(others.get("resources").map(|list| list.to_string()).as_deref(), Some(r#"["arn:1"]"#));
    let copied = of(&envelope("/other", &[ours])).unwrap();
    assert_eq!((copied.id(), copied.get(HOPS).is_none()), ("aws-1", true), "another event: somebody copied the entry");
}
