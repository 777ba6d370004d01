//! Promise 11: whatever URL an event, a header, a token or an answer holds, nobody is called who is not configured. A
//! listener that must stay silent stands at that URL.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use router_tests::world::{
    client::{Answer, Client},
    process::Place,
    setup::Route,
    sink::Sink,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What everything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A listener that counts who calls.
struct Silent {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl Silent {
    async fn start() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, calls) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = calls.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Silent { address, calls }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A target that answers every delivery with a redirect there; counts deliveries.
async fn redirecting(to: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, seen) = (format!("http://{}/", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let count = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 64 << 10];
            let _read = stream.read(&mut buffer).await;
            count.fetch_add(1, Ordering::SeqCst);
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nLink: <{to}>; rel=next\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _written = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, seen)
}

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    all.iter().map(pair).collect()
}

async fn post(client: &Client, url: &str, head: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    client.send(Method::POST, url, headers(head), body.into()).await.unwrap()
}

/// An event with the URL in every member that anybody ever followed.
fn event(id: &str, url: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": url, "type": "coffee.order.created", "subject": url,
        "dataschema": url, "dataref": url, "callback": url, "callbackurl": url, "validationurl": url, "sinkurl": url,
        "data": {"$ref": url, "$schema": url, "validationUrl": url, "callback": url, "@context": url},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_makes_the_router_call_anybody() {
    let (silent, sink, place) = (Silent::start().await, Sink::start().await, Place::new());
    let away = silent.url("away");
    let (moved, redirected) = redirecting(away.clone()).await;
    let tokens = json!({"tenant": "3f1c2f9e-0000-0000-0000-000000000000", "audiences": ["api://router"],
        "keys_url": "https://127.0.0.1:9/keys"});
    let more = json!({
        "sources": {
            "judged": {"http": {"path": "/judged", "validate": "warn"}},
            "azure": {"event_grid": {"webhook": {"path": "/azure", "entra": tokens}}},
            "grid": {"event_grid": {"publish": {}}},
            "sdk": {"aws": {"put_events": {}}},
        },
        "targets": {"moved": {"http": {"url": moved}}},
        "routes": {"moved": {"to": "moved"}},
    });
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &more).await;
    let client = Client::new(Duration::from_secs(30));
    let base = place.url().replace("/events", "");
    let at = |path: &str| format!("{base}{path}");
    let cloud = ("content-type", "application/cloudevents+json");

    // As events, in every mode; judged by a schema that it names itself.
    let mut taken = 0;
    for (id, path) in [("1", "/events"), ("2", "/judged")] {
        let answer = post(&client, &at(path), &[cloud], event(id, &away).to_string()).await;
        assert_eq!(answer.status, 202, "{path}: {}", answer.text());
        taken += 1;
    }
    let batch = json!([event("3", &away), event("4", &away)]).to_string();
    let answer = post(&client, &at("/events"), &[("content-type", "application/cloudevents-batch+json")], batch).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "5"),
        ("ce-source", &*away),
        ("ce-type", "t"),
        ("ce-dataschema", &*away),
        ("ce-dataref", &*away),
        ("link", &*away),
        ("referer", &*away),
        ("x-forwarded-host", &*away),
        ("webhook-request-callback", &*away),
        ("content-type", "application/ld+json"),
    ];
    let answer = post(&client, &at("/events"), &binary, format!(r#"{{"@context":"{away}"}}"#)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    taken += 3;

    // As handshakes of webhooks: the answer grants, and nobody is called back.
    let asks = headers(&[("webhook-request-origin", "elsewhere"), ("webhook-request-callback", &away)]);
    let answer = client.send(Method::OPTIONS, &at("/events"), asks, Bytes::new()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let handshake = json!([{"id": "h", "topic": away, "subject": "", "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-01-02T03:04:05Z", "dataVersion": "1", "metadataVersion": "1",
        "data": {"validationCode": "code", "validationUrl": away}}]);
    let asks = [("aeg-event-type", "SubscriptionValidation"), ("content-type", "application/json")];
    let answer = post(&client, &at("/azure"), &asks, handshake.to_string()).await;
    assert!(answer.status >= 400, "without a token it is refused, too: {} {}", answer.status, answer.text());

    // As a token that names its own keys.
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "RS256", "kid": "1", "jku": away, "x5u": away}));
    let claims = part(json!({"iss": away, "aud": "api://router", "exp": 4_000_000_000_u64}));
    let bearer = format!("Bearer {head}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 256]));
    let shown = [("authorization", &*bearer), ("content-type", "application/cloudevents+json")];
    let answer = post(&client, &at("/azure"), &shown, event("6", &away).to_string()).await;
    assert!(answer.status >= 400, "{} {}", answer.status, answer.text());

    // As the clients of clouds publish.
    let own = json!([{"id": "7", "topic": away, "subject": away, "eventType": "t", "eventTime": "2026-01-02T03:04:05Z",
        "dataVersion": "1", "data": {"url": away}}]);
    let answer = post(&client, &at("/api/events"), &[("content-type", "application/json")], own.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let detail = json!({"$ref": away}).to_string();
    let entry = json!({"Source": away, "DetailType": "t", "Detail": detail, "Resources": [away], "EventBusName": away});
    let call = [("x-amz-target", "AWSEvents.PutEvents"), ("content-type", "application/x-amz-json-1.1")];
    let answer = post(&client, &at("/aws"), &call, json!({"Entries": [entry]}).to_string()).await;
    assert_eq!((answer.status, &answer.json()["FailedEntryCount"]), (200, &json!(0)), "{}", answer.text());
    taken += 2;

    // All of them were delivered, and answered with a redirect as well, before anybody counts.
    let end = Instant::now() + DEADLINE;
    while sink.journal().len() < taken || redirected.load(Ordering::SeqCst) < taken {
        let counts = (sink.journal().len(), redirected.load(Ordering::SeqCst));
        assert!(Instant::now() < end, "{counts:?} of {taken} were delivered\n{}", place.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = router.until("redirects are refused", DEADLINE, |s| {
        s.routes.iter().any(|r| r.name == "moved" && r.dead_letters == taken as u64)
    });
    status.await;
    assert!(router.terminate().await.success());
    assert_eq!(silent.calls(), 0, "somebody followed a URL of an event");
    // The listener would have heard it.
    let _heard = tokio::net::TcpStream::connect(silent.address).await.unwrap();
    let end = Instant::now() + DEADLINE;
    while silent.calls() == 0 {
        assert!(Instant::now() < end, "the listener counts nobody");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
