//! Time, as the path sees it: wall time for people and for what is kept, monotonic time for waiting.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Wall time in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// That much later.
    #[must_use]
    pub fn after(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// As RFC 3339 in whole seconds, UTC. Days to a date: H. Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms", `civil_from_days`.
    pub fn rfc3339(self) -> String {
        let seconds = self.0 / 1_000_000;
        let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
    }
}

impl fmt::Display for Timestamp {
    /// Seconds with six decimals; whoever speaks to people formats it as RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Wall and monotonic time, and the seed of all chance. The only way by which the path learns any of them.
pub trait Clock: Send + Sync + 'static {
    /// Wall time; it may jump.
    fn wall(&self) -> Timestamp;
    /// Time since some fixed moment of this process; it never goes back.
    fn monotonic(&self) -> Duration;
    /// What the randomness of a run grows from: another number at each start, but for a test's clock.
    fn seed(&self) -> u64;
}

/// The machine's clocks; under tokio's paused time the monotonic one is paused with it.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    pub fn new() -> Self {
        SystemClock { start: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn seed(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}
