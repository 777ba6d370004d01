//! A host of Azure Functions, played by its protocol, which runs the programs of functions as custom handlers; what its
//! queue trigger reads comes out of a queue of Azurite.
//!
//! What the host does is what Azure/azure-functions-host does: it says the port, waits until anything answers on `/`,
//! posts an invocation to `/FUNCTION`, and takes an answer for a success that is 2xx and holds `Outputs` and `Logs`.
//! Values that are no objects come as JSON inside of a string, a string encoded twice; bytes come as base64.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method};
use router_tests::world::client::{Answer, Client};
use schemas::json as codec;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};

use super::{
    buckets,
    table::{Others, Row, plain, table},
};

/// How often the host looks whether the program answers, and for how long.
const LOOK: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(30));
/// How often a message is tried before it goes to the poison queue.
const DEQUEUES_MAX: u32 = 5;

/// What an invocation came to.
type Invoked = Result<Value, String>;

/// The host, with one function.
struct FunctionsHost {
    function: &'static str,
    url: String,
    client: Client,
    _child: Child,
}

impl FunctionsHost {
    /// Starts the program as a custom handler; what its triggers reply with goes to the output binding.
    async fn start(program: &Path, row: &Row) -> FunctionsHost {
        let port = buckets::free_port().to_string();
        let mut command = Command::new(program);
        command.env_clear().envs(row.settings()).env("OUTPUT_URL", "answer");
        for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"] {
            command.env(name, &port);
        }
        command.env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "w").env("FUNCTIONS_APP_ROOT_PATH", "/");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let (client, url) = (Client::new(Duration::from_secs(60)), format!("http://127.0.0.1:{port}"));
        let end = Instant::now() + LOOK.1;
        while client.get(&url).await.is_err() {
            assert!(Instant::now() < end, "{} does not answer after {:?}", row.name, LOOK.1);
            tokio::time::sleep(LOOK.0).await;
        }
        FunctionsHost { function: row.name, url, client, _child: child.unwrap() }
    }

    /// Calls the function.
    async fn invoke(&self, data: Value, metadata: Value) -> Invoked {
        let headers = [
            ("content-type", "application/json; charset=utf-8"),
            ("x-azure-functions-invocationid", "b0e5c7a0-8f8a-4b7e-9d0e-2f8f6a4c1d3e"),
            ("x-azure-functions-hostversion", "4.1040.300"),
        ];
        let headers =
            headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect();
        let body = Bytes::from(json!({"Data": data, "Metadata": metadata}).to_string());
        let url = format!("{}/{}", self.url, self.function);
        let answer = self.client.send(Method::POST, &url, headers, body).await.unwrap();
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{}: {e}", answer.text()));
        assert!(said["Outputs"].is_object() && said["Logs"].is_array(), "{said}");
        match answer.status {
            200..300 => Ok(said["Outputs"].clone()),
            status => Err(format!("{status} {}", said["Logs"])),
        }
    }

    /// An HTTP trigger, with its output `res`.
    async fn http(&self, event: &schemas::Event) -> Vec<Value> {
        let (headers, body) = schemas::http::encode_binary(event);
        let headers: Map<String, Value> =
            headers.iter().map(|(name, value)| (name.to_string(), json!([value.to_str().unwrap()]))).collect();
        let asked = json!({"Url": "http://localhost:7071/api/f", "Method": "POST", "Query": {}, "Headers": headers,
            "Params": {}, "Identities": [], "Body": std::str::from_utf8(&body).unwrap()});
        let outputs = self.invoke(json!({"req": asked}), json!({"sys": {"MethodName": "f"}})).await.unwrap();
        let res = &outputs["res"];
        match (res["statusCode"].as_u64(), res["body"].as_str()) {
            (Some(204), _) => Vec::new(),
            (Some(200), Some(body)) => many(body),
            _ => panic!("{outputs}"),
        }
    }

    /// An Event Grid trigger: the event as an object.
    async fn event_grid(&self, event: &schemas::Event) -> Vec<Value> {
        let event: Value = serde_json::from_slice(&codec::encode(event)).unwrap();
        bound(&self.invoke(json!({"event": event}), json!({"sys": {"MethodName": "f"}})).await.unwrap())
    }

    /// The message of a queue, as this host reads what is in the queue.
    async fn message(&self, message: &Message, reading: Reading) -> Invoked {
        let value = match reading {
            Reading::Base64 => encoded(&text(&STANDARD.decode(&message.text).unwrap())),
            Reading::Plain => encoded(&message.text),
            // What is bytes goes into JSON as base64, once.
            Reading::Bytes => json!(message.text),
        };
        let metadata = json!({"DequeueCount": message.dequeued.to_string(), "Id": encoded(&message.id),
            "PopReceipt": encoded(&message.receipt), "sys": {"MethodName": "f", "UtcNow": "2026-01-15T06:30:01Z"}});
        self.invoke(json!({"message": value}), metadata).await
    }
}

/// How a host reads the text of a message.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// As base64 of a text: `messageEncoding: base64`, the default.
    Base64,
    /// As it is: `messageEncoding: none`.
    Plain,
    /// As base64 of bytes: `dataType: binary` of the binding.
    Bytes,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A string as the host puts it into an invocation: JSON inside of a string.
fn encoded(text: &str) -> Value {
    Value::from(json!(text).to_string())
}

/// One event or an array of them.
fn many(body: &str) -> Vec<Value> {
    match serde_json::from_str(body).unwrap() {
        Value::Array(all) => all,
        one => vec![one],
    }
}

/// What the output binding `events` holds.
fn bound(outputs: &Value) -> Vec<Value> {
    let events = outputs["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().map(|event| serde_json::from_str(event.as_str().unwrap()).unwrap()).collect()
}

/// Azurite's queues.
struct Queues {
    peer: buckets::Peer,
    /// What opens the account: its signature.
    sas: String,
    client: Client,
}

/// A message as the service gives it out.
struct Message {
    id: String,
    receipt: String,
    dequeued: u32,
    text: String,
}

impl Queues {
    /// `None`, and one line, where Azurite is not there.
    async fn start() -> Option<Queues> {
        let program = buckets::find("azurite/node_modules/.bin", "azurite-queue")?;
        let port = buckets::free_port().to_string();
        let mut command = Command::new(program);
        command.args(["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]);
        command.args(["--queueHost", "127.0.0.1", "--queuePort", &port]);
        let url = format!("http://127.0.0.1:{port}/{}", buckets::AZURE_ACCOUNT);
        let peer = buckets::started(command, url).await;
        Some(Queues { peer, sas: signature().await, client: Client::new(Duration::from_secs(30)) })
    }

    async fn ask(&self, method: Method, path: &str, query: &str, body: String) -> Answer {
        let url = format!("{}/{path}?{query}{}", self.peer.url, self.sas);
        let headers: HeaderMap =
            [(http::header::CONTENT_TYPE, "application/xml".parse().unwrap())].into_iter().collect();
        let answer = self.client.send(method.clone(), &url, headers, body.into()).await.unwrap();
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }

    async fn make(&self, name: &str) {
        self.ask(Method::PUT, name, "", String::new()).await;
    }

    async fn put(&self, queue: &str, text: &str) {
        self.ask(Method::POST, &format!("{queue}/messages"), "", xml(text)).await;
    }

    /// The next message, which nobody else sees for a minute.
    async fn get(&self, queue: &str) -> Option<Message> {
        let answer = self.ask(Method::GET, &format!("{queue}/messages"), "visibilitytimeout=60&", String::new()).await;
        let xml = answer.text();
        let tag = |name: &str| {
            let (_, rest) = xml.split_once(&format!("<{name}>"))?;
            let text = rest.split_once(&format!("</{name}>"))?.0;
            let names = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
            Some(names.iter().fold(text.to_owned(), |text, (name, is)| text.replace(name, is)))
        };
        let (id, receipt) = (tag("MessageId")?, tag("PopReceipt")?);
        Some(Message { id, receipt, dequeued: tag("DequeueCount")?.parse().unwrap(), text: tag("MessageText")? })
    }

    async fn delete(&self, queue: &str, message: &Message) {
        let query = format!("popreceipt={}&", escaped(&message.receipt));
        self.ask(Method::DELETE, &format!("{queue}/messages/{}", message.id), &query, String::new()).await;
    }

    /// Gives a message back at once, as it is.
    async fn release(&self, queue: &str, message: &Message) {
        let query = format!("popreceipt={}&visibilitytimeout=0&", escaped(&message.receipt));
        self.ask(Method::PUT, &format!("{queue}/messages/{}", message.id), &query, xml(&message.text)).await;
    }

    /// What the host's listener does until the queue is empty: what fails comes again, and goes to the poison queue
    /// when it has failed often enough.
    async fn listen(&self, queue: &str, host: &FunctionsHost, reading: Reading) -> Vec<Vec<Value>> {
        let mut all = Vec::new();
        while let Some(message) = self.get(queue).await {
            match host.message(&message, reading).await {
                Ok(outputs) => {
                    all.push(plain(bound(&outputs)));
                    self.delete(queue, &message).await;
                }
                Err(said) if message.dequeued >= DEQUEUES_MAX => {
                    assert!(said.contains("payload-unknown"), "{said}");
                    self.put(&format!("{queue}-poison"), &message.text).await;
                    self.delete(queue, &message).await;
                }
                Err(_) => self.release(queue, &message).await,
            }
        }
        all
    }
}

/// A message as the service takes it.
fn xml(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>")
}

/// A value in a query.
fn escaped(value: &str) -> String {
    value
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A signature for the whole account, made with what Azurite runs on.
async fn signature() -> String {
    let script = r#"
        const [account, key] = process.argv.slice(1), end = new Date(Date.now() + 3600e3).toISOString().slice(0, 19) + "Z";
        const text = [account, "rwdlacup", "q", "sco", "", end, "", "", "2019-12-12", ""].join("\n");
        const sum = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
        console.log(new URLSearchParams({ sv: "2019-12-12", ss: "q", srt: "sco", sp: "rwdlacup", se: end, sig: sum }).toString());
    "#;
    let args = ["-e", script, buckets::AZURE_ACCOUNT, buckets::AZURE_KEY];
    let made = Command::new("node").args(args).output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    text(&made.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_custom_handlers_of_azures_host() {
    let others = Others::start().await;
    for row in table(&others).into_iter().map(Row::at_once) {
        let Some(program) = row.program() else { return };
        let wanted = row.wanted().await;
        let host = FunctionsHost::start(&program, &row).await;
        for (event, wanted) in row.events.iter().zip(&wanted) {
            assert_eq!(&plain(host.http(event).await), wanted, "{} by HTTP", row.name);
        }
        // A new process: what the one before remembers is not to answer for it.
        let host = FunctionsHost::start(&program, &row).await;
        for (event, wanted) in row.events.iter().zip(&wanted) {
            assert_eq!(&plain(host.event_grid(event).await), wanted, "{} by Event Grid", row.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_queue_of_azure_reaches_the_programs() {
    let others = Others::start().await;
    let Some(queues) = Queues::start().await else { return };
    for row in table(&others).into_iter().map(Row::at_once) {
        let Some(program) = row.program() else { return };
        let (wanted, host, queue) = (row.wanted().await, FunctionsHost::start(&program, &row).await, row.name);
        queues.make(queue).await;
        for event in &row.events {
            queues.put(queue, &STANDARD.encode(codec::encode(event))).await;
        }
        assert_eq!(queues.listen(queue, &host, Reading::Base64).await, wanted, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_azure_is_read_in_each_form_and_what_is_no_event_ends_in_its_poison_queue() {
    let others = Others::start().await;
    let Some(queues) = Queues::start().await else { return };
    let row = table(&others).swap_remove(0);
    let Some(program) = row.program() else { return };
    let (wanted, event) = (row.wanted().await, text(&codec::encode(&row.events[0])));
    let in_base64 = STANDARD.encode(&event);
    // Event Grid puts base64 into a queue, whatever the host reads it as.
    for (number, text, reading) in [
        (0, &in_base64, Reading::Base64),
        (1, &event, Reading::Plain),
        (2, &in_base64, Reading::Plain),
        (3, &in_base64, Reading::Bytes),
    ] {
        let (host, queue) = (FunctionsHost::start(&program, &row).await, format!("orders-{number}"));
        queues.make(&queue).await;
        queues.put(&queue, text).await;
        assert_eq!(queues.listen(&queue, &host, reading).await, wanted[..1], "{text} as {reading:?}");
    }
    let host = FunctionsHost::start(&program, &row).await;
    for name in ["mixed", "mixed-poison"] {
        queues.make(name).await;
    }
    let poison = STANDARD.encode(r#"{"poison": "<&>"}"#);
    for text in [&poison, &in_base64] {
        queues.put("mixed", text).await;
    }
    assert_eq!(queues.listen("mixed", &host, Reading::Base64).await, wanted[..1]);
    assert_eq!(queues.get("mixed-poison").await.map(|message| message.text), Some(poison));
}
