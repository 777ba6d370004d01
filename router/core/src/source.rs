//! Step 1, receive: a [`Source`] pulls, or an endpoint is called, and both hand what came to [`Intake`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use schemas::{Code, Event, Invalid, Place};
use tokio_util::sync::CancellationToken;

pub use crate::path::Intake;
use crate::{
    id::{Offset, SourceName},
    target::Reason,
};

/// From one offer of what a bus could not take to the next, at most.
const WAIT_MAX: Duration = Duration::from_secs(2);

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

/// A message, as a source that pulls read it.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What it holds; its bytes are kept where it is no event.
    pub raw: RawEvent,
    /// What upstream calls it: the same each time it comes.
    pub origin: Box<str>,
}

/// What a source does with messages that hold no event which its bus takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// They are quarantined, as dead letters that are edited and redriven, and acknowledged upstream.
    Quarantine,
    /// They are left to upstream, which has a place of its own for what nobody takes.
    Reject,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its event is durable, or was there before, or came from this very router.
    Taken,
    /// It is no event, and is kept, durable, in the quarantine.
    Quarantined,
    /// It is no event that is ever taken, and is nowhere here.
    Rejected(Rejection),
    /// The bus cannot take it now.
    Busy {
        /// When to offer it again.
        retry_after: Duration,
    },
}

impl Fate {
    /// Whether nobody needs it upstream any more.
    pub fn is_done(&self) -> bool {
        matches!(self, Fate::Taken | Fate::Quarantined)
    }
}

/// The way into a bus for a source that pulls.
#[async_trait]
pub trait Inlet: Send + Sync + 'static {
    /// Offers messages to the bus once; resolves when the fate of each is durable, one for each in order: acknowledge
    /// upstream right after. A source that goes away leaves nothing behind but, perhaps, events.
    ///
    /// # Errors
    /// [`IntakeClosed`]: nothing may be acknowledged, though some of it may be durable.
    async fn offer(
        &self,
        from: &SourceName,
        on_invalid: OnInvalid,
        batch: &[Pulled],
    ) -> Result<Vec<Fate>, IntakeClosed>;
}

/// Offers messages until none of them is [`Fate::Busy`], for a source that keeps hold of them meanwhile.
///
/// # Errors
/// As of [`Inlet::offer`].
pub async fn take(
    inlet: &dyn Inlet,
    from: &SourceName,
    on_invalid: OnInvalid,
    batch: &[Pulled],
) -> Result<Vec<Fate>, IntakeClosed> {
    let mut fates = inlet.offer(from, on_invalid, batch).await?;
    loop {
        let busy = |(at, fate): (usize, &Fate)| match fate {
            Fate::Busy { retry_after } => Some((at, *retry_after)),
            _ => None,
        };
        let open: Vec<(usize, Duration)> = fates.iter().enumerate().filter_map(busy).collect();
        let Some(wait) = open.iter().map(|(_, wait)| *wait).min() else { return Ok(fates) };
        tokio::time::sleep(wait.min(WAIT_MAX)).await;
        let again: Vec<Pulled> = open.iter().filter_map(|(at, _)| batch.get(*at).cloned()).collect();
        for ((at, _), fate) in open.iter().zip(inlet.offer(from, on_invalid, &again).await?) {
            if let Some(slot) = fates.get_mut(*at) {
                *slot = fate;
            }
        }
    }
}

/// A source that cannot go on; the router reports it and runs the source again after a wait.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub Box<str>);

/// Something that pulls events in: a queue, a stream, a poll.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The operator's name for it.
    fn name(&self) -> &SourceName;

    /// Whether it can be reached and allows what the router wants; takes no event.
    async fn check(&self) -> Result<(), Reason>;

    /// Pulls until `stop`, offers each batch to the inlet, and acknowledges upstream only what [`Fate::is_done`]. Ends
    /// with `Ok` on `stop`, once what was taken is acknowledged. After an error, and when it ends by itself, it is run
    /// again.
    async fn run(self: Arc<Self>, inlet: Arc<dyn Inlet>, stop: CancellationToken) -> Result<(), SourceError>;
}
