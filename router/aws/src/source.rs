//! Sources: queues that EventBridge feeds, and what the official SDKs publish straight to us.

/// Queues.
pub mod queue;

/// What SDKs publish.
pub mod put_events;

pub use put_events::{PutEvents, PutEventsConfig};
pub use queue::{EventBridgeSource, EventBridgeSourceConfig};
