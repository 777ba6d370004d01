//! Step 6, deliver: where events go. Adapters answer in [`Outcome`]; only they know which status of
//! their service is worth another try.

use std::{num::NonZeroU32, time::Duration};

use async_trait::async_trait;
use schemas::{Code, Event};

use crate::{
    clock::Timestamp,
    id::{DeliveryId, RouteName, TargetName},
    reply::ReplyTo,
    source::RawEvent,
};

/// A delivery as a target sees it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The idempotency key: the same at each attempt.
    pub id: DeliveryId,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The route that owes it.
    pub route: RouteName,
    /// When the event was appended.
    pub appended: Timestamp,
    /// The event.
    pub event: Event,
    /// Where the events of the answer are taken in: what they are replies to.
    pub reply: Option<ReplyTo>,
}

/// How much a target takes at once, and how fast. The default is one delivery in a call, 64 calls at a time.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Deliveries in one call.
    pub count_max: usize,
    /// Bytes of event bodies in one call; a single larger one goes alone.
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more; zero sends what is there.
    pub delay_max: Duration,
    /// Calls at a time.
    pub in_flight_max: usize,
    /// What a failure says about the members of a batch.
    pub partial: Partial,
    /// How long one call may take before it counts as timed out.
    pub deadline: Duration,
    /// How fast deliveries are sent, over all routes; `None`: as fast as it takes them.
    pub rate: Option<Rate>,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits {
            count_max: 1,
            bytes_max: usize::MAX,
            delay_max: Duration::ZERO,
            in_flight_max: 64,
            partial: Partial::PerEvent,
            deadline: Duration::from_secs(30),
            rate: None,
        }
    }
}

/// How fast a target is sent to: a budget of deliveries that is refilled evenly. A batch is sent whole
/// while anything is left, and what it was too large is waited for afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Deliveries per second, each attempt counted.
    pub events_per_second_max: NonZeroU32,
    /// Deliveries that may be sent at once after a pause.
    pub burst: NonZeroU32,
}

/// How a target answers for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// The whole batch or nothing. Where all outcomes of a batch are event faults or refusals, the path
    /// settles none of them and halves the batch, until the guilty delivery stands alone.
    AllOrNothing,
    /// Up to the first failure.
    Prefix,
    /// Each for itself.
    PerEvent,
}

/// What is known about one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The status that the target answered with.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// The target's own id for what it took.
    pub reference: Option<Box<str>>,
    /// What the target said, or what went wrong: at most 1 KiB, secrets removed.
    pub note: Option<Box<str>>,
}

/// Whose fault a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This event's: others may get through.
    Event,
    /// The target's: nothing gets through now.
    Target,
}

/// What became of one delivery in one attempt.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The target has it.
    Delivered {
        /// About the attempt.
        facts: Facts,
        /// Events in the target's answer.
        replies: Vec<RawEvent>,
    },
    /// Another try may succeed.
    Retry {
        /// About the attempt.
        facts: Facts,
        /// Whose fault.
        scope: Scope,
        /// Not before this long, as the target asked.
        not_before: Option<Duration>,
    },
    /// Never to be taken.
    Refused {
        /// About the attempt.
        facts: Facts,
        /// Why.
        code: Code,
    },
    /// The target is gone for good: the lane stops until an operator resumes it.
    Stop {
        /// About the attempt.
        facts: Facts,
        /// Why.
        code: Code,
    },
}

impl Outcome {
    /// About the attempt.
    pub fn facts(&self) -> &Facts {
        match self {
            Outcome::Delivered { facts, .. }
            | Outcome::Retry { facts, .. }
            | Outcome::Refused { facts, .. }
            | Outcome::Stop { facts, .. } => facts,
        }
    }
}

/// Why a check failed: one sentence for the operator.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub Box<str>);

/// Where events go.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// The operator's name for it.
    fn name(&self) -> &TargetName;

    /// How much it takes at once; asked once, at the start.
    fn limits(&self) -> BatchLimits;

    /// Whether it can be reached and allows what the router wants; sends no event.
    async fn check(&self) -> Result<(), Reason>;

    /// Delivers the batch: one outcome per delivery, in order. A wrong length is an adapter's bug: all
    /// are tried again, and an error is logged. It may be dropped at its deadline; what it did not
    /// answer for counts as timed out, an event fault.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome>;
}
