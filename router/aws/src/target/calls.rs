//! Calls that take several events, each with an outcome of its own. A call that is refused as a whole (AWS counts
//! otherwise than we do, or one entry breaks the request) is halved, until the guilty entry stands alone: the others
//! must not pay for it.

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use router_core::target::{Delivery, Facts, Outcome};
use router_http::target::Verdict;
use tokio::time::{Instant, timeout_at};

use super::{Failure, note, timed};
use crate::wire::{self, Misfit, Weighed};

/// Entries of one call, by the places of their deliveries in the batch.
pub(super) type Call<T> = Vec<(usize, Weighed<T>)>;

/// A service that takes several entries in one call.
#[async_trait]
pub(super) trait Service: Send + Sync {
    /// What it takes.
    type Entry: Send + Sync;

    /// Writes a delivery.
    fn write(&self, delivery: &Delivery) -> Result<Weighed<Self::Entry>, Misfit>;

    /// What it is called with; had before the first call.
    async fn reach(&self) -> Result<(), Box<str>>;

    /// Sends one call: an outcome for each entry, in order, or why the whole of it failed.
    async fn put(&self, call: &Call<Self::Entry>) -> Result<Vec<Outcome>, Failure>;
}

/// Delivers a batch in calls of at most so many entries and bytes, all within the timeout.
pub(super) async fn deliver<S: Service>(
    service: &S,
    batch: &[Delivery],
    (count_max, bytes_max): (usize, usize),
    timeout: Duration,
) -> Vec<Outcome> {
    let start = Instant::now();
    let until = start + timeout;
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(batch.len());
    let mut entries = Vec::with_capacity(batch.len());
    for (at, delivery) in batch.iter().enumerate() {
        match service.write(delivery).and_then(|entry| fits(entry, bytes_max)) {
            Ok(entry) => {
                entries.push((at, entry));
                outcomes.push(None);
            }
            Err(Misfit { code, note: why }) => {
                let facts = Facts { note: Some(note(&why)), ..Facts::default() };
                outcomes.push(Some(Outcome::Refused { facts, code }));
            }
        }
    }
    let mut calls: VecDeque<Call<S::Entry>> = wire::calls(entries, count_max, bytes_max).into();
    let reached = match calls.is_empty() {
        true => Ok(()),
        false => match timeout_at(until, service.reach()).await {
            Ok(reached) => reached.map_err(|why| Failure::of_target(&why)),
            Err(_) => Err(Failure::of_target("no credentials could be had in time")),
        },
    };
    let mut settle = |at: usize, outcome: Outcome| {
        if let Some(slot) = outcomes.get_mut(at) {
            *slot = Some(outcome);
        }
    };
    while let Some(mut call) = calls.pop_front() {
        let put = match &reached {
            Ok(()) => timeout_at(until, service.put(&call))
                .await
                .unwrap_or_else(|_| Err(Failure::of_event("no answer in time"))),
            Err(none) => Err(none.clone()),
        };
        match put {
            Ok(of_entries) => {
                let mut of_entries = of_entries.into_iter();
                for (at, _) in &call {
                    let unanswered =
                        || Failure::of_event("AWS answered for fewer entries than it got").outcome(Facts::default());
                    settle(*at, timed(of_entries.next().unwrap_or_else(unanswered), start));
                }
            }
            Err(failed) if failed.verdict == Verdict::Refused && call.len() > 1 => {
                let newer = call.split_off(call.len().div_ceil(2));
                calls.push_front(newer);
                calls.push_front(call);
            }
            Err(failed) => {
                for (at, _) in &call {
                    settle(*at, timed(failed.clone().outcome(Facts::default()), start));
                }
            }
        }
    }
    let unsent = || Failure::of_event("the delivery was not sent").outcome(Facts::default());
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsent)).collect()
}

fn fits<T>(entry: Weighed<T>, bytes_max: usize) -> Result<Weighed<T>, Misfit> {
    if entry.bytes <= bytes_max {
        return Ok(entry);
    }
    let note = format!(
        "the entry has {} bytes as AWS counts them, and {bytes_max} are taken; put the data elsewhere and send a `dataref`, or raise `batch.bytes_max` where AWS takes more",
        entry.bytes
    );
    Err(Misfit { code: crate::codes::ENTRY_TOO_LARGE, note })
}
