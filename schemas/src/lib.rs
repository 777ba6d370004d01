//! CloudEvents 1.0 as the router keeps them: [`Event`] over one buffer, and its codecs.
//!
//! An [`Event`] is valid by construction and cheap to clone. It is made by a codec ([`json`] for the
//! structured and batched forms, [`http`] for the binary form), by [`Event::builder`], or by
//! [`Event::from_body`] from bytes that an event wrote earlier.
//!
//! ```
//! use schemas::{Event, Form};
//! let event = Event::builder("1", "/shop/7", "coffee.order.created")
//!     .attr("subject", "latte")
//!     .data(Form::Json, r#"{"total":4.50}"#)
//!     .build()?;
//! assert_eq!(event.id(), "1");
//! assert_eq!(event.get("subject").map(|v| v.to_string()), Some("latte".to_string()));
//! assert_eq!(event.data(), br#"{"total":4.50}"#);
//! # Ok::<(), schemas::Invalid>(())
//! ```

// What is wrong with an input, and where.
pub mod invalid;

// The names of what is wrong.
pub mod codes;

// The event and its view.
pub mod event;

// What a content type says of data.
pub mod media;

// One iterative reader for all JSON that comes in: the validator, and a document over borrowed bytes.
pub mod doc;

// The structured and the batched JSON forms.
pub mod json;

// The HTTP binding: which mode a request is in, and the binary form.
pub mod http;

// The data of the platform's events.
pub mod payload;

// Schemas of data by type of event, compiled.
#[cfg(feature = "catalogue")]
pub mod catalogue;

// Conversions to and from the events of `cloudevents-sdk`.
// Tests have the SDK as a second opinion with or without the feature.
#[cfg(any(feature = "sdk", test))]
mod sdk;

pub use event::{Builder, Event, Form, Value, Written};
pub use invalid::{Code, Invalid, Place};
