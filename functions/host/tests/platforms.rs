//! Goal: whatever brings an event, the handler sees the same one, byte for byte; what cannot be read gets a
//! clear error in the form of its platform; and no reply is lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use function_host::{
    Context, Failure, Function, Host, Reply, SettingError, Settings, azure, google, lambda, local,
    testing::{Came, FORMS, Sink, send},
};
use http::Request;
use jiff::Timestamp;
use schemas::{Event, Form};
use serde_json::{Value, json};

/// Says what it got, or fails as the subject asks.
struct Echo;

impl Function for Echo {
    const NAME: &'static str = "echo";
    const CONSUMES: &'static [&'static str] = &["coffee.order.created"];
    const EMITS: &'static [&'static str] = &["echo.heard"];

    fn start(_: &Settings) -> Result<Self, SettingError> {
        Ok(Echo)
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        match event.get("subject").map(|v| v.to_string()).as_deref() {
            Some("retry") => {
                return Err(Failure::retry("busy", "not now").after(std::time::Duration::from_millis(1500)));
            }
            Some("away") => return Err(Failure::unavailable("away", "the kitchen is closed")),
            Some("refuse") => return Err(Failure::refuse("sold-out", "data.lines[0]: no more beans")),
            Some("silent") => return Ok(Vec::new()),
            _ => {}
        }
        let attrs: Vec<String> = event.attrs().map(|(name, value)| format!("{name}={value}")).collect();
        let mut attrs = attrs;
        attrs.sort();
        let heard = json!({"attrs": attrs, "data": String::from_utf8_lossy(event.data()), "key": ctx.key()});
        Ok(vec![Reply::json("echo.heard", &heard)?, Reply::json("echo.heard", &ctx.attempt())?])
    }
}

/// An event whose bytes a host that parses and prints again would change.
fn event(subject: &str) -> Event {
    let data = r#"{"total": 4.50,"note":"caf\u00e9 ☕ 50%", "big":12345678901234567890,"a":1,"a":2}"#;
    let event = Event::builder("7%/ü", "/shops/4", "coffee.order.created").attr("subject", subject);
    let event = event.attr("time", "2026-01-15T06:30:17.459+01:00").attr("datacontenttype", "application/json");
    event.attr("partitionkey", "order 10\"007").data(Form::Json, data).build().unwrap()
}

fn now() -> Timestamp {
    "2026-01-15T06:31:00Z".parse().unwrap()
}

#[tokio::test]
async fn every_platform_gives_the_handler_the_same_event() {
    let event = event("größe 50%");
    let Came::Replies(wanted) = send::<Echo>("local-structured", &[], now(), &event).await else { panic!("failed") };
    let heard: Value = serde_json::from_slice(wanted[0].data()).unwrap();
    assert_eq!(heard["data"].as_str().unwrap().as_bytes(), event.data());
    assert_eq!(heard["attrs"].as_array().unwrap().len(), 7);
    for form in FORMS {
        let Came::Replies(replies) = send::<Echo>(form, &[], now(), &event).await else { panic!("{form} failed") };
        assert_eq!(replies.len(), 2, "{form}");
        assert_eq!(
            String::from_utf8_lossy(&schemas::json::encode(&replies[0])),
            String::from_utf8_lossy(&schemas::json::encode(&wanted[0])),
            "{form}"
        );
        let again = form.contains("push-binary")
            || form.contains("push-structured")
            || form.contains("sqs")
            || (form.contains("azure") && form != "azure-http-forwarded");
        assert_eq!(replies[1].data(), if again { b"2" } else { b"1" }, "{form}: the attempt");
    }
}

#[tokio::test]
async fn every_platform_is_told_of_a_failure() {
    for (subject, code) in [("retry", "busy"), ("away", "away"), ("refuse", "sold-out")] {
        for form in FORMS {
            let Came::Failed(said) = send::<Echo>(form, &[], now(), &event(subject)).await else {
                panic!("{form}: {subject} was taken for a success")
            };
            assert!(form.contains("sqs") || said.contains(code), "{form}: {said}");
        }
    }
    for form in FORMS {
        assert_eq!(send::<Echo>(form, &[], now(), &event("silent")).await, Came::Replies(Vec::new()), "{form}");
    }
}

fn host(settings: &[(&str, &str)]) -> Host<Echo> {
    Host::for_tests(settings.iter().copied().collect(), now()).unwrap()
}

fn post(content_type: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    Request::post("/f").header("content-type", content_type).body(body.into()).unwrap()
}

fn structured(event: &Event) -> Request<Bytes> {
    post("application/cloudevents+json", schemas::json::encode(event))
}

#[tokio::test]
async fn statuses_say_what_a_failure_asks_for() {
    for (subject, status, after) in [("retry", 500, Some("2")), ("away", 503, None), ("refuse", 422, None)] {
        let response = local::respond(&host(&[]), structured(&event(subject))).await;
        assert_eq!(response.status(), status, "{subject}");
        assert_eq!(response.headers().get("retry-after").map(|v| v.to_str().unwrap()), after, "{subject}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let google = google::respond(&host(&[]), google::Refused::Ack, structured(&event(subject))).await;
        assert_eq!(
            (google.status().as_u16(), google.headers()["x-google-status"].to_str().unwrap()),
            (status, "error")
        );
    }
}

#[tokio::test]
async fn the_key_of_the_router_reaches_the_handler() {
    let key_of = async |keys: &[&str]| {
        let mut request = structured(&event("x"));
        for key in keys {
            request.headers_mut().append("idempotency-key", key.parse().unwrap());
        }
        request.headers_mut().append("gocoffee-attempt", "3".parse().unwrap());
        let body = local::respond(&host(&[]), request).await.into_body();
        let replies = schemas::json::decode_batch(&body, 2).unwrap();
        assert_eq!(replies[1].as_ref().unwrap().data(), b"3");
        let heard: Value = serde_json::from_slice(replies[0].as_ref().unwrap().data()).unwrap();
        heard["key"].as_str().unwrap().to_owned()
    };
    assert_eq!(key_of(&["7f3a-default-12-orders-0"]).await, "7f3a-default-12-orders-0");
    assert_eq!(key_of(&["\"7f3a-default-12-orders-0\""]).await, "7f3a-default-12-orders-0");
    let derived = key_of(&[]).await;
    assert!(derived.len() == 32 && derived != key_of(&["../../etc"]).await);
}

/// What a platform sends that is no event, and what is said about it.
const UNREADABLE: [(&str, &str); 6] = [
    ("{", "byte 1"),
    ("[]x", "byte 2"),
    (r#"{"hello":"world"}"#, "payload-unknown"),
    (r#"{"specversion":"1.0","id":"1","source":"/s"}"#, "attribute type"),
    (r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#, "specversion"),
    (r#"[{"specversion":"1.0","id":"1","source":"/s","type":"coffee.order.created"},{"id":1}]"#, "event 1"),
];

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_place_everywhere() {
    for (payload, says) in UNREADABLE {
        let failure = lambda::answer(&host(&[]), payload.as_bytes(), None).await.unwrap_err();
        assert!(failure.to_string().contains(says), "{payload}: {failure}");
        let azure_body = format!(r#"{{"Data":{{"event":{}}},"Metadata":{{}}}}"#, Value::from(payload));
        let response = azure::respond(&host(&[]), post("application/json", azure_body)).await;
        let body = String::from_utf8_lossy(response.body()).into_owned();
        // A string that is no JSON is what the queue held: there is no byte to point at.
        assert!(
            !response.status().is_success() && (body.contains(says) || says.starts_with("byte")),
            "{payload}: {body}"
        );
        let queue = json!({"Records": [{"messageId": "m-1", "body": payload, "eventSource": "aws:sqs"}]}).to_string();
        let answer = lambda::answer(&host(&[]), queue.as_bytes(), None).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "m-1"}]}), "{payload}");
    }
    for body in ["{", r#"{"hello":"world"}"#, r#"{"message":{"data":"!"}}"#, r#"{"message":{}}"#, r#"{"context":{}}"#] {
        let response = google::respond(&host(&[]), google::Refused::Fail, post("application/json", body)).await;
        assert_eq!(response.status(), 422, "{body}");
    }
    for (content_type, status) in [("application/cloudevents+avro", 415), ("application/json", 422)] {
        let response = local::respond(&host(&[]), post(content_type, "{}")).await;
        assert_eq!(response.status(), status, "{content_type}");
    }
    let put = Request::put("/").body(Bytes::new()).unwrap();
    let response = local::respond(&host(&[]), put).await;
    assert_eq!((response.status().as_u16(), response.headers()["allow"].to_str().unwrap()), (405, "POST"));
}

#[tokio::test]
async fn only_the_failed_messages_of_a_queue_come_back() {
    let sink = Sink::start().await;
    let message = |id: &str, group: Option<&str>, subject: &str| {
        let body = String::from_utf8(schemas::json::encode(&event(subject))).unwrap();
        let attributes = json!({"ApproximateReceiveCount": "1", "MessageGroupId": group});
        json!({"messageId": id, "body": body, "attributes": attributes, "eventSource": "aws:sqs"})
    };
    let answer = async |records: Vec<Value>| {
        let host = host(&[("OUTPUT_URL", &sink.url)]);
        let answer = lambda::answer(&host, json!({"Records": records}).to_string().as_bytes(), None).await.unwrap();
        let failed = answer["batchItemFailures"].as_array().unwrap().clone();
        failed.iter().map(|f| f["itemIdentifier"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        answer(vec![message("a", None, "x"), message("b", None, "refuse"), message("c", None, "x")]).await,
        ["b"]
    );
    // In order: what is behind a failed message of its group was not handled.
    let fifo = vec![
        message("a", Some("1"), "retry"),
        message("b", Some("2"), "x"),
        message("c", Some("1"), "x"),
        message("d", Some("2"), "x"),
    ];
    assert_eq!(answer(fifo).await, ["a", "c"]);
    assert_eq!(sink.taken().await.len(), 8, "two replies to each that was handled");
}

#[tokio::test]
async fn a_trigger_whose_answer_nobody_reads_is_not_worked_on_in_vain() {
    let bridge = |event: &Event| {
        let detail: Value = serde_json::from_slice(&schemas::json::encode(event)).unwrap();
        json!({"id": "1", "source": "s", "detail-type": "t", "detail": detail}).to_string()
    };
    let failure = lambda::answer(&host(&[]), bridge(&event("x")).as_bytes(), None).await.unwrap_err();
    assert_eq!(failure.code.0, "output-nowhere");
    assert!(failure.message.contains("OUTPUT_URL"), "{failure}");
    let answer = lambda::answer(&host(&[("OUTPUT_URL", "answer")]), bridge(&event("x")).as_bytes(), None).await;
    assert_eq!(answer.unwrap().as_array().unwrap().len(), 2, "for a destination");
    // An SQS batch's answer has no room for them, whatever the setting says.
    let queue = json!({"Records": [{"messageId": "m", "body": String::from_utf8(schemas::json::encode(&event("x"))).unwrap(), "eventSource": "aws:sqs"}]});
    for settings in [&[][..], &[("OUTPUT_URL", "answer")]] {
        let answer = lambda::answer(&host(settings), queue.to_string().as_bytes(), None).await.unwrap();
        assert_eq!(answer["batchItemFailures"].as_array().unwrap().len(), 1, "{settings:?}");
    }
    // A key without a place to show it would be a mistake that nobody hears of, and a broken one is said before any event.
    let url = ("OUTPUT_URL", "http://127.0.0.1:1/");
    for (settings, said) in [
        (&[("OUTPUT_BEARER", "k")][..], "both or none"),
        (&[("OUTPUT_BEARER", "k"), ("OUTPUT_URL", "answer")], "both or none"),
        (&[("OUTPUT_BEARER", "Bearer 5ecret"), url], "without `Bearer`"),
        (&[("OUTPUT_BEARER", "5ecret\n5ecret"), url], "a line break"),
        (&[("OUTPUT_BEARER", "5ecrét"), url], "outside ASCII"),
    ] {
        let refused = Host::<Echo>::for_tests(settings.iter().copied().collect(), now()).err().unwrap().to_string();
        assert!(refused.contains("OUTPUT_BEARER") && refused.contains(said), "{settings:?}: {refused}");
        assert!(!refused.contains('5'), "the secret is not shown: {refused}");
    }
    // Replies that are not taken keep the event unhandled.
    let gone = Sink::start().await;
    let url = gone.url.clone();
    drop(gone);
    let failure =
        lambda::answer(&host(&[("OUTPUT_URL", &url)]), bridge(&event("x")).as_bytes(), None).await.unwrap_err();
    assert_eq!(failure.code.0, "output-failed");
}

#[tokio::test]
async fn each_version_of_a_request_over_http_is_read_and_answered_in_its_own_way() {
    let body = String::from_utf8(schemas::json::encode(&event("x"))).unwrap();
    let headers = json!({"content-type": "application/cloudevents+json"});
    let first = json!({"version": "1.0", "httpMethod": "POST", "headers": headers, "requestContext": {"stage": "s"},
        "body": body, "isBase64Encoded": false});
    // As `cargo lambda` sends it: a method of the first version beside that of the second.
    let second = json!({"version": "2.0", "httpMethod": "GET", "headers": headers, "body": body, "isBase64Encoded": false,
        "requestContext": {"http": {"method": "POST", "path": "/"}}});
    for (payload, cookies) in [(first, Value::Null), (second, json!([]))] {
        let answer = lambda::answer(&host(&[]), payload.to_string().as_bytes(), None).await.unwrap();
        assert_eq!((&answer["statusCode"], &answer["cookies"]), (&json!(200), &cookies), "{answer}");
        assert_eq!(
            serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap().as_array().unwrap().len(),
            2
        );
    }
}

#[tokio::test]
async fn envelopes_of_the_clouds_become_events() {
    let heard = async |payload: Value| {
        let host = host(&[("OUTPUT_URL", "answer")]);
        let replies = lambda::answer(&host, payload.to_string().as_bytes(), None).await.unwrap();
        let heard = replies[0]["data"].clone();
        (
            heard["attrs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
                .join(" "),
            heard["data"].as_str().unwrap().to_owned(),
        )
    };
    let bridge = json!({"version": "0", "id": "e-1", "source": "shop", "account": "123", "time": "2026-01-15T06:30:01Z",
        "region": "us-east-1", "resources": ["arn:a"], "detail-type": "coffee.order.created", "detail": {"x": 1}, "replay-name": "r"});
    assert_eq!(
        heard(bridge).await,
        (
            "account=123 datacontenttype=application/json id=e-1 region=us-east-1 replayname=r resources=[\"arn:a\"] \
         source=shop time=2026-01-15T06:30:01Z type=coffee.order.created"
                .to_owned(),
            r#"{"x":1}"#.to_owned()
        )
    );
    let grid = json!({"id": "g-1", "topic": "/subscriptions/1/t", "subject": "orders/1", "eventType": "coffee.order.created",
        "eventTime": "2026-01-15T06:30:01Z", "dataVersion": "1.0", "metadataVersion": "1", "data": {"x": 1}});
    assert_eq!(
        heard(grid).await,
        (
            "datacontenttype=application/json dataversion=1.0 id=g-1 source=/subscriptions/1/t subject=orders/1 \
         time=2026-01-15T06:30:01Z type=coffee.order.created"
                .to_owned(),
            r#"{"x":1}"#.to_owned()
        )
    );
}

#[tokio::test]
async fn deliverers_of_google_are_told_apart_from_callers_who_read() {
    let request = |name: &'static str, value: &str| {
        let mut request = structured(&event("x"));
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let status = async |request| google::respond(&host(&[]), google::Refused::Fail, request).await.status().as_u16();
    assert_eq!(status(request("user-agent", "APIs-Google; (+https://x)")).await, 503, "its answer is not read");
    assert_eq!(status(request("user-agent", "gocoffee/1")).await, 200);
    let push = r#"{"message":{"data":"e30=","messageId":"1","attributes":{"ce-specversion":"0.3"}}}"#;
    for (refused, status) in [(google::Refused::Fail, 422), (google::Refused::Ack, 204)] {
        let response = google::respond(&host(&[]), refused, post("application/json", push)).await;
        assert_eq!(response.status(), status);
    }
}
