//! AWS Lambda, by the official runtime client. The payload's members say which trigger it is from.
//!
//! | payload | answer | a failure |
//! |---|---|---|
//! | a CloudEvent, or an array of them (direct invocation) | the replies: none, one, or an array | the invocation fails |
//! | EventBridge event | as above; with `OUTPUT_URL=answer` for a destination | the invocation fails |
//! | SQS batch | `batchItemFailures`: the failed messages and no other come back | its message comes back |
//! | SNS | empty | the invocation fails |
//! | function URL, API Gateway (both payload versions) | the HTTP answer | the HTTP status |
//!
//! The event source mapping of a queue must say `ReportBatchItemFailures`: without it Lambda takes the list
//! for a success of all. In a FIFO queue everything behind a failed message of its group comes back too.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use schemas::{
    Event,
    doc::{Doc, Item, Kind},
};
use serde_json::{Value, json, value::RawValue};
use tokio::time::Instant;

use crate::{
    function::{Failure, Function, Kind as Failed},
    host::{Call, Host},
    local,
    output::Reader,
    wire::{self, envelope},
};

/// What is kept of the time that Lambda allows, for the answer to arrive.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(200);
/// Records of one payload: an SQS batch has at most 10,000.
pub const RECORDS_MAX: usize = 10_000;

/// Takes invocations until the platform ends the process.
///
/// # Errors
/// The runtime API cannot be reached.
pub async fn run<F: Function>(host: std::sync::Arc<Host<F>>) -> Result<(), lambda_runtime::Error> {
    let host = &*host;
    let handle = |event: LambdaEvent<Box<RawValue>>| async move {
        let left = left(event.context.deadline(), SystemTime::now());
        let deadline = left.map(|left| Instant::now() + left);
        answer(host, event.payload.get().as_bytes(), deadline).await.map_err(diagnostic)
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// What is left of the time that Lambda allows. A deadline that was over before the payload came is none, but a clock that
/// is wrong, or `cargo lambda`, which says ten minutes after 1970: then the platform alone ends what takes too long.
fn left(deadline: SystemTime, now: SystemTime) -> Option<Duration> {
    Some(deadline.duration_since(now).ok()?.saturating_sub(DEADLINE_MARGIN))
}

fn diagnostic(failure: Failure) -> Diagnostic {
    let kind = match failure.kind {
        Failed::Retry => "Retry",
        Failed::Unavailable => "Unavailable",
        Failed::Refuse => "Refused",
    };
    Diagnostic { error_type: format!("{kind}.{}", failure.code), error_message: failure.message.into() }
}

/// Answers one payload.
///
/// # Errors
/// The invocation fails.
pub async fn answer<F: Function>(host: &Host<F>, payload: &[u8], deadline: Option<Instant>) -> Result<Value, Failure> {
    let read = Doc::parse(payload).map_err(|e| wire::not_json("the payload is not JSON", &e));
    let doc = read.inspect_err(|failure| local::refused(host, failure))?;
    let root = doc.root();
    if root.get("requestContext").is_some() {
        return Ok(http(host, &root, deadline).await);
    }
    if let Some(records) = root.get("Records").filter(|r| r.kind() == Kind::Array) {
        if records.elements().count() > RECORDS_MAX {
            return Err(Failure::refuse("batch-too-long", format!("more than {RECORDS_MAX} records")));
        }
        let first = records.elements().next();
        let source =
            first.and_then(|r| envelope::text(&r, "eventSource").or_else(|| envelope::text(&r, "EventSource")));
        match source.as_deref() {
            Some("aws:sqs") => return Ok(sqs(host, &records, deadline).await),
            Some("aws:sns") => return sns(host, &records, deadline).await,
            _ => {}
        }
    }
    let reader = if root.get("detail-type").is_some() { Reader::Nobody } else { Reader::Sender };
    let events = envelope::events(payload).inspect_err(|failure| local::refused(host, failure))?;
    let calls = events.into_iter().map(|event| Call { deadline, ..Call::from(event) }).collect();
    Ok(replies(&host.deliver_all(calls, reader).await.answer?))
}

/// The replies as the answer of an invocation.
fn replies(events: &[Event]) -> Value {
    let json = |event| serde_json::from_slice(&schemas::json::encode(event)).unwrap_or(Value::Null);
    match events {
        [] => Value::Null,
        [event] => json(event),
        events => events.iter().map(json).collect(),
    }
}

/// Handles a batch message by message; only the failed ones come back.
async fn sqs<F: Function>(host: &Host<F>, records: &Item<'_>, deadline: Option<Instant>) -> Value {
    let (mut failed, mut stuck_groups) = (Vec::new(), BTreeSet::new());
    for record in records.elements() {
        let id = envelope::text(&record, "messageId").unwrap_or_default().into_owned();
        let attribute = |name: &str| record.get("attributes").and_then(|a| envelope::text(&a, name));
        let group = attribute("MessageGroupId").map(|group| group.into_owned());
        let stuck = group.as_ref().is_some_and(|group| stuck_groups.contains(group));
        if !stuck {
            let attempt = attribute("ApproximateReceiveCount").and_then(|n| n.parse().ok()).unwrap_or(1);
            let body = envelope::text(&record, "body").unwrap_or_default();
            let call = |event| Call { attempt, deadline, ..Call::from(event) };
            let done = match message(body.as_bytes()) {
                Ok(events) => host.deliver_all(events.into_iter().map(call).collect(), Reader::NoRoom).await.answer,
                Err(failure) => {
                    let failure =
                        Failure { message: format!("SQS message {id}: {}", failure.message).into(), ..failure };
                    local::refused(host, &failure);
                    Err(failure)
                }
            };
            if done.is_ok() {
                continue;
            }
        }
        stuck_groups.extend(group);
        failed.push(json!({ "itemIdentifier": id }));
    }
    json!({ "batchItemFailures": failed })
}

/// Reads what a queue's message holds: events, or a notification of SNS around them.
fn message(body: &[u8]) -> Result<Vec<Event>, Failure> {
    let doc = Doc::parse(body).map_err(|e| wire::not_json("the body is not JSON", &e))?;
    let root = doc.root();
    match (envelope::text(&root, "Type").as_deref(), envelope::text(&root, "Message")) {
        (Some("Notification"), Some(message)) => envelope::events(message.as_bytes()),
        _ => envelope::events(body),
    }
}

async fn sns<F: Function>(host: &Host<F>, records: &Item<'_>, deadline: Option<Instant>) -> Result<Value, Failure> {
    let mut calls = Vec::new();
    for record in records.elements() {
        let message = record.get("Sns").and_then(|sns| envelope::text(&sns, "Message"));
        let events = match message {
            Some(message) => envelope::events(message.as_bytes()),
            None => Err(Failure::refuse("payload-invalid", "SNS: Sns.Message is no string, or not there")),
        };
        let events = events.inspect_err(|failure| local::refused(host, failure))?;
        calls.extend(events.into_iter().map(|event| Call { deadline, ..Call::from(event) }));
    }
    Ok(replies(&host.deliver_all(calls, Reader::Nobody).await.answer?))
}

/// Answers a request of a function URL or of API Gateway: never an error of the invocation.
async fn http<F: Function>(host: &Host<F>, root: &Item<'_>, deadline: Option<Instant>) -> Value {
    let response = match http_request(root).inspect_err(|failure| local::refused(host, failure)) {
        Ok(None) => wire::ready(),
        Ok(Some((request, events))) => {
            let calls = local::calls(&request, events).into_iter().map(|call| Call { deadline, ..call });
            local::answer(host.deliver_all(calls.collect(), Reader::Sender).await.answer)
        }
        Err(failure) => wire::problem(&failure),
    };
    let text = |value: &http::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
    let headers: serde_json::Map<_, _> = response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect();
    let mut answer = json!({
        "statusCode": response.status().as_u16(),
        "headers": headers,
        "body": String::from_utf8_lossy(response.body()),
        "isBase64Encoded": false,
    });
    // What stands for Lambda in `cargo lambda` reads no answer of that version without them.
    let second = envelope::text(root, "version").as_deref() == Some("2.0");
    if let Some(answer) = answer.as_object_mut().filter(|_| second) {
        answer.insert("cookies".into(), json!([]));
    }
    answer
}

/// A request, and the events in it.
type Asked = (Request<Bytes>, Vec<Event>);

/// Reads the request; `None` is one that only asks whether the function is there.
fn http_request(root: &Item<'_>) -> Result<Option<Asked>, Failure> {
    let of_context = root.get("requestContext").and_then(|c| c.get("http"));
    // The second version has it in the context; whatever else stands beside it there says nothing.
    let method = of_context.and_then(|h| envelope::text(&h, "method")).or_else(|| envelope::text(root, "httpMethod"));
    match method.as_deref() {
        Some("GET") => return Ok(None),
        Some("POST") => {}
        other => {
            let message = format!("events are posted; this is a {}", other.unwrap_or("request without a method"));
            return Err(Failure::refuse("method", message));
        }
    }
    let pairs = root.get("headers").into_iter().flat_map(|h| h.members());
    let headers = envelope::headers(pairs.filter_map(|(name, value)| Some((name, value.as_str()?))))?;
    let body = envelope::text(root, "body").unwrap_or_default();
    let body = match root.get("isBase64Encoded").and_then(|b| b.as_bool()) {
        Some(true) => STANDARD
            .decode(body.as_bytes())
            .map_err(|e| Failure::refuse("payload-invalid", format!("body is not base64: {e}")))?,
        _ => body.into_owned().into_bytes(),
    };
    let mut request = Request::new(Bytes::from(body));
    *request.headers_mut() = headers;
    let events = envelope::http_events(request.headers(), request.body().clone())?;
    Ok(Some((request, events)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_was_over_at_the_start_is_none() {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        assert_eq!(left(at(10_000), at(7_000)), Some(Duration::from_millis(2_800)));
        assert_eq!(left(at(10_000), at(9_900)), Some(Duration::ZERO));
        assert_eq!(left(at(600_000), at(1_795_340_934_000)), None);
    }
}
