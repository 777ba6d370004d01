//! Step 7, settle: what an attempt means for its delivery and its target. Pure: time and randomness
//! are arguments.
//!
//! The delay before attempt n + 1 is drawn evenly between zero and `min(delay_max, delay_min * 2^(n-1))`:
//! exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015). A delay that the target asked for is a lower bound on top.

mod breaker;

use std::time::Duration;

use schemas::Code;
use serde::{Deserialize, Serialize};

pub use self::breaker::{Breaker, Gate, Seen, Verdict};
use crate::{
    clock::Timestamp,
    codes,
    store::{Attempt, Attempts},
    target::{Outcome, Scope},
};

/// Attempts of which a record is kept after the first.
pub const ATTEMPTS_KEPT: usize = 10;
/// Bytes of a note that is kept with an attempt.
pub const NOTE_BYTES_MAX: usize = 1024;

/// How long and how often a delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Failed attempts that count, after which a delivery becomes a dead letter. A failed attempt counts
    /// once another delivery to the same target succeeded after it.
    pub attempts_max: u32,
    /// Running time of the router after which a delivery becomes a dead letter; never before one attempt.
    pub age_max: Duration,
    /// The first delay is drawn between zero and this.
    pub delay_min: Duration,
    /// No delay is longer than this, but for one that the target asked for.
    pub delay_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts_max: 12,
            age_max: Duration::from_secs(24 * 3600),
            delay_min: Duration::from_millis(500),
            delay_max: Duration::from_secs(600),
        }
    }
}

impl RetryPolicy {
    /// The delay after the failed attempt `number` (from 1), `jitter` in `0.0..1.0`.
    pub fn delay(&self, number: u32, jitter: f64) -> Duration {
        let doubled = self.delay_min.saturating_mul(2u32.saturating_pow(number.saturating_sub(1).min(31)));
        doubled.min(self.delay_max).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// It is done.
    Done,
    /// It is tried again after this long.
    Retry(Duration),
    /// It is tried again as soon as its target's breaker lets it.
    Wait,
    /// It is parked, with a reason for programs and one for people.
    DeadLetter(Code, Box<str>),
    /// It waits, and so does its lane, until the target is configured anew, its route is resumed, or the router restarts.
    Stop,
}

/// Settles one attempt. `attempts` already holds it (see [`record`]).
pub fn settle(attempts: &Attempts, outcome: &Outcome, policy: &RetryPolicy, age: Duration, jitter: f64) -> Settlement {
    match outcome {
        Outcome::Delivered { .. } => Settlement::Done,
        Outcome::Refused { facts, code } => {
            let said = facts.note.as_deref().unwrap_or("it gave no reason");
            let status = facts.status.map(|s| format!(" with status {s}")).unwrap_or_default();
            Settlement::DeadLetter(*code, format!("the target refused it{status}: {said}").into())
        }
        Outcome::Stop { .. } => Settlement::Stop,
        Outcome::Retry { .. } if let Some((reason, note)) = exhausted(attempts, policy, age) => {
            Settlement::DeadLetter(reason, note)
        }
        Outcome::Retry { scope: Scope::Target, .. } => Settlement::Wait,
        Outcome::Retry { scope: Scope::Event, not_before, .. } => {
            let asked = not_before.unwrap_or_default();
            Settlement::Retry(policy.delay(attempts.count, jitter).max(asked))
        }
    }
}

/// Whether the budget of a delivery is used up, and how to say it. Asked before and after an attempt.
pub fn exhausted(attempts: &Attempts, policy: &RetryPolicy, age: Duration) -> Option<(Code, Box<str>)> {
    if attempts.count == 0 {
        return None;
    }
    if attempts.counted >= policy.attempts_max {
        let note = format!("{} failed attempts, attempts_max is {}", attempts.counted, policy.attempts_max);
        return Some((codes::ATTEMPTS_EXHAUSTED, note.into()));
    }
    if age >= policy.age_max {
        let note = format!(
            "owed for {} s of running time, age_max is {} s, {} attempts",
            age.as_secs(),
            policy.age_max.as_secs(),
            attempts.count
        );
        return Some((codes::TOO_OLD, note.into()));
    }
    None
}

/// Adds an attempt to the record of a delivery. A failed one counts later: see [`count_failures`].
pub fn record(attempts: &mut Attempts, outcome: &Outcome, now: Timestamp) {
    attempts.count = attempts.count.saturating_add(1);
    let word = match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::Retry { .. } => "retry",
        Outcome::Refused { .. } => "refused",
        Outcome::Stop { .. } => "stop",
    };
    if !matches!(outcome, Outcome::Delivered { .. }) {
        attempts.uncounted = attempts.uncounted.saturating_add(1);
    }
    let facts = outcome.facts();
    let note = match facts.note.as_deref() {
        Some(said) => format!("{word}: {}", cut(said, NOTE_BYTES_MAX)),
        None => word.into(),
    };
    let attempt = Attempt {
        number: attempts.count,
        at: now,
        took_ms: u32::try_from(facts.took.as_millis()).unwrap_or(u32::MAX),
        status: facts.status,
        note: note.into(),
    };
    if attempts.first.is_none() {
        attempts.first = Some(attempt);
        return;
    }
    if attempts.last.len() >= ATTEMPTS_KEPT {
        attempts.last.remove(0);
    }
    attempts.last.push(attempt);
}

/// Another delivery to the target succeeded after the failed attempts: from now on they count.
pub fn count_failures(attempts: &mut Attempts) {
    attempts.counted = attempts.counted.saturating_add(std::mem::take(&mut attempts.uncounted));
}

/// A redrive: a new budget; the number of attempts only grows.
pub fn renew(attempts: &mut Attempts) {
    attempts.counted = 0;
    attempts.uncounted = 0;
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Facts;

    fn retry(scope: Scope, not_before: Option<u64>) -> Outcome {
        Outcome::Retry { facts: Facts::default(), scope, not_before: not_before.map(Duration::from_secs) }
    }

    fn tried(count: u32, counted: u32) -> Attempts {
        Attempts { count, counted, ..Attempts::default() }
    }

    #[test]
    fn delays_double_up_to_the_limit_and_jitter_is_full() {
        let p = RetryPolicy::default();
        let at = |n, j| p.delay(n, j).as_millis();
        assert_eq!([at(1, 1.0), at(2, 1.0), at(3, 1.0)], [500, 1_000, 2_000]);
        assert_eq!([at(1, 0.0), at(9, 0.0)], [0, 0]);
        assert_eq!([at(11, 1.0), at(12, 1.0), at(4_000_000_000, 1.0)], [512_000, 600_000, 600_000]);
    }

    #[test]
    fn outcomes_settle_as_the_table_says() {
        let p = RetryPolicy::default();
        let (young, old) = (Duration::from_secs(1), p.age_max);
        let facts = Facts { status: Some(422), note: Some("no such item".into()), ..Facts::default() };
        let refused = Outcome::Refused { facts: facts.clone(), code: codes::REFUSED };
        let delivered = Outcome::Delivered { facts: facts.clone(), replies: vec![] };
        assert_eq!(settle(&tried(1, 0), &delivered, &p, old, 0.5), Settlement::Done);
        let Settlement::DeadLetter(reason, note) = settle(&tried(1, 0), &refused, &p, young, 0.5) else {
            panic!("a refusal is a dead letter")
        };
        assert_eq!((reason.0, &*note), ("refused", "the target refused it with status 422: no such item"));
        assert_eq!(settle(&tried(3, 0), &retry(Scope::Target, None), &p, young, 0.5), Settlement::Wait);
        let event = |attempts, age| settle(&attempts, &retry(Scope::Event, None), &p, age, 1.0);
        assert_eq!(event(tried(2, 0), young), Settlement::Retry(Duration::from_secs(1)));
        assert!(matches!(event(tried(12, 12), young), Settlement::DeadLetter(codes::ATTEMPTS_EXHAUSTED, _)));
        assert_eq!(event(tried(50, 11), young), Settlement::Retry(p.delay_max), "an outage exhausts nobody");
        assert!(matches!(event(tried(1, 0), old), Settlement::DeadLetter(codes::TOO_OLD, _)));
        let asked = settle(&tried(1, 0), &retry(Scope::Event, Some(60)), &p, young, 0.0);
        assert_eq!(asked, Settlement::Retry(Duration::from_secs(60)));
        let stop = Outcome::Stop { facts, code: codes::GONE };
        assert_eq!(settle(&tried(1, 0), &stop, &p, young, 0.5), Settlement::Stop);
    }

    #[test]
    fn nothing_expires_untried() {
        assert_eq!(exhausted(&tried(0, 0), &RetryPolicy::default(), Duration::MAX), None);
    }

    #[test]
    fn attempts_keep_the_first_and_the_last_ten() {
        let mut attempts = Attempts::default();
        for _ in 0..30 {
            record(&mut attempts, &retry(Scope::Event, None), Timestamp(1));
        }
        let kept: Vec<u32> = attempts.first.iter().chain(&attempts.last).map(|a| a.number).collect();
        assert_eq!(kept, [1, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30]);
        assert_eq!((attempts.count, attempts.counted, attempts.uncounted), (30, 0, 30));
        count_failures(&mut attempts);
        assert_eq!((attempts.counted, attempts.uncounted), (30, 0));
        renew(&mut attempts);
        assert_eq!((attempts.count, attempts.counted), (30, 0), "the number only grows");
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        let mut attempts = Attempts::default();
        let facts = Facts { note: Some("é".repeat(2_000).into()), ..Facts::default() };
        record(&mut attempts, &Outcome::Retry { facts, scope: Scope::Event, not_before: None }, Timestamp(1));
        let note = attempts.first.unwrap().note;
        assert!(note.len() <= NOTE_BYTES_MAX + 8 && note.ends_with('é'));
    }
}
