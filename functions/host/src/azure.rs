//! Azure Functions, as a custom handler: the host calls `POST /FUNCTION` with
//! `{"Data":{BINDING:VALUE},"Metadata":{…}}` and reads `{"Outputs":{…},"Logs":[…],"ReturnValue":…}`.
//!
//! | trigger | what `Data` holds | what is read |
//! |---|---|---|
//! | Event Grid | an object, or the same in a string | CloudEvents schema and Event Grid schema |
//! | queue, Service Bus | a string, encoded once more, or bytes as base64 | a structured CloudEvent, or an event of the schemas above |
//! | HTTP | `{Url,Method,Query,Headers,Params,Body}` | CloudEvents in all three modes |
//! | HTTP, forwarded (`enableForwardingHttpRequest`) | the request itself | CloudEvents in all three modes |
//!
//! The host knows success and failure only, and tries failures again: what is refused for good fails too,
//! until the queue's poison queue or the subscription's dead-letter container takes it. Over HTTP the caller
//! sees the status: a binding `res` gets it. With `OUTPUT_URL=answer` the replies of the other triggers are
//! in the output binding `events`.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use schemas::{
    Event,
    doc::{Doc, Item, Kind},
};
use serde_json::{Map, Value, json};

use crate::{
    function::{Failure, Function},
    host::{Call, Host, Invocation},
    local,
    output::Reader,
    wire::{self, envelope},
};

/// Names of the trigger's binding, in the order in which they are looked for where there are several.
const TRIGGERS: [&str; 5] = ["event", "req", "message", "item", "trigger"];

/// Answers one request of the Functions host.
pub async fn respond<F: Function>(host: &Host<F>, request: Request<Bytes>) -> Response<Bytes> {
    // Any answer on / says that the handler is ready.
    if request.method() == Method::GET && !wire::is_cloudevent(request.headers()) {
        return wire::ready();
    }
    if wire::is_cloudevent(request.headers()) || request.method() != Method::POST {
        return local::answer(local::handle(host, &request, Reader::Sender).await);
    }
    match read(request.body()) {
        Ok((Trigger::Http(headers, body), attempt)) => http(host, headers, body, attempt).await,
        Ok((Trigger::Events(events), attempt)) => {
            let call = |event| Call { attempt, ..Call::from(event) };
            invoked(host.deliver_all(events.into_iter().map(call).collect(), Reader::Nobody).await)
        }
        Err(failure) => {
            local::refused(host, &failure);
            invoked(Invocation { answer: Err(failure), logs: Vec::new() })
        }
    }
}

enum Trigger {
    Http(http::HeaderMap, Bytes),
    Events(Vec<Event>),
}

/// Reads an invocation: the trigger, and the number of the attempt.
fn read(body: &Bytes) -> Result<(Trigger, u32), Failure> {
    let doc = Doc::parse(body).map_err(|e| wire::not_json("the invocation is not JSON", &e))?;
    let root = doc.root();
    let data = root.get("Data").filter(|d| d.kind() == Kind::Object);
    let data = data.ok_or_else(|| {
        let message = "the request is no event and no invocation of a custom handler: it has no object Data";
        Failure::refuse("payload-unknown", message)
    })?;
    let attempt = root.get("Metadata").map_or(1, |metadata| attempt(&metadata));
    let value = trigger(&data)?;
    if let Some(method) = envelope::text(&value, "Method").filter(|_| value.get("Headers").is_some()) {
        if method != "POST" {
            let message = format!("Data.req.Method: events are posted; this is a {method}");
            return Err(Failure::refuse("method", message));
        }
        let (headers, body) = http_request(&value)?;
        return Ok((Trigger::Http(headers, body), attempt));
    }
    Ok((Trigger::Events(envelope::events(&envelope::unpacked(&value))?), attempt))
}

/// The trigger's value among the bindings.
fn trigger<'a>(data: &Item<'a>) -> Result<Item<'a>, Failure> {
    let mut all = data.members();
    if let (Some((_, only)), None) = (all.next(), all.next()) {
        return Ok(only);
    }
    TRIGGERS.iter().find_map(|name| data.get(name)).ok_or_else(|| {
        let names = TRIGGERS.join(", ");
        let message = format!("Data: none of its members is called {names}; name the trigger's binding so");
        Failure::refuse("payload-unknown", message)
    })
}

/// The number of the attempt, as the trigger says it: the host's own retries, or the queue's count.
fn attempt(metadata: &Item<'_>) -> u32 {
    let number = |item: Item<'_>| item.as_number().map(Cow::Borrowed).or_else(|| item.as_str())?.parse::<u32>().ok();
    let retries = metadata.get("RetryContext").and_then(|r| r.get("RetryCount")).and_then(number).unwrap_or(0);
    let queue = ["DequeueCount", "DeliveryCount"].iter().find_map(|name| metadata.get(name)).and_then(number);
    queue.unwrap_or(1).max(1).saturating_add(retries)
}

/// An HTTP request as the host puts it into JSON: each header an array of values.
fn http_request(value: &Item<'_>) -> Result<(http::HeaderMap, Bytes), Failure> {
    let mut pairs = Vec::new();
    for (name, values) in value.get("Headers").into_iter().flat_map(|h| h.members()) {
        pairs.extend(values.as_str().map(|value| (name.clone(), value)));
        pairs.extend(values.elements().filter_map(|v| v.as_str()).map(|value| (name.clone(), value)));
    }
    let body = match value.get("Body") {
        None => Bytes::new(),
        Some(body) if body.is_null() => Bytes::new(),
        Some(body) => match body.as_str() {
            Some(text) => text.into_owned().into(),
            None => body.raw().to_owned().into(),
        },
    };
    Ok((envelope::headers(pairs)?, body))
}

/// Answers an HTTP trigger: the invocation succeeds, and the caller sees the status.
async fn http<F: Function>(host: &Host<F>, headers: http::HeaderMap, body: Bytes, attempt: u32) -> Response<Bytes> {
    let mut request = Request::new(body);
    *request.headers_mut() = headers;
    let read = envelope::http_events(request.headers(), request.body().clone());
    let invocation = match read.inspect_err(|failure| local::refused(host, failure)) {
        Ok(events) => {
            let calls =
                local::calls(&request, events).into_iter().map(|c| Call { attempt: c.attempt.max(attempt), ..c });
            host.deliver_all(calls.collect(), Reader::Sender).await
        }
        Err(failure) => Invocation { answer: Err(failure), logs: Vec::new() },
    };
    let response = local::answer(invocation.answer);
    let text = |value: &HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
    let headers: Map<String, Value> = response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect();
    let res = json!({
        "statusCode": response.status().as_u16(),
        "body": String::from_utf8_lossy(response.body()),
        "headers": headers,
    });
    reply(StatusCode::OK, json!({ "res": res }), &invocation.logs)
}

/// Answers any other trigger.
fn invoked(invocation: Invocation) -> Response<Bytes> {
    match invocation.answer {
        Ok(events) if events.is_empty() => reply(StatusCode::OK, json!({}), &invocation.logs),
        Ok(events) => {
            // Strings, so that no binding changes a digit of them.
            let text = |event| String::from_utf8_lossy(&schemas::json::encode(event)).into_owned();
            let events: Vec<String> = events.iter().map(text).collect();
            reply(StatusCode::OK, json!({ "events": events }), &invocation.logs)
        }
        Err(failure) => {
            let logs = match invocation.logs.is_empty() {
                true => vec![failure.to_string()],
                false => invocation.logs,
            };
            reply(wire::status(&failure), json!({}), &logs)
        }
    }
}

fn reply(status: StatusCode, outputs: Value, logs: &[String]) -> Response<Bytes> {
    let body = json!({ "Outputs": outputs, "Logs": logs, "ReturnValue": null }).to_string();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
