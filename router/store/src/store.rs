//! The store on disk: a data folder with its lock, one ledger, and a log for each bus.
//!
//! ```text
//! DATA/lock          held while a router runs
//! DATA/ledger/       module `ledger`
//! DATA/buses/NAME/   module `disk`
//! ```
//!
//! The two halves must be of one history, so a start refuses
//! - logs without a ledger: which of their events were delivered is not known any more;
//! - a log that does not reach to where the ledger has planned, or does not hold an event that the
//!   ledger says is owed.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Space that is held back.
mod ballast;

/// What a data folder takes.
mod usage;

use async_trait::async_trait;
use router_core::{
    id::{BusName, Offset},
    store::{Error as StoreError, Ledger, Log, Store, Usage},
};

use crate::{
    codes,
    disk::{
        self, DiskLog, Lock, LockError,
        files::{Files, RealFiles},
    },
    ledger::{self, DiskLedger, Span},
};

/// Why a data folder does not open. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another router works on it, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There are events, but not what was owed of them.
    #[error(
        "{dir} holds events (bus {bus}) but no ledger, so it cannot be known which were delivered; restore \
         {dir}/ledger from a backup, or say from where to deliver: `gocoffee recover --data {dir} --from earliest` \
         (everything again) or `--from latest` (only what comes)"
    )]
    LogWithoutLedger {
        /// The data folder.
        dir: Box<str>,
        /// A bus that has events.
        bus: Box<str>,
    },
    /// The folder cannot be read.
    #[error("cannot read the data folder {0}: {1}; it must be readable and writable for this user")]
    Io(PathBuf, io::Error),
    /// The ledger does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            Error::Lock(LockError::Held(_)) => codes::FOLDER_HELD,
            Error::Lock(LockError::Io(..)) | Error::Io(..) => codes::FOLDER_UNREADABLE,
            Error::LogWithoutLedger { .. } => codes::LOG_WITHOUT_LEDGER,
            Error::Store(e) => e.code(),
        }
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each log.
    pub log: disk::Options,
    /// The ledger.
    pub ledger: ledger::Options,
    /// Bytes of the ballast, which is laid when [`Store::ballast`] is asked to; 0 for none.
    pub ballast_bytes: u64,
}

/// Bytes of the ballast unless the whole store may have less than sixteen times as many.
pub const BALLAST_BYTES: u64 = 64 << 20;
/// Bytes of a segment of the internal buses `quarantine` and `system` at most, but for a larger record.
pub const INTERNAL_SEGMENT_BYTES: u64 = 4 << 20;

impl Default for Options {
    fn default() -> Self {
        Options { log: disk::Options::default(), ledger: ledger::Options::default(), ballast_bytes: BALLAST_BYTES }
    }
}

/// A data folder that is open. Dropping it is a crash: the next open repairs; [`DiskStore::close`] spares it that.
pub struct DiskStore {
    dir: PathBuf,
    options: Options,
    ledger: Arc<DiskLedger>,
    /// `None` after [`DiskStore::close`].
    logs: tokio::sync::Mutex<Option<Logs>>,
    lock: Mutex<Option<Lock>>,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Offsets that an error names.
const NAMED_MAX: usize = 10;
/// Events that are owed below the log and looked for by a start, the lowest ones: it takes as long whatever is
/// owed. What is missing of the others stops the router when it is to be delivered.
const CHECKED_MAX: usize = 100_000;

type Logs = BTreeMap<BusName, Arc<DiskLog>>;

impl DiskStore {
    /// Locks the data folder, which is made when there is none, and opens its ledger; logs are opened
    /// when they are asked for. Takes about a second for a million entries in the ledger.
    ///
    /// # Errors
    /// [`Error`], which says what to do.
    pub async fn open(dir: &Path, options: Options) -> Result<DiskStore, Error> {
        let dir = dir.to_path_buf();
        let open = move || {
            let lock = Lock::acquire(&RealFiles, &dir)?;
            let ledger = dir.join("ledger");
            if !DiskLedger::exists(&ledger)
                && let Some(bus) = bus_with_segments(&dir.join("buses")).map_err(|e| Error::Io(dir.clone(), e))?
            {
                return Err(Error::LogWithoutLedger { dir: dir.display().to_string().into(), bus: bus.into() });
            }
            let opened = match DiskLedger::open(&ledger, options.ledger.clone()) {
                Err(StoreError::NoSpace(why)) if ballast::set(&dir, 0, false)? => {
                    tracing::warn!(code = %router_core::codes::STORE_FULL, dir = %dir.display(), %why, "no space to open the ledger: the ballast is given back");
                    DiskLedger::open(&ledger, options.ledger.clone())
                }
                other => other,
            };
            let ledger = Arc::new(opened?);
            let logs = tokio::sync::Mutex::new(Some(Logs::new()));
            Ok(DiskStore { dir, options, ledger, logs, lock: Mutex::new(Some(lock)) })
        };
        let gone = |e| Error::Store(StoreError::Poisoned(format!("a thread of the store ended: {e}").into()));
        tokio::task::spawn_blocking(open).await.map_err(gone)?
    }

    /// Refuses a log and a ledger that are not of one history.
    async fn check(&self, bus: &BusName, log: &DiskLog) -> Result<(), StoreError> {
        let span = self.ledger.spans().get(bus).copied().unwrap_or_default();
        let bounds = log.bounds();
        check(bus, bounds, span)?;
        let owed = self.ledger.owed_first(bus, bounds.0, CHECKED_MAX).await?;
        let all = owed.len() < CHECKED_MAX;
        let mut missing = log.unheld(owed).await?;
        if !missing.is_empty() {
            let replayed = self.replayed(bus, bounds.0).await?;
            missing.retain(|offset| !replayed.iter().any(|range| range.contains(offset)));
        }
        check_held(bus, bounds.0, &missing, all)
    }

    /// What replays read below a bus's log: copies in the archive hold it, which nobody has asked yet, and what is not
    /// there becomes a dead letter.
    async fn replayed(&self, bus: &BusName, first: Offset) -> Result<Vec<Range<Offset>>, StoreError> {
        let state = self.ledger.state().await?;
        let id = state.buses.iter().find(|(name, _)| name == bus).map(|(_, id)| *id);
        let runs = state.runs.iter().filter(|run| Some(run.bus) == id && run.from < first);
        Ok(runs.map(|run| run.from..run.to).collect())
    }

    /// A clean stop: syncs and closes every log and the ledger, then lets the folder go. Every later
    /// call is refused.
    ///
    /// # Errors
    /// The first that occurs; the rest is closed all the same, and the next open repairs.
    pub async fn close(&self) -> Result<(), StoreError> {
        let logs = self.logs.lock().await.take().unwrap_or_default();
        let mut closed = Ok(());
        for log in logs.values() {
            closed = closed.and(log.close().await);
        }
        closed = closed.and(self.ledger.close().await);
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        closed
    }
}

/// A bus whose folder holds a segment, if there is one.
fn bus_with_segments(buses: &Path) -> io::Result<Option<String>> {
    if !RealFiles.is_dir(buses)? {
        return Ok(None);
    }
    for bus in RealFiles.list(buses)? {
        let dir = buses.join(&bus);
        if RealFiles.is_dir(&dir)? && RealFiles.list(&dir)?.iter().any(|name| name.ends_with(".log")) {
            return Ok(Some(bus));
        }
    }
    Ok(None)
}

/// Refuses a log and a ledger that are not of one history.
fn check(bus: &BusName, (first, tail): (Offset, Offset), span: Span) -> Result<(), StoreError> {
    let refuse = |says: String| {
        Err(StoreError::Damaged {
            place: format!("bus {bus}").into(),
            what: format!(
                "{says}, but its log holds offsets {first} to below {tail}: log and ledger are not of one moment; \
                 restore the whole data folder from one backup, or bring them together with `gocoffee recover \
                 --data DIR --clamp`"
            )
            .into(),
        })
    };
    if let Some(planned) = span.planned
        && !(first..=tail).contains(&planned)
    {
        return refuse(format!("the ledger is at offset {planned}"));
    }
    if let Some(highest) = span.highest.filter(|highest| *highest >= tail) {
        return refuse(format!("the ledger owes events up to offset {highest}"));
    }
    Ok(())
}

/// Refuses entries below the log that no remnant holds; `all`: all such entries were looked for.
fn check_held(bus: &BusName, first: Offset, missing: &[Offset], all: bool) -> Result<(), StoreError> {
    let (Some(low), Some(high), count) = (missing.first(), missing.last(), missing.len()) else { return Ok(()) };
    let more = if count > NAMED_MAX { ", …" } else { "" };
    let at_least = if all { "" } else { "at least " };
    let named: Vec<String> = missing.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    Err(StoreError::Damaged {
        place: format!("bus {bus}").into(),
        what: format!(
            "the ledger owes {at_least}{count} events between offsets {low} and {high} ({}{more}) that lie below the log, which \
             begins at {first}, and no remnant holds them; restore the whole data folder from one backup, or stop \
             owing them with `gocoffee recover --data DIR --clamp`",
            named.join(", ")
        )
        .into(),
    })
}

#[async_trait]
impl Store for DiskStore {
    fn ledger(&self) -> Arc<dyn Ledger> {
        self.ledger.clone()
    }

    async fn log(&self, bus: &BusName) -> Result<Arc<dyn Log>, StoreError> {
        let mut logs = self.logs.lock().await;
        let logs = logs.as_mut().ok_or_else(|| StoreError::Poisoned("the store is closed".into()))?;
        if let Some(log) = logs.get(bus) {
            return Ok(log.clone());
        }
        let dir = self.dir.join("buses").join(bus.as_str());
        let mut options = self.options.log.clone();
        if router_core::quarantine::RESERVED.contains(&bus.as_str()) {
            // They are seldom written to: what they reserve is taken from the budget of everybody else.
            options.segment_bytes = options.segment_bytes.min(INTERNAL_SEGMENT_BYTES);
        }
        let open = || DiskLog::open(Arc::new(RealFiles), &dir, bus, options.clone());
        let log = match open().await {
            Err(StoreError::NoSpace(why)) if self.ballast(false).await? => {
                tracing::warn!(code = %router_core::codes::STORE_FULL, %bus, %why, "no space to open the log: the ballast is given back");
                open().await
            }
            other => other,
        };
        let log = Arc::new(log?);
        self.check(bus, &log).await?;
        logs.insert(bus.clone(), log.clone());
        Ok(log)
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        let dir = self.dir.clone();
        let gone = |e| StoreError::Poisoned(format!("a thread of the store ended: {e}").into());
        tokio::task::spawn_blocking(move || usage::measure(&dir)).await.map_err(gone)?
    }

    async fn ballast(&self, laid: bool) -> Result<bool, StoreError> {
        let (dir, bytes) = (self.dir.clone(), self.options.ballast_bytes);
        let gone = |e| StoreError::Poisoned(format!("a thread of the store ended: {e}").into());
        tokio::task::spawn_blocking(move || ballast::set(&dir, bytes, laid)).await.map_err(gone)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bounds: (u64, u64), planned: Option<u64>, highest: Option<u64>) -> Result<(), String> {
        let span = Span { planned: planned.map(Offset), highest: highest.map(Offset) };
        let bus = BusName::new("default").unwrap();
        check(&bus, (Offset(bounds.0), Offset(bounds.1)), span).map_err(|e| e.to_string())
    }

    #[test]
    fn ledger_inside_the_log_is_taken() {
        assert_eq!(at((1, 1), None, None), Ok(()));
        assert_eq!(at((5, 9), Some(5), None), Ok(()));
        assert_eq!(at((5, 9), Some(9), Some(8)), Ok(()));
        assert_eq!(at((5, 9), Some(9), Some(2)), Ok(()), "a remnant may hold it");
    }

    #[test]
    fn ledger_outside_the_log_is_refused_with_both_figures() {
        for (planned, pending, figures) in [
            (Some(10), None, ["offset 10", "5 to below 9"]),
            (Some(4), None, ["offset 4", "5 to below 9"]),
            (Some(9), Some(9), ["up to offset 9", "5 to below 9"]),
        ] {
            let error = at((5, 9), planned, pending).unwrap_err();
            assert!(figures.iter().all(|f| error.contains(f)), "{error}");
        }
    }
}
