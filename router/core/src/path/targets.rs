//! Targets, as an operator looks at them while they are delivered to.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Path, dispatch::Msg};
use crate::{id::TargetName, store, target::Reason};

/// How long a look at a target may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

/// What a look at a target found.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Whether it can be reached, and allows what the router wants.
    pub reached: Result<(), Reason>,
    /// Its breaker was open, and the next delivery is tried now instead of later.
    pub hastened: bool,
}

impl Path {
    /// Looks whether a target can be reached, without an event. When it can be and its breaker is open, the
    /// oldest delivery is tried now: what closes a breaker is an event that was taken, never a connection.
    /// `None` when there is no such target.
    ///
    /// # Errors
    /// The path's, when it was stopped or has failed.
    pub async fn probe(&self, target: &TargetName) -> Result<Option<Probed>, store::Error> {
        let (reply, found) = oneshot::channel();
        self.dispatcher.send(Msg::Target(target.clone(), reply)).map_err(|_| self.over())?;
        let Some(found) = found.await.map_err(|_| self.over())? else { return Ok(None) };
        let looked = tokio::time::timeout(PROBE_TIMEOUT, found.check()).await;
        let late = |_| Err(Reason(format!("no answer within {} s", PROBE_TIMEOUT.as_secs()).into()));
        let reached = looked.unwrap_or_else(late);
        if reached.is_err() {
            return Ok(Some(Probed { reached, hastened: false }));
        }
        let (reply, hastened) = oneshot::channel();
        self.dispatcher.send(Msg::Reached(target.clone(), reply)).map_err(|_| self.over())?;
        let hastened = hastened.await.map_err(|_| self.over())?;
        Ok(Some(Probed { reached, hastened }))
    }
}
