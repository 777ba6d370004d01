//! Google Cloud, in and out: how the router knows Google, what Pub/Sub takes, and what it answers.
//!
//! In the order in which an event meets them:
//!
//! | module | what |
//! |---|---|
//! | [`auth`] | endpoints and credentials; one [`Account`] for all that is configured alike |
//! | [`wire`] | events as messages of Pub/Sub, and messages as events |
//! | [`source`] | where events come from: subscriptions that push, or are pulled; what publishers publish straight to us |
//! | [`target`] | where events go: [`PubSub`] |
//!
//! Decisions are pure (what an event is as a message, what a code of gRPC means); the official crates do the rest,
//! without their own retries: the path does those.
//!
//! ```
//! use router_gcp::wire::{self, Mode};
//! use schemas::{Event, Form};
//! let event = Event::builder("1", "/shops/7", "coffee.order.created").attr("partitionkey", "table 4");
//! let event = event.attr("datacontenttype", "application/json").data(Form::Json, r#"{"n": 1.50}"#).build()?;
//! let message = wire::encode(&event, Mode::Binary);
//! assert_eq!(message.attributes["ce-type"], "coffee.order.created");
//! assert_eq!(&message.data[..], br#"{"n": 1.50}"#);
//! assert!(wire::decode(&message, &wire::Came::default())?.same_but_facts(&event));
//! # Ok::<(), schemas::Invalid>(())
//! ```

/// Endpoints and credentials.
pub mod auth;

/// Events as messages, and messages as events.
pub mod wire;

/// Pub/Sub's own protocol, generated.
pub mod proto;

/// Where events go.
pub mod target;

/// Where events come from.
pub mod source;

/// Names of what is refused.
pub mod codes;

pub use auth::{Account, Accounts, ConfigError, Credentials, Settings};
pub use target::{PubSub, PubSubConfig};
