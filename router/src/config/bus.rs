//! How long a bus keeps what, and how long dead letters and replays last.

use std::time::Duration;

use serde::Deserialize;

use super::value;

/// A named, durable, ordered log of events.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// How long a (source, id) is remembered.
    pub dedupe: Dedupe,
    /// How long events are kept after they are settled.
    pub retention: Retention,
}

/// How long a bus keeps events that nothing is owed for any more. Whole segments go, oldest first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Since they came in. Default `30d`; `7d` on the bus `system`.
    #[serde(deserialize_with = "value::duration")]
    pub age_max: Duration,
    /// Bytes of the bus on disk. Default: as many as `store.disk` allows.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { age_max: Duration::from_secs(30 * 24 * 3600), bytes_max: None }
    }
}

/// Replays.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// Running time after which a replay ends, whatever it has reached: until then it holds its range. Default `7d`.
    #[serde(deserialize_with = "value::duration")]
    pub run_age_max: Duration,
}

impl Default for Replay {
    fn default() -> Self {
        Replay { run_age_max: router_core::replay::RUN_AGE_MAX }
    }
}

/// How long dead letters are kept. What a limit ends is counted and logged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetters {
    /// Since they were parked. Default `14d`.
    #[serde(deserialize_with = "value::duration")]
    pub age_max: Duration,
    /// Bytes of their events; past it the oldest are ended. Default: no limit.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
}

impl Default for DeadLetters {
    fn default() -> Self {
        DeadLetters { age_max: Duration::from_secs(14 * 24 * 3600), bytes_max: None }
    }
}

/// The window in which a second event with the same source and id is a duplicate: the smaller bound holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dedupe {
    /// Running time. Default `10m`.
    #[serde(deserialize_with = "value::duration")]
    pub age: Duration,
    /// Events. Default 4,000,000.
    pub entries_max: u32,
}

impl Default for Dedupe {
    fn default() -> Self {
        Dedupe { age: Duration::from_secs(600), entries_max: 4_000_000 }
    }
}
