use router_core::source::{Accepted, Kind};
use schemas::{Code, Place};
use serde_json::json;

use super::*;

fn source(event_buses: &[&str]) -> PutEvents {
    let event_buses = event_buses.iter().map(|name| (*name).to_owned()).collect();
    PutEvents::new(PutEventsConfig { event_buses, ..PutEventsConfig::new(SourceName::new("sdk").unwrap()) }).unwrap()
}

fn read(entry: &serde_json::Value, buses: &[&str]) -> Result<Event, (&'static str, String)> {
    let text = entry.to_string();
    let entry: Entry<'_> = serde_json::from_str(&text).unwrap();
    source(buses).read(&entry, "id-1").map_err(|said| match said {
        Said::Failed { error_code, error_message } => (error_code, error_message),
        Said::Taken { .. } => unreachable!(),
    })
}

fn told(event: &Event) -> Vec<String> {
    event.attrs().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn an_entry_becomes_what_eventbridge_would_have_sent() {
    let event = read(
        &json!({"Source": "my.app", "DetailType": "order made", "Detail": "{\"n\": 1.10}", "Time": 1_767_323_045.678_f64,
            "Resources": ["r:1"], "EventBusName": "arn:aws:events:us-east-1:1:event-bus/coffee",
            "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"}),
        &["coffee"],
    )
    .unwrap();
    assert_eq!(
        told(&event),
        [
            "id=id-1",
            "source=my.app",
            "type=order made",
            "time=2026-01-02T03:04:05.678Z",
            r#"resources=["r:1"]"#,
            "datacontenttype=application/json",
            "traceparent=00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        ]
    );
    assert_eq!(event.data(), br#"{"n": 1.10}"#, "as it came");
    let cloud = r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","traceparent":"own","data":{"a":1.10}}"#;
    let event = read(
        &json!({"Source": "/s", "DetailType": "t", "Detail": cloud, "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8"}),
        &[],
    );
    let event = event.unwrap();
    assert_eq!(told(&event), ["id=7", "source=/s", "type=t", "traceparent=own"]);
    assert_eq!(event.data(), br#"{"a":1.10}"#);
}

#[test]
fn an_entry_that_aws_refuses_is_refused_with_its_name() {
    let with = |key: &str, value: serde_json::Value| {
        let mut entry = json!({"Source": "s", "DetailType": "t", "Detail": "{}", "EventBusName": "coffee"});
        entry[key] = value;
        read(&entry, &["coffee"]).map(|event| event.id().to_owned()).unwrap_or_else(|(code, _)| code.to_owned())
    };
    assert_eq!(with("Detail", json!("{ }")), "id-1");
    for key in ["Source", "DetailType", "Detail"] {
        assert_eq!(with(key, json!(null)), "InvalidArgument");
        assert_eq!(with(key, json!("")), "InvalidArgument");
    }
    for detail in ["[]", "{", "no", "{} {}"] {
        assert_eq!(with("Detail", json!(detail)), "MalformedDetail");
    }
    assert_eq!(with("Source", json!("aws.ec2")), "NotAuthorizedForSourceException");
    assert_eq!(with("DetailType", json!("x".repeat(129))), "InvalidArgument");
    assert_eq!(with("Time", json!(1e300)), "InvalidArgument");
    assert_eq!(with("EventBusName", json!("tea")), "ResourceNotFoundException");
    let (_, message) = read(&json!({"DetailType": "t", "Detail": "{}"}), &[]).unwrap_err();
    assert_eq!(message, "Parameter Source is not valid. Reason: Source is a required argument.");
}

#[test]
fn a_call_that_is_made_again_has_the_same_ids() {
    let headers = |id: &str| [(INVOCATION.parse().unwrap(), id.parse().unwrap())].into_iter().collect();
    let ids = |headers: &HeaderMap| {
        let call = invocation(headers).unwrap();
        [id_of(&call, 0), id_of(&call, 1)]
    };
    assert_eq!(ids(&headers("a")), ids(&headers("a")));
    let mut all: Vec<String> =
        [headers("a"), headers("b"), HeaderMap::new(), HeaderMap::new()].iter().flat_map(ids).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
    assert!(all.iter().all(|id| id.len() == 36 && id.split('-').count() == 5), "{all:?}");
}

#[test]
fn a_call_is_made_again_by_the_sdk_only_when_nothing_of_it_is_in() {
    let busy = || {
        Err(Rejection {
            code: Code::new("intake-full"),
            place: Place::Event,
            message: "full".into(),
            kind: Kind::Busy { retry_after: std::time::Duration::from_secs(3) },
        })
    };
    let taken = || Ok(Accepted::Appended(router_core::id::Offset(1)));
    assert_eq!(submitted(Ok(vec![busy(), taken()])).unwrap().len(), 2);
    let refusal = submitted(Ok(vec![busy(), busy()])).unwrap_err();
    assert_eq!((refusal.status.as_u16(), refusal.retry_after.unwrap().as_secs()), (503, 3));
    assert_eq!(submitted(Err(IntakeClosed)).unwrap_err().status.as_u16(), 503);
    let Err(rejection) = busy() else { unreachable!() };
    assert_eq!(refused(&rejection), failed("ThrottlingException", "full"));
}

#[test]
fn a_pattern_is_tested_as_a_filter_is() {
    let event = json!({"id": "1", "account": "1", "source": "my.app", "time": "2026-01-02T03:04:05Z", "region": "r",
        "resources": [], "detail-type": "t", "detail": {"n": 5}});
    let run = |pattern: &str, event: &serde_json::Value| {
        test(json!({"EventPattern": pattern, "Event": event.to_string()}).to_string().as_bytes())
    };
    let status = |pattern: &str, event| run(pattern, event).map(|r| r.status().as_u16()).map_err(|r| r.name);
    assert_eq!(status(r#"{"detail":{"n":[{"numeric":[">",4]}]}}"#, &event), Ok(200));
    assert_eq!(status("{", &event), Err("InvalidEventPatternException"));
    assert_eq!(status(r#"{"detail":{"n":5}}"#, &event), Err("InvalidEventPatternException"));
    assert_eq!(status(r#"{"source":["my.app"]}"#, &json!({"id": "1"})), Err("ValidationException"));
}
