//! Azure Event Grid, in and out, over the router's own HTTP client and listener.
//!
//! | module | what |
//! |---|---|
//! | [`wire`] | the two forms in which Event Grid writes events, and what is lost between them |
//! | [`auth`] | how Event Grid knows us, and how we know it: keys, signatures, tokens |
//! | [`call`] | one authorised request, with its deadline and without a secret in what is told of it |
//! | [`target`] | custom topics, domains, partner channels and namespace topics; functions |
//! | [`source`] | the webhook, the pull from a namespace, and what the official clients publish to |
//!
//! There is no Event Grid to run on one machine: the tests play it by Microsoft's documentation, and the official
//! Python client is the independent publisher.
//!
//! ```
//! use router_azure::wire::{self, Schema};
//! let event = wire::decode_event_grid(
//!     r#"{"id":"1","topic":"/topics/coffee","subject":"latte","eventType":"order","eventTime":"2026-01-02T03:04:05Z","data":{"n": 1.50},"dataVersion":"2"}"#,
//!     None,
//! )?;
//! assert_eq!((event.source(), event.kind(), event.data()), ("/topics/coffee", "order", &br#"{"n": 1.50}"#[..]));
//! assert!(wire::losses(Schema::CloudEvents).is_empty());
//! assert!(wire::losses(Schema::EventGrid).iter().any(|loss| loss.member == "source"));
//! # Ok::<(), schemas::Invalid>(())
//! ```

/// The two forms in which Event Grid writes events.
pub mod wire;

/// How Event Grid knows us, and how we know it.
pub mod auth;

/// One authorised request.
pub mod call;

/// Where events go.
pub mod target;

/// Where events come from.
pub mod source;

/// Names of what is answered and logged.
pub mod codes;
