//! `coffee-kill`: the router, which ends itself with SIGKILL at a named point between two steps of an event's way.
//!
//! ```text
//! GOCOFFEE_TESTS_KILL=delivered:7 coffee-kill serve --config gocoffee.yaml
//! ```
//!
//! It is made of the same `serve` as the binary, with something around its ports. The points, in the order of the steps;
//! matching and planning are one pure call, which `read` and `planned` stand around:
//!
//! | point | what has happened, and what has not |
//! |---|---|
//! | `received` | a request was read; none of its events is admitted |
//! | `admitted` | events are admitted; nothing is written |
//! | `appended` | they are durable; nobody was told |
//! | `read` | they were read to be matched |
//! | `planned` | they are matched and planned; no target has them |
//! | `delivered` | a target has them; nothing here knows |
//! | `settling` | what came of it is decided; the ledger has none of it |
//! | `settled` | the ledger has it; nobody was told |
//! | `replaying` | a replay is to be noted; it is not |
//! | `replayed` | it is noted; nobody was told |
//! | `redelivered` | a target has an event of a replay; nothing here knows |
//! | `archiving` | a sealed segment is to be copied to the archive; its copy is not there |
//! | `archived` | its copy is there; nothing here knows |
//! | `trimming` | nothing needs a segment any more; it is there |
//! | `trimmed` | it is gone; nobody was told |
//!
//! What is kept is looked through ten times a second, so that the last two are not waited for.

use std::{
    ops::Range,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use gocoffee::{
    around::Around,
    config,
    serve::{self, Options},
};
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Epoch, LaneId, Offset, OrderKey, RunId, SourceName, TargetName},
    shelf::{self, Object, Objects},
    source::RawEvent,
    store::{
        Admitted, Change, Chunk, DeadLetter, Durability, Error, Keyed, LaneCount, Ledger, Log, Needed, Page, Pending,
        Record, Segment, Selection, State, Store, Usage,
    },
    target::{BatchLimits, Delivery, Outcome, Reason, Target},
};
use router_http::intake::{Results, Submit};
use router_tests::world::process::KILL;
use tokio::{signal::unix::SignalKind, sync::watch};

/// From one look for what retention lets go to the next.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// At which pass of which point the process ends.
struct Kill {
    point: String,
    left: AtomicU64,
}

impl Kill {
    fn parse(text: &str) -> Option<Kill> {
        let (point, nth) = text.split_once(':')?;
        Some(Kill { point: point.into(), left: AtomicU64::new(nth.parse().ok()?) })
    }

    /// This point is passed.
    async fn at(&self, point: &str) {
        if self.point != point || self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let own = rustix::process::getpid();
        // Nothing is flushed, nobody is told.
        if rustix::process::kill_process(own, rustix::process::Signal::KILL).is_ok() {
            std::future::pending().await
        }
    }
}

#[derive(Clone)]
struct Killing(Arc<Kill>);

impl Around for Killing {
    fn intake(&self, inner: Arc<dyn Submit>) -> Arc<dyn Submit> {
        Arc::new(KillingIntake { inner, kill: self.0.clone() })
    }

    fn store(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(KillingStore { inner, kill: self.0.clone() })
    }

    fn objects(&self, inner: Arc<dyn Objects>) -> Arc<dyn Objects> {
        Arc::new(KillingObjects { inner, kill: self.0.clone() })
    }

    fn target(&self, inner: Arc<dyn Target>) -> Arc<dyn Target> {
        Arc::new(KillingTarget { inner, kill: self.0.clone() })
    }
}

struct KillingIntake {
    inner: Arc<dyn Submit>,
    kill: Arc<Kill>,
}

#[async_trait]
impl Submit for KillingIntake {
    async fn submit(&self, from: &SourceName, batch: Vec<RawEvent>) -> Results {
        self.kill.at("received").await;
        self.inner.submit(from, batch).await
    }
}

struct KillingTarget {
    inner: Arc<dyn Target>,
    kill: Arc<Kill>,
}

#[async_trait]
impl Target for KillingTarget {
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
        self.kill.at("planned").await;
        let outcomes = self.inner.deliver(batch).await;
        self.kill.at("delivered").await;
        if batch.iter().any(|d| d.id.lane.run != RunId(0)) {
            self.kill.at("redelivered").await;
        }
        outcomes
    }
}

struct KillingObjects {
    inner: Arc<dyn Objects>,
    kill: Arc<Kill>,
}

#[async_trait]
impl Objects for KillingObjects {
    fn place(&self) -> &str {
        self.inner.place()
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<(), shelf::Error> {
        // What says whose the place is, is no copy.
        let copy = name != shelf::MARKER;
        if copy {
            self.kill.at("archiving").await;
        }
        let done = self.inner.create(name, body).await;
        if copy {
            self.kill.at("archived").await;
        }
        done
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, shelf::Error> {
        self.inner.read(name, range).await
    }

    async fn length(&self, name: &str) -> Result<u64, shelf::Error> {
        self.inner.length(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, shelf::Error> {
        self.inner.list(prefix).await
    }

    async fn remove(&self, name: &str) -> Result<(), shelf::Error> {
        self.inner.remove(name).await
    }
}

struct KillingStore {
    inner: Arc<dyn Store>,
    kill: Arc<Kill>,
}

#[async_trait]
impl Store for KillingStore {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(KillingLedger { inner: self.inner.ledger(), kill: self.kill.clone() })
    }

    async fn log(&self, bus: &BusName) -> Result<Arc<dyn Log>, Error> {
        Ok(Arc::new(KillingLog { inner: self.inner.log(bus).await?, kill: self.kill.clone() }))
    }

    async fn usage(&self) -> Result<Usage, Error> {
        self.inner.usage().await
    }

    async fn ballast(&self, laid: bool) -> Result<bool, Error> {
        self.inner.ballast(laid).await
    }
}

struct KillingLog {
    inner: Arc<dyn Log>,
    kill: Arc<Kill>,
}

#[async_trait]
impl Log for KillingLog {
    async fn append(&self, now: Timestamp, batch: Vec<Admitted>) -> Result<Vec<Offset>, Error> {
        self.kill.at("admitted").await;
        let done = self.inner.append(now, batch).await;
        self.kill.at("appended").await;
        done
    }

    async fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        let chunk = self.inner.read(from, bytes_max).await?;
        if !chunk.records.is_empty() {
            self.kill.at("read").await;
        }
        Ok(chunk)
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
        self.kill.at("trimming").await;
        let done = self.inner.reduce(first, keep).await;
        self.kill.at("trimmed").await;
        done
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

struct KillingLedger {
    inner: Arc<dyn Ledger>,
    kill: Arc<Kill>,
}

#[async_trait]
impl Ledger for KillingLedger {
    async fn commit(&self, epoch: Epoch, changes: Vec<Change>, durability: Durability) -> Result<(), Error> {
        let replay = changes.iter().any(|change| matches!(change, Change::PutRun(_)));
        if replay {
            self.kill.at("replaying").await;
        }
        self.kill.at("settling").await;
        let done = self.inner.commit(epoch, changes, durability).await;
        if replay {
            self.kill.at("replayed").await;
        }
        self.kill.at("settled").await;
        done
    }

    async fn state(&self) -> Result<State, Error> {
        self.inner.state().await
    }

    async fn planned(&self, bus: BusId) -> Result<Option<Offset>, Error> {
        self.inner.planned(bus).await
    }

    async fn ready(&self, lane: LaneId, from: Offset, count_max: usize) -> Result<Vec<Pending>, Error> {
        self.inner.ready(lane, from, count_max).await
    }

    async fn due(&self, lane: LaneId, now: Timestamp, count_max: usize) -> Result<Vec<Pending>, Error> {
        self.inner.due(lane, now, count_max).await
    }

    async fn waiting(&self, lane: LaneId, from: (Timestamp, Offset), count_max: usize) -> Result<Vec<Pending>, Error> {
        self.inner.waiting(lane, from, count_max).await
    }

    async fn parked(
        &self,
        lane: LaneId,
        range: Range<(OrderKey, Offset)>,
        count_max: usize,
    ) -> Result<Vec<Pending>, Error> {
        self.inner.parked(lane, range, count_max).await
    }

    async fn next_due(&self, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.inner.next_due(lane, after).await
    }

    async fn dead_letters(&self, which: &Selection, page: Page) -> Result<Vec<DeadLetter>, Error> {
        self.inner.dead_letters(which, page).await
    }

    async fn needed(&self, bus: BusId, range: Range<Offset>) -> Result<Needed, Error> {
        self.inner.needed(bus, range).await
    }

    async fn count(&self) -> Result<Vec<LaneCount>, Error> {
        self.inner.count().await
    }
}

async fn run(file: PathBuf, kill: Kill) -> Result<(), String> {
    let loaded = config::load_file(&file).map_err(|e| e.to_string())?;
    let config = loaded.config.ok_or_else(|| loaded.report.to_text(false))?;
    let around: Arc<dyn Around> = Arc::new(Killing(Arc::new(kill)));
    let sweep_every = Some(SWEEP_EVERY);
    let options = Options { file: Some(file), around: Some(around), sweep_every, ..Options::default() };
    let mut stop = tokio::signal::unix::signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let running = serve::serve(config, options).await.map_err(|e| e.to_string())?;
    println!("ready, to be killed");
    tokio::select! {
        why = running.failed() => Err(why.to_string()),
        _ = stop.recv() => running.stop(serve::STOP_DEADLINE).await.map_err(|e| e.to_string()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let kill = std::env::var(KILL).ok().and_then(|text| Kill::parse(&text));
    let ([serve, flag, file], Some(kill)) = (args.as_slice(), kill) else {
        eprintln!("error: usage: {KILL}=POINT:NTH coffee-kill serve --config FILE");
        return ExitCode::from(2);
    };
    if serve != "serve" || flag != "--config" {
        eprintln!("error: only `serve --config FILE` is known here");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(run(file.into(), kill)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
