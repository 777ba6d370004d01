//! Time and the store of a simulation.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use router_core::{
    clock::{Clock, Timestamp},
    id::BusName,
    store::{Error, Ledger, Log, SegmentKind, Store, Usage},
};
use router_store::{
    disk::{DiskLog, Options, files::Files, sim::SimFiles},
    memory::MemoryStore,
};

/// The clocks of one life of the router: monotonic time is tokio's paused time; wall time goes on from the
/// life before, and jumps.
pub struct SimClock {
    start: tokio::time::Instant,
    wall_us: u64,
    jumped_us: AtomicU64,
    seed: u64,
}

impl SimClock {
    /// Clocks that start now, at this wall time.
    pub fn new(wall_us: u64, seed: u64) -> SimClock {
        SimClock { start: tokio::time::Instant::now(), wall_us, jumped_us: AtomicU64::new(0), seed }
    }

    /// Wall time jumps ahead.
    pub fn jump(&self, ahead: Duration) {
        self.jumped_us.fetch_add(ahead.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        let elapsed = self.start.elapsed().as_micros() as u64;
        Timestamp(self.wall_us + elapsed + self.jumped_us.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

/// The real log on simulated files, beside the memory ledger, whose newest commits a power loss may take.
pub struct SimStore {
    files: SimFiles,
    ledger: MemoryStore,
    options: Options,
    logs: Mutex<BTreeMap<BusName, Arc<DiskLog>>>,
}

impl SimStore {
    /// An empty one, with segments of so many bytes and gaps of so many offsets.
    pub fn new(segment_bytes: u64, gap: u64) -> SimStore {
        let options = Options::default().segment_bytes(segment_bytes).gap(gap).inline();
        SimStore { files: SimFiles::new(), ledger: MemoryStore::new(), options, logs: Mutex::default() }
    }

    /// How the logs are kept.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The files, to break them.
    pub fn files(&self) -> &SimFiles {
        &self.files
    }

    /// Every call of the ledger fails from now on, in this life.
    pub fn fail_ledger(&self) {
        self.ledger.poison("the simulation says so");
    }

    /// How many remnants its logs have.
    pub fn remnants(&self) -> u64 {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let remnants = |log: &Arc<DiskLog>| log.segments().iter().filter(|s| s.kind == SegmentKind::Remnant).count();
        logs.values().map(remnants).sum::<usize>() as u64
    }

    /// What the next process finds when this one was killed.
    #[must_use]
    pub fn killed(&self) -> SimStore {
        self.after(0)
    }

    /// What the next process finds after a power loss: what was synced, any part of the rest, and less the
    /// newest of the ledger's commits that were not.
    #[must_use]
    pub fn lost_power(&self, seed: u64, lazy_lost: usize) -> SimStore {
        self.files.power_loss_torn(seed);
        self.after(lazy_lost)
    }

    /// What the next process finds when all unsynced bytes are gone.
    #[must_use]
    pub fn lost_all_unsynced(&self, lazy_lost: usize) -> SimStore {
        self.files.power_loss();
        self.after(lazy_lost)
    }

    fn after(&self, lazy_lost: usize) -> SimStore {
        let ledger = self.ledger.crash(lazy_lost);
        self.files.heal();
        SimStore { files: self.files.clone(), ledger, options: self.options.clone(), logs: Mutex::default() }
    }

    /// A clean stop.
    ///
    /// # Errors
    /// The first of the logs'.
    pub async fn close(&self) -> Result<(), Error> {
        let logs: Vec<_> = self.logs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for log in logs {
            log.close().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Store for SimStore {
    fn ledger(&self) -> Arc<dyn Ledger> {
        self.ledger.ledger()
    }

    async fn log(&self, bus: &BusName) -> Result<Arc<dyn Log>, Error> {
        if let Some(log) = self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(bus) {
            return Ok(log.clone());
        }
        let files: Arc<dyn Files> = Arc::new(self.files.clone());
        let dir = Path::new("/data/buses").join(bus.as_str());
        let log = Arc::new(DiskLog::open(files, &dir, bus, self.options.clone()).await?);
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).insert(bus.clone(), log.clone());
        Ok(log)
    }

    async fn usage(&self) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        for (bus, log) in self.logs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let bytes = |remnant: bool| {
                let segments = log.segments().into_iter();
                segments.filter(|s| (s.kind == SegmentKind::Remnant) == remnant).map(|s| s.bytes).sum::<u64>()
            };
            usage.logs.push((bus.clone(), bytes(false)));
            usage.remnants += bytes(true);
        }
        Ok(usage)
    }

    async fn ballast(&self, _laid: bool) -> Result<bool, Error> {
        Ok(false)
    }
}
