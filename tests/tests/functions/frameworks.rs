//! Google's own Functions Framework for Python, and our host: the same requests give the handler the same event.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use function_host::{Context, Failure, Function, Host, Reply, SettingError, Settings, google};
use http::{HeaderMap, Method, Request};
use router_tests::world::client::Client;
use schemas::{Event, Form};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::peers;

/// What a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);

/// Writes down what it gets.
const HANDLER: &str = r#"
import base64, json, os

def heard(event):
    data = event.data
    kept = {"base64": base64.b64encode(data).decode()} if isinstance(data, bytes) else {"json": data}
    with open(os.environ["HEARD"], "a") as out:
        out.write(json.dumps({"attributes": dict(event.get_attributes()), "data": kept}) + "\n")
"#;

/// The framework, running [`HANDLER`].
struct Framework {
    url: String,
    folder: tempfile::TempDir,
    client: Client,
    _child: Child,
}

impl Framework {
    async fn start() -> Option<Framework> {
        let Some(program) = peers::find("functions-framework") else {
            eprintln!("Functions Framework is not there, so this test is skipped: `cargo xtask test` installs it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("main.py"), HANDLER).unwrap();
        std::fs::write(folder.path().join("heard"), "").unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["--source", "main.py", "--target", "heard", "--signature-type", "cloudevent"])
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .env("HEARD", folder.path().join("heard"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let framework = Framework { url, folder, client: Client::new(Duration::from_secs(30)), _child: child };
        let end = Instant::now() + START;
        let any = || framework.client.send(Method::GET, &framework.url, HeaderMap::new(), Bytes::new());
        while any().await.is_err() {
            assert!(Instant::now() < end, "the Functions Framework does not answer after {START:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(framework)
    }

    /// What its handler got for a request; `None`: it was refused.
    async fn hears(&self, sent: &Sent) -> Option<Heard> {
        let file = self.folder.path().join("heard");
        let before = lines(&file).len();
        let url = format!("{}{}", self.url, sent.path);
        let answer = self.client.send(Method::POST, &url, sent.headers(), sent.body.clone().into()).await.unwrap();
        let lines = lines(&file);
        assert_eq!(lines.len() > before, (200..300).contains(&answer.status), "{}: {}", sent.what, answer.text());
        let line: Value = serde_json::from_str(lines.get(before)?).unwrap();
        let attributes = line["attributes"].as_object().unwrap().iter();
        let attributes = attributes.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
        Some(Heard { attributes: attributes.collect(), data: line["data"].clone() })
    }
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// An event as a handler sees it.
#[derive(Debug, PartialEq)]
struct Heard {
    attributes: BTreeMap<String, String>,
    /// `{"json": …}` or `{"base64": …}`.
    data: Value,
}

/// Keeps what it gets.
struct Keeper;

static KEPT: Mutex<Vec<Event>> = Mutex::new(Vec::new());

impl Function for Keeper {
    const NAME: &'static str = "keeper";
    const CONSUMES: &'static [&'static str] = &[
        "coffee.order.created",
        "google.cloud.firestore.document.v1.created",
        "google.cloud.firestore.document.v1.written",
        "google.cloud.pubsub.topic.v1.messagePublished",
        "google.cloud.storage.object.v1.deleted",
        "google.cloud.storage.object.v1.finalized",
        "google.firebase.analytics.log.v1.written",
        "google.firebase.auth.user.v1.created",
        "google.firebase.database.ref.v1.written",
    ];
    const EMITS: &'static [&'static str] = &[];

    fn start(_: &Settings) -> Result<Self, SettingError> {
        Ok(Keeper)
    }

    async fn handle(&self, event: &Event, _: &Context) -> Result<Vec<Reply>, Failure> {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        Ok(Vec::new())
    }
}

/// What our handler got for a request; `None`: it was refused.
async fn ours(host: &Host<Keeper>, sent: &Sent) -> Option<Heard> {
    let request = Request::post(format!("http://127.0.0.1{}", sent.path));
    let mut request = request.body(Bytes::from(sent.body.clone())).unwrap();
    *request.headers_mut() = sent.headers();
    let answer = google::respond(host, google::Refused::Fail, request).await;
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop();
    assert_eq!(kept.is_some(), answer.status().is_success(), "{}: {:?}", sent.what, answer.body());
    let event = kept?;
    let version = ("specversion".to_owned(), "1.0".to_owned());
    let attributes = event.attrs().map(|(name, value)| (name.to_owned(), value.to_string())).chain([version]).collect();
    let data = match event.form() {
        Form::Json => json!({"json": serde_json::from_slice::<Value>(event.data()).unwrap()}),
        _ => json!({"base64": STANDARD.encode(event.data())}),
    };
    Some(Heard { attributes, data })
}

/// A request that Google sends, and what becomes of what the frameworks do not agree about.
struct Sent {
    what: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    /// Changes what the framework heard to what is right.
    but: fn(&mut Heard),
}

impl Sent {
    fn new(what: &'static str, headers: &[(&'static str, &'static str)], body: impl ToString) -> Sent {
        Sent { what, path: "/", headers: headers.to_vec(), body: body.to_string(), but: |_| () }
    }

    fn json(what: &'static str, body: Value) -> Sent {
        Sent::new(what, &[("content-type", "application/json")], body)
    }

    fn headers(&self) -> HeaderMap {
        self.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }
}

/// The framework gives an event without a time that of the machine.
fn no_time(heard: &mut Heard) {
    assert!(heard.attributes.remove("time").is_some());
}

/// The framework leaves the subscription out, which the CloudEvent of Eventarc has, and adds what type it is.
/// [google-cloudevents: google/events/cloud/pubsub/v1/data.proto]
fn pushed(heard: &mut Heard) {
    heard.data["json"]["subscription"] = json!("projects/p/subscriptions/s");
    assert!(heard.data["json"]["message"].as_object_mut().unwrap().remove("@type").is_some());
}

const TIME: &str = "2026-01-15T06:30:17.459Z";

fn background(what: &'static str, kind: &str, resource: Value, data: Value) -> Sent {
    let context = json!({"eventId": "b-1", "timestamp": TIME, "eventType": kind, "resource": resource});
    Sent::json(what, json!({"context": context, "data": data}))
}

fn cloudevents() -> Vec<Sent> {
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shops/4"),
        ("ce-type", "coffee.order.created"),
        ("ce-time", TIME),
        ("ce-subject", "orders/7"),
        ("ce-partitionkey", "k"),
        ("content-type", "application/json"),
    ];
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let event = json!({"specversion": "1.0", "id": "2", "source": "/shops/4", "type": "coffee.order.created",
        "time": TIME, "subject": "größe", "datacontenttype": "application/json", "data": {"a": [1, 2.5, null]}});
    let mut bytes = event.clone();
    bytes["datacontenttype"] = json!("application/octet-stream");
    bytes.as_object_mut().unwrap().remove("data");
    bytes.as_object_mut().unwrap().remove("time");
    bytes["data_base64"] = json!("AAEC");
    let mut encoded = binary;
    encoded[5].1 = "gr%C3%B6%C3%9Fe 7";
    vec![
        Sent::new("binary", &binary, json!({"a": 1.5, "c": "é"})),
        Sent::new("structured", &structured, event),
        Sent { but: no_time, ..Sent::new("structured, bytes", &structured, bytes) },
        Sent {
            // [CloudEvents 1.0.2, HTTP protocol binding, section 3.1.3.2]: it is decoded, by us.
            but: |heard| drop(heard.attributes.insert("subject".into(), "größe 7".into())),
            ..Sent::new("binary, with a percent-encoded subject", &encoded, json!({}))
        },
    ]
}

fn pushes() -> Vec<Sent> {
    let message = json!({"data": "eyJhIjoxfQ==", "messageId": "11", "publishTime": TIME, "attributes": {"k": "v"}});
    let push = json!({"subscription": "projects/p/subscriptions/s", "message": message});
    vec![
        Sent { path: "/projects/p/topics/t", but: pushed, ..Sent::json("push", push.clone()) },
        Sent {
            but: |heard| {
                pushed(heard);
                // As the frameworks for Node and Java say it.
                let source = "//pubsub.googleapis.com/UNKNOWN_PUBSUB_TOPIC".to_owned();
                assert_eq!(heard.attributes.insert("source".into(), source).unwrap(), "//pubsub.googleapis.com/");
            },
            ..Sent::json("push to a path that does not name the topic", push)
        },
    ]
}

fn backgrounds() -> Vec<Sent> {
    let topic = json!({"service": "pubsub.googleapis.com", "name": "projects/p/topics/t",
        "type": "type.googleapis.com/google.pubsub.v1.PubsubMessage"});
    let message = json!({"@type": "type.googleapis.com/google.pubsub.v1.PubsubMessage",
        "attributes": {"k": "v"}, "data": "eyJhIjoxfQ=="});
    let object = |name| json!({"service": "storage.googleapis.com", "name": name, "type": "storage#object"});
    let stored = json!({"bucket": "b", "name": "folder/o.txt", "size": "3"});
    let fields = json!({"value": {"fields": {"n": {"integerValue": "7"}}}, "oldValue": {}});
    let user = json!({"uid": "u-7", "email": "a@example.com",
        "metadata": {"createdAt": "2026-01-01T00:00:00Z", "lastSignedInAt": "2026-01-02T00:00:00Z", "other": 1}});
    let flat = json!({"eventId": "b-1", "timestamp": TIME, "resource": "projects/p/databases/(default)/documents/a/b/c",
        "eventType": "providers/cloud.firestore/eventTypes/document.create", "data": fields, "params": {"x": "b"}});
    let database = |domain: &str| {
        json!({"eventType": "providers/google.firebase.database/eventTypes/ref.write", "domain": domain,
        "resource": "projects/_/instances/i/refs/gcf/x", "eventId": "b-1", "timestamp": TIME, "params": {"child": "x"},
        "data": {"data": null, "delta": {"n": 1}}})
    };
    let of_auth = "providers/firebase.auth/eventTypes/user.create";
    let logged = "providers/google.firebase.analytics/eventTypes/event.log";
    let firestore = "providers/cloud.firestore/eventTypes/document.write";
    let document = json!("projects/p/databases/(default)/documents/a/b");
    vec![
        background("message", "google.pubsub.topic.publish", topic, message.clone()),
        background(
            "message, as it once was",
            "providers/cloud.pubsub/eventTypes/topic.publish",
            json!("projects/p/topics/t"),
            message,
        ),
        background(
            "object",
            "google.storage.object.finalize",
            object("projects/_/buckets/b/objects/folder/o.txt"),
            stored.clone(),
        ),
        Sent {
            // As the mapping says; the framework for Python leaves it on.
            but: |heard| drop(heard.attributes.insert("subject".into(), "objects/folder/o.txt".into())),
            ..background(
                "object, with its generation",
                "google.storage.object.delete",
                object("projects/_/buckets/b/objects/folder/o.txt#1588778055917163"),
                stored,
            )
        },
        background("document", firestore, document, fields.clone()),
        Sent::json("document, all beside the data", flat),
        background("user", of_auth, json!("projects/p"), user),
        background("analytics", logged, json!("projects/p/events/session_start"), json!({"eventDim": []})),
        Sent::json("database", database("firebaseio.com")),
        Sent::json("database elsewhere", database("europe-west1.firebasedatabase.app")),
    ]
}

fn refused() -> Vec<Sent> {
    vec![
        Sent::json("no event", json!({"a": 1})),
        Sent::new("no JSON", &[("content-type", "application/json")], "{"),
        background("a type that nobody knows", "providers/x/eventTypes/y", json!("projects/p"), json!({})),
        background(
            "a document elsewhere",
            "providers/cloud.firestore/eventTypes/document.write",
            json!("projects/p/elsewhere/x"),
            json!({}),
        ),
        Sent::new(
            "an event without its type",
            &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("content-type", "application/json")],
            "{}",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_what_it_would_get_from_googles_own_framework() {
    let Some(framework) = Framework::start().await else { return };
    let now = "2026-01-15T06:31:00Z".parse().unwrap();
    let host = Host::<Keeper>::for_tests(Settings::default(), now).unwrap();
    for sent in cloudevents().into_iter().chain(pushes()).chain(backgrounds()) {
        let mut theirs = framework.hears(&sent).await.unwrap_or_else(|| panic!("{}: refused there", sent.what));
        (sent.but)(&mut theirs);
        let ours = ours(&host, &sent).await.unwrap_or_else(|| panic!("{}: refused here", sent.what));
        assert_eq!(ours, theirs, "{}", sent.what);
    }
    for sent in refused() {
        assert_eq!(framework.hears(&sent).await, None, "{}", sent.what);
        assert_eq!(ours(&host, &sent).await, None, "{}", sent.what);
    }
}
