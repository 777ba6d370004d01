//! Events as they leave: what a route's transform makes of them, with this router as their last hop. Every delivery
//! goes through here on its way to any target, so that no adapter can forget the hop.

use std::sync::Arc;

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
    pub fn apply(&self, batch: Vec<Delivery>) -> (Vec<Delivery>, Vec<(Offset, Failure)>) {
        let (mut made, mut spoiled) = (Vec::with_capacity(batch.len()), Vec::new());
        for delivery in batch {
            let offset = delivery.id.offset;
            match self.one(delivery) {
                Ok(delivery) => made.push(delivery),
                Err(failure) => spoiled.push((offset, failure)),
            }
        }
        (made, spoiled)
    }

    fn one(&self, delivery: Delivery) -> Result<Delivery, Failure> {
        let mut event = delivery.event.clone();
        if let Some(transform) = &self.transform {
            let (route, appended) = (delivery.route.as_str(), delivery.appended);
            let context = Context { route, appended, event_bytes_max: self.event_bytes_max };
            event = transform.apply(&event, &context)?;
        }
        if let Some(router) = &self.router {
            // The identity as it leaves is the one that would come back; where it has been is what the log says.
            event = router.stamp(&delivery.event, &event)?;
        }
        Ok(Delivery { event, ..delivery })
    }
}
