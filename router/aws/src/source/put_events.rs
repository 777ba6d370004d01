//! What the official SDKs publish, taken in directly: a program that calls `PutEvents` publishes to the router when its
//! endpoint URL is the router's, and nothing else of it changes. `TestEventPattern` is answered as well.
//!
//! | of an entry | becomes |
//! |---|---|
//! | a `Detail` that is a CloudEvent of the same source and type | that event, whole: see [`crate::wire::Mapping`] |
//! | any other | `Source`, `DetailType` as `type`, `Detail` as data, `Time`, `Resources`, and `TraceHeader` as `traceparent` |
//!
//! An event without an id of its own gets one that is made of the SDK's id of the call and the entry's place, so that a
//! call that is made again because its answer was lost finds duplicates.
//!
//! The answers are AWS's: 200 with an outcome for each entry, in order; a whole call is refused as AWS does
//! [API reference of EventBridge, "PutEvents", "Common Errors"], and with 503 while nothing is taken in, which SDKs
//! try again by themselves. What an answer says is in is durable.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use aws_smithy_types::{DateTime, date_time::Format};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use ring::digest;
use router_core::{
    filter::{Filter, Spec},
    id::SourceName,
    source::{IntakeClosed, Kind, RawEvent, Rejection},
};
use router_http::{
    Endpoint, Key, PathSpec,
    endpoint::{Request, Response},
    events::EventsError,
    intake::{CLOSED_RETRY_AFTER, Results, Submit},
    keys::Keys,
    listener::is_path,
};
use schemas::{Event, Invalid};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    sigv4::{self, Signed},
    wire::{self, BYTES_MAX, COUNT_MAX, DETAIL_TYPE_CHARS_MAX, envelope},
};

/// Where SDKs publish to.
pub const PATH: &str = "/aws";
/// What requests are signed for.
const SERVICE: &str = "events";
/// Which operation a request calls.
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// What SDKs call a call, however often they make it.
const INVOCATION: &str = "amz-sdk-invocation-id";
/// The media type of the protocol.
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
/// What a pattern's test must say of its event.
const TESTED: [&str; 7] = ["id", "account", "source", "time", "region", "resources", "detail-type"];

/// What SDKs publish to, as it is configured.
#[derive(Debug)]
pub struct PutEventsConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// Where it is: [`PATH`]; with a slash at its end as well, as some SDKs write it.
    pub path: String,
    /// Access keys, each by its id; none: no signature is looked at.
    pub access_keys: Vec<Arc<Key>>,
    /// Names of event buses that publishers may give; none: any.
    pub event_buses: Vec<String>,
}

impl PutEventsConfig {
    /// The defaults for a name.
    pub fn new(name: SourceName) -> Self {
        PutEventsConfig { name, path: PATH.into(), access_keys: Vec::new(), event_buses: Vec::new() }
    }
}

/// The endpoint that stands for EventBridge.
pub struct PutEvents {
    paths: Vec<PathSpec>,
    name: SourceName,
    keys: Keys,
    event_buses: Vec<String>,
}

/// A call that is refused as a whole.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    /// AWS's name of the error.
    name: &'static str,
    message: String,
    retry_after: Option<std::time::Duration>,
}

impl Refusal {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, name, message: message.into(), retry_after: None }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    fn into_response(self) -> Response {
        let mut response = json(&serde_json::json!({ "__type": self.name, "message": self.message }));
        *response.status_mut() = self.status;
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(self.name));
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Call<'a> {
    #[serde(borrow)]
    entries: Option<Vec<Entry<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    time: Option<f64>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow)]
    detail_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_bus_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    trace_header: Option<Cow<'a, str>>,
}

/// What came of an entry.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Said {
    #[serde(rename_all = "PascalCase")]
    Taken { event_id: String },
    #[serde(rename_all = "PascalCase")]
    Failed { error_code: &'static str, error_message: String },
}

fn failed(error_code: &'static str, error_message: impl Into<String>) -> Said {
    Said::Failed { error_code, error_message: error_message.into() }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    failed_entry_count: usize,
    entries: Vec<Said>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Test {
    event_pattern: String,
    event: String,
}

impl PutEvents {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: PutEventsConfig) -> Result<Self, EventsError> {
        let PutEventsConfig { name, path, access_keys, event_buses } = config;
        if !is_path(&path) {
            return Err(EventsError::Path(path.into()));
        }
        let slashed = (!path.ends_with('/')).then(|| format!("{path}/"));
        let paths = std::iter::once(path).chain(slashed);
        let paths = paths.map(|path| PathSpec { path: path.into(), methods: vec![Method::POST] }).collect();
        Ok(PutEvents { paths, name, keys: Keys::new(access_keys)?, event_buses })
    }

    async fn take(&self, req: &mut Request, intake: &dyn Submit) -> Result<Response, Refusal> {
        let bytes_max = req.limits().batch_bytes_max;
        let body = req.body(bytes_max).await.map_err(|problem| {
            let name =
                if problem.status().is_server_error() { "ServiceUnavailableException" } else { "ValidationException" };
            Refusal::new(problem.status(), name, problem.detail())
        })?;
        self.known(req, &body)?;
        match req.headers().get(TARGET).and_then(|target| target.to_str().ok()) {
            Some("AWSEvents.PutEvents") => self.put(req.headers(), &body, intake).await,
            Some("AWSEvents.TestEventPattern") => test(&body),
            Some(other) => {
                let message = format!(
                    "`{other}` is not answered here; this source takes AWSEvents.PutEvents and AWSEvents.TestEventPattern"
                );
                Err(Refusal::new(StatusCode::BAD_REQUEST, "UnknownOperationException", message))
            }
            None => {
                let message = "the header X-Amz-Target says which operation is called; let an AWS SDK call it";
                Err(Refusal::new(StatusCode::BAD_REQUEST, "UnknownOperationException", message))
            }
        }
    }

    fn known(&self, req: &Request, body: &[u8]) -> Result<(), Refusal> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let request = Signed { method: req.method(), uri: req.uri(), headers: req.headers(), body };
        let secret = |id: &str| self.keys.iter().find(|key| key.name() == id).map(|key| key.secret());
        sigv4::verify(request, SERVICE, Timestamp::now(), secret).map_err(|why| {
            let status = StatusCode::from_u16(why.status).unwrap_or(StatusCode::FORBIDDEN);
            Refusal::new(status, why.name, why.message)
        })
    }

    async fn put(&self, headers: &HeaderMap, body: &Bytes, intake: &dyn Submit) -> Result<Response, Refusal> {
        let call: Call<'_> = serde_json::from_slice(body).map_err(|e| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "SerializationException",
                format!("the body is no call of PutEvents: {e}"),
            )
        })?;
        let entries = call.entries.unwrap_or_default();
        if !(1..=COUNT_MAX).contains(&entries.len()) {
            let message = format!(
                "1 validation error detected: `entries` has {} members, and PutEvents takes 1 to {COUNT_MAX}",
                entries.len()
            );
            return Err(Refusal::invalid(message));
        }
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        if bytes > BYTES_MAX {
            let message = format!(
                "Total size of the entries in the request is over the limit: {bytes} bytes, and PutEvents takes {BYTES_MAX}; send fewer at a time"
            );
            return Err(Refusal::invalid(message));
        }
        let call = invocation(headers)?;
        let mut said = Vec::with_capacity(entries.len());
        let mut events = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            match self.read(entry, &id_of(&call, index)) {
                Ok(event) => {
                    said.push(Ok(event.id().to_owned()));
                    events.push(RawEvent::from(event));
                }
                Err(why) => said.push(Err(why)),
            }
        }
        let answers = if events.is_empty() { Vec::new() } else { submitted(intake.submit(&self.name, events).await)? };
        let mut answers = answers.into_iter();
        let entries: Vec<Said> = said
            .into_iter()
            .map(|entry| match entry {
                Err(why) => why,
                Ok(event_id) => match answers.next() {
                    Some(Ok(_)) => Said::Taken { event_id },
                    Some(Err(rejection)) => refused(&rejection),
                    // The intake lost count, which is its bug.
                    None => failed("InternalFailure", "nothing is known of this entry; send it again"),
                },
            })
            .collect();
        let failed_entry_count = entries.iter().filter(|said| matches!(said, Said::Failed { .. })).count();
        Ok(json(&Answer { failed_entry_count, entries }))
    }

    /// The event of an entry, or what AWS says of one that is none.
    fn read(&self, entry: &Entry<'_>, id: &str) -> Result<Event, Said> {
        let argument = |name: &str, reason: &str| {
            failed("InvalidArgument", format!("Parameter {name} is not valid. Reason: {reason}"))
        };
        let required = |name: &str, value: &Option<Cow<'_, str>>| match value.as_deref() {
            None | Some("") => Err(argument(name, &format!("{name} is a required argument."))),
            Some(value) => Ok(value.to_owned()),
        };
        let source = required("Source", &entry.source)?;
        let detail_type = required("DetailType", &entry.detail_type)?;
        let detail = required("Detail", &entry.detail)?;
        if source.starts_with("aws.") {
            let message = "Not authorized for the source: names that begin with `aws.` are kept to AWS itself.";
            return Err(failed("NotAuthorizedForSourceException", message));
        }
        if detail_type.chars().count() > DETAIL_TYPE_CHARS_MAX {
            let reason = format!("DetailType has more than {DETAIL_TYPE_CHARS_MAX} characters.");
            return Err(argument("DetailType", &reason));
        }
        if let Some(bus) = entry.event_bus_name.as_deref().map(bus_name)
            && !self.event_buses.is_empty()
            && !self.event_buses.iter().any(|known| known == bus)
        {
            return Err(failed("ResourceNotFoundException", format!("Event bus {bus} does not exist.")));
        }
        let time = match entry.time {
            None => None,
            Some(seconds) => Some(rfc3339(seconds).ok_or_else(|| argument("Time", "it is no time."))?),
        };
        let detail = serde_json::from_str::<&RawValue>(&detail).ok().filter(|detail| detail.get().starts_with('{'));
        let Some(detail) = detail else { return Err(failed("MalformedDetail", "Detail is malformed.")) };
        let event = envelope::entry(id, &source, &detail_type, time.as_deref(), entry.resources, detail);
        let event = event.and_then(|event| traced(event, entry.trace_header.as_deref()));
        event.map_err(|invalid| failed("InvalidArgument", format!("{}: {}", invalid.place, invalid.message)))
    }
}

impl Entry<'_> {
    /// As AWS counts them [Amazon EventBridge User Guide, "Calculating PutEvents event entry size"].
    fn bytes(&self) -> usize {
        let of = |text: &Option<Cow<'_, str>>| text.as_ref().map_or(0, |text| text.len());
        let resources: Vec<Cow<'_, str>> =
            self.resources.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
        let resources: usize = resources.iter().map(|arn| arn.len()).sum();
        let time = if self.time.is_some() { wire::TIME_BYTES } else { 0 };
        of(&self.source) + of(&self.detail_type) + of(&self.detail) + resources + time
    }
}

#[async_trait]
impl Endpoint for PutEvents {
    fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    fn asks_for_a_key(&self) -> bool {
        !self.keys.is_empty()
    }

    async fn handle(&self, mut req: Request, intake: &dyn Submit) -> Response {
        self.take(&mut req, intake).await.unwrap_or_else(Refusal::into_response)
    }
}

/// The intake's answers; an error where nothing is taken in now, so that the SDK makes the call again by itself.
fn submitted(results: Results) -> Result<Vec<Result<router_core::source::Accepted, Rejection>>, Refusal> {
    let unavailable = |message: String, wait| {
        let name = "ServiceUnavailableException";
        Refusal { retry_after: Some(wait), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, name, message) }
    };
    let results = results.map_err(|IntakeClosed| unavailable(IntakeClosed.to_string(), CLOSED_RETRY_AFTER))?;
    let busy = |result: &Result<_, Rejection>| match result {
        Err(Rejection { kind: Kind::Busy { retry_after }, message, .. }) => Some((*retry_after, message.clone())),
        _ => None,
    };
    let all: Option<Vec<_>> = results.iter().map(busy).collect();
    match all.and_then(|busy| busy.into_iter().max_by_key(|(wait, _)| *wait)) {
        Some((wait, message)) => Err(unavailable(message.into(), wait)),
        None => Ok(results),
    }
}

/// What AWS calls it, where the intake refuses an event.
fn refused(rejection: &Rejection) -> Said {
    match rejection.kind {
        Kind::Busy { .. } => failed("ThrottlingException", &*rejection.message),
        Kind::Unauthorised => failed("AccessDeniedException", rejection.to_string()),
        Kind::Invalid | Kind::TooLarge => failed("InvalidArgument", rejection.to_string()),
    }
}

/// What all attempts of this call have, and no other call.
fn invocation(headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    if let Some(id) = headers.get(INVOCATION).filter(|id| !id.is_empty()) {
        return Ok(id.as_bytes().to_vec());
    }
    let mut drawn = [0; 16];
    let random = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&random, &mut drawn).map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalException", "no id can be drawn; send this again")
    })?;
    Ok(drawn.to_vec())
}

/// The id of an entry of that call, as EventBridge writes ids.
fn id_of(call: &[u8], index: usize) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(call);
    context.update(&index.to_le_bytes());
    let hash = context.finish();
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The name of an event bus, of which the ARN is given perhaps.
fn bus_name(given: &str) -> &str {
    given.rsplit_once(":event-bus/").map_or(given, |(_, name)| name)
}

/// Seconds since 1970 as a time to the millisecond, which is what AWS keeps.
fn rfc3339(seconds: f64) -> Option<String> {
    // Past this, whole milliseconds are no numbers that a float tells apart.
    let millis = (seconds * 1000.0).round();
    if !millis.is_finite() || millis.abs() >= 9.0e15 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within what an i64 holds")]
    let at = DateTime::from_millis(millis as i64);
    at.fmt(Format::DateTime).ok()
}

/// With the trace of AWS X-Ray, where the event has none of its own.
fn traced(event: Event, header: Option<&str>) -> Result<Event, Invalid> {
    match header.and_then(wire::traceparent) {
        Some(parent) if event.get("traceparent").is_none() => {
            event.rebuild().attr("traceparent", parent.as_str()).build()
        }
        _ => Ok(event),
    }
}

fn test(body: &[u8]) -> Result<Response, Refusal> {
    let test: Test = serde_json::from_slice(body).map_err(|e| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "SerializationException",
            format!("the body is no call of TestEventPattern: {e}"),
        )
    })?;
    let pattern = |why: String| {
        let message = format!("Event pattern is not valid. Reason: {why}");
        Refusal::new(StatusCode::BAD_REQUEST, "InvalidEventPatternException", message)
    };
    let written = serde_json::from_str(&test.event_pattern).map_err(|e| pattern(e.to_string()))?;
    let filter = Filter::parse_for_documents(Spec::Pattern(written)).map_err(|e| pattern(e.to_string()))?;
    let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&test.event)
        .map_err(|e| Refusal::invalid(format!("Parameter Event is not valid. Reason: {e}")))?;
    if let Some(missing) = TESTED.iter().find(|name| !event.contains_key(**name)) {
        return Err(Refusal::invalid(format!("Parameter Event is not valid. Reason: `{missing}` is missing.")));
    }
    let result = filter.matches_document(test.event.as_bytes());
    let result =
        result.map_err(|invalid| Refusal::invalid(format!("Parameter Event is not valid. Reason: {invalid}")))?;
    Ok(json(&serde_json::json!({ "Result": result })))
}

fn json(body: &impl Serialize) -> Response {
    // Nothing in these answers can fail to be JSON.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests;
