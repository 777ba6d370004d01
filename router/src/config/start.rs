//! From where on a route that is new gets events.

use std::fmt;

use router_core::{clock::Timestamp, path};
use serde::Deserialize;

/// From where on a route that is new gets events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    /// From the next one on.
    #[default]
    Latest,
    /// All that are kept.
    Earliest,
    /// Those that were taken in then or later.
    Time(jiff::Timestamp),
}

impl Start {
    /// As the path takes it.
    pub fn spec(&self) -> path::Start {
        match self {
            Start::Latest => path::Start::Next,
            Start::Earliest => path::Start::Earliest,
            // Before 1970 nothing was taken in.
            Start::Time(at) => path::Start::Time(Timestamp(u64::try_from(at.as_microsecond()).unwrap_or(0))),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Latest => f.write_str("latest"),
            Start::Earliest => f.write_str("earliest"),
            Start::Time(at) => at.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "latest" => Ok(Start::Latest),
            "earliest" => Ok(Start::Earliest),
            time => time.parse().map(Start::Time).map_err(|_| {
                let message =
                    format!("`{time}` is none of `latest`, `earliest` and a time, e.g. `2026-01-02T03:04:05Z`");
                serde::de::Error::custom(message)
            }),
        }
    }
}
