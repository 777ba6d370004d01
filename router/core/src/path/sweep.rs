//! The sweeper: lets go what retention and the budget let go, and what is old, one step at a time.
//!
//! It decides nothing itself: [`retain`](crate::retain) does. Before a segment goes, the ledger is asked what it
//! still refers to there and is made durable, so that a power loss brings back no entry whose record is
//! gone; what is referred to stays in a remnant. A step that fails for want of space is tried again; only
//! a poisoned store ends the loop, and with it the path.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    copy::{self, Archiving},
    dispatch::{Letters, Msg},
    gate::{Gates, room},
    open::RunAct,
};
use crate::{
    clock::{Clock, Timestamp},
    codes,
    id::{BusId, BusName, Epoch, Offset},
    replay::RunEnd,
    retain::{
        self, Backlog, BusNow, DiskBudget, GiveWay, Holder, LetterBook, LetterLimits, Level, NeededOf, Piece,
        Retention, Step, Uncopied, Why,
    },
    stats::{DiskStatus, Stats},
    store::{DeadLetter, Durability, Error, Ledger, Log, Page, Segment, SegmentKind, Selection, Store},
    system::{self, Fact},
};

/// From one look at the store to the next.
pub const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// The same while space is short.
const SHORT_EVERY: Duration = Duration::from_millis(500);
/// Steps of one round; what is left is done in the next.
const STEPS_MAX: usize = 1_000;
/// Dead letters that are looked at or ended at a time.
const LETTERS_PAGE: usize = 1_000;
/// Looking through all dead letters, and asking the ledger what it needs, takes at most this part of the time.
const SHARE: u32 = 10;

/// Why limits ended dead letters, as it is counted.
mod reasons {
    /// Older than `dead_letters.age_max`.
    pub const AGE: &str = "dead-letters-age";
    /// More than `dead_letters.bytes_max`.
    pub const BYTES: &str = "dead-letters-bytes";
}

/// The loop and what it needs.
pub(super) struct Sweeper {
    pub store: Arc<dyn Store>,
    pub ledger: Arc<dyn Ledger>,
    pub logs: BTreeMap<BusId, Arc<dyn Log>>,
    pub names: HashMap<BusId, BusName>,
    pub wishes: Wishes,
    /// Where segments have to be copied before they go.
    pub archiving: Option<Archiving>,
    /// Other wishes, from the next round on.
    pub renewed: watch::Receiver<Option<Wishes>>,
    pub every: Duration,
    pub epoch: Epoch,
    pub gates: Arc<Gates>,
    pub dispatcher: mpsc::UnboundedSender<Msg>,
    /// One change of dead letters at a time.
    pub changing: Arc<Mutex<()>>,
    /// Held while a stretch is let go, and while a run starts.
    pub trimming: Arc<Mutex<()>>,
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<Stats>,
    pub state: State,
}

/// What is kept, and what may be used.
#[derive(Clone)]
pub(super) struct Wishes {
    pub retention: HashMap<BusId, Retention>,
    pub budget: DiskBudget,
    pub letters: LetterLimits,
}

/// What it remembers from round to round.
#[derive(Default)]
pub(super) struct State {
    level: Level,
    refuses: Option<String>,
    /// Records in remnants, as far as that is known.
    kept: HashMap<(BusId, Offset), u64>,
    /// Buses whose oldest segment cannot be reduced, because it is damaged.
    stuck: BTreeSet<BusId>,
    /// When dead letters are looked through next, and what they took when they were.
    letters_at: Duration,
    letters_bytes: u64,
    no_space: bool,
    /// What the ledger said it needs: what is below B only shrinks, so what is old errs on the safe side.
    asked: HashMap<(BusId, Offset), NeededOf>,
    /// When it is asked anew.
    ask_at: Duration,
    /// Buses whose remnants found no space in this round: other buses may have something to let go.
    cramped: BTreeSet<BusId>,
}

impl Sweeper {
    /// Runs until it is stopped, or the store fails.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            if self.renewed.has_changed().unwrap_or_default()
                && let Some(wishes) = self.renewed.borrow_and_update().clone()
            {
                self.wishes = wishes;
                self.state.letters_at = Duration::ZERO;
            }
            self.round(&stop).await?;
            let short = self.state.level > Level::Calm || self.state.no_space;
            let every = if short { self.every.min(SHORT_EVERY) } else { self.every };
            let gates = self.gates.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = gates.space.wake.notified() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            done = self.sweep() => done,
        };
        let short = match done {
            Err(Error::NoSpace(why)) => Some(why),
            // The place is named once; the rest of the store goes on.
            Err(Error::Damaged { place, what }) => {
                tracing::error!(code = %codes::DAMAGED, %place, %what, "the sweeper met damage; the next round goes on elsewhere");
                None
            }
            Err(Error::NoSegment { .. } | Error::Trimmed { .. }) => None,
            other => return other,
        };
        if let (Some(why), false) = (&short, self.state.no_space) {
            tracing::warn!(code = %codes::NO_ROOM_TO_SWEEP, %why, "no space left to make space with: the ballast is given back, and the sweeper tries again");
        }
        self.state.no_space = short.is_some() || !self.state.cramped.is_empty();
        if self.state.no_space {
            self.ballast(false).await?;
        }
        Ok(())
    }

    async fn sweep(&mut self) -> Result<(), Error> {
        if self.gates.space.take_ledger_short() {
            self.ballast(false).await?;
        }
        let backlogs = self.expire().await?;
        self.end_letters().await?;
        let over = self.archive().await?;
        match self.state.level {
            Level::Full if self.end_replay().await => {}
            Level::Full => self.give_way(over, &backlogs),
            Level::Short => {}
            Level::Calm => {
                self.ballast(true).await?;
            }
        }
        Ok(())
    }

    async fn ballast(&self, laid: bool) -> Result<(), Error> {
        match self.store.ballast(laid).await {
            Ok(true) if laid => tracing::info!("the ballast is laid again"),
            Ok(true) => {
                tracing::warn!(code = %codes::NO_ROOM_TO_SWEEP, "the ballast was given back, so that space can be made")
            }
            Ok(false) | Err(Error::NoSpace(_)) => {}
            Err(fatal) => return Err(fatal),
        }
        Ok(())
    }

    /// The dispatcher ends what is old, and says what is owed.
    async fn expire(&self) -> Result<Vec<Backlog>, Error> {
        let (reply, backlogs) = oneshot::channel();
        // A dispatcher that is gone has stopped or failed, and says so itself.
        self.dispatcher.send(Msg::Sweep(reply)).unwrap_or_default();
        Ok(backlogs.await.unwrap_or_default())
    }

    // ------------------------------------------------------------------------ measuring

    /// Measures the store and tells the intakes. Returns how many bytes must go.
    async fn measure(&mut self) -> Result<u64, Error> {
        let mark = self.gates.space.mark();
        let usage = self.store.usage().await?;
        let used = usage.total();
        let (level, over) = retain::level(&self.wishes.budget, used, usage.free, self.state.level);
        if level != self.state.level {
            let (bytes_max, free, free_min) = (self.wishes.budget.bytes_max, usage.free, self.wishes.budget.free_min);
            match level {
                Level::Full => {
                    tracing::warn!(code = %codes::DISK_FULL, used, bytes_max, free, free_min, "the disk is full: intake refuses, code disk-full");
                }
                Level::Short => {
                    tracing::warn!(
                        code = %codes::SPACE_SHORT, used,
                        bytes_max,
                        free,
                        free_min,
                        "space is short: settled archive goes, whatever retention says"
                    );
                }
                Level::Calm => tracing::info!(used, bytes_max, free, free_min, "space suffices again"),
            }
            self.stats.disk.level_changed(level);
            self.state.level = level;
            let told = Fact::Store { level, used_bytes: used, bytes_max, free_bytes: free };
            self.stats.facts.tell(told, self.clock.wall());
        }
        if level != Level::Full && self.state.refuses.take().is_some() {
            self.stats.facts.tell(Fact::Resumed, self.clock.wall());
        }
        let by_bytes = self.wishes.budget.bytes_max.map(|max| (max / 16 * 15).saturating_sub(used));
        let by_free = usage.free.map(|free| free.saturating_sub(self.wishes.budget.free_min));
        let left = by_bytes.into_iter().chain(by_free).min();
        let status = DiskStatus {
            used_bytes: used,
            bytes_max: self.wishes.budget.bytes_max,
            free_bytes: usage.free,
            free_bytes_min: self.wishes.budget.free_min,
            level,
            refuses: self.state.refuses.clone(),
        };
        self.gates.space.reserve(retain::reserve(&self.wishes.budget, usage.free));
        self.gates.space.measured(status, mark, room(level, left));
        Ok(over)
    }

    // ------------------------------------------------------------------------ the archive

    /// Takes the steps that retention and the lack of space ask for. Returns how many bytes must still go.
    async fn archive(&mut self) -> Result<u64, Error> {
        let mut over = self.measure().await?;
        self.state.cramped.clear();
        let started = self.clock.monotonic();
        if started >= self.state.ask_at {
            self.state.asked.clear();
        }
        for _ in 0..STEPS_MAX {
            let buses = self.buses();
            let Some(step) = retain::archive(self.clock.wall(), self.state.level, &buses) else { break };
            match step {
                Step::Ask(bus, first) => {
                    let needed = self.needed(bus, first).await?.map(|(of, _)| of);
                    self.count_kept(bus, first).await?;
                    self.state
                        .asked
                        .insert((bus, first), needed.unwrap_or(NeededOf { count: u64::MAX, planned: false }));
                }
                Step::Seal(bus) => {
                    if let Some(log) = self.logs.get(&bus) {
                        log.seal().await?;
                    }
                }
                Step::Reduce(bus, first, why) => {
                    self.state.asked.remove(&(bus, first));
                    self.reduce(bus, first, why).await?;
                    over = self.measure().await?;
                }
            }
        }
        let now = self.clock.monotonic();
        if started >= self.state.ask_at {
            self.state.ask_at = now + now.saturating_sub(started) * SHARE;
        }
        Ok(over)
    }

    fn buses(&self) -> Vec<BusNow> {
        let bus = |(bus, log): (&BusId, &Arc<dyn Log>)| {
            let name = self.names.get(bus);
            let archiving = self.archiving.as_ref().filter(|a| name.is_some_and(|name| a.buses.contains(name)));
            let copied = |segment: &Segment| {
                let known = archiving.zip(name);
                known.is_some_and(|(archiving, name)| copy::is_copied(&archiving.shelf, name, segment))
            };
            let piece = |segment: Segment| Piece {
                copied: copied(&segment),
                segment,
                needed: self.state.asked.get(&(*bus, segment.first)).copied(),
                kept: self.state.kept.get(&(*bus, segment.first)).copied(),
            };
            let stuck = self.state.stuck.contains(bus) || self.state.cramped.contains(bus);
            let segments = log.segments().into_iter().filter(|_| !stuck);
            let retention = self.wishes.retention.get(bus).copied().unwrap_or_default();
            let uncopied = archiving.map(|archiving| archiving.uncopied);
            BusNow { bus: *bus, retention, pieces: segments.map(piece).collect(), uncopied }
        };
        self.logs.iter().map(bus).collect()
    }

    /// Learns how much is in a remnant of an earlier run, or one that another was joined to.
    async fn count_kept(&mut self, bus: BusId, first: Offset) -> Result<(), Error> {
        let Some(log) = self.logs.get(&bus).filter(|_| !self.state.kept.contains_key(&(bus, first))) else {
            return Ok(());
        };
        match log.kept(first).await {
            Ok(kept) => self.state.kept.extend(kept.map(|kept| ((bus, first), kept))),
            // Whoever needs what is damaged in it says so.
            Err(Error::Damaged { .. }) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// What the ledger refers to in a stretch; `None` when there is no such stretch any more.
    async fn needed(&self, bus: BusId, first: Offset) -> Result<Option<(NeededOf, Vec<Offset>)>, Error> {
        let Some(log) = self.logs.get(&bus) else { return Ok(None) };
        let Some(segment) = log.segments().into_iter().find(|s| s.first == first) else { return Ok(None) };
        let needed = self.ledger.needed(bus, segment.first..segment.next).await?;
        let count = u64::try_from(needed.offsets.len()).unwrap_or(u64::MAX);
        Ok(Some((NeededOf { count, planned: needed.planned >= segment.next && !needed.held }, needed.offsets)))
    }

    async fn reduce(&mut self, bus: BusId, first: Offset, why: Why) -> Result<(), Error> {
        // No run starts from here on until the stretch is gone. Asked anew: since it was asked before, less may be
        // needed, or a run may hold it.
        let trimming = self.trimming.clone();
        let _no_start = trimming.lock().await;
        let Some((needed, keep)) = self.needed(bus, first).await?.filter(|(of, _)| of.planned) else { return Ok(()) };
        let Some(log) = self.logs.get(&bus) else { return Ok(()) };
        let next = log.segments().iter().find(|s| s.first == first).map_or(first, |s| s.next);
        self.ledger.commit(self.epoch, Vec::new(), Durability::Now).await?;
        let before: BTreeSet<Offset> = remnants(&**log);
        let name = self.names.get(&bus).map(BusName::as_str).unwrap_or_default();
        match log.reduce(first, keep).await {
            Ok(()) => {}
            Err(Error::Damaged { place, what }) => {
                tracing::error!(code = %codes::ARCHIVE_STUCK, bus = name, %place, %what, "a segment cannot be let go, because a record that is still owed is damaged; nothing of this bus is trimmed until `gocoffee recover --skip-damaged` has run");
                self.state.stuck.insert(bus);
                return Ok(());
            }
            Err(Error::NoSpace(why)) => {
                if !self.state.no_space {
                    tracing::warn!(code = %codes::NO_ROOM_TO_SWEEP, bus = name, offset = first.0, %why, "no space for what is still needed of a segment: it is tried again");
                }
                self.state.cramped.insert(bus);
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        let after = remnants(&**log);
        // It may have been joined to the one before it, which is counted anew then.
        let neighbour = after.range(..first).next_back();
        let same = |at: &Offset| after.contains(at) && before.contains(at) && *at < first && Some(at) != neighbour;
        self.state.kept.retain(|(b, at), _| *b != bus || same(at));
        if after.contains(&first) {
            self.state.kept.insert((bus, first), needed.count);
        }
        self.stats.disk.reduced(why);
        if why == Why::Uncopied {
            self.uncopied_went(bus, first, next);
        }
        tracing::info!(bus = name, offset = first.0, kept = needed.count, why = why.as_str(), "settled archive let go");
        Ok(())
    }

    /// Tells of settled events that are in no archive.
    fn uncopied_went(&self, bus: BusId, from: Offset, to: Offset) {
        let Some(bus) = self.names.get(&bus).cloned() else { return };
        tracing::warn!(code = %codes::UNCOPIED_LET_GO, %bus, from = from.0, to = to.0, "the disk is full: settled events went before they were copied to the archive");
        self.stats.facts.tell(Fact::UncopiedLetGo { bus, from, to }, self.clock.wall());
    }

    /// Whether settled segments stay only because they have no copy yet.
    fn holds_uncopied(&self) -> bool {
        let holds = self.archiving.as_ref().is_some_and(|a| a.uncopied == Uncopied::Hold);
        holds && self.buses().iter().any(|bus| bus.pieces.iter().any(|p| bus.awaits(p)))
    }

    // ------------------------------------------------------------------------ when there is none to give

    /// Ends the replay that holds the most, if one holds anything: before any backlog gives way.
    async fn end_replay(&self) -> bool {
        let (reply, status) = oneshot::channel();
        self.dispatcher.send(Msg::Status(reply)).unwrap_or_default();
        let replays = status.await.map(|status| status.replays).unwrap_or_default();
        let holding = replays.into_iter().filter(|r| r.held_bytes > 0);
        let Some(most) = holding.max_by_key(|r| (r.held_bytes, r.run.id)) else { return false };
        let (reply, ended) = oneshot::channel();
        let act = RunAct::End(RunEnd::NoSpace);
        tracing::warn!(code = %codes::DISK_FULL, replay = most.run.id.0, bytes = most.held_bytes, "the disk is full: the replay that holds the most ends");
        self.dispatcher.send(Msg::ActOnRun(most.run.id, act, reply)).unwrap_or_default();
        ended.await.unwrap_or_default() > 0
    }

    fn give_way(&mut self, over: u64, backlogs: &[Backlog]) {
        match retain::give_way(over, backlogs, self.state.letters_bytes, &self.wishes.letters) {
            GiveWay::Convert(route, bytes) => {
                tracing::warn!(code = %codes::DISK_FULL, %route, bytes, "the disk is full: the oldest of what this route is owed becomes dead letters, reason no-space");
                self.stats.disk.conversions.add(1);
                self.dispatcher.send(Msg::Convert(route, bytes)).unwrap_or_default();
                // Their limit has to end the oldest of them before anything is freed.
                self.state.letters_at = Duration::ZERO;
            }
            GiveWay::Refuse(holder) => {
                let uncopied = holder == Holder::Archive && self.holds_uncopied();
                let why = if uncopied { Holder::Uncopied } else { holder }.to_string();
                if self.state.refuses.as_deref() != Some(&why) {
                    tracing::warn!(code = %codes::DISK_FULL, %why, "the disk is full and the archive has nothing to give: intake refuses until there is space");
                    let status = DiskStatus { refuses: Some(why.clone()), ..self.gates.space.status() };
                    self.gates.space.measured(status, 0, Some(0));
                    let told = Fact::Refusing { why: why.as_str().into() };
                    if self.state.refuses.replace(why).is_none() {
                        self.stats.facts.tell(told, self.clock.wall());
                    }
                }
            }
        }
    }

    // ------------------------------------------------------------------------ dead letters

    /// Ends dead letters that are too old, and the oldest of those that are too many.
    async fn end_letters(&mut self) -> Result<(), Error> {
        let started = self.clock.monotonic();
        if started < self.state.letters_at {
            return Ok(());
        }
        let now = self.clock.wall();
        let cutoff = self.wishes.letters.age_max.map(|age| Timestamp(now.0.saturating_sub(micros(age))));
        let mut book = LetterBook::default();
        let mut old = 0;
        let mut page = Page { after: None, count_max: LETTERS_PAGE };
        loop {
            let one = self.changing.lock().await;
            let letters = self.ledger.dead_letters(&Selection::default(), page).await?;
            let Some(last) = letters.last() else { break };
            page.after = Some(last.id);
            let (ends, stays): (Vec<_>, Vec<_>) = letters.into_iter().partition(|l| cutoff.is_some_and(|c| l.at < c));
            stays.iter().for_each(|l| book.add(l.at, l.bytes.into()));
            old += self.end(ends, reasons::AGE).await;
            drop(one);
        }
        if old > 0 {
            tracing::warn!(code = %codes::LETTERS_ENDED, count = old, "dead letters ended: older than dead_letters.age_max");
        }
        let mut bytes = book.bytes();
        if let Some(excess) = self.wishes.letters.bytes_max.and_then(|max| book.excess(max)) {
            let (count, ended) = self.end_oldest(excess).await?;
            bytes = bytes.saturating_sub(ended);
            tracing::warn!(code = %codes::LETTERS_ENDED, count, bytes = ended, "dead letters ended, the oldest: more than dead_letters.bytes_max");
        }
        self.state.letters_bytes = bytes;
        let took = self.clock.monotonic().saturating_sub(started);
        // By age they are looked at so often that they go at most a hundredth too late.
        let by_age = self.wishes.letters.age_max.map_or(Duration::MAX, |age| age / 100).max(self.every);
        let pause =
            if self.wishes.letters.bytes_max.is_some() { self.every } else { by_age.min(Duration::from_secs(3600)) };
        self.state.letters_at = self.clock.monotonic() + pause.max(took * SHARE);
        Ok(())
    }

    async fn end_oldest(&self, excess: retain::Excess) -> Result<(u64, u64), Error> {
        let (mut count, mut ended, mut part) = (0, 0, 0);
        let which = Selection { before: Some(excess.until), ..Selection::default() };
        let mut page = Page { after: None, count_max: LETTERS_PAGE };
        loop {
            let _one = self.changing.lock().await;
            let letters = self.ledger.dead_letters(&which, page).await?;
            let Some(last) = letters.last() else { return Ok((count, ended)) };
            page.after = Some(last.id);
            let mut ends = Vec::new();
            for letter in letters {
                if letter.at >= excess.before {
                    if part >= excess.bytes {
                        continue;
                    }
                    part += u64::from(letter.bytes);
                }
                ended += u64::from(letter.bytes);
                ends.push(letter);
            }
            count += self.end(ends, reasons::BYTES).await;
        }
    }

    /// Ends these; how many. Resolves when that is durable.
    async fn end(&self, letters: Vec<DeadLetter>, reason: &'static str) -> u64 {
        if letters.is_empty() {
            return 0;
        }
        let (reply, count) = oneshot::channel();
        // Those of the bus `system` itself are not told: that would cause the next of them.
        let system = |l: &&DeadLetter| self.names.get(&l.id.lane.bus).is_some_and(|bus| bus.as_str() == system::BUS);
        let own = u64::try_from(letters.iter().filter(system).count()).unwrap_or(u64::MAX);
        let msg = Msg::Letters { what: Letters::End(reason), letters, reply };
        self.dispatcher.send(msg).unwrap_or_default();
        let count = count.await.unwrap_or_default();
        self.stats.facts.about_itself.add(own.min(count));
        if count > own {
            self.stats.facts.tell(Fact::LettersEnded { reason, count: count - own }, self.clock.wall());
        }
        count
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

fn remnants(log: &dyn Log) -> BTreeSet<Offset> {
    let segments = log.segments().into_iter();
    segments.filter(|s| s.kind == SegmentKind::Remnant).map(|s| s.first).collect()
}
