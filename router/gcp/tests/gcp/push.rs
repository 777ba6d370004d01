use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use router_core::source::{Accepted, Kind, Rejection};
use router_gcp::source::{Push, PushConfig, tokens};
use router_http::{Endpoint, client::Client, jwt::Verifier};
use schemas::{Code, Form, Place, Value};
use serde_json::json;

use super::world::*;

const JSON: (&str, &str) = ("content-type", "application/json");

fn config() -> PushConfig {
    PushConfig::new(name(), "/google")
}

async fn push(config: PushConfig, fake: Fake) -> Served {
    serve(Push::new(config).unwrap(), fake).await
}

/// A push as the emulator writes it: both spellings.
fn wrapped(data: &str, attributes: serde_json::Value) -> String {
    json!({
        "subscription": "projects/coffee/subscriptions/push",
        "deliveryAttempt": 3,
        "message": {"publishTime": "2026-01-02T03:04:05.678Z", "publish_time": "2026-01-02T03:04:05.678Z",
            "messageId": "11", "message_id": "11", "orderingKey": "table 4",
            "data": STANDARD.encode(data), "attributes": attributes},
    })
    .to_string()
}

fn binary(id: &str) -> serde_json::Value {
    json!({"ce-specversion": "1.0", "ce-id": id, "ce-source": "/shops/7", "ce-type": "coffee.sold",
        "ce-subject": "café 100%", "content-type": "application/json"})
}

#[tokio::test]
async fn a_wrapped_push_is_acknowledged_once_it_is_in() {
    let served = push(config(), Fake::new()).await;
    let answer = served.post("/google", &[JSON], wrapped(r#"{"n": 1.50}"#, binary("1"))).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    let event = served.fake.events().pop().unwrap();
    assert_eq!((event.id(), event.data(), event.form()), ("1", &br#"{"n": 1.50}"#[..], Form::Json));
    assert_eq!(event.get("subject"), Some(Value::String("café 100%")));
    assert_eq!(event.get("partitionkey"), Some(Value::String("table 4")));
    let facts: Vec<_> = event.facts().collect();
    for fact in [
        ("pubsub-message-id", "11"),
        ("pubsub-publish-time", "2026-01-02T03:04:05.678Z"),
        ("pubsub-subscription", "projects/coffee/subscriptions/push"),
        ("pubsub-delivery-attempt", "3"),
    ] {
        assert!(facts.contains(&fact), "{facts:?}");
    }
    let structured = r#"{"specversion":"1.0","id":"2","source":"/s","type":"t","data":[1]}"#;
    let body = wrapped(structured, json!({"content-type": "application/cloudevents+json"}));
    assert_eq!(served.post("/google", &[JSON], body).await.status.as_u16(), 204);
    assert_eq!(served.fake.events().pop().unwrap().id(), "2");
}

#[tokio::test]
async fn a_plain_message_is_googles_own_event_or_takes_its_type_from_an_attribute() {
    let served = push(config(), Fake::new()).await;
    let body = || wrapped("hello", json!({"kind": "coffee.said"}));
    assert_eq!(served.post("/google", &[JSON], body()).await.status.as_u16(), 204);
    let event = served.fake.events().pop().unwrap();
    assert_eq!(event.kind(), "google.cloud.pubsub.topic.v1.messagePublished");
    assert_eq!(event.source(), "//pubsub.googleapis.com/projects/coffee/subscriptions/push");
    let config =
        PushConfig { topic: Some("projects/coffee/topics/t".into()), type_attribute: Some("kind".into()), ..config() };
    let served = push(config, Fake::new()).await;
    assert_eq!(served.post("/google", &[JSON], body()).await.status.as_u16(), 204);
    let event = served.fake.events().pop().unwrap();
    assert_eq!((event.id(), event.kind(), event.data()), ("11", "coffee.said", &b"hello"[..]));
    assert_eq!(event.source(), "//pubsub.googleapis.com/projects/coffee/topics/t");
}

#[tokio::test]
async fn an_unwrapped_push_is_the_message_itself() {
    let config = PushConfig { unwrapped: true, type_attribute: Some("Kind".into()), ..config() };
    let served = push(config, Fake::new()).await;
    let metadata =
        [("x-goog-pubsub-message-id", "12"), ("x-goog-pubsub-subscription-name", "projects/coffee/subscriptions/push")];
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        // An attribute of a message is not percent-encoded.
        ("ce-subject", "100%20"),
        JSON,
    ];
    let all = [&metadata[..], &binary].concat();
    assert_eq!(served.post("/google", &all, "[1]").await.status.as_u16(), 204);
    let event = served.fake.events().pop().unwrap();
    assert_eq!((event.get("subject"), event.data()), (Some(Value::String("100%20")), &b"[1]"[..]));
    // Without metadata it is an event all the same.
    assert_eq!(served.post("/google", &binary, "[1]").await.status.as_u16(), 204);
    let plain = [&metadata[..], &[("kind", "coffee.said")]].concat();
    assert_eq!(served.post("/google", &plain, "hello").await.status.as_u16(), 204);
    let event = served.fake.events().pop().unwrap();
    assert_eq!((event.id(), event.kind(), event.data()), ("12", "coffee.said", &b"hello"[..]));
    let answer = served.post("/google", &[], "hello").await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, "push-form".into()));
}

#[tokio::test]
async fn each_answer_makes_pubsub_do_the_right_thing() {
    let refuse = |kind: Kind| {
        Fake::script(move |_| Err(Rejection { code: Code::new("why"), place: Place::Event, message: "m".into(), kind }))
    };
    let wait = Duration::from_secs(7);
    for (fake, status) in [
        (Fake::script(|_| Ok(Accepted::Duplicate(router_core::id::Offset(1)))), 204),
        (Fake::script(|_| Ok(Accepted::Looped)), 204),
        (refuse(Kind::Busy { retry_after: wait }), 503),
        (Fake { closed: true, ..Fake::new() }, 503),
        (refuse(Kind::Invalid), 422),
        (refuse(Kind::TooLarge), 413),
    ] {
        let served = push(config(), fake).await;
        let answer = served.post("/google", &[JSON], wrapped("1", binary("1"))).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
    }
    let served = push(config(), Fake::new()).await;
    for (body, status, why) in [
        ("hello".to_owned(), 400, "push-form"),
        (json!({"message": {"data": "no base64!"}}).to_string(), 400, "push-form"),
        (wrapped("[]", json!({"content-type": "application/cloudevents-batch+json"})), 422, "pubsub-format"),
    ] {
        let answer = served.post("/google", &[JSON], body).await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (status, why.into()));
    }
}

fn verifier(keys: &KeyServer) -> Option<Verifier> {
    let (audiences, accounts) =
        (vec!["https://router.example/google".into()], vec!["push@coffee.iam.gserviceaccount.com".into()]);
    Some(tokens(audiences, accounts, Some(keys.url.clone()), Client::new().unwrap()).unwrap())
}

async fn shown(served: &Served, token: &str) -> (u16, String) {
    let headers = [JSON, ("authorization", token)];
    let answer = served.post("/google", &headers, wrapped("1", binary("1"))).await;
    let code = if answer.body.is_empty() { String::new() } else { code(&answer) };
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn only_googles_tokens_for_this_router_open_it() {
    let keys = KeyServer::start(&[FIRST]).await;
    let endpoint = Push::new(PushConfig { tokens: verifier(&keys), ..config() }).unwrap();
    assert!(endpoint.asks_for_a_key());
    let served = serve(endpoint, Fake::new()).await;
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims();
        claims[name] = value;
        token(FIRST, &claims)
    };
    let wrong = (401, "push-token".to_owned());
    let now = claims()["iat"].as_u64().unwrap();
    // Strangers' tokens cost no request for keys.
    for bad in [
        with("aud", json!("https://other.example/")),
        with("iss", json!("https://evil.example")),
        with("email", json!("someone@gmail.com")),
        with("email_verified", json!(false)),
        with("exp", json!(now - 3600)),
        "Bearer x".into(),
        "Basic eDp5".into(),
    ] {
        assert_eq!(shown(&served, &bad).await, wrong);
    }
    assert_eq!(keys.asked(), 0);
    assert_eq!(served.post("/google", &[JSON], wrapped("1", binary("1"))).await.status.as_u16(), 401);
    assert_eq!(shown(&served, &token(FIRST, &claims())).await, (204, String::new()));
    assert_eq!(keys.asked(), 1);
    // Forged: the head names Google's key, and another has signed.
    assert_eq!(shown(&served, &token((FIRST.0, SECOND.1), &claims())).await, wrong);
    assert_eq!(shown(&served, &token(FIRST, &claims())).await, (204, String::new()));
    assert_eq!(keys.asked(), 1, "keys are kept");
    assert_eq!(served.fake.events().len(), 2);
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_no_refusal() {
    let broken = KeyServer::start(&[]).await;
    let served = push(PushConfig { tokens: verifier(&broken), ..config() }, Fake::new()).await;
    assert_eq!(shown(&served, &token(FIRST, &claims())).await, (503, "push-keys".into()));
    assert!(served.fake.events().is_empty());
}

#[tokio::test]
async fn a_rotated_key_opens() {
    let keys = KeyServer::start(&[FIRST, SECOND]).await;
    let served = push(PushConfig { tokens: verifier(&keys), ..config() }, Fake::new()).await;
    for key in [FIRST, SECOND] {
        assert_eq!(shown(&served, &token(key, &claims())).await, (204, String::new()));
    }
    assert_eq!(keys.asked(), 1);
}
