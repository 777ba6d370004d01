//! CloudEvents over HTTP: the public listener and its endpoints on the way in, the webhook target on
//! the way out, and the client that both the targets and the command line share.
//!
//! In the order in which an event meets them:
//!
//! | module | what |
//! |---|---|
//! | [`intake`] | what the router answers for events that were submitted |
//! | [`listener`] | the sockets: connections, limits, deadlines, a stop in order |
//! | [`endpoint`] | what is mounted at a path of the listener |
//! | [`keys`] | who may send what, and how much of it |
//! | [`jwt`] | tokens that an identity service signed for who sends |
//! | [`events`] | `POST /events`: binary, structured and batched CloudEvents |
//! | [`address`] | which addresses a target may be connected to |
//! | [`client`] | one HTTP client: reuse of connections, TLS, no redirects, bounded answers |
//! | [`target`] | the webhook target, and its table of statuses |
//! | [`problem`] | errors as `application/problem+json` |
//! | [`secret`] | text that is never printed |
//!
//! ```
//! use router_http::target::{Verdict, verdict};
//! assert_eq!(verdict(202), Verdict::Delivered);
//! assert_eq!(verdict(422), Verdict::Refused);
//! ```

/// What the router answers for events that were submitted.
pub mod intake;

/// The public listener.
pub mod listener;

/// What is mounted at a path of the listener.
pub mod endpoint;

/// Who may send what.
pub mod keys;

/// Tokens that an identity service signed.
pub mod jwt;

/// How fast.
mod pace;

/// The CloudEvents endpoint.
pub mod events;

/// Which addresses a target may be connected to.
pub mod address;

/// The shared HTTP client.
pub mod client;

/// Bodies that are made while they are sent.
pub mod lines;

/// The webhook target.
pub mod target;

/// Errors as `application/problem+json`.
pub mod problem;

/// Names of what is answered.
pub mod codes;

/// Text that is never printed.
pub mod secret;

pub use endpoint::{Endpoint, PathSpec};
pub use events::Events;
pub use keys::{Key, KeyError, KeySpec};
pub use listener::{Edge, Limits, Listener, Mount, TlsFiles};
pub use secret::Secret;
pub use target::{HttpTarget, HttpTargetConfig};
