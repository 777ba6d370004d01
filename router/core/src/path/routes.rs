//! Routes, as an operator handles them while they run: paused and resumed.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Path, dispatch::Msg, open::Paused};
use crate::{id::RouteName, store};

/// What an act on a route did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChanged {
    /// It was not so before.
    pub changed: bool,
    /// Deliveries that the route owes now.
    pub waiting: u64,
}

impl Path {
    /// Delivers nothing more for a route, from now on and after a restart too, until it is resumed; attempts
    /// under way end. What it is owed is kept, whatever its age. `None` when there is no such route. Resolves
    /// when that is durable.
    ///
    /// # Errors
    /// The store's: the route may be paused or not.
    pub async fn pause(&self, route: &RouteName) -> Result<Option<RouteChanged>, store::Error> {
        self.set_paused(route, true).await
    }

    /// Delivers for a route again; what it owes ages from now on. A lane whose target said that it is gone is
    /// tried again too. `None` when there is no such route. Resolves when that is durable.
    ///
    /// # Errors
    /// The store's: the route may be paused or not.
    pub async fn resume(&self, route: &RouteName) -> Result<Option<RouteChanged>, store::Error> {
        self.set_paused(route, false).await
    }

    async fn set_paused(&self, route: &RouteName, paused: bool) -> Result<Option<RouteChanged>, store::Error> {
        let (reply, answer) = oneshot::channel();
        let msg = Msg::Pause { route: route.clone(), paused, reply };
        self.dispatcher.send(msg).map_err(|_| self.over())?;
        let answer = answer.await.map_err(|_| self.over())?;
        Ok(answer.map(|Paused { changed, waiting }| RouteChanged { changed, waiting }))
    }
}
