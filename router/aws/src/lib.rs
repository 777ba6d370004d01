//! AWS, in and out: how the router knows AWS, what its services take, and what they answer.
//!
//! In the order in which an event meets them:
//!
//! | module | what |
//! |---|---|
//! | [`auth`] | regions and credentials; one [`Account`] for all that is configured alike |
//! | [`wire`] | events as the services take them, counted as they count |
//! | [`source`] | where events come from: [`EventBridgeSource`], [`ApiDestination`], and [`PutEvents`] with what [`sigv4`] knows |
//! | [`target`] | where events go: [`EventBridge`], [`EventBridgeV2`], [`Sqs`], [`Lambda`] |
//!
//! Decisions are pure (what an event is on the wire, which batch a call takes, what an error means); the official
//! SDKs do the rest, without their own retries: the path does those.
//!
//! ```
//! use router_aws::wire::{COUNT_MAX, Mapping};
//! assert_eq!(Mapping::default(), Mapping::Structured);
//! assert_eq!(COUNT_MAX, 10);
//! ```

/// Regions, credentials, endpoints.
pub mod auth;

/// Events as AWS takes them.
pub mod wire;

/// Signatures, checked.
pub mod sigv4;

/// Queues.
mod queue;

/// Where events come from.
pub mod source;

/// Where events go.
pub mod target;

/// Names of what is refused.
pub mod codes;

pub use auth::{AccessKey, Account, Accounts, ConfigError, Role, Settings};
pub use source::{
    ApiDestination, ApiDestinationConfig, Credentials, EventBridgeSource, EventBridgeSourceConfig, PutEvents,
    PutEventsConfig,
};
pub use target::{
    EventBridge, EventBridgeConfig, EventBridgeV2, EventBridgeV2Config, Invocation, Lambda, LambdaConfig, Sqs,
    SqsConfig,
};
