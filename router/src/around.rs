//! What stands around the ports of a router that somebody runs in-process: to watch it, to slow it down, or to break
//! it. The binary has nothing there.

use std::sync::Arc;

use router_core::{shelf::Objects, store::Store, target::Target};
use router_http::intake::Submit;

/// Puts something around a port; as it is, it passes each on.
pub trait Around: Send + Sync + 'static {
    /// The way into a bus, for the endpoints of one source.
    fn intake(&self, intake: Arc<dyn Submit>) -> Arc<dyn Submit> {
        intake
    }

    /// The store, once it is open; it is closed without it.
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }

    /// The place that segments are copied to.
    fn objects(&self, objects: Arc<dyn Objects>) -> Arc<dyn Objects> {
        objects
    }

    /// Each target, also one that a reload makes.
    fn target(&self, target: Arc<dyn Target>) -> Arc<dyn Target> {
        target
    }
}

/// Nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Around for Nothing {}
