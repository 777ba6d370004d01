//! Order by key: how the open set keeps to the [`keys`](super::super::keys) of a lane. A lane without
//! order has none of this: its deliveries have no key.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Code;

use super::{
    super::{
        keys::{Key, Keys, NOTED_MAX},
        lane::{Lane, Open, State},
    },
    Now, OpenSet, PageOf,
};
use crate::{
    codes,
    id::{Offset, OrderKey},
    order::STUCK_KEYS_MAX,
    store::{Change, DeadLetter, KeyLetters, KeyState, LetterOrder, Pending, Place},
};

impl Lane {
    /// The keys, made when first needed.
    pub fn keys(&mut self) -> &mut Keys {
        self.keys.get_or_insert_with(|| Box::new(Keys::new(self.followers_max)))
    }

    /// Whether what comes of a key is parked.
    pub fn parks(&self, key: OrderKey) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.parks(key))
    }

    /// A delivery of a key is given back to the ledger: true when it goes under its key, since more of the key
    /// is parked, or it stands there. Else it goes where one without a key would go.
    pub fn give_to_key(
        &mut self,
        key: OrderKey,
        offset: Offset,
        open: &Open,
        commit: u64,
        changes: &mut Vec<Change>,
    ) -> bool {
        if let State::Waiting(_) = open.state {
            self.keys().send_away(key, offset);
            return false;
        }
        let stands = open.stored.and_then(Place::parked_under) == Some(key);
        let under = stands || self.keys().key(key).parked > 0;
        if under {
            if !stands {
                let pending = self.pending(offset, open, Place::parked(key));
                changes.push(Change::Put { pending, replaces: open.stored });
            }
            self.parked += 1;
            self.keys().park(key, offset, commit);
            self.gone.insert(offset, commit);
        }
        self.keys().leave(key, offset);
        under
    }

    /// Whether its keys wait for their dead letters.
    pub fn holds(&self) -> bool {
        self.route.order.as_ref().is_some_and(|order| order.holds())
    }

    fn stuck_keys_max(&self) -> usize {
        self.route.order.as_ref().map_or(STUCK_KEYS_MAX, |order| order.order.stuck_keys_max.max(1))
    }

    /// Keys that wait, for the next try of their head or for a dead letter.
    pub fn stuck_keys(&self) -> usize {
        self.keys.as_ref().map_or(0, |keys| keys.stuck.len())
    }
}

impl OpenSet {
    /// Takes a delivery into memory; it is ready if it is its turn.
    pub(super) fn take_in(&mut self, at: usize, offset: Offset, mut open: Open, was_away: bool) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if let Some(key) = open.key
            && !lane.keys().seat(key, offset, was_away)
        {
            open.state = State::Behind;
        }
        lane.admit(offset, open);
        self.in_memory += 1;
    }

    /// Parks an entry under its key with the next commit.
    pub(super) fn park_under(&mut self, at: usize, key: OrderKey, pending: Pending, replaces: Option<Place>) {
        let next = self.committing + 1;
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let offset = pending.offset;
        lane.parked += 1;
        lane.keys().park(key, offset, next);
        lane.gone.insert(offset, next);
        self.changes.push(Change::Put { pending: Pending { due: None, key: Some(key), ..pending }, replaces });
        self.spilled.insert(at);
        self.dirty.insert(at);
        self.take_turn(at, key);
    }

    /// Moves a delivery from memory under its key.
    fn put_under(&mut self, at: usize, key: OrderKey, offset: Offset) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Some(open) = lane.remove(offset) else { return };
        self.in_memory = self.in_memory.saturating_sub(1);
        let pending = lane.pending(offset, &open, Place::parked(key));
        self.park_under(at, key, pending, open.stored);
    }

    /// Something of a key has changed: the next may have its turn, or more of it may come into memory.
    pub(super) fn take_turn(&mut self, at: usize, key: OrderKey) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if let Some(next) = lane.keys().turn(key) {
            lane.set(next, State::Ready);
            self.queue(at);
        }
        self.thirsty.insert(at);
    }

    /// A key waits for the next try of its head, or for a dead letter.
    pub(super) fn stick(&mut self, at: usize, key: OrderKey, now: Now) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        for offset in lane.keys().stick(key, now.wall) {
            self.put_under(at, key, offset);
        }
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let (max, keys) = (lane.stuck_keys_max(), lane.keys());
        if keys.stuck.len() > max {
            // An attempt under way may succeed: its key is none that is given up.
            let tries = |key: &OrderKey, lane: &Lane| {
                let head = lane.keys.as_ref().and_then(|keys| keys.all.get(key)).and_then(|key| key.head);
                head.and_then(|head| lane.open.get(&head)).is_some_and(|open| open.state == State::InFlight)
            };
            let oldest = lane.keys().stuck.iter().map(|(_, key)| *key).collect::<Vec<_>>();
            if let Some(oldest) = oldest.into_iter().find(|key| !tries(key, lane)) {
                self.end_key(at, oldest, max, now);
            }
        }
    }

    /// Dead-letters a key whole: what is owed of it now.
    fn end_key(&mut self, at: usize, key: OrderKey, max: usize, now: Now) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let below = self.planned.get(&lane.id.bus).copied().unwrap_or_default();
        let route = lane.route.clone();
        let keys = lane.keys();
        let Some(state) = keys.all.get_mut(&key) else { return };
        let (head, parked) = (state.head, state.parked);
        state.ending = Some(below);
        if let Some(letters) = &mut state.letters {
            letters.holding = 0;
            keys.noted.insert(key);
        }
        if let Some(since) = state.stuck.take() {
            keys.stuck.remove(&(since, key));
        }
        keys.ending.push_back(key);
        tracing::warn!(code = %codes::STUCK_KEYS, route = %route.name, key = format!("{:016x}", key.0), stuck_keys_max = max, parked, "a key is dead-lettered whole: more keys than stuck_keys_max wait for their head or for a dead letter");
        route.stats.keys_ended.add(1);
        self.walking.insert(at);
        self.dirty.insert(at);
        if let Some(head) = head {
            let (reason, note) = why_ended();
            self.bury(at, head, reason, note, now);
        }
    }

    /// Notes that a delivery becomes a dead letter, and which key it is of.
    pub(super) fn note_letter(
        &mut self,
        at: usize,
        (key, offset): (OrderKey, Offset),
        late: bool,
        reason: Code,
        now: Now,
    ) -> Option<LetterOrder> {
        let lane = self.lanes.get_mut(at)?;
        // What a limit ends was given up by the operator's own word: nobody has to look at it first.
        let limits = [codes::BACKLOG_AGE, codes::BACKLOG_BYTES, codes::NO_SPACE, codes::STUCK_KEYS];
        let holds = lane.holds() && !limits.contains(&reason);
        let keys = lane.keys();
        let room = keys.with_letters < NOTED_MAX;
        let state = keys.key(key);
        if !holds && !room && state.letters.is_none() {
            return Some(LetterOrder { key, counted: false, holds: None });
        }
        let is_new = state.letters.is_none();
        let letters = state.letters.get_or_insert_with(KeyLetters::default);
        letters.letters = letters.letters.saturating_add(1);
        if late {
            letters.delivered = letters.delivered.max(offset.next());
        }
        if holds {
            letters.since = if letters.holding == 0 { now.wall } else { letters.since };
            letters.holding = letters.holding.saturating_add(1);
        }
        let since = letters.since;
        keys.with_letters += usize::from(is_new);
        keys.noted.insert(key);
        self.dirty.insert(at);
        if holds {
            // It is no part of its key any more: one behind its head must not be parked instead of ended.
            keys.leave(key, offset);
            self.stick(at, key, now);
        }
        Some(LetterOrder { key, counted: true, holds: holds.then_some(since) })
    }

    /// A delivery of a key succeeded: the dead letters of the key before it are late from now on.
    pub(super) fn note_delivered(&mut self, at: usize, key: OrderKey, offset: Offset) {
        let Some(keys) = self.lanes.get_mut(at).and_then(|lane| lane.keys.as_mut()) else { return };
        let letters = keys.all.get_mut(&key).and_then(|key| key.letters.as_mut());
        if let Some(letters) = letters.filter(|letters| letters.delivered < offset) {
            letters.delivered = offset;
            keys.noted.insert(key);
            self.dirty.insert(at);
        }
    }

    /// Whether a delivery that is redriven comes after later ones of its key: such as were delivered since, or
    /// go before it now. Rather too often than too seldom.
    pub fn is_late(&self, letter: &DeadLetter) -> bool {
        let ordered = self.routes.get(&letter.id.lane.route).is_some_and(|(route, _)| route.order.is_some());
        let Some(order) = letter.order.filter(|_| ordered) else { return ordered };
        let lane = self.index.get(&letter.id.lane).and_then(|at| self.lanes.get(*at));
        let keys = lane.and_then(|lane| lane.keys.as_ref());
        let state = keys.and_then(|keys| keys.all.get(&order.key));
        let overtaken = |key: &Key| {
            let delivered = key.letters.is_none_or(|letters| letters.delivered > letter.id.offset);
            delivered || key.away > 0 || key.head.is_some_and(|head| head > letter.id.offset)
        };
        // A read that is under way may bring later ones, which go first then.
        let reads = lane.is_some_and(|lane| lane.paging);
        !order.counted || reads || state.is_none_or(overtaken)
    }

    /// A dead letter is redriven or ended: its key may wait for it no longer.
    pub(super) fn forget_letter(&mut self, at: usize, order: Option<LetterOrder>) {
        let Some(LetterOrder { key, holds, .. }) = order.filter(|order| order.counted) else { return };
        let Some(keys) = self.lanes.get_mut(at).and_then(|lane| lane.keys.as_mut()) else { return };
        let Some(state) = keys.all.get_mut(&key) else { return };
        if let Some(letters) = &mut state.letters {
            letters.letters = letters.letters.saturating_sub(1);
            if holds == Some(letters.since) {
                letters.holding = letters.holding.saturating_sub(1);
            }
            if letters.letters == 0 {
                state.letters = None;
                keys.with_letters = keys.with_letters.saturating_sub(1);
            }
        }
        keys.noted.insert(key);
        keys.unstick(key);
        self.dirty.insert(at);
        self.take_turn(at, key);
    }

    /// What waited in the ledger for a key ended there.
    pub(super) fn away_ended(&mut self, at: usize, key: OrderKey) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let state = lane.keys().key(key);
        state.away = state.away.saturating_sub(1);
        lane.keys().unstick(key);
        self.take_turn(at, key);
    }

    /// What was parked under a key ended there.
    pub(super) fn parked_ended(&mut self, at: usize, key: OrderKey) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.parked = lane.parked.saturating_sub(1);
        let state = lane.keys().key(key);
        state.parked = state.parked.saturating_sub(1);
        self.take_turn(at, key);
    }

    /// A read of what is parked under a key ended. True when less is there than was counted.
    pub(super) fn key_read(
        &mut self,
        at: usize,
        (key, below): (OrderKey, Offset),
        exhausted: bool,
        taken: u64,
        last: Option<Offset>,
    ) -> bool {
        let (committed, committing) = (self.committed, self.committing);
        let Some(lane) = self.lanes.get_mut(at) else { return false };
        let still = lane.paged_after == committing;
        lane.parked = lane.parked.saturating_sub(taken);
        let keys = lane.keys();
        let rewind = keys.reading.take().map_or(Offset(u64::MAX), |(_, lowest)| lowest);
        let state = keys.key(key);
        state.parked = state.parked.saturating_sub(taken);
        let read_to = if exhausted { below } else { last.map_or(state.parked_from, Offset::next) };
        // What became stuck meanwhile, or ends whole, was not taken.
        let open = state.stuck.is_none() && state.ending.is_none();
        if open {
            state.parked_from = state.parked_from.max(read_to).min(rewind);
        }
        let all_there = below == Offset(u64::MAX) && exhausted && still && state.readable_after <= committed;
        let lost = all_there && state.parked > 0 && open;
        self.take_turn(at, key);
        lost
    }

    /// Ends a delivery that came back from its wait in the ledger, where its key is dead-lettered whole.
    pub(super) fn end_if_ending(&mut self, at: usize, offset: Offset, was_away: bool, now: Now) {
        let Some(lane) = self.lanes.get_mut(at).filter(|_| was_away) else { return };
        let Some(key) = lane.open.get(&offset).and_then(|open| open.key) else { return };
        if lane.keys().key(key).ending.is_some_and(|below| offset < below) {
            let (reason, note) = why_ended();
            self.bury(at, offset, reason, note, now);
            self.ending_over(at, key);
        }
    }

    /// A key that is dead-lettered whole goes on with what came after, once all before it has ended.
    pub(super) fn ending_over(&mut self, at: usize, key: OrderKey) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let keys = lane.keys();
        let walks = keys.ending.contains(&key);
        let state = keys.key(key);
        if !walks && state.away == 0 {
            state.ending = None;
        }
        self.take_turn(at, key);
    }

    /// What the commit says of keys with dead letters.
    pub(super) fn commit_keys(&mut self, at: usize, changes: &mut Vec<Change>) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let id = lane.id;
        let Some(keys) = &mut lane.keys else { return };
        for key in std::mem::take(&mut keys.noted) {
            changes.push(match keys.all.get(&key).and_then(|key| key.letters) {
                Some(letters) => Change::PutKey(id, key, letters),
                None => Change::DropKey(id, key),
            });
        }
    }

    /// What is in memory and has no key gets the one that its route orders by now: the route keeps an order since
    /// then, or it was not configured when it was read in. What was tried before keeps what it had.
    pub(super) fn rekey(&mut self, at: usize) {
        let Some(lane) = self.lanes.get(at) else { return };
        let Some(order) = lane.route.order.clone() else { return };
        let mut keyed: BTreeMap<OrderKey, Vec<Offset>> = BTreeMap::new();
        for offset in &lane.ready {
            let open = lane.open.get(offset).filter(|open| open.key.is_none());
            if let Some(key) = open.and_then(|open| order.key(&open.event)) {
                keyed.entry(key).or_default().push(*offset);
            }
        }
        for (key, offsets) in keyed {
            self.rekey_one(at, key, offsets);
        }
    }

    fn rekey_one(&mut self, at: usize, key: OrderKey, offsets: Vec<Offset>) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        for offset in &offsets {
            if let Some(open) = lane.open.get_mut(offset) {
                open.key = Some(key);
            }
        }
        if !lane.keys().key(key).is_nothing() {
            // They may be older than what has the key, or younger: all of it is read again, in order. What is
            // under way, or waits for its next try, was first already.
            let mut all: BTreeSet<Offset> = offsets.into_iter().collect();
            let head = lane.keys().key(key).head;
            let head = head.filter(|head| lane.open.get(head).is_some_and(|open| open.state == State::Ready));
            let state = lane.keys().key(key);
            if head.is_some() {
                state.head = None;
            }
            all.extend(std::mem::take(&mut state.followers).into_iter().chain(head));
            for offset in all {
                self.put_under(at, key, offset);
            }
            return;
        }
        for offset in offsets {
            let Some(lane) = self.lanes.get_mut(at) else { return };
            if lane.parks(key) {
                self.put_under(at, key, offset);
            } else if !lane.keys().seat(key, offset, false) {
                lane.set(offset, State::Behind);
            }
        }
    }

    /// The route does not say `hold` any more: no key waits for its dead letters.
    pub(super) fn hold_no_more(&mut self, at: usize) {
        let Some(keys) = self.lanes.get_mut(at).and_then(|lane| lane.keys.as_mut()) else { return };
        let held: Vec<OrderKey> = keys.all.iter().filter(|(_, key)| key.held()).map(|(key, _)| *key).collect();
        for key in &held {
            if let Some(letters) = keys.all.get_mut(key).and_then(|key| key.letters.as_mut()) {
                letters.holding = 0;
            }
            keys.noted.insert(*key);
            keys.unstick(*key);
        }
        self.dirty.insert(at);
        for key in held {
            self.take_turn(at, key);
        }
    }

    /// Takes up what the ledger knows of keys at a start.
    pub fn resume_keys(&mut self, known: &[KeyState]) {
        for state in known {
            let at = self.lane(state.lane);
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            // A route that is not configured may hold when it comes back.
            let holds = lane.holds() || lane.target.is_none();
            lane.keys().resume(state, holds);
            self.thirsty.insert(at);
        }
    }

    /// Which key's parked entries to read now, and how many; it takes turns with `ready` entries.
    pub(super) fn page_key(&mut self, at: usize, ready: usize, now: Now) -> Option<(PageOf, usize)> {
        let (committed, open_max) = (self.committed, self.limits.open_max);
        let lane = self.lanes.get(at).filter(|l| l.parked > 0 && !l.paging && l.active() < open_max)?;
        let count = self.share(lane, lane.followers_max, now);
        let lane = self.lanes.get_mut(at)?;
        let ready_from = (lane.ledger_ready > 0).then_some(lane.ledger_from);
        let keys = lane.keys.as_mut()?;
        if count == 0 || std::mem::replace(&mut keys.ready_next, false) && ready > 0 {
            return None;
        }
        let (key, from, below) = keys.next_read(committed, ready_from)?;
        keys.ready_next = true;
        Some((PageOf::Key(key, from, below), count))
    }
}

/// Why the deliveries of a key end that was stuck longest.
pub(super) fn why_ended() -> (Code, Box<str>) {
    let note = "more keys of the route than its stuck_keys_max were stuck, and this one for the longest time";
    (codes::STUCK_KEYS, note.into())
}
