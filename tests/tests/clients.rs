//! Goal: clients that others wrote publish in every mode that they have, and what the target receives is what they
//! sent. What each does with a refusal is pinned: one that goes on in silence loses events, and its users must know.
//!
//! The SDKs of tests/clients are installed by `cargo xtask test` under target/clients; where they are not, the suite
//! says that it skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use router_tests::world::{
    process::{Place, binary},
    setup::Route,
};
use schemas::{Event, Value};
use serde_json::Value as Json;

/// Where the SDKs are, when not under target/clients.
const CLIENTS: &str = "GOCOFFEE_CLIENTS";
/// What a client, and a delivery, may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the clients cannot send: two put text that is no Latin-1 into a header as it is, which their own HTTP libraries
/// refuse, and the JavaScript SDK has no body for an event without data.
const UNSENDABLE: [&str; 3] = ["python-v1-binary-json", "js-binary-json", "js-binary-empty"];

fn unsendable(result: &Json) -> bool {
    UNSENDABLE.iter().any(|id| result["id"] == *id)
}

/// The folder of the SDKs, if they are installed.
fn installed() -> Option<PathBuf> {
    // TARGET/debug/gocoffee
    let beside = || binary().ancestors().nth(2).map(|target| target.join("clients"));
    let folder = std::env::var_os(CLIENTS).map(PathBuf::from).or_else(beside)?;
    let there = folder.join("js/node_modules/cloudevents").is_dir() && folder.join("py/bin/python").exists();
    if !there {
        println!("skipped: the CloudEvents SDKs are not installed in {}; `cargo xtask test` does it", folder.display());
    }
    there.then_some(folder)
}

/// Something that takes what is sent to it, and answers all the same.
struct Receiver {
    url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Receiver {
    async fn start(status: u16) -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let kept = bodies.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = kept.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let kept = kept.clone();
                        async move {
                            let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                            kept.lock().unwrap().push(body);
                            let answer = Response::builder().status(status).header("retry-after", "1");
                            let answer = answer.header("content-type", "application/problem+json");
                            Ok::<_, Infallible>(answer.body(Full::<Bytes>::from(answer_text(status))).unwrap())
                        }
                    });
                    // Clients that go away are none of ours.
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Receiver { url, bodies }
    }
}

fn answer_text(status: u16) -> &'static str {
    match status {
        422 => r#"{"status":422,"code":"missing-attribute","detail":"refused for good"}"#,
        503 => r#"{"status":503,"code":"disk-full","detail":"send it again later"}"#,
        _ => "",
    }
}

/// Runs a client; what it says came of each event.
async fn publish(folder: &Path, client: &str, url: &str) -> Vec<Json> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = match client {
        "python" => {
            let mut python = tokio::process::Command::new(folder.join("py/bin/python"));
            python.arg(scripts.join("publish.py")).arg(url);
            python
        }
        _ => {
            let mut node = tokio::process::Command::new("node");
            node.arg(scripts.join("publish.js")).arg(url).arg(folder.join("js"));
            node
        }
    };
    let output = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output()).await;
    let output = output.expect("the client ends").unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{client}: {e}: {err}"))
}

/// The events that both clients publish, by id.
fn events() -> BTreeMap<String, Json> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/events.json")).unwrap();
    let events: Vec<Json> = serde_json::from_str(&text).unwrap();
    events.into_iter().map(|e| (e["id"].as_str().unwrap().to_owned(), e)).collect()
}

/// Holds what arrived to what was meant.
fn hold(event: &Event, meant: &Json) {
    let id = event.id();
    for (name, value) in meant.as_object().unwrap() {
        match name.as_str() {
            "id" => {}
            "data" => {
                let data: Json = serde_json::from_slice(event.data()).unwrap_or_else(|e| panic!("{id}: {e}"));
                assert_eq!(&data, value, "{id}");
            }
            // The older Python API writes text as a JSON string in binary mode: those are the bytes that it sends.
            "text" if id.starts_with("python-v1-binary") => {
                let text: String = serde_json::from_slice(event.data()).unwrap();
                assert_eq!(Some(text.as_str()), value.as_str(), "{id}");
            }
            "text" => assert_eq!(std::str::from_utf8(event.data()).ok(), value.as_str(), "{id}"),
            "base64" => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
                assert_eq!(event.data(), bytes, "{id}");
            }
            // The JavaScript SDK writes milliseconds.
            "time" => {
                let Some(Value::String(time)) = event.get("time") else { panic!("{id}: no time") };
                assert_eq!(time.replace(".000Z", "Z"), value.as_str().unwrap(), "{id}");
            }
            name => assert_eq!(event.get(name).map(|v| v.to_string()).as_deref(), value.as_str(), "{id}: {name}"),
        }
    }
    if ["data", "text", "base64"].iter().all(|name| meant.get(name).is_none()) {
        assert_eq!(event.data(), b"", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_clients_send_arrives_as_they_sent_it() {
    let Some(folder) = installed() else { return };
    let target = Receiver::start(204).await;
    let place = Place::new();
    let router = place.start(&[Route::all("all", &target.url).structured()]).await;
    let (mut sent, mut failed) = (Vec::new(), Vec::new());
    for (client, modes) in [("python", 4), ("js", 2)] {
        let results = publish(&folder, client, &place.url()).await;
        assert_eq!(results.len(), modes * 4, "{client}");
        for result in results {
            let id = result["id"].as_str().unwrap().to_owned();
            if result["raised"] == true {
                failed.push(id);
            } else {
                let taken = result["status"] == 202 || result["body"].as_str().is_some_and(|b| b.contains("accepted"));
                assert!(taken, "{result}");
                sent.push(id);
            }
        }
    }
    assert_eq!(failed, UNSENDABLE);
    let end = Instant::now() + DEADLINE;
    while target.bodies.lock().unwrap().len() < sent.len() {
        assert!(Instant::now() < end, "{} of {} arrived", target.bodies.lock().unwrap().len(), sent.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let events = events();
    let mut arrived = Vec::new();
    for body in target.bodies.lock().unwrap().iter() {
        let event = schemas::json::decode(body).unwrap();
        let meant = event.id().rsplit('-').next().unwrap();
        hold(&event, &events[meant]);
        arrived.push(event.id().to_owned());
    }
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent);
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_client_makes_of_a_refusal_is_known() {
    let Some(folder) = installed() else { return };
    for status in [422u16, 503] {
        let refusing = Receiver::start(status).await;
        for result in publish(&folder, "python", &refusing.url).await {
            // The SDK makes requests and sends none: whoever sends them sees the status, if it looks.
            let sent = !unsendable(&result);
            assert_eq!(result["status"].as_u64(), sent.then_some(status.into()), "{result}");
            assert_eq!(result["raised"], true, "{result}");
        }
        for result in publish(&folder, "js", &refusing.url).await {
            // Its own transport has no word for a refusal: it resolves, and gives neither status nor error.
            let sent = !unsendable(&result);
            assert_eq!(result["raised"], !sent, "{result}");
            assert_eq!(result["body"].as_str().unwrap().contains("\"code\""), sent, "{result}");
        }
        // One request for each: none of them sends again by itself.
        assert_eq!(refusing.bodies.lock().unwrap().len(), 16 + 8 - UNSENDABLE.len());
    }
}
