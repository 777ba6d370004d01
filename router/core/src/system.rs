//! What the router itself tells: facts, each a CloudEvent on the internal bus [`BUS`], routable like any other.
//!
//! Whoever has a fact says it with [`Facts::tell`], which never waits. Facts of one kind about one subject are folded
//! into one event for each second ([`FOLD_EVERY`]), with a count; so a flood of dead letters is a trickle here. A fact
//! about a delivery of the bus `system` itself is counted and makes no event: nothing here can cause itself.
//! What cannot be appended (the disk is full) is counted and logged, and nothing waits for it.
//!
//! Writes over the admin API are told at once, durable before they are answered.

/// The facts, their types and their data.
mod fact;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use schemas::{Event, Form, Invalid};
use tokio::sync::Notify;

use self::fact::Sum;
pub use self::fact::{Fact, types};
use crate::{
    clock::Timestamp,
    id::{BusName, Epoch, Offset},
    stats::Counter,
};

/// The bus. It is always there, nothing from outside comes in, and routes read it like any other.
pub const BUS: &str = "system";
/// Facts of one kind about one subject are one event for each such time.
pub const FOLD_EVERY: Duration = Duration::from_secs(1);
/// Subjects of facts that wait to be told; those beyond are counted as lost.
pub const SUBJECTS_MAX: usize = 1_024;
/// Reasons that one event about dead letters names; those beyond are counted under `other`.
const REASONS_MAX: usize = 16;

/// The name of the bus.
pub fn bus() -> BusName {
    // The text is a name; were it none, no router would start.
    BusName::new(BUS).unwrap_or_else(|_| unreachable!())
}

/// Facts of one kind about one subject.
#[derive(Debug)]
struct Folded {
    /// The last of them, when it was told, and its place among all that wait.
    fact: Fact,
    at: Timestamp,
    place: u64,
    sum: Sum,
}

impl Folded {
    fn add(&mut self, fact: Fact, at: Timestamp, place: u64) {
        self.sum.count = self.sum.count.saturating_add(fact.count());
        if let Fact::Parked { reason, id, .. } = &fact {
            let reasons = &mut self.sum.reasons;
            let known = reasons.len() < REASONS_MAX || reasons.contains_key(&**reason);
            *reasons.entry(if known { &**reason } else { "other" }.to_owned()).or_default() += 1;
            self.sum.first.get_or_insert(*id);
        }
        (self.fact, self.at, self.place) = (fact, at, place);
    }
}

/// Facts that wait to be told, and what became of those before.
#[derive(Debug, Default)]
pub struct Facts {
    /// Whether there is a bus for them.
    on: AtomicBool,
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// Events that were appended.
    pub told: Counter,
    /// Facts that were not: no space, or too many subjects.
    pub lost: Counter,
    /// Facts about the bus `system` itself, which make no event.
    pub about_itself: Counter,
}

#[derive(Debug, Default)]
struct Waiting {
    by: BTreeMap<(&'static str, String), Folded>,
    places: u64,
}

impl Facts {
    /// There is a bus for them from now on.
    pub fn begin(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// Whether there is a bus for them.
    pub fn on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Tells a fact with the next second's events. Never waits.
    pub fn tell(&self, fact: Fact, at: Timestamp) {
        if !self.on() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (fact.kind(), fact.subject());
        if waiting.by.len() >= SUBJECTS_MAX && !waiting.by.contains_key(&key) {
            self.lost.add(fact.count());
            return;
        }
        waiting.places += 1;
        let place = waiting.places;
        let first = || Folded { fact: fact.clone(), at, place, sum: Sum::default() };
        waiting.by.entry(key).or_insert_with(first).add(fact, at, place);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Resolves when there may be something to take.
    pub async fn waiting(&self) {
        self.wake.notified().await;
    }

    /// Takes what waits, in the order in which it was told last, so that what opened again comes after what closed:
    /// each with the number of facts in it.
    pub fn take(&self, teller: &mut Teller) -> Vec<(Event, u64)> {
        let waiting = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).by);
        let mut folded: Vec<Folded> = waiting.into_values().collect();
        folded.sort_by_key(|f| f.place);
        let mut events = Vec::with_capacity(folded.len());
        for Folded { fact, at, sum, .. } in folded {
            match teller.event(&fact, &sum, at) {
                Ok(event) => events.push((event, sum.count)),
                // A fact is plain data, so this is an error of the program: it is counted all the same.
                Err(_) => self.lost.add(sum.count),
            }
        }
        events
    }
}

/// Makes events of facts, each with an id of its own.
#[derive(Clone, Debug)]
pub struct Teller {
    source: String,
    /// What the ids of this start begin with: where its log ended.
    start: Offset,
    told: u64,
}

impl Teller {
    /// Of the store with this epoch, whose log of the bus ends here: what was told since an earlier start moved it.
    pub fn new(epoch: Epoch, start: Offset) -> Self {
        Teller { source: format!("/gocoffee/{:016x}", epoch.0), start, told: 0 }
    }

    /// The event of one fact.
    ///
    /// # Errors
    /// An error of the program: a fact is plain data.
    pub fn one(&mut self, fact: &Fact, at: Timestamp) -> Result<Event, Invalid> {
        self.event(fact, &Sum { count: fact.count(), ..Sum::default() }, at)
    }

    fn event(&mut self, fact: &Fact, sum: &Sum, at: Timestamp) -> Result<Event, Invalid> {
        self.told += 1;
        let id = format!("{}-{}", self.start, self.told);
        let data = fact.data(sum).unwrap_or_default();
        Event::builder(&id, &self.source, fact.kind())
            .attr("subject", fact.subject().as_str())
            .attr("time", at.rfc3339().as_str())
            .attr("datacontenttype", "application/json")
            .attr("dataschema", format!("urn:gocoffee:schema:{}:1", fact.kind()).as_str())
            .data(Form::Json, data)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use schemas::payload::system as payload;

    use super::*;
    use crate::id::{BusId, DeliveryId, LaneId, RouteId, RouteName, RunId, TargetName};

    fn dead(offset: u64, reason: &str) -> Fact {
        let lane = LaneId { bus: BusId(1), route: RouteId(2), run: RunId(0) };
        Fact::Parked {
            route: RouteName::new("orders").unwrap(),
            target: TargetName::new("sink").unwrap(),
            reason: reason.into(),
            id: DeliveryId { epoch: Epoch(7), lane, offset: Offset(offset) },
        }
    }

    fn closed(target: &str) -> Fact {
        Fact::BreakerClosed { target: TargetName::new(target).unwrap() }
    }

    fn facts() -> Facts {
        let facts = Facts::default();
        facts.begin();
        facts
    }

    #[test]
    fn a_flood_about_one_route_is_one_event_with_a_count() {
        let facts = facts();
        for n in 1..=1_000 {
            facts.tell(dead(n, if n % 10 == 0 { "too-old" } else { "refused" }), Timestamp(n));
        }
        facts.tell(Fact::LettersEnded { reason: "dead-letters-age", count: 40 }, Timestamp(1_001));
        facts.tell(Fact::LettersEnded { reason: "dead-letters-age", count: 2 }, Timestamp(1_002));
        let mut teller = Teller::new(Epoch(7), Offset(3));
        let events = facts.take(&mut teller);
        let [(letters, 1_000), (ended, 42)] = &events[..] else { panic!("{events:?}") };
        let data: payload::Parked = serde_json::from_slice(letters.data()).unwrap();
        assert_eq!(data.count, 1_000);
        assert_eq!(data.reasons, [("refused".to_owned(), 900), ("too-old".to_owned(), 100)].into());
        assert_eq!((&*data.first, &*data.last), ("0000000000000007-1-1-2-0", "0000000000000007-1-1000-2-0"));
        assert_eq!((letters.kind(), letters.source()), (types::LETTERS_PARKED, "/gocoffee/0000000000000007"));
        assert_eq!((letters.id(), ended.id()), ("3-1", "3-2"));
        let data: payload::LettersEnded = serde_json::from_slice(ended.data()).unwrap();
        assert_eq!((&*data.reason, data.count), ("dead-letters-age", 42));
        assert!(facts.take(&mut teller).is_empty());
    }

    #[test]
    fn what_was_told_last_comes_last() {
        let facts = facts();
        let opened = || Fact::BreakerOpened {
            target: TargetName::new("t").unwrap(),
            wait: Duration::from_secs(1),
            why: "503".into(),
        };
        for fact in [opened(), closed("t"), opened()] {
            facts.tell(fact, Timestamp(1));
        }
        let events = facts.take(&mut Teller::new(Epoch(1), Offset(1)));
        let kinds: Vec<&str> = events.iter().map(|(event, _)| event.kind()).collect();
        assert_eq!(kinds, [types::BREAKER_CLOSED, types::BREAKER_OPENED]);
    }

    #[test]
    fn reasons_beyond_the_limit_are_counted_together() {
        let facts = facts();
        for n in 0..20 {
            facts.tell(dead(n, &format!("reason-{n}")), Timestamp(1));
        }
        let events = facts.take(&mut Teller::new(Epoch(1), Offset(1)));
        let data: payload::Parked = serde_json::from_slice(events[0].0.data()).unwrap();
        assert_eq!((data.reasons.len(), data.reasons["other"]), (REASONS_MAX + 1, 4));
    }

    #[test]
    fn subjects_are_bounded_and_what_is_beyond_is_counted() {
        let facts = facts();
        for n in 0..SUBJECTS_MAX + 3 {
            facts.tell(closed(&format!("t{n}")), Timestamp(1));
        }
        assert_eq!(facts.take(&mut Teller::new(Epoch(1), Offset(1))).len(), SUBJECTS_MAX);
        assert_eq!(facts.lost.get(), 3);
    }

    #[test]
    fn without_a_bus_nothing_waits() {
        let facts = Facts::default();
        facts.tell(Fact::Resumed, Timestamp(1));
        assert!(facts.take(&mut Teller::new(Epoch(1), Offset(1))).is_empty());
    }

    #[test]
    fn every_type_has_a_schema() {
        for kind in types::ALL {
            let path = format!("{}/../../schemas/payloads/{kind}.schema.json", env!("CARGO_MANIFEST_DIR"));
            assert!(std::path::Path::new(&path).exists(), "{path}");
        }
    }
}
