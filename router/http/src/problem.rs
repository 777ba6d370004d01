//! Errors as `application/problem+json` (RFC 9457). Every one has a `code` for programs and a `detail`
//! that says what to do; `place` says where in the input it is wrong, where there is a place.
//!
//! `type` is left out, which RFC 9457 section 3.1.1 reads as `about:blank`: the title is the status's own.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Full;
use schemas::Code;
use serde::Serialize;

use crate::endpoint::Response;

/// The media type of a problem.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// One error answer in the making.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: Code,
    detail: Cow<'static, str>,
    place: Option<String>,
    retry_after: Option<Duration>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

#[derive(Serialize)]
struct Body<'a, T: Serialize> {
    title: &'a str,
    status: u16,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    detail: &'a str,
    #[serde(flatten)]
    more: T,
}

#[derive(Serialize)]
struct Nothing {}

impl Problem {
    /// An error with its code and what to do about it.
    pub fn new(status: StatusCode, code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem { status, code, detail: detail.into(), place: None, retry_after: None, header: None }
    }

    /// Says where in the input.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Adds `Retry-After`, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds one header, e.g. `Allow`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// The status that it answers with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong, and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer.
    pub fn into_response(self) -> Response {
        self.with(Nothing {})
    }

    /// The answer with further members, those of the object `more`.
    pub fn with(self, more: impl Serialize) -> Response {
        let body = Body {
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code.0,
            place: self.place.as_deref(),
            detail: &self.detail,
            more,
        };
        // Serialising strings and numbers cannot fail; an empty body would still carry the status.
        let mut response = http::Response::new(Full::new(Bytes::from(serde_json::to_vec(&body).unwrap_or_default())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds(wait).into());
        }
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        response
    }
}

/// `Retry-After` counts whole seconds: rounded up, and never 0, which would ask for a resend at once.
pub(crate) fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_shorter_than_the_wait() {
        let of = |ms| seconds(Duration::from_millis(ms));
        assert_eq!([of(0), of(1), of(1000), of(1001), of(2000)], [1, 1, 1, 2, 2]);
    }
}
