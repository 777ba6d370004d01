//! Sources: queues that EventBridge feeds, what it sends to API destinations, and what the official SDKs publish
//! straight to us.

/// Queues.
pub mod queue;

/// What EventBridge sends by itself.
pub mod api_destination;

/// What SDKs publish.
pub mod put_events;

pub use api_destination::{ApiDestination, ApiDestinationConfig, Credentials};
pub use put_events::{PutEvents, PutEventsConfig};
pub use queue::{EventBridgeSource, EventBridgeSourceConfig};
