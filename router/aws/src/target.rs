//! Where events go at AWS.

/// Calls that take several events.
mod calls;

/// Buses of EventBridge.
mod eventbridge;

/// Custom event buses of EventBridge, the second generation.
mod eventbridge_v2;

/// Functions of Lambda.
mod lambda;

/// Queues of SQS.
mod sqs;

/// What errors of AWS mean.
mod verdict;

pub use eventbridge::{EventBridge, EventBridgeConfig};
pub use eventbridge_v2::{EventBridgeV2, EventBridgeV2Config};
pub use lambda::{Invocation, Lambda, LambdaConfig};
pub use sqs::{Sqs, SqsConfig};
pub(crate) use verdict::{Failure, failure, of_code};

use std::time::Duration;

use router_core::target::{BatchLimits, Outcome, Partial, Rate};
use tokio::time::Instant;

use crate::{
    auth::ConfigError,
    wire::{BYTES_MAX, COUNT_MAX},
};

/// Bytes of a note about an attempt.
pub(crate) const NOTE_BYTES_MAX: usize = router_http::target::NOTE_BYTES_MAX;
/// How long an attempt may take, when nothing else is configured.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Calls at a time, when nothing else is configured.
pub const IN_FLIGHT_MAX: usize = 16;
/// The path drops an attempt this long after it should have answered by itself.
pub(crate) const DEADLINE_MARGIN: Duration = Duration::from_secs(1);

/// A text as a note: without control characters, and not too long.
pub(crate) fn note(text: &str) -> Box<str> {
    router_http::secret::redact(text.as_bytes(), false, &[], NOTE_BYTES_MAX).into()
}

/// How many events go in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Entries.
    pub count_max: usize,
    /// Their bytes, as AWS counts them.
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more: not at all.
    pub delay_max: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { count_max: COUNT_MAX, bytes_max: BYTES_MAX, delay_max: Duration::ZERO }
    }
}

impl Batch {
    /// What of it cannot be, where a call takes so many events at most, and so many calls are made at a time.
    pub(crate) fn check(&self, most: usize, in_flight_max: usize) -> Result<(), ConfigError> {
        let count_max = self.count_max;
        if !(1..=most).contains(&count_max) {
            let message = format!("a call takes 1 to {most} events, not {count_max}");
            return Err(ConfigError::new(&["batch", "count_max"], message));
        }
        if self.bytes_max == 0 {
            return Err(ConfigError::new(&["batch", "bytes_max"], "no event fits into no bytes; write e.g. `256KiB`"));
        }
        if in_flight_max == 0 {
            return Err(ConfigError::new(&["in_flight_max"], "without a call nothing is delivered; write 1 or more"));
        }
        Ok(())
    }

    /// What the path is told of it.
    pub(crate) fn limits(&self, in_flight_max: usize, timeout: Duration, rate: Option<Rate>) -> BatchLimits {
        BatchLimits {
            count_max: self.count_max,
            // Bodies are about what entries are; what they are exactly, calls are made by.
            bytes_max: self.bytes_max,
            delay_max: self.delay_max,
            in_flight_max,
            partial: Partial::PerEvent,
            deadline: timeout.saturating_add(DEADLINE_MARGIN),
            rate,
        }
    }
}

/// With how long it took since then.
pub(crate) fn timed(mut outcome: Outcome, start: Instant) -> Outcome {
    let (Outcome::Delivered { facts, .. }
    | Outcome::Retry { facts, .. }
    | Outcome::Refused { facts, .. }
    | Outcome::Stop { facts, .. }) = &mut outcome;
    facts.took = start.elapsed();
    outcome
}
