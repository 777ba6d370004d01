//! Google's Pub/Sub emulator, and what a test asks of it, in plain HTTP: no client of Google says here what the client
//! of the router should have said.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use router_gcp::wire::Message;
use router_tests::world::client::{Answer, Client};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// What a start may take on a loaded machine.
const START: Duration = Duration::from_secs(90);
/// What a message may take to come out of a subscription.
pub const ARRIVAL: Duration = Duration::from_secs(60);
/// The project of all tests.
pub const PROJECT: &str = "coffee";

/// An emulator that runs; one that was started here ends when it is dropped.
pub struct Emulator {
    pub url: String,
    client: Client,
    _child: Option<Child>,
}

/// A message as a subscriber got it.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub id: String,
    pub message: Message,
}

impl Emulator {
    /// Starts it; `None`, and one line, where it is not there.
    pub async fn start() -> Option<Emulator> {
        let (url, child) = match std::env::var("PUBSUB_EMULATOR_HOST") {
            Ok(host) => (format!("http://{host}"), None),
            Err(_) => {
                let Some(jar) = jar() else {
                    eprintln!(
                        "the Pub/Sub emulator is not there, so this test is skipped: install the Google Cloud SDK's, or name one in PUBSUB_EMULATOR_HOST"
                    );
                    return None;
                };
                let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
                let mut command = Command::new("java");
                // A heap of its own choice would be a quarter of the machine.
                command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar"]).arg(jar);
                command.args(["--host=127.0.0.1", &format!("--port={port}")]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
                let Ok(child) = command.spawn() else {
                    eprintln!("there is no Java, which the Pub/Sub emulator needs, so this test is skipped");
                    return None;
                };
                (format!("http://127.0.0.1:{port}"), Some(child))
            }
        };
        let emulator = Emulator { url, client: Client::new(Duration::from_secs(30)), _child: child };
        let end = Instant::now() + START;
        while !emulator.call(Method::GET, "topics", &Value::Null).await.is_ok_and(|answer| answer.status == 200) {
            assert!(Instant::now() < end, "the Pub/Sub emulator does not answer after {START:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some(emulator)
    }

    /// One call of its HTTP form, below the project.
    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Answer, String> {
        let headers: HeaderMap = [(header::CONTENT_TYPE, "application/json".parse().unwrap())].into_iter().collect();
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.client.send(method, &format!("{}/v1/projects/{PROJECT}/{path}", self.url), headers, body).await
    }

    /// One call that must succeed.
    pub async fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// A topic of that name with a subscription of the same name; the topic's whole name.
    pub async fn topic(&self, name: &str, subscription: Value) -> String {
        let topic = format!("projects/{PROJECT}/topics/{name}");
        self.done(Method::PUT, &format!("topics/{name}"), json!({})).await;
        let mut subscription = subscription;
        subscription["topic"] = json!(topic);
        self.done(Method::PUT, &format!("subscriptions/{name}"), subscription).await;
        topic
    }

    /// Takes messages until there are so many, and acknowledges them.
    pub async fn take(&self, subscription: &str, count: usize) -> Vec<Pulled> {
        let (mut taken, end) = (Vec::new(), Instant::now() + ARRIVAL);
        while taken.len() < count {
            assert!(Instant::now() < end, "{} of {count} messages came", taken.len());
            taken.extend(self.take_some(subscription).await);
        }
        taken
    }

    /// The next messages.
    pub async fn take_some(&self, subscription: &str) -> Vec<Pulled> {
        let asked = json!({"maxMessages": 1000, "returnImmediately": true});
        let answer = self.done(Method::POST, &format!("subscriptions/{subscription}:pull"), asked).await;
        let received = answer["receivedMessages"].as_array().cloned().unwrap_or_default();
        if received.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Vec::new();
        }
        let ids: Vec<&Value> = received.iter().map(|one| &one["ackId"]).collect();
        self.done(Method::POST, &format!("subscriptions/{subscription}:acknowledge"), json!({"ackIds": ids})).await;
        received.iter().map(|one| pulled(&one["message"])).collect()
    }
}

fn pulled(message: &Value) -> Pulled {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attributes = message["attributes"].as_object().cloned().unwrap_or_default();
    Pulled {
        id: text(&message["messageId"]),
        message: Message {
            data: STANDARD.decode(text(&message["data"])).unwrap().into(),
            attributes: attributes.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
            ordering_key: text(&message["orderingKey"]),
        },
    }
}

/// The emulator of an installed Google Cloud SDK: beside `gcloud`, or where Debian's package puts it.
fn jar() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = std::env::split_paths(&path).filter_map(|folder| {
        let gcloud = std::fs::canonicalize(folder.join("gcloud")).ok()?;
        Some(gcloud.parent()?.parent()?.to_owned())
    });
    let debian = Path::new("/usr/lib/google-cloud-sdk").to_owned();
    beside.chain([debian]).find_map(|sdk| {
        let folder = std::fs::read_dir(sdk.join("platform/pubsub-emulator/lib")).ok()?;
        let mut files = folder.filter_map(|entry| Some(entry.ok()?.path()));
        files.find(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("cloud-pubsub-emulator") && name.ends_with("-all.jar")
        })
    })
}
