//! What every form of a log and of a ledger must do, one case for each sentence of the contracts in
//! [`router_core::store`]. A form implements [`LogForm`] or [`LedgerForm`] and names its suite:
//!
//! ```ignore
//! mod memory { router_store::ledger_suite!(super::MemoryForm); }
//! ```
//!
//! which makes each case a test of its own. A case that does not hold panics.

// The bodies of tests: what is unexpected must panic, with its place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use async_trait::async_trait;
use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, OrderKey, RouteId, RouteName, RunId, TargetName},
    replay::{Replies, Run, RunCounts, RunRoute, RunState},
    store::{Admitted, Attempt, Attempts, DeadLetter, Ledger, Log, Pending, Record, SegmentKind},
};
use schemas::{Event, Form};

/// Cases of the ledger.
pub mod ledger;
/// Cases of the log.
pub mod log;
/// Cases of the log's stretches: sealing, and letting go.
pub mod segments;

/// A log under test.
#[async_trait]
pub trait LogForm: Sized + Send + Sync {
    /// An empty log.
    async fn create() -> Self;
    /// The log.
    fn log(&self) -> &dyn Log;
    /// The same log after a clean restart.
    async fn reopen(self) -> Self;
}

/// A ledger under test.
#[async_trait]
pub trait LedgerForm: Sized + Send + Sync {
    /// An empty ledger.
    async fn create() -> Self;
    /// The ledger.
    fn ledger(&self) -> &dyn Ledger;
    /// The same ledger after a clean restart.
    async fn reopen(self) -> Self;
}

/// Makes each named case a test of the form.
#[macro_export]
macro_rules! suite {
    ($form:ty, $module:ident: $($case:ident)*) => {$(
        #[tokio::test]
        async fn $case() {
            $crate::conformance::$module::$case::<$form>().await;
        }
    )*};
}

// ------------------------------------------------------------------------------ what is tested with

/// An event with attributes of every kind, a fact, and `bytes` bytes of data.
pub fn event(id: u64, bytes: usize) -> Event {
    let data: Vec<u8> = (0..bytes).map(|i| (i as u64 ^ id) as u8).collect();
    let id = id.to_string();
    let event = Event::builder(&id, "/till/ä", "coffee.order.created").attr("paid", true).attr("cups", 2);
    event.fact("received", "now").data(Form::Binary, data).build().unwrap()
}

/// A small event on its way into a log; its key is its id.
pub fn admitted(id: u64) -> Admitted {
    Admitted { event: event(id, 20), key: id }
}

/// A batch of small events.
pub fn batch(ids: std::ops::Range<u64>) -> Vec<Admitted> {
    ids.map(admitted).collect()
}

/// All records from `from` on, read in pieces of about `bytes_max`.
pub async fn read_all(log: &dyn Log, mut from: Offset, bytes_max: usize) -> Vec<Record> {
    let mut all = Vec::new();
    while from < log.bounds().1 {
        let chunk = log.read(from, bytes_max).await.unwrap();
        assert!(chunk.next > from, "a read goes on");
        all.extend(chunk.records().map(Result::unwrap));
        from = chunk.next;
    }
    all
}

/// The live lane of a route on bus 1.
pub fn lane(route: u32) -> LaneId {
    LaneId { bus: BusId(1), route: RouteId(route), run: RunId(0) }
}

/// An entry that was never tried.
pub fn pending(lane: LaneId, offset: u64, due: Option<u64>) -> Pending {
    let due = due.map(Timestamp);
    let (opened_ms, bytes) = (offset * 10, bytes_of(offset));
    let attempts = Attempts::default();
    Pending { lane, offset: Offset(offset), due, key: None, late: false, opened_ms, bytes, attempts }
}

/// An entry that is parked under a key.
pub fn parked(lane: LaneId, key: u64, offset: u64) -> Pending {
    Pending { key: Some(OrderKey(key)), ..pending(lane, offset, None) }
}

/// The bytes that [`pending`] gives the event at an offset.
pub fn bytes_of(offset: u64) -> u32 {
    100 + (offset % 7) as u32
}

/// Lets go of every sealed segment that ends at or below `before`, and keeps nothing of it.
pub async fn trim(log: &dyn Log, before: Offset) {
    for segment in log.segments() {
        if segment.kind == SegmentKind::Sealed && segment.next <= before {
            log.reduce(segment.first, vec![]).await.unwrap();
        }
    }
}

/// Two attempts of three, as they are kept.
pub fn attempts() -> Attempts {
    let attempt = |number| Attempt {
        number,
        at: Timestamp(1_700_000_000_000_000 + u64::from(number)),
        took_ms: 17,
        status: (number != 1).then_some(503),
        note: "retry: ünavailable".into(),
    };
    Attempts { count: 3, counted: 1, uncounted: 2, first: Some(attempt(1)), last: vec![attempt(3)] }
}

/// A dead letter of the live lane of a route on bus 1.
pub fn dead_letter(route: u32, offset: u64, reason: &str) -> DeadLetter {
    DeadLetter {
        id: DeliveryId { epoch: Epoch(7), lane: lane(route), offset: Offset(offset) },
        route: RouteName::new(&format!("route-{route}")).unwrap(),
        target: TargetName::new("orders").unwrap(),
        reason: reason.into(),
        note: "the target said no".into(),
        at: Timestamp(99),
        bytes: bytes_of(offset),
        attempts: attempts(),
        order: None,
    }
}

/// A run of routes 1 and 2 over offsets 10 to 59, with every field set.
pub fn replay_run(id: u32, next: u64, state: RunState) -> Run {
    let counts = RunCounts { matched: 9, delivered: 5, dead_lettered: 2, ended: 1, replies_discarded: 3 };
    let route = |route: u32| RunRoute {
        route: RouteId(route),
        name: RouteName::new(&format!("route-{route}")).unwrap(),
        filter: r#"{"pattern":{"type":["a"]}}"#.into(),
        counts,
    };
    Run {
        id: RunId(id),
        bus: BusId(1),
        from: Offset(10),
        to: Offset(60),
        next: Offset(next),
        routes: vec![route(1), route(2)],
        filter: Some("null".into()),
        rate: std::num::NonZeroU32::new(250),
        replies: Replies::Admit,
        state,
        note: Some("damage".into()),
        started: Timestamp(7),
        opened_ms: u64::MAX,
        ended: Some(Timestamp(99)),
        read: 40,
        skipped: 31,
        lost: 7,
    }
}
