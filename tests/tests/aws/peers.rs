//! moto and ministack, each on a free port of loopback, and what a test asks of them, in plain HTTP: no SDK says here
//! what the SDK of the router should have said.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use router_aws::{AccessKey, Settings};
use router_http::Secret;
use router_tests::world::client::{Answer, Client};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// What a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);
/// What a message may take to come out of a queue.
pub const ARRIVAL: Duration = Duration::from_secs(60);

/// Who stands for AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Says per entry what is malformed, and that a bus is not there; keeps the time of an entry.
    Moto,
    /// Runs functions.
    Ministack,
}

/// A peer that runs; it ends when it is dropped.
pub struct Peer {
    pub url: String,
    client: Client,
    _child: Child,
}

/// A bus with one rule that feeds one queue.
pub struct Fed {
    pub bus: String,
    pub queue_url: String,
}

impl Peer {
    /// Starts it; `None`, and one line, where it is not there.
    pub async fn start(kind: Kind) -> Option<Peer> {
        let program = match kind {
            Kind::Moto => "moto_server",
            Kind::Ministack => "ministack",
        };
        let Some(program) = find(program) else {
            eprintln!("{kind:?} is not there, so this test is skipped: `cargo xtask test` installs it");
            return None;
        };
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        match kind {
            Kind::Moto => command.args(["-H", "127.0.0.1", "-p", &port.to_string()]),
            Kind::Ministack => command
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .env("MINISTACK_HOST", "127.0.0.1"),
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let url = format!("http://127.0.0.1:{port}");
        let peer = Peer { url, client: Client::new(Duration::from_secs(30)), _child: child.unwrap() };
        let end = Instant::now() + START;
        while !peer.try_call("AmazonSQS.ListQueues", &json!({})).await.is_ok_and(|answer| answer.status == 200) {
            assert!(Instant::now() < end, "{kind:?} does not answer after {START:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(peer)
    }

    /// One call of the protocol that both services speak; the peers look at no signature.
    async fn try_call(&self, what: &str, body: &Value) -> Result<Answer, String> {
        let service = if what.starts_with("AWSEvents") { "events" } else { "sqs" };
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        );
        let headers =
            [("x-amz-target", what), ("content-type", "application/x-amz-json-1.1"), ("authorization", &signed)];
        let headers: HeaderMap =
            headers.into_iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_str(v).unwrap())).collect();
        self.client.send(Method::POST, &self.url, headers, Bytes::from(body.to_string())).await
    }

    /// One call that must succeed.
    pub async fn call(&self, what: &str, body: Value) -> Value {
        let answer = self.try_call(what, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// One call of a service that speaks REST.
    pub async fn rest(&self, path: &str, body: Value) -> Value {
        let headers =
            [(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        let url = format!("{}{path}", self.url);
        let answer = self.client.send(Method::POST, &url, headers, Bytes::from(body.to_string())).await.unwrap();
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
        answer.json()
    }

    /// A queue of that name.
    pub async fn queue(&self, name: &str, attributes: Value) -> String {
        let made = self.call("AmazonSQS.CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await;
        let path = made["QueueUrl"].as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned();
        // Whatever host the peer thinks it has.
        format!("{}/{path}", self.url)
    }

    /// A bus of that name whose rule sends what the pattern wants to a queue of the same name.
    pub async fn fed(&self, name: &str, pattern: Value) -> Fed {
        self.call("AWSEvents.CreateEventBus", json!({"Name": name})).await;
        let queue_url = self.queue(name, json!({})).await;
        let asked = json!({"QueueUrl": queue_url, "AttributeNames": ["QueueArn"]});
        let arn = self.call("AmazonSQS.GetQueueAttributes", asked).await["Attributes"]["QueueArn"].clone();
        let rule = json!({"Name": name, "EventBusName": name, "EventPattern": pattern.to_string()});
        self.call("AWSEvents.PutRule", rule).await;
        let targets = json!({"Rule": name, "EventBusName": name, "Targets": [{"Id": "queue", "Arn": arn}]});
        self.call("AWSEvents.PutTargets", targets).await;
        Fed { bus: name.to_owned(), queue_url }
    }

    /// Takes messages until there are so many, and deletes them; their bodies.
    pub async fn take(&self, queue_url: &str, count: usize) -> Vec<Value> {
        let (mut taken, end) = (Vec::new(), Instant::now() + ARRIVAL);
        while taken.len() < count {
            assert!(Instant::now() < end, "{} of {count} messages came", taken.len());
            taken.extend(self.take_some(queue_url).await);
        }
        taken
    }

    /// Takes messages until there are so many, and leaves them there; their bodies as they are.
    pub async fn raw(&self, queue_url: &str, count: usize) -> Vec<String> {
        let (mut bodies, end) = (Vec::new(), Instant::now() + ARRIVAL);
        while bodies.len() < count {
            assert!(Instant::now() < end, "{} of {count} messages came", bodies.len());
            let asked = json!({"QueueUrl": queue_url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1});
            let answer = self.call("AmazonSQS.ReceiveMessage", asked).await;
            let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
            bodies.extend(messages.iter().map(|m| m["Body"].as_str().unwrap().to_owned()));
        }
        bodies
    }

    /// The next messages, at most ten.
    pub async fn take_some(&self, queue_url: &str) -> Vec<Value> {
        let asked = json!({"QueueUrl": queue_url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1});
        let answer = self.call("AmazonSQS.ReceiveMessage", asked).await;
        let mut bodies = Vec::new();
        for message in answer["Messages"].as_array().cloned().unwrap_or_default() {
            let handle = json!({"QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"]});
            self.call("AmazonSQS.DeleteMessage", handle).await;
            bodies.push(serde_json::from_str(message["Body"].as_str().unwrap()).unwrap());
        }
        bodies
    }
}

/// Who the router is to whoever stands at that URL.
pub fn settings(url: &str) -> Settings {
    let access_key = AccessKey { id: "test".into(), secret: Secret::new("test"), session_token: None };
    Settings {
        region: Some("us-east-1".into()),
        endpoint: Some(url.into()),
        access_key: Some(access_key),
        ..Settings::default()
    }
}

/// The same, as a configuration says it.
pub fn configured(url: &str) -> Value {
    json!({"region": "us-east-1", "endpoint": url, "credentials": {"access_key_id": "test", "secret_access_key": "test"}})
}

/// A program of the peers: in the target folder, or on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    // TARGET/debug/deps/SUITE-HASH
    let own =
        std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.join("peers/bin").join(program)));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(|folder| folder.join(program));
    own.into_iter().chain(on_path).find(|path| path.is_file())
}
