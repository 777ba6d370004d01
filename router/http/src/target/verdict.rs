//! What a status means for a delivery, and how long a target asks us to wait: pure tables.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header};
use router_core::target::Scope;

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target has it.
    Delivered,
    /// Another try may succeed.
    Retry {
        /// Whose fault.
        scope: Scope,
        /// Not before [`SLOW`]: somebody has to mend something first.
        slow: bool,
    },
    /// The target is gone for good.
    Stop,
    /// Never to be taken.
    Refused,
}

/// The least wait before a try that a person has to make possible: a rotated secret, a missing deploy.
pub const SLOW: Duration = Duration::from_secs(60);
/// The longest wait that a target may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The table of statuses.
///
/// | status | verdict |
/// |---|---|
/// | 2xx | delivered |
/// | 408, 409, 425, 500, other 5xx | retry, this event's fault |
/// | 429, 503 | retry, the target's fault |
/// | 404 | retry slowly, this event's fault |
/// | 401, 403 | retry slowly, the target's fault |
/// | 410 | stop |
/// | 3xx, 400, 405, 406, 413, 414, 415, 422, 501, other 4xx | refused |
/// | below 200, above 599 | retry, this event's fault: no answer that HTTP knows |
pub fn verdict(status: u16) -> Verdict {
    let retry = |scope, slow| Verdict::Retry { scope, slow };
    match status {
        200..=299 => Verdict::Delivered,
        408 | 409 | 425 => retry(Scope::Event, false),
        429 | 503 => retry(Scope::Target, false),
        404 => retry(Scope::Event, true),
        401 | 403 => retry(Scope::Target, true),
        410 => Verdict::Stop,
        501 | 300..=499 => Verdict::Refused,
        _ => retry(Scope::Event, false),
    }
}

/// Verdicts of an operator, which go before the table: by status, else by its hundred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    exact: BTreeMap<u16, Verdict>,
    hundreds: BTreeMap<u16, Verdict>,
}

/// A status or a verdict that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// What is no status.
    #[error("`{0}` is no status: a number from 200 to 599, or all of a hundred as `4xx`")]
    Status(String),
    /// What is no verdict.
    #[error("`{0}` is no verdict: `delivered`, `retry`, `retry-slowly`, `wait`, `refused` or `stop`")]
    Verdict(String),
}

impl Statuses {
    /// Adds one: a status as `409` or `5xx`, a verdict as the operator writes it.
    ///
    /// # Errors
    /// [`StatusError`].
    pub fn set(&mut self, status: &str, verdict: &str) -> Result<(), StatusError> {
        let meant = match verdict {
            "delivered" => Verdict::Delivered,
            "retry" => Verdict::Retry { scope: Scope::Event, slow: false },
            "retry-slowly" => Verdict::Retry { scope: Scope::Event, slow: true },
            "wait" => Verdict::Retry { scope: Scope::Target, slow: false },
            "refused" => Verdict::Refused,
            "stop" => Verdict::Stop,
            _ => return Err(StatusError::Verdict(verdict.to_owned())),
        };
        let refused = || StatusError::Status(status.to_owned());
        let (map, number, range) = match status.strip_suffix("xx") {
            Some(hundred) => (&mut self.hundreds, hundred, 2..=5),
            None => (&mut self.exact, status, 200..=599),
        };
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        let number: u16 = number.parse().ok().filter(|n| digits && range.contains(n)).ok_or_else(refused)?;
        map.insert(number, meant);
        Ok(())
    }

    /// What a status means.
    pub fn verdict(&self, status: u16) -> Verdict {
        let own = self.exact.get(&status).or_else(|| self.hundreds.get(&(status / 100)));
        own.copied().unwrap_or_else(|| verdict(status))
    }
}

/// How long an answer asks to wait.
pub fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    asked.and_then(|value| retry_after(value, SystemTime::now()))
}

/// How long `Retry-After` (RFC 9110, section 10.2.3) asks to wait: seconds, or an HTTP date in any of its
/// three forms, at most [`RETRY_AFTER_MAX`]. `None` when it asks for nothing, or cannot be read.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds is a long time, and no mistake.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).ok()?
    };
    Some(wait.min(RETRY_AFTER_MAX)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_verdict_goes_before_the_table() {
        let mut statuses = Statuses::default();
        for (status, verdict) in [("409", "delivered"), ("4xx", "retry"), ("404", "refused"), ("503", "retry-slowly")] {
            statuses.set(status, verdict).unwrap();
        }
        statuses.set("500", "wait").unwrap();
        statuses.set("202", "stop").unwrap();
        let retry = |scope, slow| Verdict::Retry { scope, slow };
        for (status, expected) in [
            (409, Verdict::Delivered),
            (404, Verdict::Refused),
            (422, retry(Scope::Event, false)),
            (503, retry(Scope::Event, true)),
            (500, retry(Scope::Target, false)),
            (202, Verdict::Stop),
            (200, Verdict::Delivered),
            (502, retry(Scope::Event, false)),
        ] {
            assert_eq!(statuses.verdict(status), expected, "{status}");
        }
        for status in ["", "99", "199", "600", "1xx", "6xx", "xx", "+42", "4x", "404 "] {
            assert!(matches!(statuses.set(status, "retry"), Err(StatusError::Status(_))), "{status}");
        }
        assert!(matches!(statuses.set("404", "ignore"), Err(StatusError::Verdict(_))));
    }

    /// Goal: hold the whole table against design section 3, "Outcomes and the breaker", status by status.
    #[test]
    fn every_status_has_its_verdict() {
        const EVENT: Verdict = Verdict::Retry { scope: Scope::Event, slow: false };
        const TARGET: Verdict = Verdict::Retry { scope: Scope::Target, slow: false };
        for status in 100..=599u16 {
            let expected = match status / 100 {
                2 => Verdict::Delivered,
                3 => Verdict::Refused,
                4 if [408, 409, 425].contains(&status) => EVENT,
                4 if status == 429 => TARGET,
                4 if status == 404 => Verdict::Retry { scope: Scope::Event, slow: true },
                4 if [401, 403].contains(&status) => Verdict::Retry { scope: Scope::Target, slow: true },
                4 if status == 410 => Verdict::Stop,
                4 => Verdict::Refused,
                5 if status == 501 => Verdict::Refused,
                5 if status == 503 => TARGET,
                5 => EVENT,
                _ => EVENT,
            };
            assert_eq!(verdict(status), expected, "{status}");
        }
        assert_eq!(verdict(999), EVENT);
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        // 1994-11-06T08:49:37Z, the date of RFC 9110's own examples.
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let now = date - Duration::from_secs(90);
        let secs = |value| retry_after(value, now).map(|wait| wait.as_secs());
        for (value, wait) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", None),
            ("3600", Some(3600)),
            ("3601", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(90)),
            ("Sun Nov  6 08:49:37 1994", Some(90)),
            ("Sun, 06 Nov 1994 08:48:07 GMT", None),
            ("Sat, 05 Nov 1994 08:49:37 GMT", None),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
        ] {
            assert_eq!(secs(value), wait, "{value:?}");
        }
    }
}
