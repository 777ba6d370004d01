//! `gocoffee recover`: a data folder that does not open is looked at, and mended as its operator says.
//! The router must be stopped; the folder's lock is held meanwhile.
//!
//! A look changes no event and nothing that is owed. A mend changes as little as it must, keeps a copy of
//! every damaged file under `DATA/damaged/`, and can be repeated when it was cut short.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use router_core::{
    clock::Timestamp,
    codes::RECORD_DAMAGED,
    id::{BusId, BusName, DeliveryId, Epoch, LaneId, Offset, RunId, TargetName},
    store::{Change, DeadLetter, Durability, Error as StoreError, Ledger, Page, Pending, Place, Selection, State},
};

use crate::{
    disk::{
        self, Damage, DiskLog, Inspected, Lock,
        files::{Files, RealFiles},
    },
    ledger::{self, DiskLedger},
    store::Error,
};

/// Its target: the ledger does not keep which one its route had.
const TARGET: &str = "unknown";
/// Deliveries that one commit ends.
const ENDED_AT_ONCE: usize = 10_000;

/// From where routes are planned when it is not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The first event that is kept: what was delivered is delivered again.
    Earliest,
    /// The next event: what was owed is not delivered.
    Latest,
}

/// What to mend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mend {
    /// Set damaged blocks aside.
    pub skip_damaged: bool,
    /// Bring ledger and log together.
    pub clamp: bool,
    /// Begin a new epoch.
    pub new_epoch: bool,
    /// Make a ledger that is missing.
    pub from: Option<From>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The bus; `None` for the whole folder.
    pub bus: Option<BusName>,
    /// What is wrong, with its figures.
    pub what: String,
    /// What is to be done about it.
    pub mending: Mending,
    /// The file, its bytes and offsets, where it is one.
    pub damage: Option<Damage>,
}

/// What mends a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mending {
    /// A flag of `gocoffee recover`.
    Flag(&'static str),
    /// Only a backup.
    Backup,
    /// The look itself has.
    Done,
}

impl fmt::Display for Mending {
    /// What is to be done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mending::Flag(flag) => write!(f, "gocoffee recover {flag}"),
            Mending::Backup => f.write_str("restore it from a backup"),
            Mending::Done => f.write_str("they are right now, and nothing is lost; please report it"),
        }
    }
}

/// A data folder whose lock is held, with what a look at it found.
#[derive(Debug)]
pub struct Recovery {
    dir: PathBuf,
    _lock: Lock,
    has_ledger: bool,
    buses: Vec<(BusName, Inspected)>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// How each bus stands, a line for each.
    pub buses_shown: Vec<String>,
}

fn io_error(dir: &Path) -> impl Fn(io::Error) -> Error + '_ {
    |e| Error::Io(dir.to_path_buf(), e)
}

/// Offsets of records that are nowhere.
#[derive(Clone, Debug)]
struct Lost {
    first: Offset,
    tail: Offset,
    held: Vec<(Offset, Offset)>,
    damaged: Vec<(Offset, Offset)>,
}

impl Lost {
    fn new(seen: &Inspected) -> Lost {
        let damaged = seen.damages.iter().filter_map(|d| d.offsets).collect();
        Lost { first: seen.first, tail: seen.tail, held: seen.held.clone(), damaged }
    }

    fn has(&self, offset: Offset) -> bool {
        let within = |ranges: &[(Offset, Offset)]| ranges.iter().any(|(a, b)| (*a..=*b).contains(&offset));
        let held = || {
            let at = self.held.partition_point(|(_, last)| *last < offset);
            self.held.get(at).is_some_and(|(first, _)| *first <= offset)
        };
        offset >= self.tail || (offset < self.first && !held()) || within(&self.damaged)
    }
}

impl Recovery {
    /// Locks a data folder and looks at everything in it. Reads every event once.
    ///
    /// # Errors
    /// [`Error`]: a router works on the folder, or it cannot be read at all.
    pub async fn look(dir: &Path) -> Result<Recovery, Error> {
        if !RealFiles.is_dir(dir).map_err(io_error(dir))? {
            return Err(Error::Io(dir.into(), io::ErrorKind::NotFound.into()));
        }
        let lock = Lock::acquire(&RealFiles, dir)?;
        let (mut found, mut buses) = (Vec::new(), Vec::new());
        let folder = dir.join("buses");
        let names =
            if RealFiles.is_dir(&folder).map_err(io_error(dir))? { RealFiles.list(&folder) } else { Ok(vec![]) };
        let names: BTreeSet<BusName> =
            names.map_err(io_error(dir))?.iter().filter_map(|name| BusName::new(name).ok()).collect();
        for bus in names {
            let seen = inspect(dir, &bus).await?;
            for damage in &seen.damages {
                let offsets = damage.offsets.map(|(a, b)| format!(", offsets {a} to {b}")).unwrap_or_default();
                let (path, bytes) = (damage.path.display(), &damage.bytes);
                let what = format!("{path} bytes {}..{}{offsets}: {}", bytes.start, bytes.end, damage.what);
                let damage = Some(damage.clone());
                found.push(Finding { bus: Some(bus.clone()), what, mending: Mending::Flag("--skip-damaged"), damage });
            }
            buses.push((bus, seen));
        }
        let has_ledger = DiskLedger::exists(&dir.join("ledger"));
        let mut recovery =
            Recovery { dir: dir.into(), _lock: lock, has_ledger, buses, findings: found, buses_shown: Vec::new() };
        match has_ledger {
            true => recovery.look_at_ledger().await?,
            false if recovery.buses.iter().any(|(_, seen)| seen.first < seen.tail) => recovery.findings.push(Finding {
                bus: None,
                what: "there are events, but no ledger: it is not known which were delivered".into(),
                mending: Mending::Flag("--from"),
                damage: None,
            }),
            false => {}
        }
        Ok(recovery)
    }

    async fn look_at_ledger(&mut self) -> Result<(), Error> {
        let ledger = match open_ledger(&self.dir).await {
            Ok(ledger) => ledger,
            Err(e @ StoreError::Damaged { .. }) => {
                self.findings.push(Finding { bus: None, what: e.to_string(), mending: Mending::Backup, damage: None });
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        };
        if let Some(difference) = ledger.miscounted() {
            let what = format!("the counts of what is owed were wrong: {difference}");
            self.findings.push(Finding { bus: None, what, mending: Mending::Done, damage: None });
        }
        let state = ledger.state().await?;
        for (bus, id) in &state.buses {
            let seen = self.buses.iter().find(|(name, _)| name == bus).map(|(_, seen)| seen);
            let (first, tail) = seen.map_or((Offset(1), Offset(1)), |s| (s.first, s.tail));
            let planned = ledger.planned(*id).await?.unwrap_or(first);
            let mut say = |what: String, flag| {
                let mending = Mending::Flag(flag);
                self.findings.push(Finding { bus: Some(bus.clone()), what, mending, damage: None });
            };
            if !(first..=tail).contains(&planned) {
                let what = format!("the ledger is at offset {planned}, its log holds offsets {first} to below {tail}");
                say(what, "--clamp");
            }
            let lost = seen.map_or(Lost { first, tail, held: vec![], damaged: vec![] }, Lost::new);
            let mut entries = ledger.entries_at(*id, move |offset| lost.has(offset)).await?;
            entries.retain(|entry| !in_archive(entry.lane, entry.offset, first));
            if let Some((low, high)) = span(&entries) {
                let what = format!(
                    "the ledger owes {} deliveries of events at offsets {low} to {high} that nothing holds",
                    entries.len()
                );
                let damaged = seen.is_some_and(|s| !s.damages.is_empty());
                say(what, if damaged { "--skip-damaged" } else { "--clamp" });
            }
            self.buses_shown.push(format!("bus {bus}: offsets {first} to below {tail}, planned up to {planned}"));
        }
        Ok(ledger.close().await?)
    }

    /// Mends what it was told to, and says what it did.
    ///
    /// # Errors
    /// [`Error`]: what was done until then is done, and the rest may be tried again.
    pub async fn mend(self, mend: Mend) -> Result<Vec<String>, Error> {
        let mut said = Vec::new();
        let mut losses = Vec::new();
        for (bus, seen) in &self.buses {
            let damaged = !seen.damages.is_empty();
            if damaged && mend.skip_damaged {
                let (log, aside) = (self.log_dir(bus), self.dir.join("damaged").join(bus.as_str()));
                let shown = aside.display().to_string();
                let left = blocking(move || disk::set_aside(&RealFiles, &log, &aside)).await?;
                if let Some(left) = left.first() {
                    let place = left.path.display().to_string().into();
                    return Err(StoreError::Damaged { place, what: left.what.as_str().into() }.into());
                }
                said.push(format!("bus {bus}: {} damaged places were set aside under {shown}", seen.damages.len()));
            }
            losses.push((bus, Lost::new(seen), damaged && !mend.skip_damaged));
        }
        if !self.has_ledger && mend.from.is_none() {
            return Ok(said);
        }
        let ledger = open_ledger(&self.dir).await?;
        if let Some(from) = mend.from.filter(|_| !self.has_ledger) {
            self.plan_from(&ledger, from, &mut said).await?;
        }
        let state = ledger.state().await?;
        let mut begun = Vec::new();
        for (bus, id) in &state.buses {
            let lost = losses.iter().find(|(name, ..)| *name == bus);
            if lost.is_some_and(|(_, _, still_damaged)| *still_damaged) {
                continue;
            }
            let lost = lost.map(|(_, lost, _)| lost.clone());
            let lost = lost.unwrap_or(Lost { first: Offset(1), tail: Offset(1), held: vec![], damaged: vec![] });
            if let Some(from) = self.mend_bus(&ledger, &state, (bus, *id), lost, mend, &mut said).await? {
                begun.push((*id, from));
            }
        }
        if !begun.is_empty() {
            let epoch = ledger.begin_epoch(begun).await?;
            said.push(format!("a new epoch begins: {:016x}; deliveries of older events keep their ids", epoch.0));
        }
        // What was given up leaves bounds behind that a start would hold the log to.
        ledger.count_anew().await?;
        ledger.close().await?;
        Ok(said)
    }

    /// Brings one bus into one moment. Says from where on its deliveries are of a new epoch.
    async fn mend_bus(
        &self,
        ledger: &DiskLedger,
        state: &State,
        (bus, id): (&BusName, BusId),
        lost: Lost,
        mend: Mend,
        said: &mut Vec<String>,
    ) -> Result<Option<Offset>, Error> {
        let (first, tail) = (lost.first, lost.tail);
        let planned = ledger.planned(id).await?.unwrap_or(first);
        let gone = lost.clone();
        let mut entries = ledger.entries_at(id, move |offset| lost.has(offset)).await?;
        entries.retain(|entry| !in_archive(entry.lane, entry.offset, first));
        if mend.clamp || mend.skip_damaged {
            let count = rename_letters(ledger, state.epoch, id, &gone).await?;
            if count > 0 {
                said.push(format!("bus {bus}: {count} dead letters of such events have this reason now, too"));
            }
        }
        let above = span(&entries).map_or(tail, |(_, high)| high.next());
        let to = planned.max(above);
        if (mend.clamp || mend.skip_damaged) && !entries.is_empty() {
            let count = entries.len();
            bury(ledger, state, entries).await?;
            said.push(format!("bus {bus}: {count} deliveries of events that nothing holds are dead letters now, with the reason record-damaged"));
        }
        if mend.clamp && planned < first {
            let change = vec![Change::Planned(id, first)];
            ledger.commit(state.epoch, change, Durability::Now).await?;
            said.push(format!("bus {bus}: planning goes on at offset {first}; offsets {planned} to below it are gone"));
        }
        if mend.clamp && to > tail {
            let (files, dir) = (std::sync::Arc::new(RealFiles), self.log_dir(bus));
            let log = DiskLog::open(files, &dir, bus, disk::Options::default()).await?;
            log.skip_to(to).await?;
            log.close().await?;
            said.push(format!("bus {bus}: offsets {tail} to below {to} are left out, the next event has {to} or more"));
            return Ok(Some(to));
        }
        Ok(mend.new_epoch.then_some(tail.max(planned)))
    }

    async fn plan_from(&self, ledger: &DiskLedger, from: From, said: &mut Vec<String>) -> Result<(), Error> {
        let epoch = ledger.state().await?.epoch;
        let mut changes = Vec::new();
        for (id, (bus, seen)) in (1..).zip(&self.buses) {
            let at = if from == From::Earliest { seen.first } else { seen.tail };
            changes.extend([Change::NameBus(bus.clone(), BusId(id)), Change::Planned(BusId(id), at)]);
            said.push(format!("bus {bus}: a new ledger plans its routes from offset {at} on"));
        }
        Ok(ledger.commit(epoch, changes, Durability::Now).await?)
    }

    /// The buses, each with what a look at its log found.
    pub(crate) fn buses(&self) -> &[(BusName, Inspected)] {
        &self.buses
    }

    pub(crate) fn has_ledger(&self) -> bool {
        self.has_ledger
    }

    pub(crate) fn log_dir(&self, bus: &BusName) -> PathBuf {
        self.dir.join("buses").join(bus.as_str())
    }
}

/// Whether a copy in the archive may hold it: of a replay, below what the log holds. Where none does, the router finds
/// out when it reads on.
fn in_archive(lane: LaneId, offset: Offset, first: Offset) -> bool {
    lane.run != RunId(0) && offset < first
}

fn span(entries: &[Pending]) -> Option<(Offset, Offset)> {
    let offsets = || entries.iter().map(|p| p.offset);
    offsets().min().zip(offsets().max())
}

/// Ends what a ledger owes of events that nothing holds any more, and has the dead letters of such events say so: what
/// [`Recovery::mend`] does once damage was set aside, for a ledger that is open already. `seen` is what the log was
/// before that, `entries` what is owed of it.
///
/// # Errors
/// The ledger's: it may be done again.
pub async fn give_up(ledger: &dyn Ledger, bus: BusId, seen: &Inspected, entries: Vec<Pending>) -> Result<u64, Error> {
    let state = ledger.state().await?;
    let renamed = rename_letters(ledger, state.epoch, bus, &Lost::new(seen)).await?;
    bury(ledger, &state, entries).await?;
    Ok(renamed)
}

/// Dead letters whose record is nowhere say so from now on: they cannot be redriven.
async fn rename_letters(ledger: &dyn Ledger, epoch: Epoch, bus: BusId, lost: &Lost) -> Result<u64, Error> {
    let mut page = Page { after: None, count_max: ENDED_AT_ONCE };
    let mut count = 0;
    loop {
        let letters = ledger.dead_letters(&Selection::default(), page).await?;
        let Some(last) = letters.last() else { return Ok(count) };
        page.after = Some(last.id);
        let gone = |id: DeliveryId| lost.has(id.offset) && !in_archive(id.lane, id.offset, lost.first);
        let of_lost = |d: &DeadLetter| d.id.lane.bus == bus && gone(d.id) && *d.reason != *RECORD_DAMAGED.0;
        let mut changes = Vec::new();
        for letter in letters.into_iter().filter(of_lost) {
            let note = format!("its event could not be read any more; it was `{}`: {}", letter.reason, letter.note);
            let letter = DeadLetter { reason: RECORD_DAMAGED.0.into(), note: note.into(), ..letter };
            changes.push(Change::PutDeadLetter(Box::new(letter)));
            count += 1;
        }
        if !changes.is_empty() {
            ledger.commit(epoch, changes, Durability::Now).await?;
        }
    }
}

/// Ends deliveries whose record is nowhere; those of a replay count as dead letters of it, unless it is over: then they
/// were redriven, and it has counted them.
async fn bury(ledger: &dyn Ledger, state: &State, entries: Vec<Pending>) -> Result<(), Error> {
    let target = TargetName::new(TARGET).map_err(|e| StoreError::Poisoned(e.to_string().into()))?;
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let at = Timestamp(u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
    let mut runs = state.runs.clone();
    for entries in entries.chunks(ENDED_AT_ONCE) {
        let mut changes = Vec::with_capacity(entries.len() * 2);
        for run in runs.iter_mut().filter(|run| !run.state.is_over()) {
            let ended = |route| entries.iter().filter(|p| (p.lane.run, p.lane.route) == (run.id, route)).count();
            let ended: Vec<usize> = run.routes.iter().map(|to| ended(to.route)).collect();
            if ended.iter().any(|count| *count > 0) {
                for (to, count) in run.routes.iter_mut().zip(ended) {
                    to.counts.dead_lettered += u64::try_from(count).unwrap_or(u64::MAX);
                }
                changes.push(Change::PutRun(Box::new(run.clone())));
            }
        }
        for Pending { lane, offset, due, key, bytes, attempts, .. } in entries.iter().cloned() {
            let route = state.routes.iter().find(|(_, id)| *id == lane.route).map(|(name, _)| name.clone());
            changes.push(Change::Drop { lane, offset, place: Place { due, key }, bytes });
            changes.push(Change::PutDeadLetter(Box::new(DeadLetter {
                id: DeliveryId { epoch: state.epochs.of(lane.bus, offset), lane, offset },
                route: route.unwrap_or_else(|| lane.route.nameless()),
                target: target.clone(),
                reason: RECORD_DAMAGED.0.into(),
                note: "its event could not be read; `gocoffee recover` ended it".into(),
                at,
                bytes,
                attempts,
                order: None,
            })));
        }
        ledger.commit(state.epoch, changes, Durability::Now).await?;
    }
    Ok(())
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let gone = |e| StoreError::Poisoned(format!("a thread of the store ended: {e}").into());
    tokio::task::spawn_blocking(work).await.map_err(gone)?
}

async fn inspect(dir: &Path, bus: &BusName) -> Result<Inspected, StoreError> {
    let dir = dir.join("buses").join(bus.as_str());
    blocking(move || disk::inspect(&RealFiles, &dir)).await
}

/// Opens a ledger, and counts all that is in it: counts that are wrong are mended.
pub(crate) async fn open_ledger(dir: &Path) -> Result<DiskLedger, StoreError> {
    let dir = dir.join("ledger");
    let options = ledger::Options { recounted_max: u64::MAX, ..ledger::Options::default() };
    blocking(move || DiskLedger::open(&dir, options)).await
}
