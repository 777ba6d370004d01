//! Streams of lines of the admin API, read while they come.

use std::time::Duration;

use router_core::filter::{Filter, Spec};
use router_http::client::{Error, Open};

use super::{
    Exit, Failure,
    api::{Api, unreachable_router},
    filter,
};
use crate::{
    admin::{
        Operation,
        reading::{ALIVE_EVERY, Line},
    },
    codes, config, explain,
};

/// How long nothing may come: the router says where it is more often.
const SILENCE_MAX: Duration = ALIVE_EVERY.saturating_mul(6);
/// Bytes of one line at most.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The lines of one answer.
pub struct Stream {
    open: Open,
    base: String,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    at: usize,
    ended: bool,
}

impl Stream {
    /// Asks for it.
    pub async fn open(api: &Api, op: Operation, query: &[(&str, String)]) -> Result<Self, Failure> {
        let open = api.open(op, query).await?;
        Ok(Stream { open, base: api.base().into(), buffer: Vec::new(), at: 0, ended: false })
    }

    /// The next line, as it came and as it reads; `None` after the last one. One that says that something
    /// went wrong is a failure.
    pub async fn next(&mut self) -> Result<Option<(Vec<u8>, Line)>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let Some(text) = self.text().await? else {
            return Err(self.broken("the stream ended before its end"));
        };
        let line: Line = serde_json::from_slice(&text).map_err(|e| {
            let what = format!(
                "{}: a line is not what this version expects: {e}; is it a gocoffee of another version?",
                self.base
            );
            Failure::new(Exit::Unavailable, codes::FOREIGN_ANSWER, what)
        })?;
        if let Some(error) = &line.error {
            let code = explain::code(&error.code).unwrap_or(codes::API_REFUSED);
            return Err(Failure::new(Exit::No, code, error.message.clone()));
        }
        self.ended = line.end.is_some();
        Ok(Some((text, line)))
    }

    async fn text(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut searched = self.at;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let end = searched + end;
                let line = self.buffer.get(self.at..end).unwrap_or_default().to_vec();
                self.at = end + 1;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            searched = self.buffer.len();
            if searched > LINE_BYTES_MAX {
                return Err(self.broken("a line has no end"));
            }
            match self.open.next(SILENCE_MAX).await {
                Ok(Some(piece)) => self.buffer.extend_from_slice(&piece),
                Ok(None) => return Ok(None),
                Err(e @ (Error::Broken { .. } | Error::Timeout { .. })) => return Err(self.broken(&e.to_string())),
                Err(e) => return Err(unreachable_router(&e, "--admin")),
            }
        }
    }

    fn broken(&self, why: &str) -> Failure {
        Failure::new(Exit::Unavailable, codes::STREAM_BROKE, format!("{}: {why}", self.base))
    }
}

/// A filter of the command line as the API takes it: JSON in place, or a file of JSON or YAML. `flag` is where it was
/// given.
pub fn read_filter(flag: &str, text: &str) -> Result<serde_json::Value, Failure> {
    let invalid = |message: String| Failure::new(Exit::Usage, codes::FILTER_INVALID, message);
    let (name, source) = match text.trim_start().starts_with('{') {
        true => (flag.to_owned(), text.to_owned()),
        false => (text.to_owned(), filter::read(text.as_ref())?),
    };
    let written = config::document(&name, &source).map_err(invalid)?;
    let spec: Spec = serde_json::from_value(written.clone())
        .map_err(|e| invalid(format!("`{name}` is no filter: {e}; a filter is an object with one of these keys")))?;
    Filter::parse(spec).map_err(|e| invalid(format!("`{name}`: {e}")))?;
    Ok(written)
}

/// A place in a log: `earliest`, `latest`, an offset, an age or a time.
pub fn position(text: &str) -> Result<String, String> {
    if matches!(text, "earliest" | "latest") || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())) {
        return Ok(text.into());
    }
    super::dead_letters::time(text).map(|time| time.to_string()).map_err(|_| {
        format!("`{text}` is none of `earliest`, `latest`, an offset, an age, e.g. 2h, and a time, e.g. 2026-01-02T03:04:05Z")
    })
}
