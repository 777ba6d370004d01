//! What Pub/Sub's own clients publish to the router, unchanged but for where they publish: Google's client for Python,
//! Google's crate below the target `pubsub`, and calls in JSON.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use router_core::{
    id::{SourceName, TargetName},
    source::{IntakeClosed, Kind, RawEvent, Rejection},
    target::{Outcome, Scope, Target},
};
use router_gcp::{
    Accounts, Credentials, PubSub, PubSubConfig, Settings,
    source::{Publish, PublishConfig},
};
use router_http::{
    Limits, Listener, Mount,
    intake::{Results, Submit},
};
use router_tests::{
    coffee::read_json,
    world::{
        client::{Answer, Client},
        process::{Place, Router},
        setup::Route,
        sink::Sink,
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::publish::{batch, event, keyed};

const TOPIC: &str = "projects/coffee/topics/orders";
const KEY: &str = "a-key-of-the-publishers";
/// What an event may take from the answer to the sink.
const ARRIVES: Duration = Duration::from_secs(60);

/// Publishes with Google's client; prints what each call answered, or which error it raised.
const PYTHON: &str = r#"
import grpc, json, os, sys
import google.pubsub_v1 as gapic
from google.pubsub_v1.services.publisher import transports
from google.api_core import exceptions
from google.cloud import pubsub_v1
topic, key = sys.argv[1], sys.argv[2]
def told(call):
    try:
        return call()
    except exceptions.GoogleAPICallError as e:
        return {"error": e.grpc_status_code.name, "message": e.message}
publisher = pubsub_v1.PublisherClient(publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True))
said = {"ids": [], "create": None}
said["create"] = told(lambda: publisher.create_topic(name=topic, metadata=[("authorization", "Bearer " + key)]).name)
if key == "":
    futures = [publisher.publish(topic, json.dumps({"n": n}).encode(), ordering_key="k%d" % (n % 2),
        **{"ce-specversion": "1.0", "ce-id": str(n), "ce-source": "/python", "ce-type": "coffee.sold",
           "content-type": "application/json"}) for n in range(40)]
    said["ids"] = [future.result(timeout=60) for future in futures]
    packed = grpc.insecure_channel(os.environ["PUBSUB_EMULATOR_HOST"], compression=grpc.Compression.Gzip)
    packed = gapic.PublisherClient(transport=transports.PublisherGrpcTransport(channel=packed))
    packed.publish(topic=topic, messages=[gapic.PubsubMessage(
        data=json.dumps({"n": 40, "note": "coffee " * 10000}).encode(),
        attributes={"ce-specversion": "1.0", "ce-id": "40", "ce-source": "/python", "ce-type": "coffee.sold",
                    "content-type": "application/json"})])
    said["plain"] = publisher.publish(topic, b"hello", kind="coffee.said").result(timeout=60)
    said["broken"] = told(lambda: publisher.publish(topic, b"{}", **{"ce-specversion": "1.0"}).result(timeout=60))
    said["topic"] = told(lambda: publisher.get_topic(topic=topic).name)
    said["gone"] = told(lambda: publisher.get_topic(topic="projects/coffee/topics/gone").name)
    said["topics"] = told(lambda: [t.name for t in publisher.list_topics(project="projects/coffee")])
    said["deleted"] = told(lambda: publisher.delete_topic(topic=topic))
print(json.dumps(said))
"#;

/// Google's client for Python, where it is installed.
fn python() -> Option<PathBuf> {
    // TARGET/debug/deps/SUITE-HASH
    let exe = std::env::current_exe().unwrap();
    let python = exe.ancestors().nth(3).unwrap().join("peers/bin/python3");
    let there = Command::new(&python).args(["-c", "import google.cloud.pubsub_v1"]).output();
    if there.is_ok_and(|there| there.status.success()) {
        return Some(python);
    }
    eprintln!(
        "skipped: Google's client for Python is not installed; `cargo xtask test` puts it into the target folder"
    );
    None
}

/// What the client was told, by a router at that place.
async fn published(python: PathBuf, place: &Place, key: &str) -> Value {
    let mut command = Command::new(python);
    command.args(["-c", PYTHON, TOPIC, key]).env("PUBSUB_EMULATOR_HOST", base(place).trim_start_matches("http://"));
    let run: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stderr), place.logged());
    serde_json::from_slice(&run.stdout).unwrap()
}

fn base(place: &Place) -> String {
    place.url().trim_end_matches("/events").to_owned()
}

async fn started<'p>(place: &'p Place, sink: &Sink, source: Value) -> Router<'p> {
    let more = json!({"sources": {"google": {"pubsub_publish": source}}});
    place.start_with(&[Route::all("all", &sink.url("all"))], &more).await
}

async fn arrived(sink: &Sink, count: usize, place: &Place) {
    let end = Instant::now() + ARRIVES;
    while sink.journal().len() < count {
        assert!(Instant::now() < end, "{} of {count} came\n{}", sink.journal().len(), place.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_client_for_python_publishes_unchanged() {
    let Some(python) = python() else { return };
    let (sink, place) = (Sink::start().await, Place::new());
    let source = json!({"topics": [TOPIC], "type_attribute": "kind"});
    let router = started(&place, &sink, source).await;
    let said = published(python, &place, "").await;
    assert_eq!((&said["create"], &said["topic"]), (&json!(TOPIC), &json!(TOPIC)));
    assert_eq!(said["gone"]["error"], "NOT_FOUND");
    assert_eq!(said["topics"], json!([TOPIC]));
    assert_eq!(said["deleted"]["error"], "UNIMPLEMENTED");
    assert_eq!(said["broken"]["error"], "INVALID_ARGUMENT");
    assert!(said["broken"]["message"].as_str().unwrap().contains("ce-id"), "{said}");
    arrived(&sink, 42, &place).await;
    let journal = sink.journal();
    let print = |id: &str| journal.iter().find(|r| *r.key.id == *id).unwrap().print;
    let packed = format!(
        r#"{{"specversion":"1.0","id":"40","source":"/python","type":"coffee.sold","datacontenttype":"application/json","data":{{"n": 40, "note": "{}"}}}}"#,
        "coffee ".repeat(10_000)
    );
    assert_eq!(print("40"), read_json(packed.as_bytes()).unwrap().print, "it came compressed");
    for n in 0..40 {
        let sent = format!(
            r#"{{"specversion":"1.0","id":"{n}","source":"/python","type":"coffee.sold","partitionkey":"k{}","datacontenttype":"application/json","data":{{"n": {n}}}}}"#,
            n % 2
        );
        assert_eq!(print(&n.to_string()), read_json(sent.as_bytes()).unwrap().print, "{n}");
    }
    let plain = said["plain"].as_str().unwrap();
    let received = journal.iter().find(|r| &*r.key.id == plain).unwrap();
    assert_eq!(&*received.key.source, format!("//pubsub.googleapis.com/{TOPIC}"), "its id is what was told");
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_without_the_key_is_told_so() {
    let Some(python) = python() else { return };
    let (sink, place) = (Sink::start().await, Place::new());
    let router = started(&place, &sink, json!({"keys": [KEY]})).await;
    assert_eq!(published(python.clone(), &place, "wrong").await["create"]["error"], "UNAUTHENTICATED");
    assert_eq!(published(python, &place, KEY).await["create"], TOPIC);
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_crate_publishes_by_its_endpoint_alone() {
    let (sink, place) = (Sink::start().await, Place::new());
    let router = started(&place, &sink, json!({})).await;
    let settings = Settings { endpoint: Some(base(&place)), credentials: Credentials::Anonymous, impersonate: None };
    let config = PubSubConfig { settings, ..PubSubConfig::new(TargetName::new("t").unwrap(), TOPIC) };
    let target = PubSub::new(config, &Accounts::default()).unwrap();
    let events: Vec<_> =
        (0..200).map(|n| if n % 2 == 0 { event(&n.to_string()) } else { keyed(&n.to_string(), "k") }).collect();
    let outcomes = target.deliver(&batch(events.clone())).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    arrived(&sink, 200, &place).await;
    for received in sink.journal() {
        let n: usize = received.key.id.parse().unwrap();
        let sent = schemas::json::encode(&events[n]);
        assert_eq!(received.print, read_json(&sent).unwrap().print, "{n}");
    }
    assert!(router.terminate().await.success());
}

/// A bus that takes nothing in: it has no room, or is closed.
struct Full {
    closed: bool,
}

#[async_trait]
impl Submit for Full {
    async fn submit(&self, _: &SourceName, batch: Vec<RawEvent>) -> Results {
        if self.closed {
            return Err(IntakeClosed);
        }
        let kind = Kind::Busy { retry_after: Duration::from_secs(7) };
        let (code, message) = (router_core::codes::DISK_FULL, "the disk is full".into());
        Ok(batch
            .iter()
            .map(|_| Err(Rejection { code, place: schemas::Place::Event, message: Box::clone(&message), kind }))
            .collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_is_taken_in_publishers_are_told_to_come_again() {
    for (closed, retry_after) in [(false, "7"), (true, "5")] {
        let endpoint = Arc::new(Publish::new(PublishConfig::new(SourceName::new("google").unwrap())).unwrap());
        let mount = Mount { endpoint, intake: Arc::new(Full { closed }) };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Limits::default(), vec![mount]).await.unwrap();
        let (base, stop) = (format!("http://{}", listener.addr()), CancellationToken::new());
        let running = tokio::spawn(listener.run(stop.clone()));
        let body = json!({"messages": [{"data": STANDARD.encode("hello")}]}).to_string();
        let url = format!("{base}/v1/{TOPIC}:publish");
        let answer = Client::new(ARRIVES).send(Method::POST, &url, HeaderMap::new(), body.into()).await.unwrap();
        assert_eq!((answer.status, &answer.headers[header::RETRY_AFTER]), (503, &retry_after.parse().unwrap()));
        assert_eq!(answer.json()["error"]["status"], "UNAVAILABLE");
        let settings = Settings { endpoint: Some(base), credentials: Credentials::Anonymous, impersonate: None };
        let config = PubSubConfig { settings, ..PubSubConfig::new(TargetName::new("t").unwrap(), TOPIC) };
        let target = PubSub::new(config, &Accounts::default()).unwrap();
        let outcome = target.deliver(&batch([event("1")])).await.remove(0);
        assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
        assert!(outcome.facts().note.as_deref().unwrap_or_default().starts_with("UNAVAILABLE"), "{outcome:?}");
        stop.cancel();
        running.await.unwrap();
    }
}

async fn call(place: &Place, method: Method, path: &str, key: Option<&str>, body: Value) -> Answer {
    let mut headers: HeaderMap = [(header::CONTENT_TYPE, "application/json".parse().unwrap())].into_iter().collect();
    if let Some(key) = key {
        headers.insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let url = format!("{}/v1/projects/coffee/{path}", base(place));
    Client::new(Duration::from_secs(30)).send(method, &url, headers, body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_json_are_taken_whole_or_not_at_all() {
    let (sink, place) = (Sink::start().await, Place::new());
    let router = started(&place, &sink, json!({"topics": [TOPIC], "keys": [KEY]})).await;
    let key = Some(KEY);
    let publish = "topics/orders:publish";
    let binary = json!({"data": STANDARD.encode("[1.50]"), "orderingKey": "k1", "attributes":
        {"ce-specversion": "1.0", "ce-id": "b", "ce-source": "/s", "ce-type": "t", "content-type": "application/json"}});
    let whole = json!({"specversion": "1.0", "id": "s", "source": "/s", "type": "t", "data": {"n": 1}}).to_string();
    let structured =
        json!({"data": STANDARD.encode(whole), "attributes": {"content-type": "application/cloudevents+json"}});
    let plain = json!({"data": STANDARD.encode("hello")});
    let mut broken = binary.clone();
    broken["attributes"].as_object_mut().unwrap().remove("ce-type");
    for (path, key, messages, status, says) in [
        (publish, None, json!([plain]), 401, "UNAUTHENTICATED"),
        (publish, Some("wrong"), json!([plain]), 401, "UNAUTHENTICATED"),
        ("topics/gone:publish", key, json!([plain]), 404, "NOT_FOUND"),
        (publish, key, json!([binary, broken]), 400, "message 1"),
        (publish, key, json!([{}]), 400, "neither data nor attributes"),
        (publish, key, json!([]), 400, "1 to 1000 messages"),
        (publish, key, json!([{"data": "%"}]), 400, "no base64"),
        (publish, key, json!([{"payload": "x"}]), 400, "payload"),
        (publish, key, json!([{"data": STANDARD.encode(vec![b'x'; 2 << 20])}]), 400, "at most 1048576"),
        ("topics/orders", key, Value::Null, 501, "UNIMPLEMENTED"),
    ] {
        let answer = call(&place, Method::POST, path, key, json!({ "messages": messages })).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(says), "{says}: {}", answer.text());
    }
    assert!(sink.journal().is_empty(), "nothing of what was refused is kept");
    let answer = call(&place, Method::POST, publish, key, json!({"messages": [binary, structured, plain]})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["messageIds"].as_array().unwrap().len(), 3);
    // What is made again because its answer was lost is a duplicate.
    assert_eq!(call(&place, Method::POST, publish, key, json!({"messages": [binary]})).await.status, 200);
    assert_eq!(
        call(&place, Method::GET, "topics", key, Value::Null).await.json(),
        json!({"topics": [{"name": TOPIC}]})
    );
    assert_eq!(call(&place, Method::GET, "topics/orders", key, Value::Null).await.json(), json!({"name": TOPIC}));
    arrived(&sink, 3, &place).await;
    assert!(router.terminate().await.success());
    assert_eq!(sink.journal().len(), 3);
}
