//! What was changed over the admin API, and by whom: the one place where each write is told.
//!
//! The token has no names, so that a caller is known by its address.

use std::{convert::Infallible, fmt, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use router_core::system::Fact;

use super::Api;

/// Changes of one reload that are named; the others are in its count.
const CHANGES_NAMED_MAX: usize = 50;

/// Who called.
#[derive(Clone, Copy, Debug)]
pub struct Who(Option<SocketAddr>);

impl Who {
    /// The process itself: a signal.
    pub const SIGNAL: Who = Who(None);
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => peer.fmt(f),
            None => f.write_str("signal"),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Who(parts.extensions.get().map(|ConnectInfo(peer)| *peer)))
    }
}

/// Tells a write that was done: what it was, what it was about, and how many it changed; in the log, and as an event of
/// the bus `system`. Resolves when that is durable, so that no write is answered before it.
pub async fn wrote(api: &Api, who: &Who, what: &'static str, about: &str, count: u64) {
    tracing::info!(%who, what, about, count, "changed by an operator");
    let (what, about, who) = (what.into(), about.into(), who.to_string().into());
    api.path.announce(Fact::Audit { what, about, who, count }).await;
}

/// Tells what a reload changed.
pub async fn reloaded(api: &Api, who: &Who, changes: &[String]) {
    let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
    let mut about = changes.iter().take(CHANGES_NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    if changes.len() > CHANGES_NAMED_MAX {
        about.push_str("; …");
    }
    wrote(api, who, "configuration reloaded", &about, count).await;
}
