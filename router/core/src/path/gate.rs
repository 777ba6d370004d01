//! Whether intake takes events in: the one thing that the sweeper and the dispatcher tell it.
//!
//! The sweeper measures the store now and then. In between, what is appended is counted against the room
//! that it left: at a quarter of the room it is woken, and when all of it is used intake refuses until
//! it has measured again. So a burst cannot outrun it.

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
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        let within = |room: u64| mark.saturating_add(room);
        self.wake_at.store(room.map_or(u64::MAX, |room| within(room / 4)), Ordering::Relaxed);
        self.limit.store(room.map_or(u64::MAX, within), Ordering::Relaxed);
    }

    /// What was measured last.
    pub fn status(&self) -> DiskStatus {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuses(&self) -> Option<String> {
        if self.mark() < self.limit.load(Ordering::Relaxed) {
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
        if !self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (route, (_, max)) = held.first_key_value()?;
        let why = format!("route {route} is owed more than its backlog's bytes_max, {max} bytes, and says `hold`");
        Some((codes::BACKLOG_FULL, why))
    }

    /// What a sender is told, if nothing is taken in now.
    pub fn refusal(&self) -> Option<Rejection> {
        let (code, why) = self.why()?;
        let kind = Kind::Busy { retry_after: FULL_RETRY_AFTER };
        Some(Rejection { code, place: Place::Event, message: format!("{why}; send it again later").into(), kind })
    }
}

/// Room that a level leaves: none when the store is full.
pub(super) fn room(level: Level, room: Option<u64>) -> Option<u64> {
    if level == Level::Full { Some(0) } else { room }
}
