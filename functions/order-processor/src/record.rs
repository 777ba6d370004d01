//! What is remembered of an order: its customer, and which event took which step. JSON under
//! `order-processor/orders/ORDER`:
//! `{"customer":"Zoë","steps":[{"cause":"KEY","to":"accepted"},…]}`.
//!
//! The state machine has no way back, so that an order has at most [`State::ALL`] steps. A step is written
//! under the condition that the record is the one that was read; of two changes at a time one wins, and the
//! other sees what it did.

use bytes::Bytes;
use function_host::{
    Context, Failure,
    state::{Error, If},
};
use schemas::{Event, payload::orders::State};
use serde::{Deserialize, Serialize};

/// How often a step is tried when others write the same order.
pub const TRIES_MAX: usize = 5;

/// What is remembered.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// Who ordered, if the order was seen.
    customer: Option<String>,
    /// The steps, the first first; never empty.
    steps: Vec<Taken>,
}

/// A step that was taken.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Taken {
    /// The event that took it.
    cause: String,
    /// Where it led.
    to: State,
}

impl Record {
    /// Where the order is.
    pub fn state(&self) -> State {
        self.steps.last().map_or(State::Accepted, |step| step.to)
    }
}

/// Whether a step was taken, by this event now or earlier.
pub enum Step {
    /// It was.
    Taken,
    /// It was not: this is the order.
    No(Record),
}

/// Remembers a new order.
///
/// # Errors
/// The state cannot be read or written.
pub async fn begin(ctx: &Context, event: &Event, order: &str, customer: &str) -> Result<Step, Failure> {
    let (key, cause) = (ctx.state_key("orders", order), ctx.event_key(event));
    let steps = vec![Taken { cause: cause.clone(), to: State::Accepted }];
    let record = Record { customer: Some(customer.to_owned()), steps };
    match ctx.state().put(&key, write(&record)?, If::Absent).await {
        Ok(_) => return Ok(Step::Taken),
        Err(Error::Conflict(_)) => {}
        Err(other) => return Err(other.into()),
    }
    let Some((record, _)) = read(ctx, &key).await? else { return Err(Error::Conflict(key.into()).into()) };
    match record.steps.iter().any(|step| step.cause == cause) {
        true => Ok(Step::Taken),
        false => Ok(Step::No(record)),
    }
}

/// Takes a step, or finds that this event has taken it. `trusted` is where an unknown order is believed to be.
/// Gives the customer, if known; the inner error is where the order is instead.
///
/// # Errors
/// The state cannot be read or written.
pub async fn step(
    ctx: &Context,
    event: &Event,
    order: &str,
    trusted: Option<State>,
    from: State,
    to: State,
) -> Result<Result<Option<String>, Option<State>>, Failure> {
    let (key, cause) = (ctx.state_key("orders", order), ctx.event_key(event));
    for _ in 0..TRIES_MAX {
        let known = read(ctx, &key).await?;
        let (mut record, condition) = match (known, trusted) {
            (Some((record, version)), _) => (record, If::Version(version)),
            (None, Some(state)) => {
                let steps = vec![Taken { cause: String::new(), to: state }];
                (Record { customer: None, steps }, If::Absent)
            }
            (None, None) => return Ok(Err(None)),
        };
        if record.steps.iter().any(|step| step.cause == cause) {
            return Ok(Ok(record.customer));
        }
        if record.state() != from {
            return Ok(Err(Some(record.state())));
        }
        record.steps.push(Taken { cause: cause.clone(), to });
        match ctx.state().put(&key, write(&record)?, condition).await {
            Ok(_) => return Ok(Ok(record.customer)),
            Err(Error::Conflict(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(Error::Conflict(key.into()).into())
}

async fn read(ctx: &Context, key: &str) -> Result<Option<(Record, function_host::state::Version)>, Failure> {
    let Some(stored) = ctx.state().get(key).await? else { return Ok(None) };
    let record = serde_json::from_slice(&stored.value)
        .map_err(|e| Failure::unavailable("state-damaged", format!("state {key}: {e}; remove this entry")))?;
    Ok(Some((record, stored.version)))
}

fn write(record: &Record) -> Result<Bytes, Failure> {
    let written = serde_json::to_vec(record).map(Bytes::from);
    written.map_err(|e| Failure::unavailable("state-unavailable", format!("an order cannot be written: {e}")))
}
