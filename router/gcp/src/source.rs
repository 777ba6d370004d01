//! Sources: what Pub/Sub pushes, and what it holds for who pulls.

use http::StatusCode;
use router_core::source::{Kind, Rejection};

/// What a push subscription delivers.
pub mod push;

/// What a subscription holds.
pub mod pull;

pub use pull::{Pull, PullConfig};
pub use push::{Push, PushConfig, tokens};

/// The status for what is refused: Pub/Sub tries again after each of them.
pub(crate) fn status(rejection: &Rejection) -> StatusCode {
    match rejection.kind {
        Kind::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Unauthorised => StatusCode::FORBIDDEN,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
