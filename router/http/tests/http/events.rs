use std::time::Duration;

use router_core::{
    id::Offset,
    source::{Accepted, Kind, RawEvent, Rejection},
};
use router_http::Limits;
use schemas::{Code, Event, Form, Place};
use serde_json::json;

use super::world::*;

fn rejection(kind: Kind) -> Rejection {
    Rejection {
        code: Code::new("some-code"),
        place: Place::Attribute("subject".into()),
        message: "do this".into(),
        kind,
    }
}

fn busy(secs: u64) -> Rejection {
    rejection(Kind::Busy { retry_after: Duration::from_secs(secs) })
}

#[tokio::test]
async fn binary_event_comes_in_with_its_headers_decoded() {
    let served = served(Fake::new()).await;
    let headers = format!("{BINARY}ce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80\r\ncontent-type: application/json\r\n");
    let reply = exchange(served.addr, post(&headers, r#"{"total":4.50}"#)).await;
    assert_eq!((reply.status, reply.header("content-type")), (202, Some("application/json")));
    assert_eq!(reply.json(), json!({"accepted": 1, "duplicate": 0, "looped": 0, "offsets": [1]}));
    let expected = Event::builder("1", "/s", "t")
        .attr("subject", "Euro € 😀")
        .attr("datacontenttype", "application/json")
        .data(Form::Json, r#"{"total":4.50}"#)
        .build()
        .unwrap();
    assert_eq!(served.fake.events().iter().map(content).collect::<Vec<_>>(), [content(&expected)]);
}

#[tokio::test]
async fn structured_event_comes_in_whatever_the_case_and_charset_of_its_type() {
    let served = served(Fake::new()).await;
    for kind in ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"] {
        let reply = exchange(served.addr, post(&format!("content-type: {kind}\r\n"), &json("7"))).await;
        assert_eq!(reply.status, 202, "{reply:?}");
    }
    let events = served.fake.events();
    assert_eq!(events.iter().map(Event::id).collect::<Vec<_>>(), ["7", "7"]);
    assert_eq!(events[0].data(), br#"{"n":1}"#);
}

#[tokio::test]
async fn batch_comes_in_and_an_empty_one_too() {
    let served = served(Fake::new()).await;
    let reply = exchange(served.addr, post(BATCH, &format!("[{},{}]", json("a"), json("b")))).await;
    assert_eq!((reply.status, reply.json()["offsets"].clone()), (202, json!([1, 2])));
    let reply = exchange(served.addr, post(BATCH, "[]")).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json(), json!({"accepted": 0, "duplicate": 0, "looped": 0, "offsets": []}));
}

#[tokio::test]
async fn duplicate_and_looped_events_are_in() {
    let fake = Fake::script(|i, _| match i {
        0 => Ok(Accepted::Appended(Offset(9))),
        1 => Ok(Accepted::Duplicate(Offset(4))),
        _ => Ok(Accepted::Looped),
    });
    let served = served(fake).await;
    let reply = exchange(served.addr, post(BATCH, &format!("[{},{},{}]", json("a"), json("b"), json("c")))).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json(), json!({"accepted": 1, "duplicate": 1, "looped": 1, "offsets": [9, 4, null]}));
}

#[tokio::test]
async fn refused_event_of_a_batch_does_not_stop_the_others() {
    let fake = Fake::script(|i, raw| match (i, &raw.event) {
        (_, Err(invalid)) => Err(invalid.clone().into()),
        (0, _) => Ok(Accepted::Appended(Offset(9))),
        (1, _) => Ok(Accepted::Duplicate(Offset(4))),
        (2, _) => Ok(Accepted::Looped),
        _ => Err(rejection(Kind::TooLarge)),
    });
    let served = served(fake).await;
    let no_type = r#"{"specversion":"1.0","id":"e","source":"/s"}"#;
    let body = format!("[{},{},{},{},{no_type}]", json("a"), json("b"), json("c"), json("d"));
    let reply = exchange(served.addr, post(BATCH, &body)).await;
    assert_eq!((reply.status, reply.problem().as_str()), (422, "some-refused"));
    assert_eq!(reply.header("retry-after"), None);
    let json = reply.json();
    assert_eq!(
        json["accepted"],
        json!([{"index": 0, "id": "a", "offset": 9}, {"index": 2, "id": "c", "looped": true}])
    );
    assert_eq!(json["duplicate"], json!([{"index": 1, "id": "b", "offset": 4}]));
    let refused = json["refused"].as_array().unwrap();
    let first = json!({"index": 3, "id": "d", "code": "some-code", "place": "attribute subject", "message": "do this", "retry": false});
    assert_eq!(refused[0], first);
    assert_eq!(refused[1]["index"], 4);
    assert_eq!(refused[1]["code"], "missing-attribute");
    assert_eq!(served.fake.events().len(), 4);
}

#[tokio::test]
async fn one_passing_refusal_asks_for_the_whole_batch_again() {
    let fake = Fake::script(|i, _| match i {
        0 => Ok(Accepted::Appended(Offset(9))),
        1 => Err(rejection(Kind::Invalid)),
        2 => Err(busy(3)),
        _ => Err(busy(7)),
    });
    let served = served(fake).await;
    let body = format!("[{},{},{},{}]", json("a"), json("b"), json("c"), json("d"));
    let reply = exchange(served.addr, post(BATCH, &body)).await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "some-refused-for-now"));
    assert_eq!(reply.header("retry-after"), Some("7"));
    let json = reply.json();
    let retry: Vec<_> = json["refused"].as_array().unwrap().iter().map(|r| r["retry"].clone()).collect();
    assert_eq!(retry, [false, true, true]);
    assert_eq!(json["accepted"], json!([{"index": 0, "id": "a", "offset": 9}]));
}

#[tokio::test]
async fn sender_that_prefers_it_gets_207_for_a_mixed_batch_only() {
    let fake = Fake::script(|_, raw| match raw.event.as_ref().unwrap().id() {
        "busy" => Err(busy(3)),
        _ => Ok(Accepted::Appended(Offset(9))),
    });
    let served = served(fake).await;
    let prefer = format!("{BATCH}prefer: respond-async, Return=multistatus; x=1\r\n");
    let mixed = format!("[{},{}]", json("a"), json("busy"));
    let reply = exchange(served.addr, post(&prefer, &mixed)).await;
    assert_eq!((reply.status, reply.header("preference-applied")), (207, Some("return=multistatus")));
    assert_eq!((reply.header("content-type"), reply.header("retry-after")), (Some("application/json"), Some("3")));
    assert_eq!(reply.json()["accepted"], json!([{"index": 0, "id": "a", "offset": 9}]));
    assert_eq!(reply.json()["refused"][0]["id"], "busy");
    assert_eq!(exchange(served.addr, post(&prefer, &format!("[{}]", json("a")))).await.status, 202);
    let other = format!("{BATCH}prefer: return=minimal\r\n");
    assert_eq!(exchange(served.addr, post(&other, &mixed)).await.status, 503);
}

#[tokio::test]
async fn single_event_is_refused_with_the_status_of_its_reason() {
    for (kind, status) in [
        (Kind::Invalid, 422),
        (Kind::Unauthorised, 403),
        (Kind::TooLarge, 413),
        (Kind::Busy { retry_after: Duration::from_millis(1500) }, 503),
    ] {
        let served = served(Fake::script(move |_, _| Err(rejection(kind)))).await;
        let reply = exchange(served.addr, post(STRUCTURED, &json("1"))).await;
        assert_eq!((reply.status, reply.problem().as_str()), (status, "some-code"), "{kind:?}");
        assert_eq!(reply.json()["place"], "attribute subject");
        assert_eq!(reply.json()["refused"][0]["id"], "1");
        assert_eq!(reply.header("retry-after"), (status == 503).then_some("2"));
    }
}

#[tokio::test]
async fn closed_intake_acknowledges_nothing() {
    let served = served(Fake::closed()).await;
    for request in [post(BINARY, ""), post(BATCH, "[]"), post(STRUCTURED, &json("1"))] {
        let reply = exchange(served.addr, request).await;
        assert_eq!((reply.status, reply.problem().as_str()), (503, "intake-closed"));
        assert_eq!(reply.header("retry-after"), Some("5"));
    }
}

#[tokio::test]
async fn invalid_event_is_refused_with_code_and_place() {
    let served = served(Fake::new()).await;
    for (headers, body, code, place) in [
        ("ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\n", "", "missing-attribute", "header ce-type"),
        ("ce-id: 1\r\nce-source: /s\r\nce-type: t\r\n", "", "missing-attribute", "header ce-specversion"),
        (&format!("{BINARY}ce-subject: %C0%A0\r\n"), "", "header-value", "header ce-subject"),
        (&format!("{BINARY}ce-id: 2\r\n"), "", "repeated-header", "header ce-id"),
        (STRUCTURED, "{", "json-syntax", "byte 1"),
        (STRUCTURED, "[]", "not-an-object", "byte 0"),
        (BATCH, "{}", "not-an-array", "byte 0"),
    ] {
        let reply = exchange(served.addr, post(headers, body)).await;
        let got = (reply.status, reply.problem(), reply.json()["place"].as_str().unwrap().to_owned());
        assert_eq!(got, (422, code.to_owned(), place.to_owned()), "{headers}{body}: {}", reply.body);
        // The refusal reached the intake, which counts it.
    }
    assert!(served.fake.events().is_empty());
}

#[tokio::test]
async fn what_is_no_cloudevent_is_told_what_to_send() {
    let served = served(Fake::new()).await;
    for headers in ["", "content-type: application/json\r\n", "content-type: text/plain\r\n"] {
        let reply = exchange(served.addr, post(headers, "{}")).await;
        assert_eq!((reply.status, reply.problem().as_str()), (415, "not-a-cloudevent"));
        assert!(reply.json()["detail"].as_str().unwrap().contains("curl http://127.0.0.1:8080/events"));
    }
    let avro = post("content-type: application/cloudevents+avro\r\n", "x");
    assert_eq!(exchange(served.addr, avro).await.problem(), "event-format");
    let brotli = post(&format!("{BINARY}content-encoding: br\r\n"), "x");
    assert_eq!(exchange(served.addr, brotli).await.problem(), "content-encoding");
    assert!(served.fake.events().is_empty());
}

#[tokio::test]
async fn only_a_key_opens_a_source_that_has_keys() {
    let served = serve(Limits::default(), &["first-key", "second-key"], Fake::new()).await;
    for (authorization, code, challenge) in [
        ("", "missing-key", "Bearer"),
        ("authorization: Basic Zmlyc3Qta2V5\r\n", "missing-key", "Bearer"),
        ("authorization: Bearer first-ke\r\n", "wrong-key", r#"Bearer error="invalid_token""#),
    ] {
        let reply = exchange(served.addr, post(&format!("{BINARY}{authorization}"), "")).await;
        assert_eq!((reply.status, reply.problem().as_str()), (401, code));
        assert_eq!(reply.header("www-authenticate"), Some(challenge));
    }
    assert!(served.fake.events().is_empty());
    for key in ["first-key", "second-key"] {
        let reply = exchange(served.addr, post(&format!("{BINARY}authorization: Bearer {key}\r\n"), "")).await;
        assert_eq!(reply.status, 202);
    }
}

#[tokio::test]
async fn sizes_of_bodies_and_batches_have_their_limits() {
    let limits = Limits {
        event_bytes_max: 1000,
        batch_bytes_max: 5000,
        batch_count_max: 3,
        header_bytes_max: 500,
        ..Limits::default()
    };
    let served = serve(limits, &[], Fake::new()).await;
    let binary = |n: usize| post(BINARY, &"x".repeat(n));
    let structured = |n: usize| post(STRUCTURED, &(json("1") + &" ".repeat(n - json("1").len())));
    let batch = |count: usize| post(BATCH, &format!("[{}]", vec![json("1"); count].join(",")));
    for (request, code) in [
        (binary(1000), None),
        (binary(1001), Some("body-too-large")),
        (structured(1832), None),
        (structured(1833), Some("body-too-large")),
        (batch(3), None),
        (batch(4), Some("batch-too-long")),
        (post(BATCH, &format!("[{}]", " ".repeat(4999))), Some("body-too-large")),
    ] {
        let reply = exchange(served.addr, &request).await;
        match code {
            None => assert_eq!(reply.status, 202, "{request}"),
            Some(code) => assert_eq!((reply.status, reply.problem().as_str()), (413, code), "{request}"),
        }
    }
}

#[tokio::test]
async fn hundred_attributes_fit_into_a_binary_request() {
    let served = served(Fake::new()).await;
    let extensions: String = (0..97).map(|n| format!("ce-ext{n}: v\r\n")).collect();
    let reply = exchange(served.addr, post(&format!("{BINARY}{extensions}user-agent: x\r\naccept: */*\r\n"), "")).await;
    assert_eq!(reply.status, 202, "{}", reply.body);
    assert_eq!(served.fake.events()[0].attrs().count(), 100);
    let more = post(&format!("{BINARY}{extensions}ce-onemore: v\r\n"), "");
    assert_eq!(exchange(served.addr, more).await.problem(), "too-many-attributes");
}

#[tokio::test]
async fn refusals_of_unreadable_events_reach_the_intake() {
    let served = served(Fake::script(|_, raw: &RawEvent| match &raw.event {
        Ok(_) => Ok(Accepted::Looped),
        Err(_) => Err(busy(1)),
    }))
    .await;
    assert_eq!(exchange(served.addr, post(STRUCTURED, "{")).await.status, 503);
}
