//! The keys of a lane with order. No I/O.
//!
//! A key has a *head*, whose turn it is: a delivery in memory, or one that waits in the ledger (*away*).
//! What comes after it in memory is *behind* it, at most [`FOLLOWERS_MAX`]; the rest is *parked* under the
//! key in the ledger. A key whose head failed by its own fault is *stuck* until that one is settled: all
//! behind it is parked, and what comes is parked at once. So is a key that waits for its dead letters.
//!
//! Of one key, what is in memory comes before what is parked, and that before what is ready in the ledger
//! and was not read yet: so each is taken in only when nothing that is older is left before it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    clock::Timestamp,
    id::{Offset, OrderKey},
    store::{KeyLetters, KeyState},
};

/// Deliveries of one key in memory behind the one whose turn it is.
pub const FOLLOWERS_MAX: usize = 64;
/// Keys of a lane whose dead letters are noted; of the others it is not known whether later ones went before.
pub const NOTED_MAX: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    followers_max: usize,
    pub all: BTreeMap<OrderKey, Key>,
    /// Keys whose parked entries may come into memory, in the order in which they asked.
    pub hungry: VecDeque<OrderKey>,
    /// Stuck keys, the one that is stuck longest first.
    pub stuck: BTreeSet<(Timestamp, OrderKey)>,
    /// Keys about whose dead letters the next commit says something.
    pub noted: BTreeSet<OrderKey>,
    /// Keys that are dead-lettered whole, as far as they are parked.
    pub ending: VecDeque<OrderKey>,
    /// It is the turn of the ready entries to be read.
    pub ready_next: bool,
    /// The key that is being read, and the lowest offset that was parked under it meanwhile.
    pub reading: Option<(OrderKey, Offset)>,
    /// Keys with dead letters.
    pub with_letters: usize,
}

/// One key.
#[derive(Debug, Default)]
pub(super) struct Key {
    /// Whose turn it is, in memory.
    pub head: Option<Offset>,
    /// Behind it in memory.
    pub followers: BTreeSet<Offset>,
    /// Deliveries of it that wait in the ledger alone.
    pub away: u64,
    /// Entries that are parked under it in the ledger alone, none of them below `parked_from`.
    pub parked: u64,
    pub parked_from: Offset,
    /// The ledger shows all of them once this commit is done.
    pub readable_after: u64,
    /// Since when it is stuck.
    pub stuck: Option<Timestamp>,
    /// It stands among those that ask for their parked entries.
    pub hungry: bool,
    pub letters: Option<KeyLetters>,
    /// What is below is dead-lettered whole.
    pub ending: Option<Offset>,
}

impl Key {
    /// Whether it waits for its dead letters.
    pub fn held(&self) -> bool {
        self.letters.is_some_and(|letters| letters.holding > 0)
    }

    /// Whether what comes now is parked.
    pub fn parks(&self, followers_max: usize) -> bool {
        let closed = self.stuck.is_some() || self.ending.is_some();
        closed || self.parked > 0 || self.followers.len() >= followers_max
    }

    /// Whether the next may be tried.
    fn free(&self) -> bool {
        self.head.is_none() && self.away == 0 && self.stuck.is_none() && self.ending.is_none()
    }

    /// Whether its parked entries may come into memory.
    pub fn asks(&self, followers_max: usize) -> bool {
        let open = self.stuck.is_none() && self.away == 0 && self.ending.is_none();
        open && self.parked > 0 && self.followers.len() < followers_max.div_ceil(2)
    }

    /// Whether nothing of it is anywhere.
    pub fn is_nothing(&self) -> bool {
        let memory = self.head.is_some() || !self.followers.is_empty();
        !memory && self.away == 0 && self.parked == 0 && self.letters.is_none() && self.ending.is_none()
    }
}

impl Keys {
    pub fn new(followers_max: usize) -> Self {
        Keys {
            followers_max,
            all: BTreeMap::new(),
            hungry: VecDeque::new(),
            stuck: BTreeSet::new(),
            noted: BTreeSet::new(),
            ending: VecDeque::new(),
            ready_next: false,
            reading: None,
            with_letters: 0,
        }
    }

    pub fn key(&mut self, key: OrderKey) -> &mut Key {
        self.all.entry(key).or_default()
    }

    /// Whether what comes of a key is parked.
    pub fn parks(&self, key: OrderKey) -> bool {
        self.all.get(&key).is_some_and(|key| key.parks(self.followers_max))
    }

    /// A delivery comes into memory: whether it is its turn. One that was `away` is the head of a stuck key.
    pub fn seat(&mut self, key: OrderKey, offset: Offset, was_away: bool) -> bool {
        let key = self.key(key);
        if was_away {
            key.away = key.away.saturating_sub(1);
        }
        let turn = key.head.is_none() && (was_away || key.free());
        if turn {
            key.head = Some(offset);
        } else {
            key.followers.insert(offset);
        }
        turn
    }

    /// An entry is parked under a key, readable after this commit.
    pub fn park(&mut self, key: OrderKey, offset: Offset, commit: u64) {
        if let Some((reading, lowest)) = &mut self.reading
            && *reading == key
        {
            *lowest = offset.min(*lowest);
        }
        let key = self.key(key);
        key.parked_from = if key.parked == 0 { offset } else { offset.min(key.parked_from) };
        key.parked += 1;
        key.readable_after = commit;
    }

    /// The head waits, or the key is held: it is stuck. What has to be parked of it.
    pub fn stick(&mut self, key: OrderKey, now: Timestamp) -> BTreeSet<Offset> {
        let state = self.all.entry(key).or_default();
        if state.stuck.is_none() {
            state.stuck = Some(now);
            self.stuck.insert((now, key));
        }
        std::mem::take(&mut state.followers)
    }

    /// It is stuck no longer, unless it waits for its dead letters or for what is away.
    pub fn unstick(&mut self, key: OrderKey) {
        let Some(state) = self.all.get_mut(&key) else { return };
        if state.held() || state.away > 0 || state.head.is_some() {
            return;
        }
        if let Some(since) = state.stuck.take() {
            self.stuck.remove(&(since, key));
        }
    }

    /// A delivery is not in memory any more, settled or given to the ledger.
    pub fn leave(&mut self, key: OrderKey, offset: Offset) {
        let Some(state) = self.all.get_mut(&key) else { return };
        state.followers.remove(&offset);
        if state.head == Some(offset) {
            state.head = None;
            self.unstick(key);
        }
    }

    /// The head leaves memory to wait in the ledger.
    pub fn send_away(&mut self, key: OrderKey, offset: Offset) {
        let key = self.key(key);
        key.followers.remove(&offset);
        if key.head == Some(offset) {
            key.head = None;
        }
        key.away += 1;
    }

    /// Whose turn it is now, where it was nobody's. A key of which nothing is left is forgotten.
    pub fn turn(&mut self, key: OrderKey) -> Option<Offset> {
        let followers_max = self.followers_max;
        let state = self.all.get_mut(&key)?;
        let next = if state.free() { state.followers.pop_first() } else { None };
        state.head = state.head.or(next);
        if state.asks(followers_max) && !state.hungry {
            state.hungry = true;
            self.hungry.push_back(key);
        }
        if state.is_nothing() {
            if let Some(since) = state.stuck {
                self.stuck.remove(&(since, key));
            }
            self.all.remove(&key);
        }
        next
    }

    /// The next key whose parked entries are read: from where, and up to before where. `ready_from`: the ledger
    /// has ready entries that were not read yet, from there on; older ones of the key may be among them.
    pub fn next_read(&mut self, committed: u64, ready_from: Option<Offset>) -> Option<(OrderKey, Offset, Offset)> {
        let below = ready_from.unwrap_or(Offset(u64::MAX));
        for _ in 0..self.hungry.len() {
            let key = self.hungry.pop_front()?;
            let Some(state) = self.all.get_mut(&key) else { continue };
            if !state.asks(self.followers_max) {
                state.hungry = false;
                continue;
            }
            if state.readable_after > committed || state.parked_from >= below {
                self.hungry.push_back(key);
                continue;
            }
            state.hungry = false;
            self.reading = Some((key, Offset(u64::MAX)));
            return Some((key, state.parked_from, below));
        }
        None
    }

    /// What the ledger knows of a key at a start.
    pub fn resume(&mut self, known: &KeyState, holds: bool) {
        let letters = known.letters.map(|l| KeyLetters { holding: if holds { l.holding } else { 0 }, ..l });
        let state = self.key(known.key);
        (state.parked, state.away, state.letters) = (known.parked, known.waiting, letters);
        let stuck = state.held() || state.away > 0;
        self.with_letters += usize::from(letters.is_some());
        if stuck {
            self.stick(known.key, letters.map_or(Timestamp(0), |l| l.since));
        }
        self.turn(known.key);
    }
}
