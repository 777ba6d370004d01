//! Sources: what Pub/Sub pushes, what it holds for who pulls, and what its clients publish straight to us.

use http::StatusCode;
use router_core::source::{Kind, Rejection};

/// What a push subscription delivers.
pub mod push;

/// What a subscription holds.
pub mod pull;

/// What publishers of Pub/Sub publish, straight to us.
pub mod publish;

pub use publish::{Publish, PublishConfig};
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
