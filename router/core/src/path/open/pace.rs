//! How fast a target is sent to: a budget of deliveries, refilled evenly. Pure: time is an argument.
//!
//! It may be overdrawn: a batch goes whole while anything is left, and what it was too large is waited
//! for afterwards, so that over any longer time no more than the rate is sent.

use std::time::Duration;

use crate::target::Rate;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    burst: f64,
    /// What is left (below zero: owed), and when that was so.
    left: f64,
    at: Duration,
}

impl Pace {
    /// With its whole burst.
    pub fn new(rate: Rate) -> Self {
        let burst = f64::from(rate.burst.get());
        Pace { per_second: f64::from(rate.events_per_second_max.get()), burst, left: burst, at: Duration::ZERO }
    }

    /// How long until one may be sent; `None` when it may be now.
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        let refilled = now.saturating_sub(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + refilled).min(self.burst);
        self.at = self.at.max(now);
        self.open_at().map(|at| at.saturating_sub(now))
    }

    /// The moment from which one may be sent; `None` when that was so when it was last asked.
    pub fn open_at(&self) -> Option<Duration> {
        // A timer of less than a microsecond is none, and a budget that small of one is rounding.
        let missing = 1.0 - self.left;
        (missing > 1e-6).then(|| self.at + Duration::from_secs_f64(missing / self.per_second))
    }

    /// So many were sent.
    pub fn take(&mut self, count: usize) {
        self.left -= f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn pace(rate: u32, burst: u32) -> Pace {
        let [events_per_second_max, burst] = [rate, burst].map(|n| NonZeroU32::new(n).unwrap());
        Pace::new(Rate { events_per_second_max, burst })
    }

    #[test]
    fn after_its_burst_a_pace_sends_evenly() {
        let (mut pace, mut now, mut sent) = (pace(10, 3), MS(0), Vec::new());
        while sent.len() < 8 {
            match pace.wait(now) {
                None => {
                    pace.take(1);
                    sent.push(now.as_millis());
                }
                Some(wait) => now += wait,
            }
        }
        assert_eq!(sent, [0, 0, 0, 100, 200, 300, 400, 500]);
    }

    #[test]
    fn large_batch_is_sent_whole_and_waited_for() {
        let mut pace = pace(10, 1);
        assert_eq!(pace.wait(MS(0)), None);
        pace.take(20);
        assert_eq!(pace.wait(MS(0)), Some(MS(2_000)));
        assert_eq!(pace.wait(MS(1_500)), Some(MS(500)));
        assert_eq!(pace.wait(MS(2_000)), None);
    }

    #[test]
    fn pause_saves_no_more_than_the_burst() {
        let mut pace = pace(1_000, 2);
        assert_eq!(pace.wait(MS(3_600_000)), None);
        pace.take(2);
        assert!(pace.wait(MS(3_600_000)).is_some());
    }
}
