//! The breaker of a target. Pure: time and randomness are arguments.
//!
//! A target fault opens it at once, five event faults of distinct deliveries in a row open it too.
//! While it is open nothing is sent; when its time is up, one delivery is sent as a probe: the oldest
//! that was never tried, else the oldest that has not failed in this opening. An answer that means that
//! the target works closes it (delivered, refused); another fault opens it again, for longer, but not
//! for long where the target did answer: then the event may be what is wrong.

use std::{collections::HashSet, time::Duration};

use crate::{
    id::{LaneId, Offset},
    stats::BreakerState,
    target::{Outcome, Scope},
};

/// Distinct deliveries with an event fault in a row that open the breaker.
pub const FAULTS_MAX: usize = 5;
/// The first opening.
pub const OPEN_MIN: Duration = Duration::from_millis(250);
/// The longest opening, but for one that the target asked for.
pub const OPEN_MAX: Duration = Duration::from_secs(30);
/// The longest opening after a probe that the target answered with an event fault.
pub const OPEN_ANSWERED_MAX: Duration = Duration::from_secs(2);
/// Deliveries that an opening remembers as failed; past it the oldest delivery is the probe.
const FAILED_MAX: usize = 10_000;

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Anything.
    Open,
    /// One probe.
    Probe,
    /// Nothing, until this moment of monotonic time; `None`: until the probe under way is answered.
    Closed(Option<Duration>),
}

/// Whether an outcome changed the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was.
    Same,
    /// It opened, for this long.
    Opened(Duration),
    /// It closed.
    Closed,
}

/// One attempt, as the breaker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The delivery.
    pub delivery: (LaneId, Offset),
    /// What came of it.
    pub outcome: &'a Outcome,
    /// Whether it was sent as a probe.
    pub probe: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Breaker {
    opening: Option<Opening>,
    /// Deliveries with an event fault since the last success.
    faults: Vec<(LaneId, Offset)>,
}

#[derive(Debug)]
struct Opening {
    until: Duration,
    times: u32,
    probing: bool,
    failed: HashSet<(LaneId, Offset)>,
}

impl Breaker {
    /// What may be sent at `now`.
    pub fn gate(&self, now: Duration) -> Gate {
        match &self.opening {
            None => Gate::Open,
            Some(o) if o.probing => Gate::Closed(None),
            Some(o) if now >= o.until => Gate::Probe,
            Some(o) => Gate::Closed(Some(o.until)),
        }
    }

    /// For whoever watches.
    pub fn state(&self) -> BreakerState {
        match &self.opening {
            None => BreakerState::Closed,
            Some(o) if o.probing => BreakerState::Probing,
            Some(_) => BreakerState::Open,
        }
    }

    /// Whether a delivery has failed in this opening.
    pub fn has_failed(&self, lane: LaneId, offset: Offset) -> bool {
        self.opening.as_ref().is_some_and(|o| o.failed.contains(&(lane, offset)))
    }

    /// A probe was sent.
    pub fn probe_sent(&mut self) {
        if let Some(o) = &mut self.opening {
            o.probing = true;
        }
    }

    /// The probe never reached the target: the next one may be sent at once.
    pub fn probe_void(&mut self) {
        if let Some(o) = &mut self.opening {
            o.probing = false;
        }
    }

    /// The target was found to work again: the next delivery is sent as a probe at once. Whether it was open.
    pub fn probe_due(&mut self, now: Duration) -> bool {
        let Some(opening) = self.opening.as_mut().filter(|o| !o.probing) else { return false };
        opening.until = opening.until.min(now);
        true
    }

    /// Takes an attempt into account; `jitter` in `0.0..1.0`.
    pub fn judge(&mut self, seen: Seen<'_>, now: Duration, jitter: f64) -> Verdict {
        match seen.outcome {
            Outcome::Delivered { .. } | Outcome::Refused { .. } => {
                self.faults.clear();
                if self.opening.take().is_some() { Verdict::Closed } else { Verdict::Same }
            }
            Outcome::Stop { .. } => {
                // The lane stops. Another lane of the target may be the next probe, at once.
                if let Some(o) = self.opening.as_mut().filter(|_| seen.probe) {
                    o.probing = false;
                }
                Verdict::Same
            }
            Outcome::Retry { scope, not_before, .. } => {
                // An event's own delay (404) is no reason to hold the target up as long.
                let asked = not_before.filter(|_| *scope == Scope::Target).unwrap_or_default();
                match &mut self.opening {
                    Some(opening) => opening.fault(seen, now, asked, jitter),
                    None => self.fault(seen.delivery, *scope, now, asked, jitter),
                }
            }
        }
    }

    fn fault(
        &mut self,
        delivery: (LaneId, Offset),
        scope: Scope,
        now: Duration,
        asked: Duration,
        jitter: f64,
    ) -> Verdict {
        if !self.faults.contains(&delivery) {
            self.faults.push(delivery);
        }
        if scope == Scope::Event && self.faults.len() < FAULTS_MAX {
            return Verdict::Same;
        }
        let wait = pause(1, jitter).max(asked);
        let failed = self.faults.drain(..).collect();
        self.opening = Some(Opening { until: now + wait, times: 1, probing: false, failed });
        Verdict::Opened(wait)
    }
}

impl Opening {
    fn fault(&mut self, seen: Seen<'_>, now: Duration, asked: Duration, jitter: f64) -> Verdict {
        if self.failed.len() < FAILED_MAX {
            self.failed.insert(seen.delivery);
        }
        if !seen.probe {
            // Attempts that were under way when it opened tell nothing new, but for a longer wait.
            self.until = self.until.max(now + asked);
            return Verdict::Same;
        }
        self.probing = false;
        self.times = self.times.saturating_add(1);
        let answered =
            matches!(seen.outcome, Outcome::Retry { facts, scope: Scope::Event, .. } if facts.status.is_some());
        let longest = if answered { OPEN_ANSWERED_MAX } else { OPEN_MAX };
        let wait = pause(self.times, jitter).min(longest).max(asked);
        self.until = now + wait;
        Verdict::Opened(wait)
    }
}

/// Half of the doubled pause for sure, the other half drawn: a probe never follows at once.
fn pause(times: u32, jitter: f64) -> Duration {
    let full = OPEN_MIN.saturating_mul(2u32.saturating_pow(times.saturating_sub(1).min(16))).min(OPEN_MAX);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{
        id::{BusId, RouteId, RunId},
        target::Facts,
    };

    const LANE: LaneId = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn retry(scope: Scope, not_before: Option<Duration>) -> Outcome {
        Outcome::Retry { facts: Facts::default(), scope, not_before }
    }

    fn sent(b: &mut Breaker, offset: u64, outcome: Outcome, now: u64) -> Verdict {
        let probe = b.gate(MS(now)) == Gate::Probe;
        if probe {
            b.probe_sent();
        }
        b.judge(Seen { delivery: (LANE, Offset(offset)), outcome: &outcome, probe }, MS(now), 1.0)
    }

    #[test]
    fn a_target_fault_opens_at_once_and_a_probe_closes() {
        let mut b = Breaker::default();
        assert_eq!(sent(&mut b, 1, retry(Scope::Target, None), 0), Verdict::Opened(MS(250)));
        assert_eq!(b.gate(MS(249)), Gate::Closed(Some(MS(250))));
        assert_eq!(b.gate(MS(250)), Gate::Probe);
        assert!(b.has_failed(LANE, Offset(1)) && !b.has_failed(LANE, Offset(2)));
        b.probe_sent();
        assert_eq!(b.gate(MS(260)), Gate::Closed(None));
        let delivered = Outcome::Delivered { facts: Facts::default(), replies: vec![] };
        let seen = Seen { delivery: (LANE, Offset(2)), outcome: &delivered, probe: true };
        assert_eq!(b.judge(seen, MS(270), 1.0), Verdict::Closed);
        assert_eq!(b.gate(MS(270)), Gate::Open);
    }

    #[test]
    fn failed_probes_wait_longer_up_to_the_limit() {
        let (mut b, mut now, mut waits) = (Breaker::default(), 0, vec![]);
        for n in 1..12 {
            let Verdict::Opened(wait) = sent(&mut b, n, retry(Scope::Target, None), now) else {
                panic!("a failed probe opens again")
            };
            waits.push(wait);
            now += u64::try_from(wait.as_millis()).unwrap();
        }
        assert_eq!(waits[..3], [MS(250), MS(500), MS(1_000)]);
        assert_eq!(waits.last(), Some(&OPEN_MAX));
    }

    #[test]
    fn a_target_that_answers_is_asked_again_soon() {
        let (mut b, mut now) = (Breaker::default(), 0);
        let fault = || Outcome::Retry {
            facts: Facts { status: Some(500), ..Facts::default() },
            scope: Scope::Event,
            not_before: None,
        };
        for n in 1..30 {
            if let Verdict::Opened(wait) = sent(&mut b, n, fault(), now) {
                assert!(wait <= OPEN_ANSWERED_MAX, "{wait:?}");
                now += u64::try_from(wait.as_millis()).unwrap();
            }
        }
        assert!(now > 10_000, "it was asked again and again: {now}");
    }

    #[test]
    fn five_distinct_event_faults_in_a_row_open() {
        let mut b = Breaker::default();
        let fault = || retry(Scope::Event, None);
        for _ in 0..20 {
            assert_eq!(sent(&mut b, 1, fault(), 0), Verdict::Same, "one poison event alone");
        }
        for n in 2..5 {
            assert_eq!(sent(&mut b, n, fault(), 0), Verdict::Same);
        }
        sent(&mut b, 9, Outcome::Delivered { facts: Facts::default(), replies: vec![] }, 0);
        for n in 10..14 {
            assert_eq!(sent(&mut b, n, fault(), 0), Verdict::Same);
        }
        assert!(matches!(sent(&mut b, 14, fault(), 0), Verdict::Opened(_)));
    }

    #[test]
    fn the_target_is_heard_on_how_long_to_wait() {
        let mut b = Breaker::default();
        let asked = Some(MS(60_000));
        sent(&mut b, 1, retry(Scope::Target, asked), 0);
        assert_eq!(b.gate(MS(59_000)), Gate::Closed(asked));
        let mut slow = Breaker::default();
        for n in 1..=5 {
            sent(&mut slow, n, retry(Scope::Event, asked), 0);
        }
        assert_eq!(slow.gate(MS(250)), Gate::Probe, "an event's own delay does not hold the target");
    }

    #[test]
    fn a_refusal_means_that_the_target_works() {
        let mut b = Breaker::default();
        sent(&mut b, 1, retry(Scope::Target, None), 0);
        let refused = Outcome::Refused { facts: Facts::default(), code: crate::codes::REFUSED };
        assert_eq!(sent(&mut b, 2, refused, 300), Verdict::Closed);
    }
}
