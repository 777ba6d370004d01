//! What a function remembers in the buckets of a cloud: two processes of one function, which share nothing else.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use router_tests::world::client::{Answer, Client};
use serde_json::{Value, json};

use super::{
    buckets,
    lambda::{order, program},
};

/// The same order, at once.
const AT_ONCE: usize = 12;
/// From one try to the next while another process works.
const AGAIN: Duration = Duration::from_millis(50);

/// A process of the function; it ends with this.
pub struct Running {
    child: Child,
    pub url: String,
}

impl Running {
    fn start(program: &Path, env: &[(&str, &str)]) -> Running {
        let mut command = Command::new(program);
        Running::of(command.env_clear().envs(env.iter().copied()).env("LISTEN", "127.0.0.1:0").stdin(Stdio::null()))
    }

    /// Once it listens.
    pub fn of(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("listening on http://")).expect("it says where it listens");
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = line["message"].as_str().unwrap().rsplit('/').next().unwrap().replace("0.0.0.0", "127.0.0.1");
        // Read on, so that the program can go on writing.
        std::thread::spawn(move || lines.for_each(drop));
        Running { child, url: format!("http://{address}/") }
    }

    /// Sends an event until it is handled: while another process is at it, it has to come again.
    async fn handles(&self, event: &Value) -> Answer {
        let client = Client::new(Duration::from_secs(60));
        loop {
            let headers: HeaderMap =
                [(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"))].into_iter().collect();
            let body = Bytes::from(event.to_string());
            let answer = client.send(Method::POST, &self.url, headers, body).await.unwrap();
            if answer.status != 503 && answer.status != 500 {
                return answer;
            }
            let passing = ["under-way", "state-conflict"].iter().any(|code| answer.text().contains(code));
            assert!(passing, "{}", answer.text());
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// What is handled once is answered alike by every process that shares the state, and by one that has none other than
/// it: the states of orders are there, too.
async fn remembers(program: &Path, env: &[(&str, &str)]) {
    let (one, two) = (Running::start(program, env), Running::start(program, env));
    let event = order(1);
    let mut tasks = tokio::task::JoinSet::new();
    let both = std::sync::Arc::new([one, two]);
    for n in 0..AT_ONCE {
        let (both, event) = (both.clone(), event.clone());
        tasks.spawn(async move {
            let answer = both[n % 2].handles(&event).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.text()
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    drop(both);

    // A process that knows of it from the bucket alone: the answer, and the state that the order is in.
    let late = Running::start(program, env);
    assert_eq!(late.handles(&event).await.text(), answers[0]);
    let skips = change(1, "brewing", "ready");
    let refused = late.handles(&skips).await.text();
    assert!(refused.contains("coffee.order.rejected"), "the order is accepted, and not brewing: {refused}");
    let next = late.handles(&change(2, "accepted", "brewing")).await.text();
    assert!(next.contains("coffee.order.changed"), "{next}");
    let forgetful = Running::start(program, &[("STATE_URL", "memory")]);
    let believed = forgetful.handles(&skips).await.text();
    assert!(
        believed.contains("coffee.order.changed"),
        "it knows of no order, and believes what it is told: {believed}"
    );
}

/// A change of the order.
fn change(number: u32, from: &str, to: &str) -> Value {
    let mut event = order(1);
    event["id"] = json!(format!("change-{number}"));
    event["type"] = json!("coffee.order.updated");
    event["data"] = json!({"order": "order-1", "from": from, "to": to});
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_what_they_remember_in_s3() {
    let (Some(program), Some(peer)) = (program(), buckets::s3().await) else { return };
    let env = [
        ("STATE_URL", "s3://coffee/orders"),
        ("AWS_ENDPOINT_URL", peer.url.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    remembers(&program, &env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_what_they_remember_in_azure() {
    let (Some(program), Some(peer)) = (program(), buckets::azure().await) else { return };
    let env = [
        ("STATE_URL", "az://coffee/orders"),
        ("AZURE_STORAGE_ENDPOINT", peer.url.as_str()),
        ("AZURE_STORAGE_ACCOUNT_NAME", buckets::AZURE_ACCOUNT),
        ("AZURE_STORAGE_ACCOUNT_KEY", buckets::AZURE_KEY),
    ];
    remembers(&program, &env).await;
}
