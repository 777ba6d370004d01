//! Goal: whichever call of the file system fails, does half, takes its time or finds no space, what was acknowledged, or
//! was readable once, is there after a power loss, once and unchanged. Every call of a workload is tried with every fault;
//! the same body with syncs that lie must lose events, or it would prove nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Error, Log, SegmentKind},
};
use router_store::disk::{
    DiskLog, Options,
    files::Files,
    sim::{Call, Fault, Lies, SimFiles},
};

use crate::common::{admitted, open, records};

const DIR: &str = "/data/buses/default";
/// What somebody who reads beside a call that takes its time may take.
const BESIDE: Duration = Duration::from_secs(5);

fn options() -> Options {
    Options::default().segment_bytes(4096).inline()
}

// ------------------------------------------------------------------------------- the workload

/// What is done one after the other; each is tried again where a caller would.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A group of so many events, of so many bytes each.
    Append(u64, usize),
    Seal,
    /// Lets the oldest sealed segments go up to an offset, but for the offsets that this divides.
    LetGo(u64, u64),
    /// Lets more go of what was kept.
    Shrink(u64),
    /// Side files are damaged, and found out at the next start.
    DamageSides,
    Read,
    Close,
    Kill,
}

use Step::{Append, Close, DamageSides, Kill, LetGo, Read, Seal, Shrink};

const STEPS: [Step; 36] = [
    Append(1, 10),
    Append(3, 900),
    Append(2, 1500),
    Read,
    Kill,
    Append(1, 0),
    Append(4, 700),
    Append(1, 9000),
    Close,
    Append(2, 300),
    Seal,
    Append(3, 1200),
    LetGo(8, 3),
    Read,
    Append(2, 50),
    Kill,
    Append(5, 800),
    LetGo(14, 3),
    DamageSides,
    Close,
    Append(2, 1000),
    Append(2, 1000),
    Read,
    Seal,
    Shrink(6),
    Append(1, 40),
    Kill,
    LetGo(20, 6),
    Append(3, 1300),
    Seal,
    LetGo(24, 6),
    Shrink(12),
    Append(2, 600),
    Close,
    Append(1, 20),
    Read,
];

/// What the outside knows.
#[derive(Clone, Default)]
struct Known {
    /// Acknowledged, or read once: events by offset.
    kept: BTreeMap<u64, u64>,
    acked: Vec<(u64, u64)>,
    /// Refused for want of space: nothing was written.
    refused: BTreeSet<u64>,
    /// Of what lies below this offset, only offsets that `needed` divides are needed.
    asked: u64,
    needed: u64,
    /// What was let go for good.
    first: u64,
    wrong: Vec<String>,
}

impl Known {
    fn must_be_there(&self, offset: u64) -> bool {
        offset >= self.asked || offset.is_multiple_of(self.needed)
    }

    /// Compares what is known with a log; what is read from now on must stay. What was kept of segments that were let
    /// go waits while more of it is let go, so that who must not wait leaves it out.
    async fn judge(&mut self, log: &DiskLog, below: bool) -> Result<(), Error> {
        let (first, tail) = log.bounds();
        let found: BTreeMap<u64, u64> =
            records(log, first, 4_000).await?.into_iter().map(|(offset, _, id)| (offset, id)).collect();
        let keys = log.keys(Duration::MAX, 10_000).await?;
        let keys: BTreeMap<u64, u64> = keys.into_iter().map(|k| (k.offset.0, k.key)).collect();
        if keys != found {
            self.wrong.push(format!("keys {keys:?} of {found:?}"));
        }
        if first.0 < self.first {
            self.wrong.push(format!("what was let go up to {} is back: {first}", self.first));
        }
        for (offset, n) in self.kept.clone() {
            let there = match found.get(&offset) {
                Some(id) => Some(*id),
                None if offset < first.0 && !below => continue,
                None if offset < first.0 && self.must_be_there(offset) => {
                    log.record(Offset(offset)).await?.and_then(|r| r.event.id().parse().ok())
                }
                None if self.must_be_there(offset) => None,
                None => continue,
            };
            if there != Some(n) {
                self.wrong.push(format!("{n} at {offset}: {there:?} is there, bounds {first} to {tail}"));
            }
        }
        for (offset, id) in &found {
            if self.refused.contains(id) {
                self.wrong.push(format!("{id} was refused, and is at {offset}"));
            }
        }
        let twice = found.len() - found.values().collect::<BTreeSet<_>>().len();
        if twice > 0 {
            self.wrong.push(format!("{twice} events are there twice: {found:?}"));
        }
        self.kept.extend(found);
        Ok(())
    }

    fn acknowledged(&mut self, offsets: &[Offset], ids: impl Iterator<Item = u64>) {
        for (offset, n) in offsets.iter().zip(ids) {
            if self.acked.last().is_some_and(|(last, _)| *last >= offset.0) {
                self.wrong.push(format!("{n} got offset {offset} after {:?}", self.acked.last()));
            }
            self.acked.push((offset.0, n));
            if let Some(other) = self.kept.insert(offset.0, n) {
                self.wrong.push(format!("{n} got offset {offset}, which {other} has"));
            }
        }
    }
}

/// A log in the hands of a process that ends when it must, and is started again.
struct World {
    sim: SimFiles,
    log: Arc<Mutex<Option<Arc<DiskLog>>>>,
    known: Arc<Mutex<Known>>,
    next: u64,
    /// What the power does when a call has failed: nothing, fail, or fail and tear.
    power: Power,
    restarts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Stays,
    Goes,
    GoesTorn(u64),
}

impl Power {
    fn lose(self, sim: &SimFiles) {
        match self {
            Power::Stays => {}
            Power::Goes => sim.power_loss(),
            Power::GoesTorn(seed) => sim.power_loss_torn(seed),
        }
    }
}

impl World {
    fn new(power: Power) -> World {
        let known = Known { needed: 1, ..Known::default() };
        let (sim, log, known) = (SimFiles::new(), Arc::default(), Arc::new(Mutex::new(known)));
        World { sim, log, known, next: 0, power, restarts: 0 }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    fn log(&self) -> Arc<DiskLog> {
        self.log.lock().unwrap().clone().unwrap()
    }

    async fn open(&self) -> Result<(), Error> {
        let files: Arc<dyn Files> = Arc::new(self.sim.clone());
        let log = Arc::new(open(files, Path::new(DIR), &options()).await?);
        *self.log.lock().unwrap() = Some(log.clone());
        let mut known = self.known().clone();
        known.judge(&log, true).await?;
        *self.known() = known;
        Ok(())
    }

    /// The process ends, perhaps with the power, and starts again; a start that fails is tried once more.
    async fn restart(&mut self, power: Power) {
        self.restarts += 1;
        *self.log.lock().unwrap() = None;
        power.lose(&self.sim);
        for _ in 0..3 {
            match self.open().await {
                Ok(()) => return,
                Err(_) => *self.log.lock().unwrap() = None,
            }
        }
        self.known().wrong.push("it does not start again".into());
    }

    async fn run(&mut self) {
        self.restart(Power::Stays).await;
        for step in STEPS {
            for _ in 0..3 {
                if self.log.lock().unwrap().is_none() {
                    return;
                }
                match self.step(step).await {
                    Ok(()) => break,
                    // What asked is told to ask again.
                    Err(Error::NoSpace(_)) => {}
                    Err(_) => self.restart(self.power).await,
                }
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), Error> {
        let log = self.log();
        match step {
            Append(count, bytes) => {
                let ids = self.next..self.next + count;
                self.next += count;
                let events = ids.clone().map(|n| admitted(n, bytes + n as usize % 7)).collect();
                match log.append(Timestamp(self.next * 10), events).await {
                    Ok(offsets) => self.known().acknowledged(&offsets, ids),
                    Err(e) => {
                        if matches!(e, Error::NoSpace(_)) {
                            self.known().refused.extend(ids);
                        }
                        return Err(e);
                    }
                }
            }
            Seal => log.seal().await?,
            LetGo(below, needed) => {
                for segment in log.segments() {
                    if segment.kind == SegmentKind::Sealed && segment.next.0 <= below {
                        {
                            let mut known = self.known();
                            (known.asked, known.needed) = (segment.next.0.max(known.asked), needed.max(known.needed));
                        }
                        log.reduce(segment.first, multiples(needed)).await?;
                        let mut known = self.known();
                        known.first = known.first.max(segment.next.0);
                    }
                }
            }
            Shrink(needed) => {
                self.known().needed = needed;
                let remnants: Vec<_> = log.segments().into_iter().filter(|s| s.kind == SegmentKind::Remnant).collect();
                for remnant in remnants {
                    match log.reduce(remnant.first, multiples(needed)).await {
                        // It was joined to the one before it.
                        Err(Error::NoSegment { .. }) | Ok(()) => {}
                        Err(e) => return Err(e),
                    }
                }
            }
            DamageSides => {
                for name in self.sim.list(Path::new(DIR)).unwrap_or_default() {
                    if name.ends_with(".idx") {
                        self.sim.replace(&Path::new(DIR).join(name), vec![7; 300]).unwrap_or_default();
                    }
                }
            }
            Read => {
                let mut known = self.known().clone();
                known.judge(&log, true).await?;
                let middle = known.acked.get(known.acked.len() / 2).copied();
                *self.known() = known;
                if let Some((offset, _)) = middle.filter(|(offset, _)| *offset >= log.bounds().0.0) {
                    let time = log.record(Offset(offset)).await?.map(|r| r.appended);
                    let found = log.seek(time.unwrap_or_default()).await?;
                    if found.0 > offset {
                        self.known().wrong.push(format!("{offset} was appended at {time:?}, seek says {found}"));
                    }
                }
            }
            Close => {
                log.close().await?;
                self.restart(Power::Stays).await;
            }
            Kill => self.restart(Power::Stays).await,
        }
        Ok(())
    }

    /// The last power loss, and what is wrong then.
    async fn end(mut self) -> Vec<String> {
        self.sim.heal();
        for power in [if self.power == Power::Stays { Power::Goes } else { self.power }, Power::Stays] {
            self.restart(power).await;
            if self.log.lock().unwrap().is_none() || self.step(Append(1, 5)).await.is_err() {
                self.known().wrong.push("it takes nothing more".into());
            }
        }
        self.known().wrong.clone()
    }
}

fn multiples(of: u64) -> Vec<Offset> {
    (1..400).filter(|n| n % of == 0).map(Offset).collect()
}

// ------------------------------------------------------------------------------- every call once

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// How many calls the workload makes when nothing fails.
fn calls() -> u64 {
    let mut world = World::new(Power::Stays);
    runtime().block_on(async {
        world.run().await;
        let calls = world.sim.calls();
        assert!(world.known().acked.len() > 30, "{:?}", world.known().acked);
        assert_eq!(world.end().await, [""; 0]);
        calls
    })
}

/// What many runs showed.
#[derive(Default)]
struct Shown {
    runs: u64,
    met: BTreeMap<String, u64>,
    restarts: u64,
    wrong: Vec<String>,
}

impl Shown {
    fn add(&mut self, what: &str, met: Option<Call>, restarts: u64, wrong: Vec<String>) {
        self.runs += 1;
        if let Some(met) = met {
            *self.met.entry(format!("{met:?}")).or_default() += 1;
        }
        self.restarts += restarts;
        self.wrong.extend(wrong.into_iter().map(|wrong| format!("{what}: {wrong}")));
    }

    fn print(&self, what: &str, calls: u64) {
        println!("{what}: {calls} calls, {} runs, {} restarts, met {:?}", self.runs, self.restarts, self.met);
    }
}

/// Runs the workload with a fault at each of these calls: with a process that ends when it must, and with one whose
/// power goes then.
fn fail_each(fault: Fault, lies: Lies, nth: impl Iterator<Item = u64>) -> Shown {
    let mut shown = Shown::default();
    for nth in nth {
        let torn = nth.is_multiple_of(2);
        for power in [Power::Stays, if torn { Power::GoesTorn(nth) } else { Power::Goes }] {
            let mut world = World::new(power);
            world.sim.lying_about(lies);
            world.sim.fail_call(nth, fault);
            runtime().block_on(async {
                world.run().await;
                let (met, restarts) = (world.sim.met(), world.restarts);
                let what = format!("{fault:?} at call {nth} ({met:?}), the power {power:?}");
                shown.add(&what, met, restarts, world.end().await);
            });
        }
    }
    shown
}

fn every_call_once(fault: Fault) {
    let calls = calls();
    assert!(calls > 300, "the workload makes {calls} calls");
    let shown = fail_each(fault, Lies::default(), 1..=calls);
    shown.print(&format!("{fault:?}"), calls);
    assert_eq!(shown.wrong, [""; 0]);
}

#[test]
fn failing_in_any_call_loses_nothing() {
    every_call_once(Fault::Io);
}

#[test]
fn no_space_in_any_call_loses_nothing() {
    every_call_once(Fault::NoSpace);
}

#[test]
fn half_done_and_failed_in_any_call_loses_nothing() {
    every_call_once(Fault::Torn);
}

#[test]
fn half_of_the_bytes_in_any_call_loses_nothing() {
    every_call_once(Fault::Half);
}

/// Somebody reads all that can be read while a call takes its time, and then the power goes.
fn delay_each(lies: Lies, nth: impl Iterator<Item = u64>) -> Shown {
    let mut shown = Shown::default();
    for nth in nth {
        for torn in [None, Some(nth)] {
            let mut world = World::new(Power::Stays);
            world.sim.lying_about(lies);
            let (sent, image) = mpsc::channel();
            let (sim, log, known) = (world.sim.clone(), world.log.clone(), world.known.clone());
            world.sim.delay_call(nth, move || {
                let log = log.lock().unwrap().clone();
                let mut known = known.lock().unwrap().clone();
                let (done, wait) = mpsc::channel();
                std::thread::spawn(move || {
                    if let Some(log) = log {
                        // What it reads here, it must read after the power loss too. A log that failed is not read.
                        let judged = runtime().block_on(known.judge(&log, false));
                        assert!(judged.is_ok() || matches!(judged, Err(Error::Poisoned(_))), "{judged:?}");
                    }
                    done.send(known).ok();
                });
                let known = wait.recv_timeout(BESIDE).unwrap();
                sent.send((sim.after_power_loss(torn), known)).ok();
            });
            runtime().block_on(async {
                world.run().await;
                let (met, world_next) = (world.sim.met(), world.next + 1_000);
                let what = format!("a delay in call {nth} ({met:?}), torn {torn:?}");
                shown.add(&what, met, 0, world.end().await);
                let Ok((sim, known)) = image.recv() else { return };
                let (known, next) = (Arc::new(Mutex::new(known)), world_next);
                let lost = World { sim, known, next, ..World::new(Power::Stays) };
                shown.add(&format!("{what}, and the power went"), met, 0, lost.end().await);
            });
        }
    }
    shown
}

#[test]
fn what_is_read_while_any_call_takes_its_time_is_there_after_a_power_loss() {
    let calls = calls();
    let shown = delay_each(Lies::default(), 1..=calls);
    shown.print("Delay", calls);
    assert_eq!(shown.wrong, [""; 0]);
}

// ------------------------------------------------------------------------------- mutations

#[test]
fn the_same_body_finds_a_missing_sync_of_files_and_of_folders() {
    let calls = calls();
    for lies in [Lies { bytes: true, names: false }, Lies { bytes: false, names: true }] {
        let some = || (5..=calls).step_by(29);
        let failing = fail_each(Fault::Io, lies, some()).wrong.len();
        let delayed = delay_each(lies, some()).wrong.len();
        println!("{lies:?}: {failing} and {delayed} wrong");
        assert!(failing > 20 && delayed > 20, "{lies:?}: {failing} and {delayed}");
    }
}
