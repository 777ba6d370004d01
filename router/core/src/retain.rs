//! How long what is settled stays, and what gives way when space is short. Pure: the sweeper of the path
//! measures, asks what comes next, does that, and asks again.
//!
//! In this order, each step announced:
//!
//! 1. Retention: a bus lets its oldest sealed segments go once they are past `age_max` or it is past
//!    `bytes_max`. A wish about settled data: a segment of which more than half is still owed or
//!    dead-lettered stays as it is, because a copy of it would gain little.
//! 2. Space is short: settled archive, oldest first over all buses, wherever that gains something.
//!    Where segments are copied to an archive, neither of these lets go what has no copy yet; only when
//!    there is no space at all does that go too, unless the archive says `hold`, and it is counted apart.
//! 3. There is no space: the largest backlog becomes dead letters, where that frees something, that is
//!    where dead letters have a limit of bytes; routes that say `hold` keep theirs.
//! 4. Else intake refuses and names who holds the most.
//!
//! Whatever level was reached is left only some way below where it was entered, so that nothing flaps.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{BusId, Offset, RouteName},
    store::{Segment, SegmentKind},
};

/// Sealed segments that are looked at ahead of the oldest one, when it alone gains too little.
const AHEAD_MAX: usize = 64;
/// Letting segments go has to free this part of their bytes, when space is short.
const GAIN_MIN: u64 = 8;
/// Buckets of time in which dead letters are counted.
const BUCKETS_MAX: usize = 1_024;

// ---------------------------------------------------------------------------------- what is asked for

/// How long a bus keeps what is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Wall time since the append; `None`: no matter how old.
    pub age_max: Option<Duration>,
    /// Bytes of the bus's segments on disk; `None`: no matter how many.
    pub bytes_max: Option<u64>,
}

/// The budget of everything on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskBudget {
    /// Bytes of logs, side files, remnants and ledger together; `None`: as far as the file system reaches.
    pub bytes_max: Option<u64>,
    /// Bytes that stay free in the file system.
    pub free_min: u64,
}

/// How long dead letters are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterLimits {
    /// Wall time since they were parked; `None`: no matter how old.
    pub age_max: Option<Duration>,
    /// Bytes of their events, over all routes; `None`: no matter how many.
    pub bytes_max: Option<u64>,
}

/// How much a route may owe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BacklogLimits {
    /// Running time since a delivery was opened, tried or not; `None`: no matter how old.
    pub age_max: Option<Duration>,
    /// Bytes of the events that are owed; `None`: no matter how many.
    pub bytes_max: Option<u64>,
    /// What happens at the limit.
    pub then: Then,
}

/// What happens to a backlog at its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// Its oldest deliveries become dead letters.
    #[default]
    DeadLetter,
    /// Its bus takes nothing in until it has drained.
    Hold,
}

impl Then {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Then::DeadLetter => "dead-letter",
            Then::Hold => "hold",
        }
    }
}

// ---------------------------------------------------------------------------------- how short it is

/// How much space there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Enough.
    #[default]
    Calm,
    /// Settled archive goes, whatever retention says.
    Short,
    /// Nothing more is taken in.
    Full,
}

impl Level {
    /// All of them, the calmest first.
    pub const ALL: [Level; 3] = [Level::Calm, Level::Short, Level::Full];

    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Calm => "calm",
            Level::Short => "short",
            Level::Full => "full",
        }
    }
}

/// How short space is, and how many bytes have to go for that to end. `before` is the level until now.
///
/// Of `bytes_max`: short at 14/16, calm again at 13/16; full at 15/16 (a new segment may take a 16th
/// at once), no longer at 14/16. Of `free_min`: short below twice, calm again at 5/2; full below it, no
/// longer at 3/2.
pub fn level(budget: &DiskBudget, used: u64, free: Option<u64>, before: Level) -> (Level, u64) {
    let part = |whole: u64, n: u64, of: u64| whole / of * n + whole % of * n / of;
    let (mut level, mut over) = (Level::Calm, 0);
    if let Some(max) = budget.bytes_max {
        let full = part(max, if before == Level::Full { 14 } else { 15 }, 16);
        let short = part(max, if before == Level::Calm { 14 } else { 13 }, 16);
        let now = if used >= full { Level::Full } else { Level::Short };
        if used >= short.min(full) {
            level = now;
            over = used.saturating_sub(part(max, 13, 16)).max(1);
        }
    }
    if let Some(free) = free.filter(|_| budget.free_min > 0) {
        let min = budget.free_min;
        let full = if before == Level::Full { part(min, 3, 2) } else { min };
        let short = if before == Level::Calm { min.saturating_mul(2) } else { part(min, 5, 2) };
        if free < short.max(full) {
            level = level.max(if free < full { Level::Full } else { Level::Short });
            over = over.max(part(min, 5, 2).saturating_sub(free).max(1));
        }
    }
    (level, over)
}

/// Bytes that replies may take once sources are refused: a twentieth of the budget, or without one a quarter of
/// what stays free; never more than half of what is to stay free is left to spend.
pub fn reserve(budget: &DiskBudget, free: Option<u64>) -> u64 {
    let part = budget.bytes_max.map_or(budget.free_min / 4, |max| max / 20);
    free.map_or(part, |free| part.min(free.saturating_sub(budget.free_min / 2)))
}

// ---------------------------------------------------------------------------------- the archive

/// A bus, as the sweeper knows it.
#[derive(Clone, Debug, Default)]
pub struct BusNow {
    /// Which.
    pub bus: BusId,
    /// How long it keeps what is settled.
    pub retention: Retention,
    /// Its stretches by offset.
    pub pieces: Vec<Piece>,
    /// What becomes of segments without a copy when the disk is full; `None`: it is not copied anywhere.
    pub uncopied: Option<Uncopied>,
}

/// What becomes of settled segments that have no copy yet when the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uncopied {
    /// They go, counted and told: what comes in counts more than a copy of what was delivered.
    #[default]
    LetGo,
    /// They stay: intake refuses until they are copied.
    Hold,
}

/// A stretch of a log, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// What the log says.
    pub segment: Segment,
    /// What the ledger said in this round, if it was asked.
    pub needed: Option<NeededOf>,
    /// Of a remnant: records that were needed when it was made, if that was in this run.
    pub kept: Option<u64>,
    /// All of it has a copy in the archive.
    pub copied: bool,
}

/// What the ledger refers to in a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeededOf {
    /// How many records.
    pub count: u64,
    /// Whether all of the stretch is planned: until then more of it may be needed.
    pub planned: bool,
}

/// What to do next with the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the ledger what it needs of this stretch.
    Ask(BusId, Offset),
    /// Seal the unsealed segment of this bus.
    Seal(BusId),
    /// Let the stretch go but for what is needed.
    Reduce(BusId, Offset, Why),
}

/// Why a stretch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Older than the bus's `age_max`.
    Age,
    /// The bus is past its `bytes_max`.
    Bytes,
    /// Space is short.
    Space,
    /// Less than half of the remnant is still needed.
    Remnant,
    /// The disk is full, and it had no copy yet.
    Uncopied,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 5] = [Why::Age, Why::Bytes, Why::Space, Why::Remnant, Why::Uncopied];

    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Age => "age",
            Why::Bytes => "bytes",
            Why::Space => "space",
            Why::Remnant => "remnant",
            Why::Uncopied => "uncopied",
        }
    }
}

impl BusNow {
    /// Whether the stretch has to wait for its copy.
    pub fn awaits(&self, piece: &Piece) -> bool {
        self.uncopied.is_some() && piece.sealed() && !piece.copied
    }
}

impl Piece {
    fn sealed(&self) -> bool {
        self.segment.kind == SegmentKind::Sealed
    }

    /// Which part of its bytes is needed, as bytes: records count alike.
    fn needed_bytes(&self, needed: NeededOf) -> u64 {
        let span = self.segment.next.0.saturating_sub(self.segment.first.0);
        let records = if self.segment.kind == SegmentKind::Remnant { self.kept.unwrap_or(needed.count) } else { span };
        if records == 0 {
            return 0;
        }
        let part = u128::from(self.segment.bytes) * u128::from(needed.count.min(records)) / u128::from(records);
        u64::try_from(part).unwrap_or(self.segment.bytes)
    }
}

/// What to do next with the archive; `None`: nothing that retention wishes or, when space is short, that
/// would gain anything.
pub fn archive(now: Timestamp, level: Level, buses: &[BusNow]) -> Option<Step> {
    let of_bus = |bus: &BusNow| remnants(bus, level).or_else(|| retention(now, bus));
    let wished = buses.iter().find_map(of_bus);
    wished.or_else(|| match level {
        Level::Calm => None,
        Level::Short => space(buses, false),
        Level::Full => space(buses, false).or_else(|| space(buses, true)),
    })
}

/// A remnant that nothing needs any more goes, and one of which less than half is needed is copied again; when there is
/// no space at all, one of which an eighth is not, since that may be most of its bytes.
fn remnants(bus: &BusNow, level: Level) -> Option<Step> {
    bus.pieces.iter().filter(|p| p.segment.kind == SegmentKind::Remnant).find_map(|piece| {
        let first = piece.segment.first;
        let Some(needed) = piece.needed else { return Some(Step::Ask(bus.bus, first)) };
        let gains = |kept: u64| match level {
            Level::Calm | Level::Short => needed.count < kept.div_ceil(2),
            Level::Full => kept.saturating_sub(needed.count) >= kept.div_ceil(GAIN_MIN),
        };
        let loose = needed.count == 0 || piece.kept.is_some_and(gains);
        // A replay may hold it.
        (loose && needed.planned).then_some(Step::Reduce(bus.bus, first, Why::Remnant))
    })
}

fn retention(now: Timestamp, bus: &BusNow) -> Option<Step> {
    let old = |p: &Piece| bus.retention.age_max.is_some_and(|age| now.since(p.segment.newest) > age);
    let live = || bus.pieces.iter().filter(|p| p.segment.kind != SegmentKind::Remnant);
    let bytes: u64 = live().map(|p| p.segment.bytes).sum();
    let over = bus.retention.bytes_max.is_some_and(|max| bytes > max);
    let oldest = live().next()?;
    let why = if old(oldest) { Why::Age } else { Why::Bytes };
    if !old(oldest) && !over {
        return None;
    }
    if !oldest.sealed() {
        // Only a record's age seals; the segment that grows is what is left of the bytes.
        let holds = oldest.segment.first < oldest.segment.next;
        return (old(oldest) && holds).then_some(Step::Seal(bus.bus));
    }
    if bus.awaits(oldest) {
        return None;
    }
    let first = oldest.segment.first;
    let Some(needed) = oldest.needed else { return Some(Step::Ask(bus.bus, first)) };
    let gains = needed.planned && oldest.needed_bytes(needed) <= oldest.segment.bytes / 2;
    gains.then_some(Step::Reduce(bus.bus, first, why))
}

/// The oldest sealed segment of all buses that gains something, alone or with those behind it: a bus gives
/// its segments in order. `full`: what has no copy yet goes too, where it may.
fn space(buses: &[BusNow], full: bool) -> Option<Step> {
    let oldest = |bus: &BusNow| bus.pieces.iter().find(|p| p.sealed()).map(|p| p.segment.newest);
    let mut order: Vec<(Timestamp, &BusNow)> = buses.iter().filter_map(|b| Some((oldest(b)?, b))).collect();
    order.sort_by_key(|(newest, bus)| (*newest, bus.bus));
    order.into_iter().find_map(|(_, bus)| {
        let goes = |p: &&Piece| !bus.awaits(p) || (full && bus.uncopied == Some(Uncopied::LetGo));
        let sealed = || bus.pieces.iter().filter(|p| p.sealed()).take_while(goes).take(AHEAD_MAX);
        let (mut bytes, mut gain) = (0u64, 0u64);
        for piece in sealed() {
            let Some(needed) = piece.needed else { return Some(Step::Ask(bus.bus, piece.segment.first)) };
            if !needed.planned {
                return None;
            }
            bytes += piece.segment.bytes;
            gain += piece.segment.bytes.saturating_sub(piece.needed_bytes(needed));
            if gain > 0 && gain >= bytes / GAIN_MIN {
                let why = |p: &Piece| if bus.awaits(p) { Why::Uncopied } else { Why::Space };
                return sealed().next().map(|p| Step::Reduce(bus.bus, p.segment.first, why(p)));
            }
        }
        None
    })
}

// ---------------------------------------------------------------------------------- backlogs

/// What a route owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The route.
    pub route: RouteName,
    /// Bytes of the events that it is owed.
    pub bytes: u64,
    /// Whether they may become dead letters: it says so, and it has a target to name.
    pub gives: bool,
}

/// What to do when there is no space and the archive has nothing to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GiveWay {
    /// So many bytes of this route's backlog become dead letters.
    Convert(RouteName, u64),
    /// Intake refuses: this is who holds the most.
    Refuse(Holder),
}

/// Who holds the most bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A route, by what it is owed.
    Route(RouteName),
    /// Dead letters.
    DeadLetters,
    /// Events that are settled, and that no step may let go yet.
    Archive,
    /// Events that are settled, and that wait for their copy in the archive.
    Uncopied,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Route(route) => write!(f, "route {route} is owed most of it; see why its target takes nothing"),
            Holder::DeadLetters => write!(f, "dead letters hold most of it; redrive or purge them"),
            Holder::Uncopied => write!(
                f,
                "settled events wait for their copy in the archive, which says `when_full: hold`; see why it takes none with `gocoffee status`"
            ),
            Holder::Archive => write!(f, "its events are the newest there are; give it more space"),
        }
    }
}

/// What to do when `over` bytes must go and the archive has none to give. A dead letter keeps its event, so
/// a backlog that becomes dead letters frees something only where their limit ends the oldest of them.
pub fn give_way(over: u64, backlogs: &[Backlog], letters: u64, limits: &LetterLimits) -> GiveWay {
    let largest = |gives: bool| backlogs.iter().filter(|b| b.bytes > 0 && (b.gives || !gives)).max_by_key(|b| b.bytes);
    if limits.bytes_max.is_some()
        && let Some(backlog) = largest(true)
    {
        return GiveWay::Convert(backlog.route.clone(), over.min(backlog.bytes));
    }
    GiveWay::Refuse(match largest(false) {
        Some(backlog) if backlog.bytes >= letters => Holder::Route(backlog.route.clone()),
        _ if letters > 0 => Holder::DeadLetters,
        _ => Holder::Archive,
    })
}

// ---------------------------------------------------------------------------------- dead letters

/// Bytes of dead letters by when they were parked, in buckets of bounded number.
#[derive(Clone, Debug)]
pub struct LetterBook {
    buckets: BTreeMap<u64, u64>,
    /// Microseconds of a bucket.
    width: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
}

impl Default for LetterBook {
    fn default() -> Self {
        LetterBook { buckets: BTreeMap::new(), width: 1_000, bytes: 0, oldest: None }
    }
}

/// Which dead letters have to go: all parked before `before`, and of those parked before `until`, in any
/// order, so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// All that were parked before.
    pub before: Timestamp,
    /// And of those that were parked before this …
    pub until: Timestamp,
    /// … about so many bytes.
    pub bytes: u64,
}

impl LetterBook {
    /// Counts one.
    pub fn add(&mut self, at: Timestamp, bytes: u64) {
        *self.buckets.entry(at.0 / self.width).or_default() += bytes;
        self.bytes += bytes;
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        while self.buckets.len() > BUCKETS_MAX {
            self.width = self.width.saturating_mul(2);
            for (bucket, bytes) in std::mem::take(&mut self.buckets) {
                *self.buckets.entry(bucket / 2).or_default() += bytes;
            }
        }
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest was parked.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// What has to go, the oldest first, so that the rest fits.
    pub fn excess(&self, bytes_max: u64) -> Option<Excess> {
        let mut over = self.bytes.checked_sub(bytes_max).filter(|over| *over > 0)?;
        for (bucket, bytes) in &self.buckets {
            let start = |bucket: u64| Timestamp(bucket.saturating_mul(self.width));
            if *bytes >= over {
                return Some(Excess { before: start(*bucket), until: start(bucket.saturating_add(1)), bytes: over });
            }
            over -= bytes;
        }
        None
    }
}

#[cfg(test)]
#[path = "retain_tests.rs"]
mod tests;
