//! What a function is given beside the event.

use std::{future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use schemas::Event;
use tokio::time::Instant;

use crate::{
    function::{Failure, Reply},
    http::{Http, Pool},
    log::{Log, Severity},
    settings::Settings,
    state::{Once, State},
};

/// What a function is given beside the event: one for each attempt.
pub struct Context {
    pub(crate) name: &'static str,
    pub(crate) key: Box<str>,
    pub(crate) attempt: u32,
    pub(crate) deadline: Instant,
    pub(crate) clock: Clock,
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) pool: Pool,
    pub(crate) log: Log,
}

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Clock {
    /// The machine's.
    System,
    /// A moment that a test has chosen.
    Fixed(Timestamp),
}

impl Clock {
    /// What time it is.
    pub fn now(self) -> Timestamp {
        match self {
            Clock::System => Timestamp::now(),
            Clock::Fixed(at) => at,
        }
    }
}

impl Context {
    /// The same for all attempts at this event: the router's DeliveryId (`Idempotency-Key`), else a hash of
    /// `source` and `id`. Letters, digits, `-`, `_`, `.`: other characters of a sender's key are hashed.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The number of this attempt, from 1, as far as the platform tells.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What is left until the platform ends the attempt.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The function's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the function remembers between events, see [`crate::state`].
    pub fn state(&self) -> &dyn State {
        &*self.state
    }

    /// A key in [`Context::state`] that no other function uses.
    pub fn state_key(&self, group: &str, name: &str) -> String {
        format!("{}/{group}/{}", self.name, crate::key::safe(name))
    }

    /// Calls others over HTTP, within what is left of this attempt, see [`crate::http`].
    pub fn http(&self) -> Http<'_> {
        self.pool.until(self.deadline)
    }

    /// A hash of an event's `source` and `id`: the same whichever route or retry brings it, where
    /// [`Context::key`] tells deliveries of the same event apart.
    pub fn event_key(&self, event: &Event) -> String {
        key_of(event).into()
    }

    /// Does the work once for a key, across attempts and processes: a repeat gets the stored replies. Work
    /// that fails is not remembered. The key is mostly [`Context::key`].
    ///
    /// # Errors
    /// What the work says; `under-way` while another attempt runs it; `state-unavailable` when the state
    /// cannot be read or written.
    pub async fn once<W>(&self, key: &str, work: W) -> Result<Vec<Reply>, Failure>
    where
        W: Future<Output = Result<Vec<Reply>, Failure>>,
    {
        let now_ms = self.now().as_millisecond();
        Once { state: &*self.state, key: self.state_key("once", key), now_ms }.run(work).await
    }

    /// Writes a line to the log: never the payload, never a secret.
    pub fn log(&self, severity: Severity, message: &str) {
        self.log.line(severity, message);
    }
}

/// What keeps events apart where the sender gives no key.
pub(crate) fn key_of(event: &Event) -> Box<str> {
    crate::key::hash(&[event.source().as_bytes(), event.id().as_bytes()]).into()
}
