//! Where events go at Google.

/// Topics of Pub/Sub.
mod pubsub;

/// Services of Cloud Run, and functions.
mod cloud_run;

/// What errors of Google mean.
mod verdict;

pub use cloud_run::{CloudRunConfig, CloudRunError, audience_of, cloud_run};
pub use pubsub::{Batch, PubSub, PubSubConfig};
pub(crate) use verdict::{Failure, context};

use std::time::Duration;

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
