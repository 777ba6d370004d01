//! The open set to and from the ledger: pages that were read, the changes of a commit, dead letters
//! that are opened again.

use super::super::lane::{Fresh, Open, State, Violation};
use super::{CHANGES_MAX, Now, OpenSet, PageOf, Paged};
use crate::{
    codes,
    id::{LaneId, Offset},
    settle,
    store::{Attempts, Change, DeadLetter, LetterOrder, Pending, Place},
};

impl OpenSet {
    /// A read of the ledger ended.
    pub fn paged(&mut self, at: usize, paged: Paged, now: Now) -> Result<(), Violation> {
        let (committed, committing) = (self.committed, self.committing);
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        lane.paging = false;
        let (mut taken, mut last) = (0, None);
        for (pending, record) in paged.entries {
            let offset = pending.offset;
            let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
            if let PageOf::Key(key, ..) = paged.what {
                if lane.keys().key(key).stuck.is_some() || lane.keys().key(key).ending.is_some() {
                    // What is left stays where it is.
                    break;
                }
                last = Some(offset);
            }
            if let PageOf::Ready(_) = paged.what {
                lane.ledger_from = offset.next();
            }
            if lane.open.contains_key(&offset) || lane.gone.contains_key(&offset) {
                continue;
            }
            taken += 1;
            let stored = Some(pending.place());
            let key = pending.key.or_else(|| lane.route.order.as_ref()?.key(&record.event));
            if let Some(key) = key.filter(|key| pending.key.is_none() && lane.parks(*key)) {
                self.park_under(at, key, pending, stored);
                continue;
            }
            let was_away = pending.key.is_some() && pending.due.is_some();
            let open = Open {
                appended: record.appended,
                event: record.event,
                opened_ms: pending.opened_ms,
                attempts: pending.attempts,
                state: State::Ready,
                stored,
                key,
                late: pending.late,
                dirty: false,
                mark: 0,
                alone: false,
            };
            self.take_in(at, offset, open, was_away);
            if paged.lost.contains(&offset) {
                self.lost(at, offset, now);
                continue;
            }
            self.end_if_ending(at, offset, was_away, now);
        }
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        if let Some(back) = lane.rewind.take() {
            lane.ledger_from = lane.ledger_from.min(back);
        }
        match paged.what {
            PageOf::Due(_) => {
                lane.ledger_waiting = lane.ledger_waiting.saturating_sub(taken);
                lane.ledger_due = paged.next_due;
            }
            PageOf::Key(key, _, below) => {
                if self.key_read(at, (key, below), paged.exhausted, taken, last) {
                    return self.lanes.get(at).map_or(Ok(()), |lane| Err(lane.violation()));
                }
            }
            PageOf::Ready(_) => {
                lane.ledger_ready = lane.ledger_ready.saturating_sub(taken);
                // Where nothing was spilled since the read began, everything that was counted had to be there.
                let spilled = lane.paged_after != committing || lane.readable_after > committed;
                if paged.exhausted && lane.ledger_ready > 0 && !spilled {
                    return Err(lane.violation());
                }
            }
        }
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.forget_gone(committed);
        }
        self.dirty.insert(at);
        self.thirsty.insert(at);
        self.queue(at);
        Ok(())
    }

    /// The event of a delivery of a replay is gone: a dead letter says so, or, with no target to name, it ends.
    fn lost(&mut self, at: usize, offset: Offset, now: Now) {
        let Some(id) = self.lanes.get(at).map(|lane| lane.id) else { return };
        if self.lanes.get(at).is_some_and(|lane| lane.target.is_none()) {
            self.end(at, offset);
            self.ended_with_run(id, 1);
            return;
        }
        let note = "its copy in the archive is missing or damaged: gocoffee explain R0192";
        self.bury(at, offset, codes::RECORD_DAMAGED, note.into(), now);
    }

    /// Whether there is something to commit.
    pub fn wants_commit(&self) -> bool {
        self.planned_moved || self.runs_moved() || !self.changes.is_empty() || !self.dirty.is_empty()
    }

    /// Whether what waits for a commit is much.
    pub fn wants_commit_soon(&self) -> bool {
        self.fresh >= self.limits.fresh_max / 2 || self.changes.len() >= CHANGES_MAX / 2
    }

    /// The changes of the next commit; one at a time, in the order they are asked for.
    pub fn commit(&mut self, now: Now) -> Result<Vec<Change>, Violation> {
        let mut changes = std::mem::take(&mut self.changes);
        self.committing += 1;
        self.crowd_out();
        for at in std::mem::take(&mut self.dirty) {
            self.commit_lane(at, now, &mut changes)?;
        }
        self.commit_runs(now, &mut changes);
        self.fresh = 0;
        self.planned_moved = false;
        changes.push(Change::Running(now.running_ms));
        changes.extend(self.planned.iter().map(|(bus, b)| Change::Planned(*bus, *b)));
        Ok(changes)
    }

    fn commit_lane(&mut self, at: usize, now: Now, changes: &mut Vec<Change>) -> Result<(), Violation> {
        let commit = self.committing;
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        if lane.opened != lane.settled + lane.owed() {
            return Err(lane.violation());
        }
        for offset in std::mem::take(&mut lane.touched) {
            let Some(open) = lane.open.get(&offset).filter(|o| o.dirty) else { continue };
            let place = match open.state {
                State::Waiting(due) => Place { due: Some(now.wall.after(due.saturating_sub(now.mono))), key: open.key },
                State::Ready | State::InFlight | State::Behind => Place::default(),
            };
            changes.push(Change::Put { pending: lane.pending(offset, open, place), replaces: open.stored });
            if let Some(open) = lane.open.get_mut(&offset) {
                (open.stored, open.dirty) = (Some(place), false);
            }
        }
        for Fresh { offset, opened_ms, bytes } in lane.fresh.drain(..) {
            let attempts = Attempts::default();
            let (due, key, late) = (None, None, false);
            let pending = Pending { lane: lane.id, offset, due, key, late, opened_ms, bytes, attempts };
            changes.push(Change::Put { pending, replaces: None });
            lane.ledger_ready += 1;
            lane.readable_after = commit;
            self.spilled.insert(at);
        }
        while lane.waiting.len() > self.limits.waiting_max {
            let Some((due, offset)) = lane.waiting.last().copied() else { break };
            let stored = lane.open.get(&offset).and_then(|o| o.stored).and_then(|place| place.due);
            if let Some(key) = lane.remove(offset).and_then(|open| open.key) {
                lane.keys().send_away(key, offset);
            }
            self.in_memory = self.in_memory.saturating_sub(1);
            self.timers.remove(&(due, at, offset));
            lane.ledger_waiting += 1;
            // A read that is under way may have seen the entry that this commit replaces.
            lane.gone.insert(offset, commit);
            lane.ledger_due = lane.ledger_due.min(stored).or(stored);
            lane.readable_after = commit;
            self.spilled.insert(at);
        }
        self.give_back(at, changes);
        self.commit_keys(at, changes);
        Ok(())
    }

    /// The last commit is done.
    pub fn committed(&mut self) {
        self.committed = self.committing;
        let (committed, lanes, thirsty) = (self.committed, &mut self.lanes, &mut self.thirsty);
        self.spilled.retain(|at| {
            let Some(lane) = lanes.get_mut(*at) else { return false };
            lane.forget_gone(committed);
            let left = lane.ledger_ready > 0 || lane.ledger_waiting > 0 || lane.parked > 0;
            if left {
                thirsty.insert(*at);
            }
            left || !lane.gone.is_empty()
        });
    }

    /// Opens dead letters again, but for those whose route is not configured; they are readable after
    /// the next commit. How many were opened.
    pub fn redrive(&mut self, letters: Vec<DeadLetter>, now: Now) -> u64 {
        let mut count = 0;
        let next = self.committing + 1;
        for letter in letters {
            let configured = self.routes.get(&letter.id.lane.route).is_some_and(|(_, target)| target.is_some());
            // An event that is gone cannot be sent, and an entry without its record would stop the next start.
            let ending = self.run_is_ending(letter.id.lane.run);
            if !configured || ending || *letter.reason == *codes::RECORD_DAMAGED.0 {
                continue;
            }
            let at = self.lane(letter.id.lane);
            let (late, order) = (self.is_late(&letter), letter.order);
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            let offset = letter.id.offset;
            let mut attempts = letter.attempts;
            settle::renew(&mut attempts);
            let (opened_ms, bytes) = (now.running_ms, letter.bytes);
            let (due, key) = (None, None);
            let pending = Pending { lane: lane.id, offset, due, key, late, opened_ms, bytes, attempts };
            self.changes.push(Change::DropDeadLetter(letter.id));
            lane.opened += 1;
            lane.own(bytes);
            lane.dead_letters = lane.dead_letters.saturating_sub(1);
            lane.route.stats.redriven.add(1);
            count += 1;
            // Its key may have more that waits: then it comes before that.
            if let Some(key) = order.map(|order| order.key).filter(|key| lane.parks(*key)) {
                self.park_under(at, key, pending, None);
                self.redriven_one(letter.id.lane, at, order);
                continue;
            }
            self.changes.push(Change::Put { pending, replaces: None });
            let first =
                if lane.ledger_ready == 0 && lane.fresh.is_empty() { offset } else { lane.ledger_from.min(offset) };
            lane.ledger_from = first;
            if lane.paging {
                lane.rewind = Some(lane.rewind.map_or(offset, |r| r.min(offset)));
            }
            lane.ledger_ready += 1;
            lane.readable_after = next;
            // A read that is under way must not take what it sees of it for the new entry.
            if lane.paging {
                lane.gone.insert(offset, next);
            } else {
                lane.gone.remove(&offset);
            }
            self.spilled.insert(at);
            self.dirty.insert(at);
            self.redriven_one(letter.id.lane, at, order);
        }
        count
    }

    /// A dead letter is owed again: its key, its backlog and its run count with it.
    fn redriven_one(&mut self, id: LaneId, at: usize, order: Option<LetterOrder>) {
        self.forget_letter(at, order);
        self.weigh_hold(at);
        self.count_run(id, |c| c.dead_lettered = c.dead_lettered.saturating_sub(1));
    }

    /// Ends dead letters for good; how many.
    pub fn end_letters(&mut self, letters: Vec<DeadLetter>, reason: &'static str) -> u64 {
        let mut count = 0;
        for letter in letters {
            let at = self.lane(letter.id.lane);
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            lane.dead_letters = lane.dead_letters.saturating_sub(1);
            // Those of replays too are counted where their route is.
            let stats = self.routes.get(&lane.id.route).map_or(&lane.route.stats, |(route, _)| &route.stats);
            stats.end_letters(reason, 1);
            self.changes.push(Change::DropDeadLetter(letter.id));
            self.forget_letter(at, letter.order);
            count += 1;
        }
        count
    }
}
