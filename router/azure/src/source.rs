//! Sources: what Event Grid pushes, what it is asked for, and what its official clients publish straight to us.

use http::StatusCode;
use router_core::source::{Kind, Rejection};

/// What Event Grid delivers to a webhook.
pub mod webhook;

/// What waits in a subscription of a namespace.
pub mod pull;

/// What the official clients publish.
pub mod publish;

/// The handshake by a call back.
pub mod validate;

pub use publish::{Publish, PublishConfig};
pub use pull::{Pull, PullConfig, PullError};
pub use validate::Validation;
pub use webhook::{Webhook, WebhookConfig};

/// The status for a delivery of which some is refused, and the refusal that decides: a passing reason outweighs one
/// for good, because Event Grid must send again what is not in.
pub(crate) fn verdict<'r>(refused: &[&'r Rejection]) -> Option<(StatusCode, &'r Rejection)> {
    let status = |rejection: &Rejection| match rejection.kind {
        Kind::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Invalid | Kind::Unauthorised => StatusCode::BAD_REQUEST,
    };
    let wait = |rejection: &Rejection| match rejection.kind {
        Kind::Busy { retry_after } => Some(retry_after),
        _ => None,
    };
    let deciding = refused.iter().copied().filter(|r| wait(r).is_some()).max_by_key(|r| wait(r));
    deciding.or_else(|| refused.first().copied()).map(|rejection| (status(rejection), rejection))
}
