//! What the dispatcher remembers between events, in the state: JSON by key, changed under the condition that
//! it is still what was read. All decisions are pure and stand beside their records.

use std::time::Duration;

use bytes::Bytes;
use function_host::{
    Context, Failure,
    state::{Error, If},
};
use schemas::payload::notifications::{AlertState, Severity};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::Rate;

/// How often a change is tried when others change the same.
pub const TRIES_MAX: usize = 8;
/// How long an alert may be under way before another of its group is sent in its place.
pub const CLAIM_AGE_MAX: Duration = Duration::from_secs(120);

/// Changes what is remembered under a key. `change` gives what is to be remembered (none: as it was) and what
/// was decided.
///
/// # Errors
/// The state cannot be read or written.
pub async fn change<T: DeserializeOwned + Serialize, R>(
    ctx: &Context,
    key: &str,
    mut change: impl FnMut(Option<T>) -> (Option<T>, R),
) -> Result<R, Failure> {
    for _ in 0..TRIES_MAX {
        let stored = ctx.state().get(key).await?;
        let (known, condition) = match stored {
            None => (None, If::Absent),
            Some(stored) => {
                let damaged = |e| Failure::unavailable("state-damaged", format!("state {key}: {e}; remove this entry"));
                (Some(serde_json::from_slice(&stored.value).map_err(damaged)?), If::Version(stored.version))
            }
        };
        let (next, decided) = change(known);
        let Some(next) = next else { return Ok(decided) };
        let written = serde_json::to_vec(&next)
            .map_err(|e| Failure::unavailable("state-unavailable", format!("state {key} cannot be written: {e}")))?;
        match ctx.state().put(key, Bytes::from(written), condition).await {
            Ok(_) => return Ok(decided),
            Err(Error::Conflict(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(Error::Conflict(key.into()).into())
}

/// The messages that somebody got in the window of their rate: which event, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Got(Vec<(String, i64)>);

impl Got {
    /// Takes a place for a message, or says how long there is none. One that has its place keeps it.
    pub fn take(mut self, cause: &str, now_ms: i64, rate: Rate) -> (Option<Self>, Result<(), Duration>) {
        let window_ms = i64::from(rate.per_s) * 1_000;
        self.0.retain(|(_, at_ms)| now_ms - at_ms < window_ms);
        if self.0.iter().any(|(known, _)| known == cause) {
            return (None, Ok(()));
        }
        // With more than the limit (it was lowered), as many have to go as are too many.
        let over = (self.0.len() + 1).saturating_sub(rate.count_max);
        match over.checked_sub(1).and_then(|last| self.0.get(last)) {
            Some((_, at_ms)) => {
                let wait_ms = u64::try_from(at_ms + window_ms - now_ms).unwrap_or(0).max(1);
                (None, Err(Duration::from_millis(wait_ms)))
            }
            None => {
                self.0.push((cause.to_owned(), now_ms));
                (Some(self), Ok(()))
            }
        }
    }
}

/// A message that was sent under a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Said {
    /// The event that sent it.
    pub cause: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The alerts of one name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Group {
    /// The event that was sent last, or is being sent.
    pub cause: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whether it was taken.
    pub sent: bool,
    /// Its severity.
    pub severity: Severity,
    /// Its state.
    pub state: AlertState,
    /// Alerts that were counted since.
    pub more: u32,
}

/// What becomes of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is sent.
    Send {
        /// How many were counted since the last.
        more: u32,
        /// What stands again if nobody takes it.
        before: Option<Group>,
    },
    /// It is counted.
    Count,
    /// Another one is being sent; what comes of that decides.
    Wait,
}

impl Group {
    /// Decides about an alert. Whatever is news goes out: the first, a worse one, the end.
    pub fn decide(
        known: Option<Self>,
        cause: &str,
        (severity, state): (Severity, AlertState),
        now_ms: i64,
        group_s: u32,
    ) -> (Option<Self>, Decision) {
        let age_ms = known.as_ref().map_or(i64::MAX, |group| now_ms - group.at_ms);
        let claim = |more| Group { cause: cause.to_owned(), at_ms: now_ms, sent: false, severity, state, more };
        match known {
            Some(group) if !group.sent && group.cause != cause => {
                if u128::try_from(age_ms).unwrap_or(0) < CLAIM_AGE_MAX.as_millis() {
                    return (None, Decision::Wait);
                }
                // Whoever sent it died over it.
                (Some(claim(group.more)), Decision::Send { more: group.more, before: None })
            }
            Some(mut group)
                if group.sent
                    && group.state == state
                    && severity <= group.severity
                    && age_ms < i64::from(group_s) * 1_000 =>
            {
                group.more = group.more.saturating_add(1);
                (Some(group), Decision::Count)
            }
            Some(group) => {
                let more = group.more;
                (Some(claim(more)), Decision::Send { more, before: Some(group).filter(|group| group.sent) })
            }
            None => (Some(claim(0)), Decision::Send { more: 0, before: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_over_a_sliding_window() {
        let rate = Rate { count_max: 2, per_s: 10 };
        let mut got = Got::default();
        for (cause, now_ms, wanted) in [
            ("a", 0, Ok(())),
            ("b", 4_000, Ok(())),
            ("c", 5_000, Err(5_000)),
            // A repeat of what has its place.
            ("a", 5_000, Ok(())),
            ("c", 9_999, Err(1)),
            ("c", 10_000, Ok(())),
            ("d", 10_000, Err(4_000)),
        ] {
            let (next, decided) = got.clone().take(cause, now_ms, rate);
            assert_eq!(decided.map_err(|wait| wait.as_millis()), wanted, "{cause} at {now_ms}");
            got = next.unwrap_or(got);
        }
        // A limit that was lowered holds at once: both have to go.
        let (_, decided) = got.take("e", 10_000, Rate { count_max: 1, per_s: 10 });
        assert_eq!(decided, Err(Duration::from_secs(10)));
    }

    #[test]
    fn alerts_of_a_group_are_counted_and_news_goes_out() {
        use AlertState::{Firing, Resolved};
        use Severity::{Critical, Warning};
        let decide = |known: &Option<Group>, cause, what, now_s: i64| {
            Group::decide(known.clone(), cause, what, now_s * 1_000, 300)
        };
        let (group, decision) = decide(&None, "1", (Warning, Firing), 0);
        assert_eq!(decision, Decision::Send { more: 0, before: None });
        // Its own repeat goes on; another waits for what comes of it, but not for ever.
        assert!(matches!(decide(&group, "1", (Warning, Firing), 1).1, Decision::Send { .. }));
        assert_eq!(decide(&group, "2", (Warning, Firing), 119), (None, Decision::Wait));
        assert!(matches!(decide(&group, "2", (Warning, Firing), 120).1, Decision::Send { .. }));
        let sent = group.map(|group| Group { sent: true, ..group });
        let (counted, decision) = decide(&sent, "2", (Warning, Firing), 10);
        assert_eq!((counted.as_ref().unwrap().more, decision), (1, Decision::Count));
        for (what, now_s) in [((Critical, Firing), 20), ((Warning, Resolved), 20), ((Warning, Firing), 300)] {
            let (_, decision) = decide(&counted, "3", what, now_s);
            assert_eq!(decision, Decision::Send { more: 1, before: counted.clone() }, "{what:?} at {now_s}");
        }
    }
}
