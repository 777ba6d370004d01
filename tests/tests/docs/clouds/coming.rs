//! What comes from clouds, and what it becomes: each form is read as the sources that take it read it.

use std::{collections::BTreeMap, fmt::Write};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use router_aws::wire::envelope;
use router_gcp::wire::{Came, Message};
use schemas::Event;
use serde_json::value::RawValue;

const HEAD: &str = "
## What comes in

What each form becomes, with one of each. `eventbridge` is the queue, `api_destination` and `put_events` are ways of the
source `aws`; `pubsub` is the pulled subscription; `webhook`, `pull` and `publish` are those of Event Grid.
";

/// A form that comes, and what it becomes.
struct Form {
    /// What it is, and the sources that take it.
    title: &'static str,
    /// As it comes.
    came: String,
    event: Event,
}

/// Of EventBridge.
fn aws() -> Vec<Form> {
    let read = |title, came: &str| Form {
        title,
        came: came.to_owned(),
        event: envelope::read(Bytes::from(came.to_owned()), "id-of-the-message").event.unwrap(),
    };
    let around = r#"{"version":"0","id":"6a7e8feb","detail-type":"coffee.order.created","source":"/shops/7","account":"123456789012","time":"2026-01-15T06:30:00Z","region":"us-east-1","resources":[],"detail":{"specversion":"1.0","id":"1","source":"/shops/7","type":"coffee.order.created","priority":3,"data":{"total":450}}}"#;
    let classic = r#"{"version":"0","id":"6a7e8feb","detail-type":"order made","source":"my app","account":"123456789012","time":"2026-01-15T06:30:00Z","region":"us-east-1","resources":["arn:aws:s3:::b"],"detail":{"a":1.10}}"#;
    let raw = r#"{"specversion":"1.0","id":"1","source":"/shops/7","type":"coffee.order.created","data":{"a":1.10}}"#;
    let metadata = format!(r#"{{"Data":{raw},"SystemMetadata":{{"EventBusName":"coffee"}}}}"#);
    let detail = RawValue::from_string(r#"{"a":1.10}"#.to_owned()).unwrap();
    let put = envelope::entry("id-of-the-answer", "my.app", "order made", Some("2026-01-15T06:30:00Z"), None, &detail);
    vec![
        read("EventBridge's own envelope (`eventbridge`, `api_destination`)", classic),
        read("its envelope around a CloudEvent (`eventbridge`, `api_destination`)", around),
        read("a CloudEvent (`eventbridge`, `api_destination`)", raw),
        read("an event of a custom event bus, with its metadata (`eventbridge`)", &metadata),
        Form {
            title: "an entry of `PutEvents` (`put_events`)",
            came:
                r#"{"Source":"my.app","DetailType":"order made","Time":"2026-01-15T06:30:00Z","Detail":"{\"a\":1.10}"}"#
                    .into(),
            event: put.unwrap(),
        },
    ]
}

/// Of Pub/Sub.
fn google() -> Vec<Form> {
    let message = |title, attributes: &[(&str, &str)], data: &str, key: &str, kind: Option<&str>| {
        let attributes: BTreeMap<String, String> = attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let mut came = serde_json::json!({ "attributes": attributes, "data": data });
        if !key.is_empty() {
            came["orderingKey"] = key.into();
        }
        let message = Message { data: data.to_owned().into(), attributes, ordering_key: key.into() };
        let how = Came {
            message_id: "19",
            publish_time: "2026-01-15T06:30:00Z",
            subscription: "projects/p/subscriptions/s",
            plain_source: "//pubsub.googleapis.com/projects/p/topics/t",
            type_attribute: kind,
            ..Came::default()
        };
        Form { title, came: came.to_string(), event: router_gcp::wire::decode(&message, &how).unwrap() }
    };
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shops/7"),
        ("ce-type", "coffee.order.created"),
        ("ce-priority", "3"),
        ("content-type", "application/json"),
    ];
    let whole = r#"{"specversion":"1.0","id":"1","source":"/shops/7","type":"coffee.order.created","priority":3,"data":{"a":1.10}}"#;
    vec![
        message(
            "a CloudEvent in binary mode, with an ordering key (`pubsub`, `pubsub_push`, `pubsub_publish`)",
            &binary,
            r#"{"a":1.10}"#,
            "table 4",
            None,
        ),
        message(
            "a CloudEvent in structured mode (the same)",
            &[("content-type", "application/cloudevents+json")],
            whole,
            "",
            None,
        ),
        message("a plain message (the same)", &[("shop", "7")], "Grüße", "", None),
        message(
            "a plain message, with `type_attribute: kind` (the same)",
            &[("kind", "order.made"), ("shop", "7")],
            r#"{"a":1.10}"#,
            "",
            Some("kind"),
        ),
    ]
}

/// Of Event Grid, and of whoever speaks CloudEvents over HTTP.
fn others() -> Vec<Form> {
    let grid = |title, came: &str| Form {
        title,
        came: came.to_owned(),
        event: router_azure::wire::decode(came, None).unwrap(),
    };
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shops/7"),
        ("ce-type", "coffee.order.created"),
        ("ce-subject", "caf%C3%A9"),
        ("ce-priority", "3"),
        ("content-type", "application/json"),
    ];
    let map: HeaderMap =
        headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
    let mut lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    lines.push_str("\n{\"a\":1.10}");
    vec![
        grid(
            "Event Grid's own schema (`webhook`, `publish`)",
            r#"{"id":"1","topic":"/subscriptions/S/topics/my topic","subject":"orders/1","eventType":"order.made","eventTime":"2026-01-15T06:30:00.1234567Z","dataVersion":"2","metadataVersion":"1","data":{"a":1.10}}"#,
        ),
        grid(
            "a CloudEvent (`webhook`, `pull`, `publish`)",
            r#"{"specversion":"1.0","id":"1","source":"/shops/7","type":"coffee.order.created","priority":3,"data":{"a":1.10}}"#,
        ),
        Form {
            title: "a CloudEvent in binary mode (`http`)",
            came: lines,
            event: schemas::http::decode_binary(&map, Bytes::from_static(b"{\"a\":1.10}")).unwrap(),
        },
    ]
}

/// The section of the page.
pub fn section() -> String {
    let mut text = String::from(HEAD);
    for Form { title, came, event } in aws().into_iter().chain(google()).chain(others()) {
        let mut title = title.to_owned();
        title.get_mut(..1).unwrap().make_ascii_uppercase();
        let event = String::from_utf8(schemas::json::encode(&event)).unwrap();
        write!(text, "\n{title}:\n\n```text\n{came}\n```\n\n```json\n{event}\n```\n").unwrap();
    }
    text
}
