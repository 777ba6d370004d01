//! A plain HTTP port, as the router calls a target, and one event from standard input.
//!
//! `POST` to any path, in binary, structured or batched mode; `Idempotency-Key` and `gocoffee-attempt` are
//! read. `GET` to any path says that the function is there. Replies come in the answer.

use std::io::{Read, Write};

use bytes::Bytes;
use http::{Method, Request, Response};

use crate::{
    function::{Failure, Function, Kind},
    host::{Call, Host},
    output::Reader,
    wire::{self, BODY_BYTES_MAX},
};

/// Answers one request.
pub async fn respond<F: Function>(host: &Host<F>, request: Request<Bytes>) -> Response<Bytes> {
    if request.method() == Method::GET {
        return wire::ready();
    }
    answer(handle(host, &request, Reader::Sender).await)
}

/// Handles a request with CloudEvents.
pub(crate) async fn handle<F: Function>(
    host: &Host<F>,
    request: &Request<Bytes>,
    reader: Reader,
) -> Result<Vec<schemas::Event>, Failure> {
    let read = wire::only_post(request).and_then(|()| wire::events(request.headers(), request.body()));
    let events = read.inspect_err(|failure| refused(host, failure))?;
    host.deliver_all(calls(request, events), reader).await.answer
}

/// Logs what could not be read: no event, so no invocation says it.
pub(crate) fn refused<F: Function>(host: &Host<F>, failure: &Failure) {
    host.log().line(crate::Severity::Error, &format!("a request was refused: {failure}"));
}

/// The events of a request as calls. A key keeps one delivery apart, so that it says nothing of a batch.
pub(crate) fn calls(request: &Request<Bytes>, events: Vec<schemas::Event>) -> Vec<Call> {
    let key = wire::idempotency_key(request.headers()).filter(|_| events.len() == 1);
    let attempt = wire::attempt(request.headers());
    events.into_iter().map(|event| Call { event, key: key.clone(), attempt, deadline: None }).collect()
}

pub(crate) fn answer(answer: Result<Vec<schemas::Event>, Failure>) -> Response<Bytes> {
    match answer {
        Ok(events) => wire::answer(&events),
        Err(failure) => wire::problem(&failure),
    }
}

/// Reads one event (or a batch) as JSON from standard input and writes the replies, one a line. Gives the
/// exit code: 0 handled, 1 worth another try, 2 refused.
pub async fn stdin<F: Function>(host: &Host<F>) -> u8 {
    let mut json = Vec::new();
    let read = std::io::stdin().lock().take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut json);
    let events = match read {
        Ok(_) if json.len() > BODY_BYTES_MAX => {
            Err(Failure::refuse("body-too-large", format!("the input is larger than {BODY_BYTES_MAX} bytes")))
        }
        Ok(_) => wire::envelope::events(&json),
        Err(e) => Err(Failure::retry("input", format!("standard input cannot be read: {e}"))),
    };
    let answer = match events.inspect_err(|failure| refused(host, failure)) {
        Ok(events) => host.deliver_all(events.into_iter().map(Call::from).collect(), Reader::Sender).await.answer,
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(events) => {
            let mut lines = Vec::new();
            for event in &events {
                schemas::json::encode_into(event, &mut lines);
                lines.push(b'\n');
            }
            match std::io::stdout().lock().write_all(&lines) {
                Ok(()) => 0,
                Err(_) => 1,
            }
        }
        Err(failure) if failure.kind == Kind::Refuse => 2,
        Err(_) => 1,
    }
}
