//! How fast: a budget that senders draw from. Arithmetic on a time that it is given.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A budget of events, refilled evenly; one second's worth is the most that it holds. It may be overdrawn:
/// a batch is taken whole while anything is left, and what it was too large is waited for afterwards.
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: f64,
    /// What is left (below zero: owed), and when that was so.
    left: Mutex<(f64, Instant)>,
}

impl Budget {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Budget { per_second, left: Mutex::new((per_second, now)) }
    }

    /// Takes one, or says how long until there is one.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = *state;
        let refilled = now.saturating_duration_since(at).as_secs_f64() * self.per_second;
        let left = (left + refilled).min(self.per_second);
        let taken = if left >= 1.0 { left - 1.0 } else { left };
        *state = (taken, now.max(at));
        if left >= 1.0 { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - left) / self.per_second)) }
    }

    /// Takes so many more, whatever is left.
    pub(crate) fn owe(&self, count: usize) {
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.left.lock().unwrap_or_else(PoisonError::into_inner).0 -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_overdrawn_once_and_waited_for() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let budget = Budget::new(10, start);
        assert_eq!(budget.take(start), Ok(()));
        budget.owe(19);
        assert_eq!(budget.take(start), Err(Duration::from_millis(1100)));
        assert_eq!(budget.take(after(1000)), Err(Duration::from_millis(100)));
        assert_eq!(budget.take(after(1101)), Ok(()));
        assert!(budget.take(after(1101)).is_err());
    }

    #[test]
    fn idle_budget_saves_no_more_than_a_second() {
        let start = Instant::now();
        let budget = Budget::new(2, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!([budget.take(later), budget.take(later)], [Ok(()), Ok(())]);
        assert_eq!(budget.take(later), Err(Duration::from_millis(500)));
    }
}
