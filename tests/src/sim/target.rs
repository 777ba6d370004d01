//! Scripted targets: slow, failing, silent, lying, refusing, out of count.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use router_core::{
    codes,
    id::TargetName,
    order,
    source::RawEvent,
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Reason, Scope, Target},
};

use super::{
    Totals,
    damage::Lost,
    replies::{self, Said},
    rng::Rng,
    trace::Trace,
};
use crate::{
    coffee::{Fingerprint, KINDS, Key},
    oracle::{GivenUp, Moment, Parked, Published, Received, Tried},
};

/// How a target behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// Takes everything, soon.
    Good,
    /// Takes everything, late.
    Slow,
    /// Answers one in three with a 500.
    Failing,
    /// Refuses connections.
    Down,
    /// Says when to come again.
    Busy,
    /// Never answers.
    Silent,
    /// Takes it, and answers after the deadline.
    Late,
    /// Takes it, and says that it did not.
    Lying,
    /// Refuses one type for good.
    Refusing,
    /// Answers for fewer deliveries than it was given.
    Miscounting,
}

/// All of them.
pub const MOODS: [Mood; 10] = [
    Mood::Good,
    Mood::Slow,
    Mood::Failing,
    Mood::Down,
    Mood::Busy,
    Mood::Silent,
    Mood::Late,
    Mood::Lying,
    Mood::Refusing,
    Mood::Miscounting,
];

impl Mood {
    /// What to count a call as.
    fn word(self) -> &'static str {
        match self {
            Mood::Good => "calls of good targets",
            Mood::Slow => "calls of slow targets",
            Mood::Failing => "calls of failing targets",
            Mood::Down => "calls of targets that are down",
            Mood::Busy => "calls of busy targets",
            Mood::Silent => "calls of silent targets",
            Mood::Late => "calls of late targets",
            Mood::Lying => "calls of lying targets",
            Mood::Refusing => "calls of refusing targets",
            Mood::Miscounting => "calls of miscounting targets",
        }
    }
}

/// What the targets of a simulation share, through all lives of the router.
pub struct Targets {
    moods: Mutex<BTreeMap<String, Mood>>,
    journal: Mutex<Vec<Received>>,
    /// DeliveryIds that this life of the router was told are delivered.
    told: Mutex<BTreeSet<String>>,
    /// What was answered, by delivery.
    said: Mutex<BTreeMap<String, Answer>>,
    /// When each life began; the one that goes on is the last.
    lives: Mutex<Vec<Moment>>,
    wrong: Mutex<Vec<String>>,
    rng: Mutex<Rng>,
    trace: Arc<Trace>,
    order: Mutex<Ordered>,
    /// Calls under way, and how many there were in each mood.
    calls: AtomicU64,
    totals: Mutex<Totals>,
}

/// A call under way; it ends when the router drops it, too.
struct InCall<'a>(&'a Targets);

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer, and the lives in which it was first and last given.
struct Answer {
    route: String,
    offset: u64,
    said: Said,
    first: usize,
    last: usize,
}

/// What is seen of the routes that keep an order.
#[derive(Default)]
struct Ordered {
    life: u64,
    routes: BTreeSet<String>,
    tried: Vec<Tried>,
    /// Attempts under way: route, group, offset.
    under_way: BTreeSet<(String, String, u64)>,
}

/// Attempts under way; they end when the call does, however that comes about.
struct UnderWay<'a>(&'a Targets, Vec<(String, String, u64)>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut order = lock(&self.0.order);
        for attempt in &self.1 {
            order.under_way.remove(attempt);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Targets {
    /// Good ones.
    pub fn new(rng: Rng, trace: Arc<Trace>) -> Arc<Targets> {
        Arc::new(Targets {
            moods: Mutex::default(),
            journal: Mutex::default(),
            told: Mutex::default(),
            said: Mutex::default(),
            lives: Mutex::default(),
            wrong: Mutex::default(),
            rng: Mutex::new(rng),
            trace,
            order: Mutex::default(),
            calls: AtomicU64::new(0),
            totals: Mutex::default(),
        })
    }

    /// Calls that have not ended.
    pub fn under_way(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many calls there were in each mood.
    pub fn totals(&self) -> Totals {
        lock(&self.totals).clone()
    }

    fn called(&self, mood: Mood) -> InCall<'_> {
        lock(&self.totals).add(mood.word(), 1);
        self.calls.fetch_add(1, Ordering::Relaxed);
        InCall(self)
    }

    /// These routes keep an order, in every life.
    pub fn ordered(&self, routes: BTreeSet<String>) {
        lock(&self.order).routes = routes;
    }

    /// Every attempt of the routes that keep an order.
    pub fn tried(&self) -> Vec<Tried> {
        lock(&self.order).tried.clone()
    }

    fn begin(&self, batch: &[Delivery]) -> UnderWay<'_> {
        let mut order = lock(&self.order);
        let mut under_way = Vec::new();
        for d in batch.iter().filter(|d| order.routes.contains(d.route.as_str())).collect::<Vec<_>>() {
            // Events without the attribute have no order.
            let Some(group) = d.event.get("partitionkey").map(|v| v.to_string()) else { continue };
            // A replay keeps an order of its own.
            let (route, offset) = (format!("{} in run {}", d.route, d.id.lane.run), d.id.offset.0);
            let same = order.under_way.iter().filter(|(r, g, _)| *r == route && *g == group);
            let beside = same.map(|(_, _, offset)| *offset).collect();
            let late = d.event.get(order::LATE).is_some();
            let (life, attempt) = (order.life, d.attempt);
            let seen = (route.clone(), group.clone(), offset);
            order.tried.push(Tried { life, route, group, offset, attempt, late, beside });
            order.under_way.insert(seen.clone());
            under_way.push(seen);
        }
        UnderWay(self, under_way)
    }

    /// From now on a target behaves so.
    pub fn set(&self, target: &str, mood: Mood) {
        self.trace.note("mood", &[target, &format!("{mood:?}")]);
        lock(&self.moods).insert(target.into(), mood);
    }

    /// A new life of the router: it may not know what the one before was told.
    pub fn restarted(&self, now: Moment) {
        lock(&self.told).clear();
        let mut order = lock(&self.order);
        order.life += 1;
        order.under_way.clear();
        lock(&self.lives).push(now);
    }

    /// The replies as events that somebody published: between the beginning of the life of the first such answer and
    /// the end of that of the last one, since that one's delivery was settled, where it is no dead letter, nobody gave
    /// it up, and its event was not damaged and given up with it. And what of them should be in the quarantine and is
    /// not, or is there and was not said.
    pub fn replies(
        &self,
        parked: &[Parked],
        quarantined: &[Parked],
        given_up: &[GivenUp],
        damaged: &Lost,
    ) -> (Vec<Published>, Vec<String>) {
        let parked: BTreeSet<&str> = parked.iter().map(|p| p.delivery.as_str()).collect();
        let lives = lock(&self.lives);
        let (mut replies, mut wrong, mut nonsense) = (BTreeMap::new(), Vec::new(), 0u64);
        let mut may = 0u64;
        for (delivery, answer) in &*lock(&self.said) {
            let given_up = given_up.iter().any(|given| given.covers(&answer.route, delivery));
            let given_up = given_up || damaged.contains_key(&answer.offset);
            let settled = !parked.contains(delivery.as_str()) && !given_up;
            let (Said::Own(reply) | Said::Given(reply)) = &answer.said else {
                nonsense += u64::from(settled);
                may += 1;
                continue;
            };
            let first_sent = lives.get(answer.first).copied().unwrap_or_default();
            let acked = lives.get(answer.last + 1).copied().filter(|_| settled);
            let one = Published { event: Arc::new(reply.clone()), first_sent, acked, refused: None, offset: None };
            // Two deliveries may say one thing, to an event that came again after it was gone.
            replies.entry(reply.key.clone()).or_insert(one);
        }
        let kept = quarantined.len() as u64;
        if kept < nonsense || kept > may {
            wrong.push(format!(
                "{kept} answers are in the quarantine, of {nonsense} that must be and {may} that may be"
            ));
        }
        (replies.into_values().collect(), wrong)
    }

    fn answered(&self, delivery: &Delivery, said: &Said) {
        if delivery.id.lane.run.0 != 0 {
            // What is said to a replay is left: see `Replies::Discard`.
            return;
        }
        let life = lock(&self.lives).len().saturating_sub(1);
        let mut all = lock(&self.said);
        let (route, offset, said) = (delivery.route.to_string(), delivery.id.offset.0, said.clone());
        let answer = Answer { route, offset, said, first: life, last: life };
        let known = all.entry(delivery.id.to_string()).or_insert(answer);
        known.last = life;
    }

    /// Everything that came.
    pub fn journal(&self) -> Vec<Received> {
        lock(&self.journal).clone()
    }

    /// What the router did that no schedule excuses.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    fn mood(&self, target: &str) -> Mood {
        lock(&self.moods).get(target).copied().unwrap_or(Mood::Good)
    }

    fn received(&self, delivery: &Delivery, status: Option<u16>) {
        let event = &delivery.event;
        let attrs: BTreeMap<String, String> =
            event.attrs().filter(|(n, _)| *n != order::LATE).map(|(n, v)| (n.into(), v.to_string())).collect();
        let print = Fingerprint::of(attrs.iter().map(|(n, v)| (n.as_str(), v.as_str())), event.data());
        let id = delivery.id.to_string();
        if status == Some(200) && !lock(&self.told).insert(id.clone()) {
            lock(&self.wrong).push(format!("{id} was delivered again in one life"));
        }
        let mut journal = lock(&self.journal);
        let at = journal.len() as u64;
        journal.push(Received {
            at,
            route: delivery.route.as_str().into(),
            key: Key { source: event.source().into(), id: event.id().into() },
            print,
            delivery: id.into(),
            attempt: delivery.attempt,
            status,
        });
    }
}

/// One of them.
pub struct SimTarget {
    name: TargetName,
    limits: BatchLimits,
    all: Arc<Targets>,
}

impl SimTarget {
    /// A target of this name, with these limits.
    pub fn new(name: &str, all: &Arc<Targets>, limits: BatchLimits) -> SimTarget {
        let limits = BatchLimits { in_flight_max: 8, deadline: Duration::from_secs(5), ..limits };
        SimTarget { name: TargetName::new(name).expect("a name"), limits, all: all.clone() }
    }

    fn replies(&self, delivery: &Delivery) -> Vec<RawEvent> {
        let said = replies::said(delivery);
        if let Some(said) = &said {
            self.all.answered(delivery, said);
        }
        said.iter().map(|said| replies::raw(said, delivery)).collect()
    }

    fn one(&self, mood: Mood, delivery: &Delivery) -> Outcome {
        let facts = |status| Facts { status: Some(status), ..Facts::default() };
        let retry = |status, scope| Outcome::Retry { facts: facts(status), scope, not_before: None };
        let (status, outcome) = match mood {
            Mood::Failing if lock(&self.all.rng).chance(33) => (500, retry(500, Scope::Event)),
            Mood::Lying => (500, retry(500, Scope::Event)),
            Mood::Refusing if delivery.event.kind() == KINDS[0] => {
                (422, Outcome::Refused { facts: facts(422), code: codes::REFUSED })
            }
            _ => (200, Outcome::Delivered { facts: facts(200), replies: self.replies(delivery) }),
        };
        self.all.received(delivery, Some(status));
        outcome
    }
}

#[async_trait]
impl Target for SimTarget {
    fn name(&self) -> &TargetName {
        &self.name
    }

    fn limits(&self) -> BatchLimits {
        self.limits
    }

    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mood = self.all.mood(self.name.as_str());
        let (_call, _under_way) = (self.all.called(mood), self.all.begin(batch));
        for d in batch {
            let (id, attempt) = (d.id.to_string(), d.attempt.to_string());
            self.all.trace.note("deliver", &[self.name.as_str(), &id, &attempt, &format!("{mood:?}")]);
        }
        let wait = match mood {
            Mood::Slow => lock(&self.all.rng).ms(50, 1_500),
            _ => lock(&self.all.rng).ms(0, 5),
        };
        tokio::time::sleep(wait).await;
        let down = |not_before: Option<Duration>| {
            let facts = Facts { status: not_before.map(|_| 503), ..Facts::default() };
            Outcome::Retry { facts, scope: Scope::Target, not_before }
        };
        match mood {
            Mood::Down => batch.iter().map(|_| down(None)).collect(),
            Mood::Busy => batch.iter().map(|_| down(Some(Duration::from_secs(2)))).collect(),
            Mood::Silent => std::future::pending().await,
            Mood::Late => {
                batch.iter().for_each(|d| self.all.received(d, None));
                std::future::pending().await
            }
            Mood::Miscounting => {
                batch.iter().for_each(|d| self.all.received(d, None));
                Vec::new()
            }
            Mood::Failing | Mood::Refusing if self.limits.partial == Partial::AllOrNothing => self.whole(mood, batch),
            mood => batch.iter().map(|d| self.one(mood, d)).collect(),
        }
    }
}

impl SimTarget {
    /// A target that takes a batch whole or not at all: one answer, the guilty event's, for everybody.
    fn whole(&self, mood: Mood, batch: &[Delivery]) -> Vec<Outcome> {
        let refused = mood == Mood::Refusing && batch.iter().any(|d| d.event.kind() == KINDS[0]);
        let failed = mood == Mood::Failing && lock(&self.all.rng).chance(33);
        let status = if refused {
            422
        } else if failed {
            500
        } else {
            200
        };
        let facts = || Facts { status: Some(status), ..Facts::default() };
        let answer = |d: &Delivery| {
            self.all.received(d, Some(status));
            match status {
                422 => Outcome::Refused { facts: facts(), code: codes::REFUSED },
                500 => Outcome::Retry { facts: facts(), scope: Scope::Event, not_before: None },
                _ => Outcome::Delivered { facts: facts(), replies: Vec::new() },
            }
        };
        batch.iter().map(answer).collect()
    }
}
