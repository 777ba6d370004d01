//! One event in the form of every platform: a table that drives all hosts with the same inputs, so that a
//! function's tests say once what it does and hear it from everywhere.

#![allow(clippy::indexing_slicing, reason = "for tests only")]

/// What functions call.
pub mod endpoint;

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};
use jiff::Timestamp;
use schemas::{Event, json};
use serde_json::{Map, Value, json as value};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use crate::{
    azure,
    function::{Failure, Function},
    google,
    host::Host,
    lambda, local,
    output::OUTPUT_URL,
    server,
    settings::Settings,
    wire,
};

/// The ways in which an event arrives whole, attributes and data byte for byte.
pub const FORMS: [&str; 23] = [
    "local-binary",
    "local-structured",
    "local-batch",
    "google-binary",
    "google-structured",
    "google-push-binary",
    "google-push-structured",
    "google-push-unwrapped",
    "google-background",
    "azure-event-grid-object",
    "azure-event-grid-string",
    "azure-event-grid-many",
    "azure-queue",
    "azure-queue-bytes",
    "azure-http",
    "azure-http-forwarded",
    "lambda-direct",
    "lambda-array",
    "lambda-eventbridge",
    "lambda-sqs",
    "lambda-sqs-of-sns",
    "lambda-sns",
    "lambda-url",
];

/// What came of an event: the replies, or whether another attempt was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    /// The replies, wherever they went.
    Replies(Vec<Event>),
    /// The platform was told that it failed, with what was said.
    Failed(String),
}

/// Sends one event in one form to a new host of the function. Replies are taken from the answer, or from
/// where `OUTPUT_URL` points when the trigger's answer is not read.
///
/// # Panics
/// When a host breaks the protocol of its platform: this is for tests.
pub async fn send<F: Function>(form: &str, settings: &[(&str, &str)], now: Timestamp, event: &Event) -> Came {
    let none = || Came::Failed("nothing was sent".to_owned());
    send_all::<F>(form, settings, now, std::slice::from_ref(event)).await.pop().unwrap_or_else(none)
}

/// Sends events, one after the other, to one host, as [`send`] does: for a function that remembers.
///
/// # Panics
/// When a host breaks the protocol of its platform: this is for tests.
#[expect(clippy::panic, reason = "for tests only")]
pub async fn send_all<F: Function>(
    form: &str,
    settings: &[(&str, &str)],
    now: Timestamp,
    events: &[Event],
) -> Vec<Came> {
    let mut sink = Sink::start().await;
    let one_way = form.contains("push")
        || ["background", "event-grid", "queue", "bridge", "sqs", "sns"].iter().any(|f| form.contains(f));
    let output = one_way.then_some((OUTPUT_URL, sink.url.as_str()));
    let settings: Settings = settings.iter().copied().chain(output).collect();
    let host = match Host::<F>::for_tests(settings, now) {
        Ok(host) => host,
        Err(e) => panic!("{e}"),
    };
    let mut all = Vec::new();
    for event in events {
        // On the heap: what a function awaits is deep, and a test's thread has a small stack.
        all.push(match Box::pin(sent(&host, form, event)).await {
            Ok(replies) if one_way => {
                assert!(replies.is_empty(), "{form}: replies went to OUTPUT_URL and into the answer");
                Came::Replies(sink.take())
            }
            Ok(replies) => Came::Replies(replies),
            Err(said) => Came::Failed(said),
        });
    }
    all
}

#[expect(clippy::panic, reason = "for tests only")]
async fn sent<F: Function>(host: &Host<F>, form: &str, event: &Event) -> Answered {
    let (platform, way) = form.split_once('-').unwrap_or((form, ""));
    match platform {
        "local" => http_answer(Box::pin(local::respond(host, http(way, event))).await),
        "google" => {
            http_answer(Box::pin(google::respond(host, google::Refused::Fail, google_request(way, event))).await)
        }
        "azure" => azure_answer(Box::pin(azure::respond(host, azure_request(way, event))).await, way),
        "lambda" => {
            lambda_answer(Box::pin(lambda::answer(host, lambda_payload(way, event).as_bytes(), None)).await, way)
        }
        other => panic!("no platform is called {other}"),
    }
}

type Answered = Result<Vec<Event>, String>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A POST with these headers.
fn post(path: &str, headers: HeaderMap, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::new(body.into());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().unwrap_or_default();
    *request.headers_mut() = headers;
    request
}

fn typed(media_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))])
}

/// The event in a mode of CloudEvents over HTTP.
fn http(mode: &str, event: &Event) -> Request<Bytes> {
    match mode {
        "binary" => {
            let (headers, body) = schemas::http::encode_binary(event);
            post("/", headers, body)
        }
        "batch" => post("/", typed(json::BATCH_MEDIA_TYPE), json::encode_batch([event])),
        _ => post("/", typed(json::MEDIA_TYPE), json::encode(event)),
    }
}

/// Reads an answer as any CloudEvents client would.
fn http_answer(response: Response<Bytes>) -> Answered {
    let (head, body) = response.into_parts();
    match head.status.as_u16() {
        204 => Ok(Vec::new()),
        200 => wire::events(&head.headers, &body).map_err(|e| e.to_string()),
        status => Err(format!("{status} {}", text(&body))),
    }
}

/// The event's attributes as a Pub/Sub message has them, not encoded.
fn attributes(event: &Event) -> Map<String, Value> {
    let attr = |(name, value): (&str, schemas::Value<'_>)| match name {
        "datacontenttype" => ("content-type".to_owned(), Value::from(value.to_string())),
        name => (format!("ce-{name}"), Value::from(value.to_string())),
    };
    let mut all: Map<String, Value> = event.attrs().map(attr).collect();
    all.insert("ce-specversion".into(), "1.0".into());
    all
}

fn google_request(way: &str, event: &Event) -> Request<Bytes> {
    let (time, id) = ("2026-01-15T06:30:01.000Z", "11");
    let message = |attributes: Value, data: &[u8]| value!({"attributes": attributes, "data": STANDARD.encode(data)});
    let push = |mut message: Value| {
        for name in ["messageId", "message_id"] {
            message[name] = id.into();
        }
        message["publishTime"] = time.into();
        let body = value!({"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 2});
        post("/projects/p/topics/t", typed("application/json"), body.to_string())
    };
    match way {
        "push-binary" => push(message(attributes(event).into(), event.data())),
        "push-structured" => {
            let attributes = value!({"content-type": "application/cloudevents+json; charset=UTF-8"});
            push(message(attributes, &json::encode(event)))
        }
        "push-unwrapped" => {
            let mut request = http("binary", event);
            for (name, value) in [("x-goog-pubsub-message-id", id), ("x-goog-pubsub-publish-time", time)] {
                request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            request
        }
        "background" => {
            let context = value!({"eventId": id, "timestamp": time, "eventType": "google.pubsub.topic.publish",
                "resource": {"service": "pubsub.googleapis.com", "name": "projects/p/topics/t", "type": "x"}});
            let body = value!({"context": context, "data": message(attributes(event).into(), event.data())});
            post("/", typed("application/json"), body.to_string())
        }
        mode => http(mode, event),
    }
}

fn azure_request(way: &str, event: &Event) -> Request<Bytes> {
    let structured = text(&json::encode(event));
    let quoted = |text: &str| Value::from(text).to_string();
    let metadata = r#"{"DequeueCount":"2","sys":{"MethodName":"f","UtcNow":"2026-01-15T06:30:01Z","RandGuid":"x"}}"#;
    let invocation = |binding: &str, value: &str| {
        let body = format!(r#"{{"Data":{{"{binding}":{value}}},"Metadata":{metadata}}}"#);
        post("/f", typed("application/json; charset=utf-8"), body)
    };
    match way {
        "event-grid-object" => invocation("event", &structured),
        "event-grid-string" => invocation("event", &quoted(&structured)),
        "event-grid-many" => invocation("events", &quoted(&format!("[{structured}]"))),
        // What everything but an object becomes: JSON inside of a string, a string twice.
        "queue" => invocation("item", &quoted(&quoted(&structured))),
        // Bytes, as a binding of `dataType: binary` has them.
        "queue-bytes" => invocation("item", &quoted(&STANDARD.encode(&structured))),
        "http" => {
            let (headers, body) = schemas::http::encode_binary(event);
            let pairs = headers.iter().map(|(n, v)| (n.to_string(), value!([text(v.as_bytes())])));
            let headers: Map<String, Value> = pairs.collect();
            let req = value!({"Url": "http://localhost/api/f", "Method": "POST", "Query": {}, "Headers": headers,
                "Params": {}, "Identities": [], "Body": text(&body)});
            invocation("req", &req.to_string())
        }
        _ => http("binary", event),
    }
}

#[expect(clippy::panic, reason = "for tests only")]
fn azure_answer(response: Response<Bytes>, way: &str) -> Answered {
    if way == "http-forwarded" {
        return http_answer(response);
    }
    let Ok(body) = serde_json::from_slice::<Value>(response.body()) else { panic!("{way}: no JSON: {response:?}") };
    assert!(body["Outputs"].is_object() && body["Logs"].is_array(), "{way}: {body}");
    if way != "http" {
        return if response.status().is_success() { Ok(Vec::new()) } else { Err(body["Logs"].to_string()) };
    }
    let res = &body["Outputs"]["res"];
    let mut inner = Response::new(Bytes::from(res["body"].as_str().unwrap_or_default().to_owned()));
    let status = res["statusCode"].as_u64().and_then(|s| u16::try_from(s).ok()).unwrap_or(0);
    *inner.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    *inner.headers_mut() = string_headers(&res["headers"]);
    http_answer(inner)
}

fn string_headers(headers: &Value) -> HeaderMap {
    let pair = |(name, value): (&String, &Value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(value.as_str()?).ok()?))
    };
    headers.as_object().into_iter().flatten().filter_map(pair).collect()
}

fn lambda_payload(way: &str, event: &Event) -> String {
    let structured = text(&json::encode(event));
    let sqs = |body: String| {
        value!({"Records": [{"messageId": "m-1", "receiptHandle": "r", "body": body,
            "attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1"}, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:1:q", "awsRegion": "us-east-1"}]})
    };
    let sns = value!({"Type": "Notification", "MessageId": "m-1", "TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": structured});
    match way {
        "array" => format!("[{structured}]"),
        "eventbridge" => format!(
            r#"{{"version":"0","id":"e-1","source":"{}","account":"1","time":"2026-01-15T06:30:01Z","region":"us-east-1","resources":[],"detail-type":"{}","detail":{structured}}}"#,
            event.source(),
            event.kind(),
        ),
        "sqs" => sqs(structured).to_string(),
        "sqs-of-sns" => sqs(sns.to_string()).to_string(),
        "sns" => value!({"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns}]}).to_string(),
        "url" => {
            let (headers, body) = schemas::http::encode_binary(event);
            let headers: Map<String, Value> =
                headers.iter().map(|(n, v)| (n.to_string(), text(v.as_bytes()).into())).collect();
            value!({"version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": headers,
                "requestContext": {"http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1"}},
                "body": STANDARD.encode(&body), "isBase64Encoded": true})
            .to_string()
        }
        _ => structured,
    }
}

#[expect(clippy::panic, reason = "for tests only")]
fn lambda_answer(answer: Result<Value, Failure>, way: &str) -> Answered {
    let answer = answer.map_err(|failure| failure.to_string())?;
    if way.starts_with("sqs") {
        let failed = answer["batchItemFailures"].as_array().unwrap_or_else(|| panic!("{way}: {answer}"));
        return if failed.is_empty() { Ok(Vec::new()) } else { Err(answer.to_string()) };
    }
    if way == "url" {
        let mut inner = Response::new(Bytes::from(answer["body"].as_str().unwrap_or_default().to_owned()));
        let status = answer["statusCode"].as_u64().and_then(|s| u16::try_from(s).ok()).unwrap_or(0);
        *inner.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        *inner.headers_mut() = string_headers(&answer["headers"]);
        return http_answer(inner);
    }
    let events = match &answer {
        Value::Null => Vec::new(),
        Value::Array(events) => events.clone(),
        event => vec![event.clone()],
    };
    let read = |event: &Value| json::decode(event.to_string().as_bytes()).map_err(|e| e.to_string());
    events.iter().map(read).collect()
}

/// A server that takes CloudEvents, as the router does.
pub struct Sink {
    /// Where it listens.
    pub url: String,
    taken: mpsc::UnboundedReceiver<Vec<Event>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sink {
    /// Starts one.
    ///
    /// # Panics
    /// When no port can be had.
    #[expect(clippy::panic, reason = "for tests only")]
    pub async fn start() -> Self {
        let Ok(listener) = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await else { panic!("no port") };
        let url = listener.local_addr().map(|a| format!("http://{a}/events")).unwrap_or_default();
        let (send, taken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let send = Arc::new(send);
        let answer = move |request: Request<Bytes>| {
            let send = send.clone();
            async move {
                let read = wire::events(request.headers(), request.body());
                let accepted = read.map(|events| send.send(events).is_ok());
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = match accepted {
                    Ok(true) => http::StatusCode::ACCEPTED,
                    Ok(false) => http::StatusCode::SERVICE_UNAVAILABLE,
                    Err(_) => http::StatusCode::UNPROCESSABLE_ENTITY,
                };
                response
            }
        };
        let task = tokio::spawn(async move {
            server::serve(listener, answer, async move {
                let _dropped = stopped.await;
            })
            .await;
        });
        Sink { url, taken, stop: Some(stop), task }
    }

    /// Everything that was posted so far.
    pub async fn taken(mut self) -> Vec<Event> {
        self.take()
    }

    /// Everything that was posted since the last time.
    fn take(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Ok(events) = self.taken.try_recv() {
            all.extend(events);
        }
        all
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.task.abort();
    }
}
