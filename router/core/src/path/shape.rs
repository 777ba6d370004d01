//! Events as they leave: what a route's transform makes of them, with this router as their last hop. Every delivery
//! goes through here on its way to any target, so that no adapter can forget the hop.

use std::sync::Arc;

use schemas::Event;

use crate::{
    hops,
    id::Offset,
    target::Delivery,
    transform::{Context, Failure, Transform},
};

/// What a lane makes of its events.
pub(super) struct Shape {
    pub transform: Option<Arc<Transform>>,
    pub event_bytes_max: usize,
    pub router: Option<Arc<hops::Router>>,
}

impl Shape {
    /// What the target gets, and of what nothing could be made.
    pub fn apply(&self, mut batch: Vec<Delivery>) -> (Vec<Delivery>, Vec<(Offset, Failure)>) {
        let mut spoiled = Vec::new();
        batch.retain_mut(|delivery| match self.event(delivery) {
            Ok(event) => {
                delivery.event = event;
                true
            }
            Err(failure) => {
                spoiled.push((delivery.id.offset, failure));
                false
            }
        });
        (batch, spoiled)
    }

    /// The event of a delivery as it leaves.
    fn event(&self, delivery: &Delivery) -> Result<Event, Failure> {
        let mut event = delivery.event.clone();
        if let Some(transform) = &self.transform {
            let (route, appended) = (delivery.route.as_str(), delivery.appended);
            let context = Context { route, appended, event_bytes_max: self.event_bytes_max };
            event = transform.apply(&event, &context)?;
        }
        match &self.router {
            // The identity as it leaves is the one that would come back; where it has been is what the log says.
            Some(router) => router.stamp(&delivery.event, &event),
            None => Ok(event),
        }
    }
}
