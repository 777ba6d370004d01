//! What is counted, for whoever watches: counters that only rise since the start, and a [`Status`]
//! that the path takes of itself when asked.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use schemas::Code;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{BusName, Epoch, Offset, RouteName, TargetName},
    replay::{Run, RunEnd},
    retain::{Level, Why},
    shelf::ArchiveStats,
    system::Facts,
};

/// A counter that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more, or several.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What was counted since the start.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of [`Histogram`], in microseconds; one more bucket holds the rest.
pub const BUCKETS_US: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// Durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, d: Duration) {
        let us = u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let at = BUCKETS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.add(1);
        }
        self.sum_us.add(us);
    }

    /// Counts per bucket (not cumulative, the last one unbounded) and the sum in microseconds.
    pub fn get(&self) -> (Vec<u64>, u64) {
        (self.buckets.iter().map(Counter::get).collect(), self.sum_us.get())
    }
}

/// Counters of the intake of one bus.
#[derive(Debug, Default)]
pub struct BusStats {
    /// Appended.
    pub accepted: Counter,
    /// There already.
    pub duplicate: Counter,
    /// There already under the same source and id, with other bytes.
    pub duplicate_differs: Counter,
    /// Had passed this router before.
    pub looped: Counter,
    /// Not refused, though their schema refuses them.
    pub schema_warned: Counter,
    /// Group commit: write and sync.
    pub append: Histogram,
    refused: Mutex<BTreeMap<Code, u64>>,
}

impl BusStats {
    /// Counts a refusal.
    pub fn refuse(&self, code: Code) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Refusals by code.
    pub fn refused(&self) -> BTreeMap<Code, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counters of a route.
#[derive(Debug, Default)]
pub struct RouteStats {
    /// Deliveries opened by a match since the start.
    pub matched: Counter,
    /// Deliveries that were owed when the router started.
    pub resumed: Counter,
    /// Deliveries opened again out of dead letters.
    pub redriven: Counter,
    /// Delivered.
    pub delivered: Counter,
    /// Parked as dead letters.
    pub dead_lettered: Counter,
    /// Ended by an operator or by a limit that the operator set.
    pub ended: Counter,
    /// Attempts that a target took.
    pub attempts_delivered: Counter,
    /// Attempts to be made again.
    pub attempts_retry: Counter,
    /// Attempts refused for good.
    pub attempts_refused: Counter,
    /// Attempts that stopped the lane.
    pub attempts_stop: Counter,
    /// Batches that were taken apart to find the delivery that they failed for.
    pub batches_halved: Counter,
    /// Replies that a target gave and that were not admitted, because the route does not ask for them.
    pub replies_ignored: Counter,
    /// Replies that were made durable.
    pub replies_appended: Counter,
    /// Replies that were there already, from an attempt whose settlement was lost.
    pub replies_duplicate: Counter,
    /// Replies that are no event that can be taken in.
    pub replies_quarantined: Counter,
    /// Events without the attribute that the route orders by: they have no order.
    pub unordered: Counter,
    /// Keys that were dead-lettered whole, because more than the limit were stuck.
    pub keys_ended: Counter,
    /// From append to delivered.
    pub latency: Histogram,
    letters_ended: Mutex<BTreeMap<&'static str, u64>>,
}

impl RouteStats {
    /// Counts dead letters that were ended for good.
    pub fn end_letters(&self, reason: &'static str, count: u64) {
        *self.letters_ended.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += count;
    }

    /// Dead letters that were ended for good, by reason.
    pub fn letters_ended(&self) -> BTreeMap<&'static str, u64> {
        self.letters_ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counters of the store's space.
#[derive(Debug, Default)]
pub struct DiskStats {
    reduced: [Counter; Why::ALL.len()],
    levels: [Counter; Level::ALL.len()],
    /// Times that a backlog was turned into dead letters for want of space.
    pub conversions: Counter,
}

impl DiskStats {
    /// Counts a segment or remnant that was let go.
    pub fn reduced(&self, why: Why) {
        let at = Why::ALL.iter().position(|w| *w == why);
        if let Some(counter) = at.and_then(|at| self.reduced.get(at)) {
            counter.add(1);
        }
    }

    /// Counts a level that was entered.
    pub fn level_changed(&self, level: Level) {
        let at = Level::ALL.iter().position(|l| *l == level);
        if let Some(counter) = at.and_then(|at| self.levels.get(at)) {
            counter.add(1);
        }
    }

    /// Segments and remnants that were let go, by reason.
    pub fn all_reduced(&self) -> impl Iterator<Item = (Why, u64)> {
        Why::ALL.into_iter().zip(self.reduced.iter().map(Counter::get))
    }

    /// How often each level was entered.
    pub fn all_levels(&self) -> impl Iterator<Item = (Level, u64)> {
        Level::ALL.into_iter().zip(self.levels.iter().map(Counter::get))
    }
}

/// Counters of all replays.
#[derive(Debug, Default)]
pub struct ReplayStats {
    /// Runs that were started.
    pub started: Counter,
    /// Events that were read.
    pub read: Counter,
    /// Deliveries that were opened.
    pub opened: Counter,
    /// Delivered.
    pub delivered: Counter,
    /// Parked as dead letters.
    pub dead_lettered: Counter,
    /// Ended with their run.
    pub dropped: Counter,
    /// Replies that were counted and dropped.
    pub replies_discarded: Counter,
    ended: Mutex<BTreeMap<RunEnd, u64>>,
}

impl ReplayStats {
    /// Counts a run that is over.
    pub fn ended(&self, end: RunEnd) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner).entry(end).or_default() += 1;
    }

    /// Runs that are over, by why.
    pub fn all_ended(&self) -> BTreeMap<RunEnd, u64> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All counters.
#[derive(Debug, Default)]
pub struct Stats {
    /// Replays.
    pub replay: Arc<ReplayStats>,
    /// The archive in object storage.
    pub archive: ArchiveStats,
    /// The store's space.
    pub disk: DiskStats,
    /// Ledger commits: time until durable or written.
    pub commit: Histogram,
    /// What is told on the bus `system`.
    pub facts: Facts,
    buses: Mutex<BTreeMap<BusName, Arc<BusStats>>>,
    routes: Mutex<BTreeMap<RouteName, Arc<RouteStats>>>,
}

impl Stats {
    /// The counters of a bus, made when new.
    pub fn bus(&self, name: &BusName) -> Arc<BusStats> {
        self.buses.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone()
    }

    /// The counters of a route, made when new.
    pub fn route(&self, name: &RouteName) -> Arc<RouteStats> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone()
    }

    /// All buses.
    pub fn buses(&self) -> BTreeMap<BusName, Arc<BusStats>> {
        self.buses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All routes.
    pub fn routes(&self) -> BTreeMap<RouteName, Arc<RouteStats>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the router is doing, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The store's epoch, 16 hexadecimal digits.
    pub epoch: Epoch,
    /// Buses by name.
    pub buses: Vec<BusStatus>,
    /// Routes by name, orphaned ones too.
    pub routes: Vec<RouteStatus>,
    /// Targets by name.
    pub targets: Vec<TargetStatus>,
    /// The store's space, as it was measured last.
    pub disk: DiskStatus,
    /// Replays by id, those that are over and still kept too.
    #[serde(default)]
    pub replays: Vec<RunStatus>,
}

/// A replay, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunStatus {
    /// What was asked for, and how far it is.
    pub run: Run,
    /// Its bus.
    pub bus: BusName,
    /// Its routes, in the order of [`Run::routes`].
    pub lanes: Vec<RunLaneStatus>,
    /// Why it does not go on.
    pub waits: Option<String>,
    /// Bytes of segments that it holds from trimming.
    pub held_bytes: u64,
    /// How long it still takes, as fast as it has been going.
    pub left_ms: Option<u64>,
}

/// A route of a replay, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLaneStatus {
    /// Deliveries that are owed, in flight ones included.
    pub waiting: u64,
    /// Those that an attempt is made for right now.
    pub in_flight: u64,
    /// What it is doing.
    pub state: LaneStateName,
}

/// The store's space.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Bytes of logs, side files, remnants and ledger, without the ledger's journals.
    pub used_bytes: u64,
    /// How many there may be; `None`: as many as fit the file system.
    pub bytes_max: Option<u64>,
    /// Bytes that are free in the file system; `None` for a store in memory.
    pub free_bytes: Option<u64>,
    /// How many have to stay free.
    pub free_bytes_min: u64,
    /// How short space is.
    pub level: Level,
    /// Why nothing is taken in, when it is the disk.
    pub refuses: Option<String>,
}

/// A bus, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BusStatus {
    /// Its name.
    pub name: BusName,
    /// First offset kept.
    pub first: Offset,
    /// The offset that the next event gets.
    pub tail: Offset,
    /// Events below it were matched.
    pub planned: Offset,
    /// Why nothing is taken in now, when that is so.
    #[serde(default)]
    pub refuses: Option<String>,
}

/// What a lane is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneStateName {
    /// Delivering, or nothing to do.
    Active,
    /// Its target's breaker is open.
    Blocked,
    /// An operator has paused the route.
    Paused,
    /// The target said that it is gone (410): a restart tries again.
    Stopped,
    /// The route is no longer configured, and deliveries are still owed.
    Orphaned,
}

/// A route, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: RouteName,
    /// Its bus.
    pub bus: BusName,
    /// Its target; `None` for an orphaned one.
    pub target: Option<TargetName>,
    /// What it is doing.
    pub state: LaneStateName,
    /// Since when an operator has paused it.
    #[serde(default)]
    pub paused_since: Option<Timestamp>,
    /// Events of the bus that are not matched yet.
    pub lag_events: u64,
    /// Deliveries that are owed, in flight ones included.
    pub waiting: u64,
    /// Those that an attempt is made for right now.
    pub in_flight: u64,
    /// Those that wait for their next try.
    pub retrying: u64,
    /// Those that are only in the ledger.
    pub in_ledger: u64,
    /// Of these, parked under their keys.
    #[serde(default)]
    pub parked: u64,
    /// Keys that wait for the next try of their first delivery, or for a dead letter.
    #[serde(default)]
    pub stuck_keys: u64,
    /// Bytes of the events that are owed.
    #[serde(default)]
    pub waiting_bytes: u64,
    /// Append time of the oldest delivery that is owed, in microseconds since 1970.
    pub oldest: Option<Timestamp>,
    /// Dead letters that are open.
    pub dead_letters: u64,
    /// Since the start, as in [`RouteStats`].
    pub matched: u64,
    /// Since the start.
    pub resumed: u64,
    /// Since the start.
    pub redriven: u64,
    /// Since the start.
    pub delivered: u64,
    /// Since the start.
    pub ended: u64,
}

/// A target's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Everything goes.
    Closed,
    /// Nothing goes.
    Open,
    /// One delivery is tried.
    Probing,
}

/// A target, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its name.
    pub name: TargetName,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Calls under way.
    pub in_flight: u64,
    /// Attempts it took since the start.
    pub delivered: u64,
    /// Deliveries per second that it may be sent; `None`: as many as it takes.
    #[serde(default)]
    pub events_per_second_max: Option<u32>,
    /// Whether it waits for its rate now.
    #[serde(default)]
    pub paced: bool,
}
