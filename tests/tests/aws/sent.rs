//! What EventBridge sends to an API destination. No peer sends so: requests are made here as AWS documents them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use router_aws::{ApiDestination, ApiDestinationConfig};
use router_core::{
    id::SourceName,
    source::{IntakeClosed, RawEvent},
};
use router_http::{
    Limits, Listener, Mount,
    intake::{Results, Submit},
};
use router_tests::world::{
    client::{Answer, Client},
    process::Place,
    setup::Route,
    sink::Sink,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::sdk::arrived;

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// What one request may take.
const WAIT: Duration = Duration::from_secs(20);

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn send(url: &str, headers: Headers<'_>, body: &str) -> Answer {
    let header = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
        (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut all: HeaderMap = headers.iter().map(header).collect();
    all.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
    Client::new(WAIT).send(Method::POST, url, all, Bytes::copy_from_slice(body.as_bytes())).await.unwrap()
}

fn code(answer: &Answer) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

/// As a rule sends it.
fn envelope(id: &str, detail: &Value) -> String {
    json!({"version": "0", "id": id, "detail-type": "order made", "source": "my.app", "account": "123456789012",
        "time": "2026-01-15T06:30:00Z", "region": "us-east-1", "resources": [], "detail": detail})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_its_credentials_is_let_in_and_no_other() {
    let (sink, place) = (Sink::start().await, Place::new());
    let base = place.url().strip_suffix("/events").unwrap().to_owned();
    let keys_url = format!("{}/keys", place.url());
    let way = |path: &str, way: &str, given: Value| json!({"aws": {"api_destination": {"path": path, way: given}}});
    let sources = json!({
        "key": way("/key", "api_key", json!({"header": "X-Coffee", "keys": ["old-key", "new-key"]})),
        "basic": way("/basic", "basic", json!({"username": "aws", "passwords": ["correct horse".replace(' ', "-")]})),
        "oauth": way("/oauth", "oauth", json!({"keys_url": keys_url, "issuers": ["https://id"], "audiences": ["router"]})),
        "open": {"aws": {"api_destination": {"path": "/open"}}},
    });
    let routes = [Route::all("all", &sink.url("all"))];
    let router = place.start_with(&routes, &json!({"sources": sources})).await;
    let (right, wrong) = (basic("aws", "correct-horse"), basic("aws", "correct-house"));
    let other = basic("azure", "correct-horse");
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let head = part(json!({"alg": "RS256", "kid": "1"}));
    let says = part(json!({"iss": "https://id", "aud": "router", "exp": 4_000_000_000_u64}));
    let token = format!("Bearer {head}.{says}.AAAA");
    let cases: [(&str, Headers<'_>, u16); 12] = [
        ("/key", &[("x-coffee", "old-key")], 200),
        ("/key", &[("X-Coffee", "new-key")], 200),
        ("/key", &[("x-coffee", "no-key")], 503),
        ("/key", &[("x-api-key", "old-key")], 503),
        ("/key", &[], 503),
        ("/basic", &[("authorization", &right)], 200),
        ("/basic", &[("authorization", &wrong)], 503),
        ("/basic", &[("authorization", &other)], 503),
        ("/basic", &[], 503),
        ("/oauth", &[], 401),
        // Nobody knows whose token it is, since no keys can be had.
        ("/oauth", &[("authorization", &token)], 503),
        ("/open", &[], 200),
    ];
    let mut taken = 0;
    for (n, (path, headers, status)) in cases.iter().enumerate() {
        let answer = send(&format!("{base}{path}"), headers, &envelope(&n.to_string(), &json!({"n": n}))).await;
        assert_eq!(answer.status, *status, "{path} {headers:?} {}", place.logged());
        taken += usize::from(*status == 200);
        if *status != 200 {
            assert_eq!(code(&answer), "eventbridge-credentials");
            assert_eq!(answer.headers.contains_key("retry-after"), *status == 503);
        }
    }
    arrived(&sink, taken, &place).await;
    assert!(router.terminate().await.success());
    assert_eq!(sink.journal().len(), taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_comes_in_whole_and_once() {
    let (sink, place) = (Sink::start().await, Place::new());
    let url = place.url().replace("/events", "/aws");
    let sources = json!({"sources": {"aws": {"aws": {"api_destination": {"path": "/aws"}}}}});
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &sources).await;
    let inner = json!({"specversion": "1.0", "id": "inner", "source": "my.app", "type": "order made", "subject": "7",
        "data": {"total": 4.5}});
    for body in [envelope("1", &json!({"total": 1})), envelope("2", &inner), inner.to_string()] {
        let answer = send(&url, &[], &body).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", place.logged());
    }
    // An answer was lost, and it is sent again.
    assert_eq!(send(&url, &[], &envelope("1", &json!({"total": 1}))).await.status, 200);
    for (body, code_of) in [
        ("no JSON", "eventbridge-message"),
        ("[]", "eventbridge-message"),
        (r#"{"detail-type": "t", "source": "s", "detail": {}}"#, "empty-attribute"),
    ] {
        let answer = send(&url, &[], body).await;
        assert_eq!((answer.status, code(&answer)), (422, code_of.to_owned()), "{body}");
    }
    arrived(&sink, 2, &place).await;
    assert!(router.terminate().await.success());
    let mut came: Vec<String> = sink.journal().iter().map(|r| r.key.id.to_string()).collect();
    came.sort();
    assert_eq!(came, ["1", "inner"], "the event in the second envelope is the third");
}

/// A bus that never answers.
struct Never;

#[async_trait]
impl Submit for Never {
    async fn submit(&self, _from: &SourceName, _batch: Vec<RawEvent>) -> Results {
        tokio::time::sleep(WAIT).await;
        Err(IntakeClosed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_bus_is_answered_for_before_eventbridge_gives_up() {
    let config = ApiDestinationConfig::new(SourceName::new("aws").unwrap(), "/aws");
    let config = ApiDestinationConfig { answer_within: Duration::from_millis(50), ..config };
    let endpoint = Arc::new(ApiDestination::new(config).unwrap());
    let mounts = vec![Mount { endpoint, intake: Arc::new(Never) }];
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Limits::default(), mounts).await.unwrap();
    let (url, stop) = (format!("http://{}/aws", listener.addr()), CancellationToken::new());
    let served = tokio::spawn(listener.run(stop.clone()));
    let answer = send(&url, &[], &envelope("1", &json!({}))).await;
    assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true));
    stop.cancel();
    served.await.unwrap();
}
