//! Deliberate breaks of the real path: a target that errs, a log that answers before its sync, a ledger that
//! moves the boundary of a route's version. Each must fail the oracle; if one does not, the oracle is blind.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Epoch, LaneId, Offset, OrderKey, TargetName},
    store::{
        Admitted, Change, Chunk, DeadLetter, Durability, Error, Keyed, LaneCount, Ledger, Log, Needed, Page, Pending,
        Record, Segment, Selection, State, Store, Usage,
    },
    target::{BatchLimits, Delivery, Facts, Outcome, Reason, Target},
};
use schemas::Event;
use tokio::sync::{Mutex, watch};

/// What a target does wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Says that it delivered, and did not.
    Drop,
    /// Delivers an event that nobody published.
    Invent,
    /// Changes one byte of the data.
    ChangeByte,
    /// Delivers again under another id.
    SecondId,
}

/// A target that errs at one delivery.
pub struct FaultyTarget {
    inner: Arc<dyn Target>,
    fault: Fault,
    /// Deliveries until it errs.
    left: AtomicU64,
}

impl FaultyTarget {
    /// Errs at the delivery of that number, counted from 0.
    pub fn new(inner: Arc<dyn Target>, fault: Fault, at: u64) -> Self {
        FaultyTarget { inner, fault, left: AtomicU64::new(at + 1) }
    }

    /// Whether it has erred.
    pub fn erred(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    async fn err(&self, delivery: &Delivery) -> Vec<Outcome> {
        let one = |delivery: Delivery| async move { self.inner.deliver(&[delivery]).await };
        let Delivery { event, .. } = delivery;
        match self.fault {
            Fault::Drop => vec![Outcome::Delivered { facts: Facts::default(), replies: Vec::new() }],
            Fault::Invent => {
                let id = format!("{}-invented", event.id());
                let invented = event.rebuild().set("id", id.as_str()).build().expect("a valid event");
                // An id of its own, so that only the event is wrong.
                let mut id = delivery.id;
                id.offset = Offset(id.offset.0 + 1_000_000);
                one(Delivery { event: invented, id, ..delivery.clone() }).await;
                one(delivery.clone()).await
            }
            Fault::ChangeByte => one(Delivery { event: changed(event), ..delivery.clone() }).await,
            Fault::SecondId => {
                let mut second = delivery.clone();
                second.id.offset = Offset(second.id.offset.0 + 1_000_000);
                one(second).await;
                one(delivery.clone()).await
            }
        }
    }
}

/// The event with one digit of its data changed.
fn changed(event: &Event) -> Event {
    let mut data = event.data().to_vec();
    let digit = data.iter_mut().rev().find(|b| b.is_ascii_digit()).expect("the data holds a number");
    *digit = if *digit == b'1' { b'2' } else { b'1' };
    event.rebuild().data(event.form(), data).build().expect("a valid event")
}

#[async_trait]
impl Target for FaultyTarget {
    fn name(&self) -> &TargetName {
        self.inner.name()
    }

    fn limits(&self) -> BatchLimits {
        self.inner.limits()
    }

    async fn check(&self) -> Result<(), Reason> {
        self.inner.check().await
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for delivery in batch {
            let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            outcomes.extend(match left {
                Ok(1) => self.err(delivery).await,
                _ => self.inner.deliver(std::slice::from_ref(delivery)).await,
            });
        }
        outcomes
    }
}

/// A store with one lie: its log answers before the batch is durable, or its ledger writes each version of a
/// route, but its first, one offset too late.
pub struct LyingStore {
    inner: Arc<dyn Store>,
    lie: Lie,
}

/// Which lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The log answers before the sync.
    EarlyAnswer,
    /// A version begins one offset too late.
    LateVersion,
}

impl LyingStore {
    /// Puts the lie before the store.
    pub fn new(inner: Arc<dyn Store>, lie: Lie) -> Self {
        LyingStore { inner, lie }
    }
}

#[async_trait]
impl Store for LyingStore {
    fn ledger(&self) -> Arc<dyn Ledger> {
        match self.lie {
            Lie::EarlyAnswer => self.inner.ledger(),
            Lie::LateVersion => Arc::new(LateLedger(self.inner.ledger())),
        }
    }

    async fn log(&self, bus: &BusName) -> Result<Arc<dyn Log>, Error> {
        let log = self.inner.log(bus).await?;
        Ok(match self.lie {
            Lie::EarlyAnswer => Arc::new(EarlyLog { inner: log, held: Mutex::default() }),
            Lie::LateVersion => log,
        })
    }

    async fn usage(&self) -> Result<Usage, Error> {
        self.inner.usage().await
    }

    async fn ballast(&self, laid: bool) -> Result<bool, Error> {
        self.inner.ballast(laid).await
    }
}

/// Writes a batch only when the next one comes: a crash takes the last one, which was answered.
struct EarlyLog {
    inner: Arc<dyn Log>,
    held: Mutex<Option<(Timestamp, Vec<Admitted>)>>,
}

#[async_trait]
impl Log for EarlyLog {
    async fn append(&self, now: Timestamp, batch: Vec<Admitted>) -> Result<Vec<Offset>, Error> {
        let mut held = self.held.lock().await;
        if let Some((then, earlier)) = held.take() {
            self.inner.append(then, earlier).await?;
        }
        let (_, tail) = self.inner.bounds();
        let offsets = (0..batch.len() as u64).map(|i| Offset(tail.0 + i)).collect();
        *held = Some((now, batch));
        Ok(offsets)
    }

    async fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        self.inner.read(from, bytes_max).await
    }

    async fn seek(&self, t: Timestamp) -> Result<Offset, Error> {
        self.inner.seek(t).await
    }

    fn bounds(&self) -> (Offset, Offset) {
        self.inner.bounds()
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.inner.tail()
    }

    fn segments(&self) -> Vec<Segment> {
        self.inner.segments()
    }

    async fn seal(&self) -> Result<(), Error> {
        self.inner.seal().await
    }

    async fn reduce(&self, first: Offset, keep: Vec<Offset>) -> Result<(), Error> {
        self.inner.reduce(first, keep).await
    }

    async fn kept(&self, first: Offset) -> Result<Option<u64>, Error> {
        self.inner.kept(first).await
    }

    async fn record(&self, offset: Offset) -> Result<Option<Record>, Error> {
        self.inner.record(offset).await
    }

    async fn keys(&self, age: Duration, count_max: usize) -> Result<Vec<Keyed>, Error> {
        self.inner.keys(age, count_max).await
    }
}

struct LateLedger(Arc<dyn Ledger>);

#[async_trait]
impl Ledger for LateLedger {
    async fn commit(&self, epoch: Epoch, mut changes: Vec<Change>, durability: Durability) -> Result<(), Error> {
        let first = |route| async move {
            let state = self.0.state().await?;
            Ok::<bool, Error>(!state.versions.iter().any(|v| v.route == route))
        };
        for change in &mut changes {
            if let Change::PutVersion(version) = change
                && !first(version.route).await?
            {
                version.from = version.from.next();
            }
        }
        self.0.commit(epoch, changes, durability).await
    }

    async fn state(&self) -> Result<State, Error> {
        self.0.state().await
    }

    async fn planned(&self, bus: BusId) -> Result<Option<Offset>, Error> {
        self.0.planned(bus).await
    }

    async fn ready(&self, lane: LaneId, from: Offset, count_max: usize) -> Result<Vec<Pending>, Error> {
        self.0.ready(lane, from, count_max).await
    }

    async fn due(&self, lane: LaneId, now: Timestamp, count_max: usize) -> Result<Vec<Pending>, Error> {
        self.0.due(lane, now, count_max).await
    }

    async fn waiting(&self, lane: LaneId, from: (Timestamp, Offset), count_max: usize) -> Result<Vec<Pending>, Error> {
        self.0.waiting(lane, from, count_max).await
    }

    async fn parked(
        &self,
        lane: LaneId,
        range: Range<(OrderKey, Offset)>,
        count_max: usize,
    ) -> Result<Vec<Pending>, Error> {
        self.0.parked(lane, range, count_max).await
    }

    async fn next_due(&self, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.0.next_due(lane, after).await
    }

    async fn dead_letters(&self, which: &Selection, page: Page) -> Result<Vec<DeadLetter>, Error> {
        self.0.dead_letters(which, page).await
    }

    async fn needed(&self, bus: BusId, range: Range<Offset>) -> Result<Needed, Error> {
        self.0.needed(bus, range).await
    }

    async fn count(&self) -> Result<Vec<LaneCount>, Error> {
        self.0.count().await
    }
}
