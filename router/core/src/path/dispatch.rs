//! Steps 5 to 7: the loop that owns the open set. It does what the set says next (calls of targets,
//! reads of the ledger, commits), each in a task of its own, and tells the set what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    Parts, StartError,
    absent::{ARCHIVE_WAIT, owed, owed_record},
    begin::Numbered,
    gate::{Gates, Short},
    lane::Violation,
    open::{
        Held, Job, Now, OpenSet, PageOf, Paged, Paused, Routes, RunAct, SkipAt, WalkOf, Walked, bytes_of, unanswered,
    },
    replay,
    replies::{Answered, Doors},
    shape::Shape,
    skip::{Placed, Skips},
    status,
    witness::Witness,
};
use crate::{
    clock::{Clock, Timestamp},
    codes, hops,
    id::{BusId, Epoch, LaneId, Offset, OrderKey, RouteId, RouteName, RunId, TargetName},
    replay::{Read, Run},
    reply::ReplyTo,
    retain::Backlog,
    settle::Verdict,
    shelf::Reach,
    stats::{Stats, Status},
    store::{Change, DeadLetter, Durability, Error, Ledger, Log, Pending, Record},
    target::{Delivery, Outcome, Target},
    transform::Failure,
};

/// From one commit to the next, while there is something to commit.
pub const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// From a commit that found no space to its next try.
const NO_SPACE_WAIT: Duration = Duration::from_secs(1);
/// Bytes of records read at a time when a lane pages in.
const PAGE_BYTES: usize = 256 << 10;

/// What the planner of a bus found.
pub(super) struct Planned {
    pub bus: BusId,
    pub next: Offset,
    pub hits: Vec<(Record, Vec<RouteId>)>,
}

/// What the dispatcher is told.
pub(super) enum Msg {
    Finished {
        target: usize,
        lane: usize,
        probe: bool,
        /// Of the events that the call was for.
        bytes: usize,
        outcomes: Vec<(Offset, Outcome)>,
        spoiled: Vec<(Offset, Failure)>,
    },
    Paged {
        lane: usize,
        page: Result<Paged, Error>,
    },
    Walked {
        lane: usize,
        walked: Result<Walked, Error>,
    },
    Committed {
        result: Result<(), Error>,
        changes: Vec<Change>,
        durability: Durability,
        took: Duration,
    },
    /// Whether everything in an answer is durable.
    Answered {
        answered: Answered,
        durable: bool,
    },
    Status(oneshot::Sender<Status>),
    /// What is old ends; answered with what the routes owe.
    Sweep(oneshot::Sender<Vec<Backlog>>),
    /// So many bytes of what this route is owed become dead letters, for want of space.
    Convert(RouteName, u64),
    /// Starts a run; answered with its number once it is durable, or with 0 when there are too many.
    StartRun(Box<Run>, oneshot::Sender<u64>),
    /// Numbers for so many runs that begin with their routes, or why there are none.
    NumberRuns(usize, oneshot::Sender<Result<Numbered, StartError>>),
    /// Changes a run; answered with 1 once that is durable, or with 0 when it is in no state for it.
    ActOnRun(RunId, RunAct, oneshot::Sender<u64>),
    /// A run cannot read on now, because the archive does not answer; it is being tried again.
    Unread {
        run: RunId,
        why: Arc<str>,
    },
    /// A read of a run's range ended.
    Read {
        run: RunId,
        read: Result<Read, Error>,
    },
    Letters {
        what: Letters,
        letters: Vec<DeadLetter>,
        reply: oneshot::Sender<u64>,
    },
    /// A route is paused, or resumed; answered once that is durable, `None` when there is no such route.
    Pause {
        route: RouteName,
        paused: bool,
        reply: oneshot::Sender<Option<Paused>>,
    },
    /// How many of these would be late, were they redriven.
    Late(Vec<DeadLetter>, oneshot::Sender<u64>),
    /// Where a route reads, or owes something.
    Places(RouteName, oneshot::Sender<Vec<Placed>>),
    /// What these lanes of a route owe below these offsets ends; answered with how many did once that is durable.
    /// `None` when it was asked of a route that is not configured, and it is.
    Skip {
        lanes: Vec<(LaneId, Offset)>,
        orphaned: bool,
        reply: oneshot::Sender<Option<u64>>,
    },
    /// The target of this name.
    Target(TargetName, oneshot::Sender<Option<Arc<dyn Target>>>),
    /// It was reached; answered with whether the next delivery goes sooner for it.
    Reached(TargetName, oneshot::Sender<bool>),
    /// From now on these routes deliver to these targets; answered with what is to be freed.
    Revise {
        revision: Box<Revision>,
        reply: oneshot::Sender<(Routes, status::Static)>,
    },
    Stop {
        deadline: Duration,
        done: oneshot::Sender<()>,
    },
}

/// What the dispatcher needs to know of another configuration.
pub(super) struct Revision {
    pub targets: Vec<Arc<dyn Target>>,
    pub routes: Routes,
    pub known: status::Static,
    pub waiting_total_max: usize,
    /// Those that begin with their routes, and are durable.
    pub runs: Vec<Run>,
}

/// What becomes of dead letters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Letters {
    /// They are opened again.
    Redrive,
    /// They are ended for good, for this reason.
    End(&'static str),
}

pub(super) struct Dispatcher {
    set: OpenSet,
    epoch: Epoch,
    ledger: Arc<dyn Ledger>,
    logs: BTreeMap<BusId, Arc<dyn Log>>,
    /// The same with their copies in the archive: what replays read.
    reaches: BTreeMap<BusId, Reach>,
    clock: Arc<dyn Clock>,
    running_ms_before: u64,
    stats: Arc<Stats>,
    known: status::Static,
    doors: Arc<Doors>,
    secret: [u8; 16],
    witness: Witness,
    gates: Arc<Gates>,
    event_bytes_max: usize,
    router: Option<Arc<hops::Router>>,
    tx: mpsc::UnboundedSender<Msg>,
    jitter: Jitter,
    tasks: JoinSet<()>,
    commit: Commit,
    skips: Skips,
    stopping: Option<(Duration, oneshot::Sender<()>)>,
}

/// Where the commits are.
#[derive(Default)]
struct Commit {
    under_way: bool,
    last: Duration,
    /// Changes that found no space, and when to try again.
    again: Option<(Vec<Change>, Durability, Duration)>,
    /// Who waits for what they changed to be durable.
    waiting: Vec<Asked>,
    /// Those of them whose change is in the commit under way.
    answering: Vec<Asked>,
}

/// A change that somebody asked for, and what to answer once it is durable.
struct Asked(Box<dyn FnOnce() + Send>);

impl Asked {
    fn new<T: Send + 'static>(reply: oneshot::Sender<T>, answer: T) -> Self {
        // Whoever asked may be gone; what it asked for stands.
        Asked(Box::new(move || drop(reply.send(answer))))
    }

    fn done(self) {
        (self.0)();
    }
}

impl Dispatcher {
    pub fn new(
        set: OpenSet,
        known: status::Static,
        parts: &Parts,
        doors: Arc<Doors>,
        tx: mpsc::UnboundedSender<Msg>,
    ) -> Self {
        Dispatcher {
            set,
            epoch: parts.state.epoch,
            ledger: parts.ledger.clone(),
            logs: parts.logs.clone(),
            reaches: parts.reaches(),
            clock: parts.clock.clone(),
            running_ms_before: parts.state.running_ms,
            stats: parts.stats.clone(),
            known,
            doors,
            secret: parts.state.secret,
            witness: Witness::new(parts),
            gates: parts.gates.clone(),
            event_bytes_max: parts.topology.event_bytes_max,
            router: parts.topology.router.clone(),
            tx,
            jitter: Jitter(parts.clock.seed()),
            tasks: JoinSet::new(),
            commit: Commit::default(),
            skips: Skips::default(),
            stopping: None,
        }
    }

    /// Runs until it is stopped, or the store fails.
    pub async fn run(
        mut self,
        mut rx: mpsc::UnboundedReceiver<Msg>,
        mut planned: mpsc::Receiver<Planned>,
    ) -> Result<(), Error> {
        loop {
            while self.tasks.try_join_next().is_some() {}
            let now = self.now();
            self.set.reserve_short(self.gates.space.reserve_short());
            while let Some(answered) = self.set.next_answer() {
                self.tasks.spawn(take_in(self.doors.clone(), answered, self.tx.clone()));
            }
            if self.stopping.is_none() {
                while let Some(job) = self.set.next_job(now) {
                    self.start(job);
                }
            }
            for (reply, ended) in self.skips.over(self.set.take_skipped()) {
                self.commit.waiting.push(Asked::new(reply, Some(ended)));
            }
            self.commit(now)?;
            if self.stopped(now) {
                return self.stop().await;
            }
            let sleep = self.wakeup(now).map_or(Duration::from_secs(3600), |at| at.saturating_sub(now.mono));
            let takes = self.set.takes() && self.stopping.is_none();
            tokio::select! {
                biased;
                msg = rx.recv() => {
                    let Some(msg) = msg else { return Ok(()) };
                    self.hear(msg)?;
                    while let Ok(msg) = rx.try_recv() {
                        self.hear(msg)?;
                    }
                }
                Some(Planned { bus, next, hits }) = planned.recv(), if takes => {
                    let now = self.now();
                    self.set.plan(bus, next, hits, now);
                }
                () = tokio::time::sleep(sleep) => {}
            }
            let now = self.now();
            self.set.woken(now);
            self.hold();
        }
    }

    /// Tells the intakes which routes have reached a limit at which their bus holds, or left it.
    fn hold(&mut self) {
        for Held { lane, route, full } in self.set.take_held() {
            self.witness.held(lane.bus, &route, full);
            match full {
                Some((bytes, max)) => {
                    tracing::warn!(code = %codes::BACKLOG_FULL, %route, bytes, bytes_max = max, "backlog full: its bus takes nothing in until it has drained by an eighth");
                }
                None => tracing::info!(%route, "backlog has drained: its bus takes events in again"),
            }
            self.gates.hold(lane.bus, &route, full);
        }
    }

    fn now(&mut self) -> Now {
        let mono = self.clock.monotonic();
        let ms = u64::try_from(mono.as_millis()).unwrap_or(u64::MAX);
        Now {
            wall: self.clock.wall(),
            mono,
            running_ms: self.running_ms_before.saturating_add(ms),
            jitter: self.jitter.next(),
        }
    }

    fn wakeup(&self, now: Now) -> Option<Duration> {
        let commit = match &self.commit.again {
            _ if self.commit.under_way => None,
            Some((_, _, at)) => Some(*at),
            None => self.set.wants_commit().then(|| self.commit.last + COMMIT_EVERY),
        };
        let stop = self.stopping.as_ref().map(|(deadline, _)| *deadline);
        let work = if self.stopping.is_none() { self.set.wakeup(now) } else { None };
        commit.into_iter().chain(stop).chain(work).min()
    }

    fn hear(&mut self, msg: Msg) -> Result<(), Error> {
        let now = self.now();
        match msg {
            Msg::Finished { target, lane, probe, bytes, outcomes, spoiled } => {
                self.set.landed(target, bytes);
                self.set.spoiled((target, lane), probe, outcomes.len(), spoiled, now);
                let name = self.set.target(target).map(|(t, _)| t.name().clone());
                let why = outcomes.first().and_then(|(_, o)| o.facts().note.clone()).unwrap_or_default();
                let bus = self.set.lane_bus(lane);
                let judged = self.set.finished(target, lane, probe, outcomes, now);
                for stopped in self.set.take_stopped() {
                    let to = self.set.target(stopped.target).map(|(t, _)| t.name().clone());
                    self.witness.stopped(stopped, to);
                }
                match (judged, name) {
                    (Verdict::Opened(wait), Some(target)) if !probe => {
                        tracing::warn!(code = %codes::BREAKER_OPEN, %target, wait_ms = wait.as_millis(), %why, "breaker open: deliveries to the target wait");
                        self.witness.opened(bus, target, wait, why);
                    }
                    (Verdict::Closed, Some(target)) => {
                        tracing::info!(%target, "breaker closed: the target works again");
                        self.witness.closed(target);
                    }
                    _ => {}
                }
            }
            Msg::Paged { lane, page } => self.set.paged(lane, page?, now).map_err(|v| lost(&v))?,
            Msg::Committed { result, changes, durability, took } => {
                self.committed(result, changes, durability, took, now)?
            }
            Msg::Walked { lane, walked } => self.set.walked(lane, walked?, now),
            Msg::Sweep(reply) => {
                self.set.expire_old(now);
                reply.send(self.set.backlogs()).unwrap_or_default();
            }
            Msg::Convert(route, bytes) => self.set.convert(&route, bytes),
            Msg::Answered { answered, durable } => self.set.answered(&answered, durable, now),
            Msg::Status(reply) => {
                let mut status = self.known.take(&self.set, &self.logs, &self.stats, self.epoch, &self.gates);
                status.replays = self.known.replays(self.set.runs_seen(now), &self.logs);
                reply.send(status).unwrap_or_default();
            }
            Msg::StartRun(run, reply) => {
                let answer = self.set.start_run(*run, now).map_or(0, |id| id.0.into());
                self.commit.waiting.push(Asked::new(reply, answer));
            }
            Msg::NumberRuns(count, reply) => drop(reply.send(self.set.number_runs(count, now))),
            Msg::ActOnRun(id, act, reply) => {
                let answer = self.set.act_on_run(id, act, now).into();
                self.commit.waiting.push(Asked::new(reply, answer));
            }
            Msg::Read { run, read } => self.set.read(run, read, now)?,
            Msg::Unread { run, why } => self.set.unread(run, why),
            Msg::Letters { what, letters, reply } => {
                let answer = match what {
                    Letters::Redrive => self.set.redrive(letters, now),
                    Letters::End(reason) => self.set.end_letters(letters, reason),
                };
                self.commit.waiting.push(Asked::new(reply, answer));
            }
            Msg::Pause { route, paused, reply } => {
                let answer = self.set.route_named(&route).map(|route| self.set.pause(route, paused, now));
                self.commit.waiting.push(Asked::new(reply, answer));
            }
            Msg::Late(letters, reply) => {
                let late = letters.iter().filter(|letter| self.set.is_late(letter)).count();
                reply.send(u64::try_from(late).unwrap_or(u64::MAX)).unwrap_or_default();
            }
            Msg::Places(route, reply) => drop(reply.send(self.known.places(&route))),
            Msg::Skip { lanes, orphaned, reply } => self.skips.begin(&mut self.set, lanes, orphaned, reply),
            Msg::Target(name, reply) => drop(reply.send(self.set.target_of(&name))),
            Msg::Reached(name, reply) => drop(reply.send(self.set.reached(&name, now))),
            Msg::Revise { revision, reply } => {
                let Revision { targets, routes, known, waiting_total_max, runs } = *revision;
                self.set.waiting_total_max(waiting_total_max);
                let former = (self.set.revise(targets, routes), std::mem::replace(&mut self.known, known));
                self.set.begin_runs(runs);
                drop(reply.send(former));
            }
            Msg::Stop { deadline, done } => self.stopping = Some((now.mono + deadline, done)),
        }
        Ok(())
    }

    // ------------------------------------------------------------------------ commits

    fn commit(&mut self, now: Now) -> Result<(), Error> {
        if self.commit.under_way {
            return Ok(());
        }
        if let Some((_, _, at)) = &self.commit.again {
            if *at > now.mono {
                return Ok(());
            }
            if let Some((changes, durability, _)) = self.commit.again.take() {
                self.write(changes, durability);
            }
            return Ok(());
        }
        let due = now.mono >= self.commit.last + COMMIT_EVERY || self.set.wants_commit_soon();
        let asked = !self.commit.waiting.is_empty();
        let wanted = asked || (due && self.set.wants_commit());
        if !wanted {
            return Ok(());
        }
        let changes = self.set.commit(now).map_err(|v| lost(&v))?;
        self.commit.last = now.mono;
        self.commit.answering = std::mem::take(&mut self.commit.waiting);
        self.write(changes, if asked { Durability::Now } else { Durability::Lazy });
        Ok(())
    }

    fn write(&mut self, changes: Vec<Change>, durability: Durability) {
        self.commit.under_way = true;
        let (ledger, clock, tx, epoch) = (self.ledger.clone(), self.clock.clone(), self.tx.clone(), self.epoch);
        self.tasks.spawn(async move {
            let started = clock.monotonic();
            let result = ledger.commit(epoch, changes.clone(), durability).await;
            let took = clock.monotonic().saturating_sub(started);
            tx.send(Msg::Committed { result, changes, durability, took }).unwrap_or_default();
        });
    }

    fn committed(
        &mut self,
        result: Result<(), Error>,
        changes: Vec<Change>,
        durability: Durability,
        took: Duration,
        now: Now,
    ) -> Result<(), Error> {
        self.commit.under_way = false;
        self.stats.commit.observe(took);
        match result {
            Ok(()) => {
                self.set.committed();
                self.witness.committed(&changes);
                self.commit.answering.drain(..).for_each(Asked::done);
                Ok(())
            }
            Err(Error::NoSpace(why)) => {
                tracing::warn!(code = %codes::STORE_FULL, %why, "no space left for what is owed: the ledger is tried again");
                self.gates.space.no_space(Short::Ledger);
                self.commit.again = Some((changes, durability, now.mono + NO_SPACE_WAIT));
                Ok(())
            }
            Err(fatal) => Err(fatal),
        }
    }

    // ------------------------------------------------------------------------ stopping

    /// Whether everything that may still end has ended.
    fn stopped(&self, now: Now) -> bool {
        let quiet = self.set.in_flight() == 0 && self.set.answers() == 0 && !self.commit.under_way;
        self.stopping.as_ref().is_some_and(|(deadline, _)| quiet || now.mono >= *deadline)
    }

    /// One last commit, synced. Attempts still under way are made again after the next start.
    async fn stop(mut self) -> Result<(), Error> {
        let now = self.now();
        if let Some((changes, ..)) = self.commit.again.take() {
            self.ledger.commit(self.epoch, changes.clone(), Durability::Now).await?;
            self.witness.committed(&changes);
        }
        let changes = self.set.commit(now).map_err(|v| lost(&v))?;
        self.ledger.commit(self.epoch, changes.clone(), Durability::Now).await?;
        self.witness.committed(&changes);
        self.commit.answering.drain(..).chain(self.commit.waiting.drain(..)).for_each(Asked::done);
        if let Some((_, done)) = self.stopping.take() {
            done.send(()).unwrap_or_default();
        }
        Ok(())
    }

    // ------------------------------------------------------------------------ jobs

    fn start(&mut self, job: Job) {
        let tx = self.tx.clone();
        match job {
            Job::Deliver { target, lane, probe, batch } => {
                let Some((goal, deadline)) = self.set.target(target) else { return };
                let route = self.set.route(lane);
                let mut batch = batch;
                if let Some(route) = route.as_ref().filter(|route| route.reply.is_some()) {
                    // What it is a reply to is the event as it is in the log, whatever a transform makes of it.
                    for delivery in &mut batch {
                        delivery.reply = Some(ReplyTo::new(&delivery.event, &route.name, &self.secret));
                    }
                }
                let transform = route.and_then(|route| route.transform.clone());
                let offsets = batch.iter().map(|d| d.id.offset).collect();
                let bytes = bytes_of(&batch);
                let answer = Answer { tx, target, lane, probe, bytes, offsets, spoiled: Vec::new() };
                let (router, event_bytes_max) = (self.router.clone(), self.event_bytes_max);
                let shape = Shape { transform, event_bytes_max, router };
                self.tasks.spawn(deliver(goal, deadline, shape, batch, answer));
            }
            Job::Page { lane, id, what, count_max } => {
                let (ledger, reach) = (self.ledger.clone(), self.reaches.get(&id.bus).cloned());
                self.tasks.spawn(async move {
                    let page = read_page(ledger, reach, id, what, count_max).await;
                    tx.send(Msg::Paged { lane, page }).unwrap_or_default();
                });
            }
            Job::Read { run, bus, from, to, hits_max, selector } => {
                let Some(reach) = self.reaches.get(&bus).cloned() else { return };
                self.tasks.spawn(async move {
                    let mut wait = ARCHIVE_WAIT.0;
                    let read = loop {
                        match replay::read(&reach, &selector, from..to, hits_max).await {
                            Err(Error::Unreachable(why)) => tx.send(Msg::Unread { run, why }).unwrap_or_default(),
                            read => break read,
                        }
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(ARCHIVE_WAIT.1);
                    };
                    tx.send(Msg::Read { run, read }).unwrap_or_default();
                });
            }
            Job::Walk { lane, id, what, count_max } => {
                let ledger = self.ledger.clone();
                self.tasks.spawn(async move {
                    let entries = match what {
                        WalkOf::Ready(from) => ledger.ready(id, from, count_max).await,
                        WalkOf::Skip(SkipAt::Ready(from)) => ledger.ready(id, from, count_max).await,
                        WalkOf::Skip(SkipAt::Waiting(due, from)) => ledger.waiting(id, (due, from), count_max).await,
                        WalkOf::Waiting => ledger.due(id, Timestamp(u64::MAX), count_max).await,
                        WalkOf::Parked(key, from) | WalkOf::Skip(SkipAt::Parked(key, from)) => {
                            let end = (OrderKey(u64::MAX), Offset(u64::MAX));
                            ledger.parked(id, (key, from)..end, count_max).await
                        }
                        WalkOf::Key(key, from, below) => ledger.parked(id, (key, from)..(key, below), count_max).await,
                    };
                    let walked = |entries: Vec<Pending>| Walked { what, exhausted: entries.len() < count_max, entries };
                    tx.send(Msg::Walked { lane, walked: entries.map(walked) }).unwrap_or_default();
                });
            }
        }
    }
}

fn lost(violation: &Violation) -> Error {
    Error::Poisoned(violation.to_string().into())
}

/// The answer that each call owes the dispatcher, whatever becomes of the call's task.
struct Answer {
    tx: mpsc::UnboundedSender<Msg>,
    target: usize,
    lane: usize,
    probe: bool,
    bytes: usize,
    offsets: Vec<Offset>,
    /// Of whose events nothing could be made.
    spoiled: Vec<(Offset, Failure)>,
}

impl Answer {
    fn give(&mut self, outcomes: Vec<Outcome>) {
        let outcomes = std::mem::take(&mut self.offsets).into_iter().zip(outcomes).collect();
        let spoiled = std::mem::take(&mut self.spoiled);
        let Answer { target, lane, probe, bytes, .. } = *self;
        self.tx.send(Msg::Finished { target, lane, probe, bytes, outcomes, spoiled }).unwrap_or_default();
    }
}

impl Drop for Answer {
    /// The adapter panicked: each of its deliveries is tried again.
    fn drop(&mut self) {
        if !self.offsets.is_empty() {
            let lost = self
                .offsets
                .iter()
                .map(|_| unanswered(Duration::ZERO, "the adapter of the target failed; its log has the reason"))
                .collect();
            self.give(lost);
        }
    }
}

async fn deliver(target: Arc<dyn Target>, deadline: Duration, shape: Shape, sent: Vec<Delivery>, mut answer: Answer) {
    let batch;
    (batch, answer.spoiled) = shape.apply(sent);
    answer.offsets = batch.iter().map(|d| d.id.offset).collect();
    if batch.is_empty() {
        return answer.give(Vec::new());
    }
    let started = tokio::time::Instant::now();
    let outcomes = tokio::time::timeout(deadline, target.deliver(&batch)).await;
    let took = started.elapsed();
    let all = |note: &str| batch.iter().map(|_| unanswered(took, note)).collect();
    let outcomes = match outcomes {
        Ok(outcomes) if outcomes.len() == batch.len() => outcomes,
        Ok(outcomes) => {
            let (got, want) = (outcomes.len(), batch.len());
            tracing::error!(code = %codes::ADAPTER_BUG, target = %target.name(), got, want, "the adapter of a target answered for a wrong number of deliveries; all are tried again");
            all("the adapter answered for a wrong number of deliveries")
        }
        Err(_) => all(&format!("no answer within {} ms", deadline.as_millis())),
    };
    answer.give(outcomes);
}

/// Takes in what a target answered with. The dispatcher hears of it whatever becomes of this task.
async fn take_in(doors: Arc<Doors>, answered: Answered, tx: mpsc::UnboundedSender<Msg>) {
    let mut told = Told { answered: Some(answered), durable: false, tx };
    if let Some(answered) = &told.answered {
        told.durable = doors.take(answered).await.is_ok();
    }
}

/// Tells the dispatcher at its end.
struct Told {
    answered: Option<Answered>,
    durable: bool,
    tx: mpsc::UnboundedSender<Msg>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(answered) = self.answered.take() {
            self.tx.send(Msg::Answered { answered, durable: self.durable }).unwrap_or_default();
        }
    }
}

async fn read_page(
    ledger: Arc<dyn Ledger>,
    reach: Option<Reach>,
    id: LaneId,
    what: PageOf,
    count_max: usize,
) -> Result<Paged, Error> {
    let (entries, next_due) = match what {
        PageOf::Ready(from) => (ledger.ready(id, from, count_max).await?, None),
        PageOf::Key(key, from, below) => (ledger.parked(id, (key, from)..(key, below), count_max).await?, None),
        PageOf::Due(now) => {
            let entries = ledger.due(id, now, count_max).await?;
            let more = entries.len() >= count_max;
            let next = if more { Some(now) } else { ledger.next_due(id, now).await? };
            (entries, next)
        }
    };
    let exhausted = entries.len() < count_max;
    let missing = |offset: Offset, why: &str| Error::Damaged {
        place: format!("record at offset {offset} of bus {}", id.bus).into(),
        what: format!("a delivery of route {} is owed for it, but {why}; restore the bus's log from a copy", id.route)
            .into(),
    };
    let Some(reach) = reach else {
        return match entries.first() {
            Some(first) => Err(missing(first.offset, "the bus is not configured any more")),
            None => Ok(Paged { what, entries: Vec::new(), lost: BTreeSet::new(), exhausted, next_due }),
        };
    };
    let log = reach.log();
    let mut lost = BTreeSet::new();
    let mut sorted: Vec<Pending> = entries;
    sorted.sort_by_key(|p| p.offset);
    let mut found = Vec::with_capacity(sorted.len());
    let mut sorted = sorted.into_iter().peekable();
    while let Some(first) = sorted.peek().map(|p| p.offset) {
        let before = found.len();
        if let PageOf::Key(..) = what {
            // Those of one key lie far from each other: what is between them is not read.
            let record = owed_record(&reach, id, first).await?;
            let Some(pending) = sorted.next() else { break };
            found.push(owed(pending, record, &mut lost).ok_or_else(|| missing(first, "it is not in the log"))?);
            continue;
        }
        let chunk = match log.read(first, PAGE_BYTES).await {
            Ok(chunk) => chunk,
            // Its segment was reduced to what is still needed: what is owed is found one by one.
            Err(Error::Trimmed { .. }) => {
                let record = owed_record(&reach, id, first).await?;
                let Some(pending) = sorted.next() else { break };
                found
                    .push(owed(pending, record, &mut lost).ok_or_else(|| missing(first, "nothing holds it any more"))?);
                continue;
            }
            Err(e) => return Err(e),
        };
        for record in chunk.records() {
            let record = record?;
            let Some(pending) = sorted.next_if(|p| p.offset == record.offset) else { continue };
            found.push((pending, Record { event: record.event.detached(), ..record }));
        }
        if found.len() == before {
            return Err(missing(first, "it is not in the log"));
        }
    }
    Ok(Paged { what, entries: found, lost, exhausted, next_due })
}

/// Numbers drawn evenly from `0.0..1.0`: SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, 2014).
struct Jitter(u64);

impl Jitter {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bits = (z ^ (z >> 31)) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }
}
