//! What the router answers for events that were submitted: 202 when all are in, 422 when some are
//! refused for good, 503 with `Retry-After` when any is refused for a passing reason or nothing is taken
//! in at all. Whatever an answer lists as accepted or duplicate is durable; a resend of the same
//! request deduplicates, so a client may always send a whole batch again.
//!
//! Who sends `Prefer: return=multistatus` (RFC 7240) with a batch gets the lists with 207 in place of 422
//! and 503.
//!
//! A single event has three answers more: 413 when it is too large, 403 when the sender may not send it,
//! and an invalid one's code and place stand at the top of its problem.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::Full;
use router_core::{
    id::SourceName,
    source::{Accepted, Intake, IntakeClosed, Kind, RawEvent, Rejection},
};
use schemas::Event;
use serde::Serialize;

use crate::{
    codes,
    endpoint::Response,
    problem::{Problem, seconds},
};

/// What `Retry-After` says while the intake is closed: about as long as a restart takes.
pub const CLOSED_RETRY_AFTER: Duration = Duration::from_secs(5);

/// What came of each event of a batch, in order.
pub type Results = Result<Vec<Result<Accepted, Rejection>>, IntakeClosed>;

/// The intake as endpoints see it: [`Intake`], or a test's own.
#[async_trait]
pub trait Submit: Send + Sync + 'static {
    /// As [`Intake::submit`].
    async fn submit(&self, from: &SourceName, batch: Vec<RawEvent>) -> Results;
}

#[async_trait]
impl Submit for Intake {
    async fn submit(&self, from: &SourceName, batch: Vec<RawEvent>) -> Results {
        Intake::submit(self, from, batch).await
    }
}

/// Whether a request holds one event or a list, for the answers that only a single event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Binary and structured mode.
    One,
    /// Batched mode.
    Many {
        /// The sender prefers 207 where events fare differently.
        multistatus: bool,
    },
}

#[derive(Serialize)]
struct AllIn {
    accepted: usize,
    duplicate: usize,
    looped: usize,
    /// One per event, in order; `null` where it looped and is not kept.
    offsets: Vec<Option<u64>>,
}

#[derive(Serialize)]
struct Lists<'a> {
    accepted: Vec<Taken<'a>>,
    duplicate: Vec<Taken<'a>>,
    refused: Vec<Refused<'a>>,
}

#[derive(Serialize)]
struct Taken<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    looped: bool,
}

#[derive(Serialize)]
struct Refused<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    code: &'static str,
    place: String,
    message: &'a str,
    /// Whether sending it again as it is can help.
    retry: bool,
}

/// Submits a batch and makes the answer.
pub async fn submit(intake: &dyn Submit, from: &SourceName, arity: Arity, batch: Vec<RawEvent>) -> Response {
    // Clones share their buffers; they are kept because a refusal names ids.
    let events: Vec<Option<Event>> = batch.iter().map(|raw| raw.event.as_ref().ok().cloned()).collect();
    answer(arity, &events, intake.submit(from, batch).await)
}

/// Submits those events of a batch that the sender may send, and makes the answer for all. Events that
/// cannot be read are left to the intake, which refuses them as it refuses everybody's.
pub async fn submit_as(
    intake: &dyn Submit,
    from: &SourceName,
    arity: Arity,
    batch: Vec<RawEvent>,
    may: impl Fn(&Event) -> Result<(), Rejection>,
) -> Response {
    let events: Vec<Option<Event>> = batch.iter().map(|raw| raw.event.as_ref().ok().cloned()).collect();
    let refused: Vec<Option<Rejection>> =
        events.iter().map(|event| event.as_ref().and_then(|event| may(event).err())).collect();
    let allowed: Vec<RawEvent> =
        batch.into_iter().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(raw, _)| raw).collect();
    let asked = allowed.len();
    let results = if asked == 0 { Ok(Vec::new()) } else { intake.submit(from, allowed).await };
    let results = results.map(|results| {
        if results.len() != asked {
            return results;
        }
        let mut results = results.into_iter();
        refused.into_iter().filter_map(|refused| refused.map_or_else(|| results.next(), |r| Some(Err(r)))).collect()
    });
    answer(arity, &events, results)
}

/// The answer for a batch. `events` are those submitted, `None` where there was none to read.
pub fn answer(arity: Arity, events: &[Option<Event>], results: Results) -> Response {
    let Ok(results) = results else {
        let detail = format!("{IntakeClosed}; send the whole request again, what is in already deduplicates");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::INTAKE_CLOSED, detail)
            .retry_after(CLOSED_RETRY_AFTER)
            .into_response();
    };
    if results.len() != events.len() {
        let detail = "the intake answered for another number of events; this is a bug of the router";
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTAKE_MISMATCH, detail).into_response();
    }
    if results.iter().all(Result::is_ok) {
        return accepted(results.into_iter().flatten());
    }
    if arity == (Arity::Many { multistatus: true }) {
        return multistatus(wait(&results), &lists(events, &results));
    }
    refusal(arity, &results).with(lists(events, &results))
}

/// Whether the request prefers 207 for a batch whose events fare differently.
pub fn prefers_multistatus(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|preference| {
        let token = preference.split(';').next().unwrap_or_default();
        token.trim().eq_ignore_ascii_case("return=multistatus")
    })
}

fn multistatus(wait: Option<Duration>, lists: &Lists<'_>) -> Response {
    let mut response = json(StatusCode::MULTI_STATUS, lists);
    let headers = response.headers_mut();
    headers.insert("preference-applied", HeaderValue::from_static("return=multistatus"));
    if let Some(wait) = wait {
        headers.insert(header::RETRY_AFTER, seconds(wait).into());
    }
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Serialising strings and numbers cannot fail; an empty body would still carry the status.
    let mut response = http::Response::new(Full::new(Bytes::from(serde_json::to_vec(body).unwrap_or_default())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn accepted(results: impl Iterator<Item = Accepted>) -> Response {
    let mut all = AllIn { accepted: 0, duplicate: 0, looped: 0, offsets: Vec::with_capacity(results.size_hint().0) };
    for one in results {
        match one {
            Accepted::Appended(_) => all.accepted += 1,
            Accepted::Duplicate(_) => all.duplicate += 1,
            Accepted::Looped => all.looped += 1,
        }
        all.offsets.push(offset(one));
    }
    json(StatusCode::ACCEPTED, &all)
}

fn offset(accepted: Accepted) -> Option<u64> {
    match accepted {
        Accepted::Appended(offset) | Accepted::Duplicate(offset) => Some(offset.0),
        Accepted::Looped => None,
    }
}

/// How long to wait before sending again: the longest that any refusal for a passing reason asks for.
fn wait(results: &[Result<Accepted, Rejection>]) -> Option<Duration> {
    let waits = results.iter().filter_map(|result| match result.as_ref().err()?.kind {
        Kind::Busy { retry_after } => Some(retry_after),
        Kind::Invalid | Kind::Unauthorised | Kind::TooLarge => None,
    });
    waits.max()
}

/// Status, code and detail of an answer that refuses something. A passing reason outweighs one for good,
/// because the sender must send again; what it sends again in vain is then told so.
fn refusal(arity: Arity, results: &[Result<Accepted, Rejection>]) -> Problem {
    let refused = || results.iter().filter_map(|r| r.as_ref().err());
    let wait = wait(results);
    let mut problem = match (arity, refused().next()) {
        (Arity::One, Some(only)) => {
            let status = match only.kind {
                Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
                Kind::Unauthorised => StatusCode::FORBIDDEN,
                Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                Kind::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            };
            Problem::new(status, only.code, String::from(&*only.message)).at(only.place.to_string())
        }
        _ => {
            let count = refused().count();
            let of = results.len();
            let (status, code, advice) = match wait {
                Some(_) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    codes::SOME_REFUSED_FOR_NOW,
                    "send the batch again, what is in already deduplicates",
                ),
                None => (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    codes::SOME_REFUSED,
                    "the others are in; correct these and send them again",
                ),
            };
            Problem::new(status, code, format!("{count} of {of} events are refused, see `refused`; {advice}"))
        }
    };
    if let Some(wait) = wait {
        problem = problem.retry_after(wait);
    }
    problem
}

fn lists<'a>(events: &'a [Option<Event>], results: &'a [Result<Accepted, Rejection>]) -> Lists<'a> {
    let mut lists = Lists { accepted: Vec::new(), duplicate: Vec::new(), refused: Vec::new() };
    for (index, (event, result)) in events.iter().zip(results).enumerate() {
        let id = event.as_ref().map(Event::id);
        match result {
            Ok(taken) => {
                let list = match taken {
                    Accepted::Duplicate(_) => &mut lists.duplicate,
                    Accepted::Appended(_) | Accepted::Looped => &mut lists.accepted,
                };
                list.push(Taken { index, id, offset: offset(*taken), looped: *taken == Accepted::Looped });
            }
            Err(Rejection { code, place, message, kind }) => lists.refused.push(Refused {
                index,
                id,
                code: code.0,
                place: place.to_string(),
                message,
                retry: matches!(kind, Kind::Busy { .. }),
            }),
        }
    }
    lists
}
