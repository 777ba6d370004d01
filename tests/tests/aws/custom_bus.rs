//! A custom event bus, played by what AWS writes of it: its service model (`eventbridgev2`, 2025-05-15), "Publishing events
//! to a Custom Event Bus" and "Ordering and deduplicating events" of its guide. Nobody else stands for it. That it speaks as
//! AWS does is held by AWS's own client for Python, which calls it, and by AWS's model, to which requests are held.
//!
//! CBOR is read and written by the crate that the SDK uses; here it is JSON, its byte strings in base64.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use aws_smithy_cbor::{Decoder, Encoder, data::Type};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::proxy::Broken;

/// Its ARN.
pub const ARN: &str = "arn:aws:events:us-east-1:123456789012:event-busv2/orders/abcdefghij0123456789abcde";
/// Entries of one call.
const ENTRIES_MAX: usize = 100;
/// Characters of a group's or a deduplication's id.
const ID_CHARS_MAX: usize = 128;

/// What becomes of one call.
pub enum Fault {
    /// It is refused as a whole, by the name of AWS's error.
    Error(u16, &'static str),
    /// It is answered by somebody else than the service.
    Text(u16, &'static str),
    /// Entries that this names fail with that code; the others are taken.
    Entries(fn(usize) -> Option<&'static str>),
    /// It is taken, and the connection breaks without an answer.
    Break,
}

/// What becomes of a call; `None`: what the service does.
pub type Rule = Box<dyn FnMut(&Value) -> Option<Fault> + Send>;

/// An event on the bus.
#[derive(Clone, Debug)]
pub struct Kept {
    pub data: Vec<u8>,
    pub content_type: String,
    pub group: Option<String>,
    pub deduplication: Option<String>,
}

struct Shared {
    rule: Rule,
    state: &'static str,
    events: Vec<Kept>,
    /// Groups and deduplication ids, with the ids of events. The window is longer than any test.
    known: BTreeMap<(Option<String>, String), String>,
    calls: Vec<Value>,
    wrong: Vec<String>,
}

/// A bus that is there until it is dropped.
pub struct CustomBus {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl Drop for CustomBus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl CustomBus {
    /// Where each call fares as the rule says.
    pub async fn start(rule: Rule) -> CustomBus {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            rule,
            state: "ACTIVE",
            events: Vec::new(),
            known: BTreeMap::new(),
            calls: Vec::new(),
            wrong: Vec::new(),
        };
        let shared = Arc::new(Mutex::new(shared));
        let of_task = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = of_task.clone();
                let service = service_fn(move |request| serve(request, shared.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        CustomBus { url, shared, task }
    }

    /// With these faults, one for each call of `PutRawEvents` in turn; what follows goes through.
    pub async fn with(faults: impl IntoIterator<Item = Option<Fault>>) -> CustomBus {
        let mut faults: VecDeque<Option<Fault>> = faults.into_iter().collect();
        CustomBus::start(Box::new(move |_| faults.pop_front().flatten())).await
    }

    /// Sets its state.
    pub fn is(&self, state: &'static str) {
        self.shared.lock().unwrap().state = state;
    }

    /// What it has kept, in order.
    pub fn events(&self) -> Vec<Kept> {
        self.shared.lock().unwrap().events.clone()
    }

    /// The calls of `PutRawEvents`, as they came.
    pub fn calls(&self) -> Vec<Value> {
        self.shared.lock().unwrap().calls.clone()
    }

    /// How many entries they had.
    pub fn entries(&self) -> Vec<usize> {
        self.calls().iter().map(|call| call["Entries"].as_array().unwrap().len()).collect()
    }

    /// What of requests no service of AWS would have taken.
    pub fn wrong(&self) -> Vec<String> {
        self.shared.lock().unwrap().wrong.clone()
    }
}

async fn serve(request: Request<Incoming>, shared: Arc<Mutex<Shared>>) -> Result<Response<Full<Bytes>>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let mut shared = shared.lock().unwrap();
    if let Err(why) = protocol(&head.headers) {
        shared.wrong.push(why);
        return Ok(error(400, "SerializationException"));
    }
    let input = decode(&body);
    let operation = head.uri.path().strip_prefix("/service/AWSEventsV2/operation/").unwrap_or_default();
    if !["PutRawEvents", "DescribeEventBus"].contains(&operation) {
        shared.wrong.push(format!("there is no operation at {}", head.uri.path()));
        return Ok(error(404, "UnknownOperationException"));
    }
    if operation == "DescribeEventBus" {
        return Ok(shared.described(&input));
    }
    shared.calls.push(input.clone());
    match (shared.rule)(&input) {
        Some(Fault::Error(status, code)) => Ok(error(status, code)),
        Some(Fault::Text(status, text)) => {
            let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
            *response.status_mut() = status.try_into().unwrap();
            Ok(response)
        }
        Some(Fault::Break) => {
            shared.put(&input, &|_| None);
            Err(Broken)
        }
        Some(Fault::Entries(fails)) => Ok(shared.put(&input, &fails)),
        None => Ok(shared.put(&input, &|_| None)),
    }
}

/// What every request of that protocol has, and a signature for the service by the name that both generations share.
fn protocol(headers: &HeaderMap) -> Result<(), String> {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wanted =
        [("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor"), ("accept", "application/cbor")];
    for (name, value) in wanted {
        if of(name) != value {
            return Err(format!("{name} is `{}`, not `{value}`", of(name)));
        }
    }
    let signed = of("authorization");
    match signed.starts_with("AWS4-HMAC-SHA256 Credential=") && signed.contains("/us-east-1/events/aws4_request") {
        true => Ok(()),
        false => Err(format!("it is signed so: {signed}")),
    }
}

impl Shared {
    fn described(&self, input: &Value) -> Response<Full<Bytes>> {
        match input["EventBusArn"] == ARN {
            true => answer(200, &json!({"EventBusArn": ARN, "Name": "orders", "State": self.state})),
            false => error(404, "ResourceNotFoundException"),
        }
    }

    fn put(&mut self, input: &Value, fails: &dyn Fn(usize) -> Option<&'static str>) -> Response<Full<Bytes>> {
        if input["EventBusArn"] != ARN {
            return error(404, "ResourceNotFoundException");
        }
        if self.state == "CREATING" {
            return error(409, "InvalidStateException");
        }
        let entries = input["Entries"].as_array().cloned().unwrap_or_default();
        let chars = |id: &Value| id.as_str().map(|id| id.chars().count());
        let ids = entries.iter().flat_map(|entry| {
            let beside = &entry["SystemMetadata"];
            [chars(&beside["EventGroupId"]), chars(&beside["DeduplicationId"])]
        });
        let long = ids.flatten().any(|chars| !(1..=ID_CHARS_MAX).contains(&chars));
        if long || !(1..=ENTRIES_MAX).contains(&entries.len()) {
            return error(400, "InvalidInputException");
        }
        let results: Vec<Value> = entries.iter().enumerate().map(|(n, entry)| self.put_one(entry, fails(n))).collect();
        let failed = results.iter().filter(|result| !result["ErrorCode"].is_null()).count();
        answer(200, &json!({"FailedEntryCount": failed, "Entries": results}))
    }

    fn put_one(&mut self, entry: &Value, fails: Option<&'static str>) -> Value {
        if let Some(code) = fails {
            return json!({"ErrorCode": code, "ErrorMessage": "on purpose"});
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let beside = &entry["SystemMetadata"];
        let data = STANDARD.decode(entry["Data"].as_str().unwrap_or_default()).unwrap();
        let content_type = text(&beside["ContentType"]).unwrap_or_default();
        let known = match content_type.as_str() {
            "application/json" => serde_json::from_slice::<Value>(&data).is_ok(),
            "application/octet-stream" => true,
            // These need a registry of schemas, which a request of ours never names.
            _ => false,
        };
        if !known {
            return json!({"ErrorCode": "VALIDATION_ERROR", "ErrorMessage": "Data is not what ContentType says"});
        }
        let (group, deduplication) = (text(&beside["EventGroupId"]), text(&beside["DeduplicationId"]));
        let id = format!("event-{}", self.events.len());
        if let Some(deduplication) = &deduplication {
            let first = self.known.entry((group.clone(), deduplication.clone())).or_insert_with(|| id.clone());
            if *first != id {
                return json!({"EventId": first, "SuccessCode": "DEDUPLICATED"});
            }
        }
        self.events.push(Kept { data, content_type, group, deduplication });
        json!({"EventId": id, "SequenceNumber": self.events.len().to_string(), "SuccessCode": "PUBLISHED"})
    }
}

fn error(status: u16, code: &str) -> Response<Full<Bytes>> {
    answer(status, &json!({"__type": format!("com.amazonaws.eventbridgev2#{code}"), "Message": "on purpose"}))
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut encoder = Encoder::new(Vec::new());
    encode(&mut encoder, body);
    let answer = Response::builder().status(status).header("smithy-protocol", "rpc-v2-cbor");
    let answer = answer.header(header::CONTENT_TYPE, "application/cbor");
    answer.body(Full::new(Bytes::from(encoder.into_writer()))).unwrap()
}

fn encode(to: &mut Encoder, value: &Value) {
    match value {
        Value::String(text) => _ = to.str(text),
        Value::Number(number) => _ = to.long(number.as_i64().unwrap()),
        Value::Bool(yes) => _ = to.boolean(*yes),
        Value::Null => _ = to.null(),
        Value::Array(values) => {
            to.array(values.len());
            values.iter().for_each(|value| encode(to, value));
        }
        Value::Object(members) => {
            to.map(members.len());
            for (name, value) in members {
                to.str(name);
                encode(to, value);
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Value {
    let mut from = Decoder::new(bytes);
    let value = read(&mut from);
    assert_eq!(from.position(), bytes.len(), "nothing stands behind it");
    value
}

fn read(from: &mut Decoder<'_>) -> Value {
    match from.datatype().unwrap() {
        Type::Map | Type::MapIndef => {
            let mut left = from.map().unwrap();
            let mut members = serde_json::Map::new();
            while more(from, &mut left) {
                let name = from.string().unwrap();
                members.insert(name, read(from));
            }
            Value::Object(members)
        }
        Type::Array | Type::ArrayIndef => {
            let mut left = from.list().unwrap();
            let mut values = Vec::new();
            while more(from, &mut left) {
                values.push(read(from));
            }
            Value::Array(values)
        }
        Type::String | Type::StringIndef => Value::String(from.string().unwrap()),
        Type::Bytes | Type::BytesIndef => Value::String(STANDARD.encode(from.blob().unwrap())),
        Type::Bool => Value::Bool(from.boolean().unwrap()),
        Type::Null => {
            from.null().unwrap();
            Value::Null
        }
        _ => json!(from.long().unwrap()),
    }
}

/// Whether a list or a map goes on; what ends one without a length is read.
fn more(from: &mut Decoder<'_>, left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
        None if from.datatype().unwrap() == Type::Break => {
            from.skip().unwrap();
            false
        }
        None => true,
    }
}
