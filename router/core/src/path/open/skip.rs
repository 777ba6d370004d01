//! Deliveries that end because an operator says so: what a lane is owed below an offset.
//!
//! In memory it ends at once, what is only in the ledger by a walk of its own, which reads each kind of entry from
//! its first on, and what comes of records that were not planned yet ends as it is opened. An attempt under way is
//! not taken back: it ends as it ends, but it is not made again. Meanwhile the lane reads nothing in.
//!
//! An entry may move while it is walked over, so the walk begins anew until it has seen nothing below the offset.
//! It begins when the ledger shows what has moved. All is over when, besides, every record below the offset is
//! planned and nothing below it is in memory.

use super::{
    super::lane::{Lane, State},
    CHANGES_MAX, Job, Now, OpenSet, WalkOf, Walked,
    ending::{Seen, WALK_PAGE},
};
use crate::{
    clock::Timestamp,
    id::{LaneId, Offset, OrderKey},
};

/// A skip of a lane that is not over.
#[derive(Clone, Debug)]
pub(super) struct Skip {
    below: Offset,
    /// Where the walk is; `None`: it is through, and has seen nothing.
    at: Option<SkipAt>,
    /// The walk has seen something, and begins anew after this.
    saw: bool,
    ended: u64,
    /// Who asked for it.
    tickets: Vec<u64>,
}

/// From where on a skip reads the entries of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SkipAt {
    Parked(OrderKey, Offset),
    Ready(Offset),
    Waiting(Timestamp, Offset),
}

/// Where a walk begins.
const FIRST: SkipAt = SkipAt::Parked(OrderKey(0), Offset(0));

/// A skip that is over, with the next commit.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct SkipOver {
    /// Who asked for it.
    pub tickets: Vec<u64>,
    /// Deliveries that ended by it.
    pub ended: u64,
}

impl Lane {
    /// Whether what it owes of this offset is to end.
    pub(super) fn skips(&self, offset: Offset) -> bool {
        self.ending.skip.as_ref().is_some_and(|skip| offset < skip.below)
    }
}

impl OpenSet {
    /// Ends what a lane is owed below an offset. [`OpenSet::take_skipped`] tells when that is so.
    pub fn skip(&mut self, id: LaneId, below: Offset, ticket: u64) {
        let at = self.lane(id);
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let first = Some(FIRST);
        match &mut lane.ending.skip {
            Some(skip) => {
                // The one before it was not waited for to its end; what it still had to do is part of this.
                (skip.below, skip.at) = (skip.below.max(below), first);
                skip.tickets.push(ticket);
            }
            none => *none = Some(Skip { below, at: first, saw: false, ended: 0, tickets: vec![ticket] }),
        }
        self.walking.insert(at);
    }

    /// Skips that are over since it was asked last. What they ended is in the next commit.
    pub fn take_skipped(&mut self) -> Vec<SkipOver> {
        std::mem::take(&mut self.skipped)
    }

    /// One delivery of a lane ended by its skip.
    pub(super) fn skipped_one(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.route.stats.ended.add(1);
        if let Some(skip) = &mut lane.ending.skip {
            skip.ended += 1;
        }
    }

    /// Ends a delivery in memory that is skipped; true when it did.
    pub(super) fn skip_open(&mut self, at: usize, offset: Offset) -> bool {
        let skips = self.lanes.get(at).is_some_and(|lane| lane.skips(offset));
        let ended = skips && self.end(at, offset).is_some();
        if ended {
            self.skipped_one(at);
        }
        ended
    }

    /// What is in memory ends, but for what is under way.
    pub(super) fn skip_memory(&mut self, at: usize) {
        let room = CHANGES_MAX.saturating_sub(self.changes.len());
        let Some(lane) = self.lanes.get_mut(at).filter(|lane| lane.ending.skip.is_some()) else { return };
        let (gone, fresh): (Vec<_>, Vec<_>) =
            std::mem::take(&mut lane.fresh).into_iter().partition(|f| lane.skips(f.offset));
        lane.fresh = fresh;
        lane.settled += u64::try_from(gone.len()).unwrap_or(u64::MAX);
        gone.iter().for_each(|f| lane.disown(f.bytes));
        let open = lane.open.iter().filter(|(offset, open)| lane.skips(**offset) && open.state != State::InFlight);
        let mut offsets: Vec<Offset> = open.map(|(offset, _)| *offset).collect();
        offsets.sort_unstable();
        self.fresh = self.fresh.saturating_sub(gone.len());
        for _ in &gone {
            self.skipped_one(at);
        }
        if !gone.is_empty() {
            self.dirty.insert(at);
            self.weigh_hold(at);
        }
        for offset in offsets.into_iter().take(room) {
            self.skip_open(at, offset);
        }
    }

    /// The next page of the walk, when it may be read. A skip of which nothing is left is over.
    pub(super) fn next_skip(&mut self, at: usize) -> Option<Job> {
        let committing = self.committing;
        let lane = self.lanes.get_mut(at)?;
        let skip = lane.ending.skip.as_ref()?;
        let below = |offset: &Offset| *offset < skip.below;
        let moved = || lane.gone.keys().any(below) || lane.open.keys().any(below);
        let Some(what) = skip.at else {
            let planned = self.planned.get(&lane.id.bus).copied().unwrap_or_default();
            if planned >= skip.below
                && !lane.open.keys().any(below)
                && let Some(Skip { ended, tickets, .. }) = lane.ending.skip.take()
            {
                self.skipped.push(SkipOver { tickets, ended });
                self.thirsty.insert(at);
            }
            return None;
        };
        if what == FIRST && moved() {
            return None;
        }
        (lane.paging, lane.paged_after) = (true, committing);
        // Entries that are in memory, or settled a moment ago, are read too: they do not count.
        let known = lane.open.len() + lane.gone.len();
        Some(Job::Walk { lane: at, id: lane.id, what: WalkOf::Skip(what), count_max: WALK_PAGE + known })
    }

    /// A page of the walk was read.
    pub(super) fn skip_walked(&mut self, at: usize, what: SkipAt, walked: Walked, now: Now) {
        let committed = self.committed;
        let (mut last, mut ended, mut saw) = (None, 0u64, false);
        let mut front = self.lanes.get(at).is_some_and(|lane| what == SkipAt::Ready(lane.ledger_from));
        for pending in walked.entries {
            let (offset, due, key) = (pending.offset, pending.due.unwrap_or_default(), pending.key.unwrap_or_default());
            last = Some((key, due, offset));
            saw |= self.lanes.get(at).is_some_and(|lane| lane.skips(offset));
            let seen = self.walk_over(at, pending, None, now);
            ended += u64::from(matches!(seen, Seen::Ended));
            front &= !matches!(seen, Seen::Stays(_));
            if let Some(lane) = self.lanes.get_mut(at).filter(|_| front) {
                lane.ledger_from = offset.next();
            }
        }
        let committing = self.committing;
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if let Some(back) = lane.rewind.take() {
            lane.ledger_from = lane.ledger_from.min(back);
        }
        if ended > 0 && matches!(what, SkipAt::Waiting(..)) {
            // Pages of what is due have no place to read on from: what was dropped must be gone before the next.
            lane.readable_after = committing + 1;
        }
        let below = lane.ending.skip.as_ref().map_or(Offset(0), |skip| skip.below);
        let next = match (what, last.filter(|_| !walked.exhausted)) {
            (SkipAt::Parked(..), Some((key, _, offset))) => Some(SkipAt::Parked(key, offset.next())),
            (SkipAt::Parked(..), None) => Some(SkipAt::Ready(lane.ledger_from)),
            (SkipAt::Ready(_), Some((_, _, offset))) if offset < below => Some(SkipAt::Ready(offset.next())),
            (SkipAt::Ready(_), _) => Some(SkipAt::Waiting(Timestamp(0), Offset(0))),
            (SkipAt::Waiting(..), Some((_, due, offset))) => Some(SkipAt::Waiting(due, offset.next())),
            (SkipAt::Waiting(..), None) => None,
        };
        if let Some(skip) = lane.ending.skip.as_mut().filter(|skip| skip.at == Some(what)) {
            skip.saw |= saw;
            skip.at = if next.is_none() && std::mem::take(&mut skip.saw) { Some(FIRST) } else { next };
        }
        lane.forget_gone(committed);
        self.dirty.insert(at);
        self.thirsty.insert(at);
    }

    /// A delivery of a route's live lane whose place is skipped is not opened: it is counted as opened and ended.
    pub(super) fn skip_unopened(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.opened += 1;
        lane.settled += 1;
        lane.route.stats.matched.add(1);
        self.skipped_one(at);
        self.dirty.insert(at);
    }
}
