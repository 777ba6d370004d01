//! Whether intake takes events in: the one thing that the sweeper and the dispatcher tell it.
//!
//! The sweeper measures the store now and then. In between, what is appended is counted against the room
//! that it left: at a quarter of the room it is woken, and when all of it is used intake refuses until
//! it has measured again. So a burst cannot outrun it.
//!
//! What the path itself brings, replies and what is quarantined, it can neither give back to a sender nor let go:
//! it passes where a route holds the bus, since that route may wait for just this reply, and on a full disk it may
//! use the reserve. Routes that ask for replies deliver nothing more before the reserve is short. What it tells of
//! itself may use the part that replies can spare: that the disk is full has to be told just then.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use schemas::{Code, Place};
use tokio::sync::Notify;

use super::append::Door;
use crate::{
    codes,
    id::{BusId, RouteName},
    retain::Level,
    source::{Kind, Rejection},
    stats::DiskStatus,
};

/// What a sender is told to wait when the disk is full, or a route holds its bus.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Who found no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// An append.
    Log,
    /// A commit.
    Ledger,
}

/// All gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub space: Arc<Space>,
    buses: HashMap<BusId, Arc<Gate>>,
}

/// The gate of one bus.
#[derive(Debug, Default)]
pub(super) struct Gate {
    space: Arc<Space>,
    /// Routes that hold it: bytes that they owe, and how many they may.
    held: Mutex<BTreeMap<RouteName, (u64, u64)>>,
    closed: AtomicBool,
}

/// The room in the store, for all buses.
#[derive(Debug)]
pub(super) struct Space {
    /// Wakes the sweeper.
    pub wake: Notify,
    /// Bytes that were appended since the start.
    appended: AtomicU64,
    /// What `appended` may grow to before the store has to be measured again.
    limit: AtomicU64,
    wake_at: AtomicU64,
    /// Bytes that replies may take while sources are refused, and those that they took since they are.
    reserve: AtomicU64,
    reserve_used: AtomicU64,
    /// The ledger found no space since the sweeper looked last.
    ledger_short: AtomicBool,
    now: Mutex<DiskStatus>,
}

impl Default for Space {
    fn default() -> Self {
        Space {
            wake: Notify::new(),
            appended: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            wake_at: AtomicU64::new(u64::MAX),
            reserve: AtomicU64::new(0),
            reserve_used: AtomicU64::new(0),
            ledger_short: AtomicBool::new(false),
            now: Mutex::default(),
        }
    }
}

impl Space {
    /// So many bytes were appended.
    pub fn appended(&self, bytes: u64) {
        let before = self.appended.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) >= self.wake_at.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Where the count of appended bytes is: to be asked before the store is measured.
    pub fn mark(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// A write found no space: the sweeper looks at once.
    pub fn no_space(&self, who: Short) {
        if who == Short::Ledger {
            self.ledger_short.store(true, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }

    /// Whether the ledger found no space since this was asked last.
    pub fn take_ledger_short(&self) -> bool {
        self.ledger_short.swap(false, Ordering::Relaxed)
    }

    /// The store was measured after `mark`: from there on so many bytes may be appended before it must be
    /// again; `None`: any number. What came in while it was measured counts.
    pub fn measured(&self, now: DiskStatus, mark: u64, room: Option<u64>) {
        let used = now.used_bytes;
        let before = std::mem::replace(&mut *self.now.lock().unwrap_or_else(PoisonError::into_inner), now);
        // What was let go since it was measured last is there for replies again.
        let freed = if room == Some(0) { before.used_bytes.saturating_sub(used) } else { u64::MAX };
        let less = |taken: u64| Some(taken.saturating_sub(freed));
        self.reserve_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
        let within = |room: u64| mark.saturating_add(room);
        self.wake_at.store(room.map_or(u64::MAX, |room| within(room / 4)), Ordering::Relaxed);
        self.limit.store(room.map_or(u64::MAX, within), Ordering::Relaxed);
    }

    /// How many bytes replies may take once sources are refused.
    pub fn reserve(&self, bytes: u64) {
        self.reserve.store(bytes, Ordering::Relaxed);
    }

    /// Whether more than half of the reserve is used up, or there is none: what is under way may need the rest.
    pub fn reserve_short(&self) -> bool {
        let (used, reserve) = (self.reserve_used.load(Ordering::Relaxed), self.reserve.load(Ordering::Relaxed));
        self.full() && used >= reserve / 2
    }

    /// Takes bytes for replies, out of the reserve where there is no other room; why not, if they do not fit.
    fn reply(&self, bytes: u64) -> Option<String> {
        if !self.full() {
            return None;
        }
        let reserve = self.reserve.load(Ordering::Relaxed);
        let taken = |used: u64| used.checked_add(bytes).filter(|used| *used <= reserve);
        let took = self.reserve_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        took.is_err().then(|| "the router's disk is full, and so is its reserve for replies".into())
    }

    /// Takes bytes for what the router tells of itself: of the reserve only what replies do not need.
    fn fact(&self, bytes: u64) -> Option<String> {
        if self.reserve_short() {
            return Some("the router's disk is full, and what is left of its reserve is for replies".into());
        }
        self.reply(bytes)
    }

    fn full(&self) -> bool {
        self.mark() >= self.limit.load(Ordering::Relaxed)
    }

    /// What was measured last.
    pub fn status(&self) -> DiskStatus {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuses(&self) -> Option<String> {
        if !self.full() {
            return None;
        }
        let now = self.status();
        let why = now.refuses.unwrap_or_else(|| "events come in faster than space is made".into());
        Some(format!("the router's disk is full: {why}"))
    }
}

impl Gates {
    pub fn new(buses: impl IntoIterator<Item = BusId>) -> Self {
        let space = Arc::<Space>::default();
        let gate = |id| (id, Arc::new(Gate { space: space.clone(), ..Gate::default() }));
        Gates { buses: buses.into_iter().map(gate).collect(), space }
    }

    pub fn bus(&self, bus: BusId) -> Arc<Gate> {
        self.buses.get(&bus).cloned().unwrap_or_default()
    }

    /// A route holds its bus from now on, or no longer.
    pub fn hold(&self, bus: BusId, route: &RouteName, full: Option<(u64, u64)>) {
        let Some(gate) = self.buses.get(&bus) else { return };
        let mut held = gate.held.lock().unwrap_or_else(PoisonError::into_inner);
        match full {
            Some(figures) => held.insert(route.clone(), figures),
            None => held.remove(route),
        };
        gate.closed.store(!held.is_empty(), Ordering::Relaxed);
    }

    /// Why intake of a bus refuses now, if it does.
    pub fn refuses(&self, bus: BusId) -> Option<String> {
        self.buses.get(&bus).and_then(|gate| gate.why()).map(|(_, why)| why)
    }
}

impl Gate {
    pub fn space(&self) -> &Space {
        &self.space
    }

    fn why(&self) -> Option<(Code, String)> {
        if let Some(why) = self.space.refuses() {
            return Some((codes::DISK_FULL, why));
        }
        self.held()
    }

    /// The route that holds the bus, if one does.
    fn held(&self) -> Option<(Code, String)> {
        if !self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (route, (_, max)) = held.first_key_value()?;
        let why = format!("route {route} is owed more than its backlog's bytes_max, {max} bytes, and says `hold`");
        Some((codes::BACKLOG_FULL, why))
    }

    /// What is told to who brings so many bytes, if they are not taken in now.
    pub fn refusal(&self, door: Door, bytes: usize) -> Option<Rejection> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let (code, why) = match door {
            Door::Source => self.why()?,
            Door::Reply => (codes::DISK_FULL, self.space.reply(bytes)?),
            Door::Fact => match self.held() {
                Some(held) => held,
                None => (codes::DISK_FULL, self.space.fact(bytes)?),
            },
        };
        let kind = Kind::Busy { retry_after: FULL_RETRY_AFTER };
        Some(Rejection { code, place: Place::Event, message: format!("{why}; send it again later").into(), kind })
    }
}

/// Room that a level leaves: none when the store is full.
pub(super) fn room(level: Level, room: Option<u64>) -> Option<u64> {
    if level == Level::Full { Some(0) } else { room }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(space: &Space, used_bytes: u64, room: Option<u64>) {
        space.measured(DiskStatus { used_bytes, ..DiskStatus::default() }, space.mark(), room);
    }

    #[test]
    fn replies_use_the_reserve_and_no_more_than_that() {
        let gates = Gates::new([BusId(0)]);
        let (space, gate) = (&gates.space, gates.bus(BusId(0)));
        space.reserve(1_000);
        measured(space, 9_000, Some(500));
        assert!(gate.refusal(Door::Source, 100).is_none() && gate.refusal(Door::Reply, 5_000).is_none());
        measured(space, 9_400, Some(0));
        assert!(gate.refusal(Door::Source, 100).is_some() && !space.reserve_short());
        assert!(gate.refusal(Door::Fact, 0).is_none(), "that it is full can be told");
        assert!(gate.refusal(Door::Reply, 600).is_none());
        assert!(gate.refusal(Door::Fact, 1).is_some(), "what is left is for replies");
        assert!(space.reserve_short(), "more than half of it is used");
        assert!(gate.refusal(Door::Reply, 600).is_some() && gate.refusal(Door::Reply, 400).is_none());
        measured(space, 9_100, Some(0));
        assert!(gate.refusal(Door::Reply, 301).is_some() && gate.refusal(Door::Reply, 300).is_none());
        measured(space, 9_000, Some(100));
        assert!(!space.reserve_short() && gate.refusal(Door::Source, 1).is_none());
    }

    #[test]
    fn a_bus_that_a_route_holds_takes_replies() {
        let gates = Gates::new([BusId(0)]);
        gates.hold(BusId(0), &RouteName::new("r").unwrap(), Some((2, 1)));
        let gate = gates.bus(BusId(0));
        assert!(gate.refusal(Door::Source, 1).is_some() && gate.refusal(Door::Reply, 1).is_none());
        assert!(gate.refusal(Door::Fact, 1).is_some());
    }
}
