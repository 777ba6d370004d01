//! Step 1, receive: a [`Source`] pulls, or an endpoint is called, and both hand what came to [`Intake`].

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use schemas::{Code, Event, Invalid, Place};
use tokio_util::sync::CancellationToken;

use crate::id::{Offset, SourceName};
pub use crate::path::Intake;

/// One event as a source read it.
#[derive(Clone, Debug)]
pub struct RawEvent {
    /// The event, or why it is none.
    pub event: Result<Event, Invalid>,
    /// What came, for a source that must keep what it cannot read; `None` where the sender is told.
    pub raw: Option<Bytes>,
    /// The media type of `raw`, where it is known.
    pub content_type: Option<Box<str>>,
}

impl From<Event> for RawEvent {
    fn from(event: Event) -> Self {
        RawEvent { event: Ok(event), raw: None, content_type: None }
    }
}

impl From<Result<Event, Invalid>> for RawEvent {
    fn from(event: Result<Event, Invalid>) -> Self {
        RawEvent { event, raw: None, content_type: None }
    }
}

/// What became of an event that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is durable, at this offset.
    Appended(Offset),
    /// It was there already, durable at this offset.
    Duplicate(Offset),
    /// It went through this router before; it is not kept again.
    Looped,
}

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message} ({code})")]
pub struct Rejection {
    /// What is wrong, for programs.
    pub code: Code,
    /// Where in the event.
    pub place: Place,
    /// What is wrong and what to do, for people.
    pub message: Box<str>,
    /// Whether sending it again can help.
    pub kind: Kind,
}

/// What a sender can do about a [`Rejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never valid: do not send it again as it is.
    Invalid,
    /// The sender may not send this.
    Unauthorised,
    /// Larger than a limit.
    TooLarge,
    /// For now only: send it again, not before this long.
    Busy {
        /// What `Retry-After` says.
        retry_after: Duration,
    },
}

impl From<Invalid> for Rejection {
    fn from(invalid: Invalid) -> Self {
        let Invalid { code, place, message } = invalid;
        Rejection { code, place, message, kind: Kind::Invalid }
    }
}

/// The intake has stopped: the router is stopping, or its store is poisoned. Acknowledge nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the router takes nothing in right now: it is stopping or its store has failed")]
pub struct IntakeClosed;

/// A source that cannot go on; the router reports it and starts the source again after a wait.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub Box<str>);

/// Something that pulls events in: a queue, a stream, a poll, a listener.
#[async_trait]
pub trait Source: Send + 'static {
    /// The operator's name for it.
    fn name(&self) -> &SourceName;

    /// Pulls until `stop`, submitting each batch and acknowledging upstream only what
    /// [`Intake::submit`] answered for. Ends with `Ok` on `stop`.
    async fn run(self: Box<Self>, intake: Intake, stop: CancellationToken) -> Result<(), SourceError>;
}
