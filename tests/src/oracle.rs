//! Who is owed what, and what became of it, computed outside the router.
//!
//! It knows four things: the publishers' journal (what was sent when, and when it was acknowledged), the
//! history of the routes (which filter was asked for when, and when that was confirmed), the sinks'
//! journals, and the open dead letters. Filters are plain Rust predicates written beside the pattern that
//! the router gets. From these follow, for each event and route:
//!
//! - *owed*: acknowledged, and every version of the route that can have judged it wants it. It must have
//!   been delivered at least once, or be a dead letter.
//! - *free*: never acknowledged, or sent around a change of the route. It may arrive.
//! - *not owed*: anything else. It must not arrive.
//!
//! What an operator gives up need not arrive; once the router has said that it is done, it must not.
//!
//! A replay owes each acknowledged event of its range, once more, to each of its routes that wanted it when it
//! was started; its deliveries carry its run and say nothing of what the live flow owes.
//!
//! Whatever arrives has the attributes and the data bytes that were sent, and all attempts of one
//! event on one route in one run carry one DeliveryId, which no other event or route carries.
//!
//! A version is certain only where the clocks leave no doubt: an event acknowledged before a change was
//! requested was judged by what held before, one first sent after it was confirmed by what held after.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::coffee::{Coffee, Fingerprint, Key};

/// Violations that a verdict spells out; the others it counts.
const SHOWN_MAX: usize = 20;

/// Microseconds since this process first asked.
pub type Moment = u64;

/// The time, for journals and histories.
pub fn now() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as Moment + 1
}

/// One event in the publishers' journal.
#[derive(Clone, Debug)]
pub struct Published {
    /// The event.
    pub event: Arc<Coffee>,
    /// Just before it was sent for the first time.
    pub first_sent: Moment,
    /// Just after the first 202; `None` if there was none.
    pub acked: Option<Moment>,
    /// It was refused for good.
    pub refused: Option<u16>,
    /// Its place in the log, where the answer told it.
    pub offset: Option<u64>,
}

/// Whether a route wants an event; `None` wants nothing: the route is not there.
pub type Wants = Option<Arc<dyn Fn(&Coffee) -> bool + Send + Sync>>;

/// What a route wants from some moment on.
#[derive(Clone)]
pub struct Version {
    /// Just before the change was asked for.
    pub requested: Moment,
    /// Just after it was confirmed.
    pub confirmed: Moment,
    /// What it wants.
    pub wants: Wants,
}

/// A route through time; before its first version it is not there.
#[derive(Clone)]
pub struct RouteHistory {
    /// Its name.
    pub name: String,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
}

/// What stands for the idempotency key of an event that came with others in one request: such a request has
/// none, and its events are told apart by their own identity.
pub const IN_BATCH: &str = "in a batch";

/// One event of a request in a sink's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// When.
    pub at: Moment,
    /// The path without its slash: the route's name.
    pub route: Arc<str>,
    /// Which event.
    pub key: Key,
    /// What it looked like.
    pub print: Fingerprint,
    /// The idempotency key that came with it.
    pub delivery: Arc<str>,
    /// The number of the attempt that came with it.
    pub attempt: u32,
    /// What the sink answers; `None`: nothing, ever.
    pub status: Option<u16>,
}

impl Received {
    /// Whether the sink took it.
    pub fn taken(&self) -> bool {
        self.status.is_some_and(|s| (200..300).contains(&s))
    }
}

/// An open dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Its route.
    pub route: String,
    /// Which event.
    pub key: Key,
    /// What the kept event looks like.
    pub print: Fingerprint,
    /// Its DeliveryId.
    pub delivery: String,
}

/// Whether a route of a replay wants an event.
pub type Wanted = Arc<dyn Fn(&Coffee) -> bool + Send + Sync>;

/// A replay.
#[derive(Clone)]
pub struct Replayed {
    /// Its run.
    pub run: u32,
    /// Its first offset.
    pub from: u64,
    /// The offset behind its last one.
    pub to: u64,
    /// Its routes, and what each wanted when it was started, its own filter included.
    pub routes: Vec<(String, Wanted)>,
    /// It says that it has settled all of its range.
    pub done: bool,
}

impl Replayed {
    fn owes(&self, event: &Coffee, offset: u64, route: &str) -> bool {
        let within = (self.from..self.to).contains(&offset);
        within && self.routes.iter().any(|(name, wants)| name == route && wants(event))
    }
}

/// Everything that is known at the end, when nothing waits any more.
#[derive(Clone, Default)]
pub struct Case {
    /// What was published.
    pub published: Vec<Published>,
    /// What the routes wanted.
    pub routes: Vec<RouteHistory>,
    /// What arrived.
    pub received: Vec<Received>,
    /// What was parked.
    pub parked: Vec<Parked>,
    /// What was replayed.
    pub replays: Vec<Replayed>,
    /// Attempts of routes that keep an order, as they began.
    pub tried: Vec<Tried>,
    /// What operators have given up.
    pub given_up: Vec<GivenUp>,
    /// Events that were damaged on the disk, which the router has said by name. They need not arrive any more; one that
    /// is sent again is a new event.
    pub damaged: BTreeSet<Key>,
    /// Offsets that only the archive had, and that were not there for a while: a replay may have passed them over, and
    /// has said so.
    pub missing: Vec<Range<u64>>,
}

/// What a route is owed, given up by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The route.
    pub route: String,
    /// Below this offset.
    pub below: u64,
    /// Just before it was asked for.
    pub asked: Moment,
    /// How many requests had arrived when the router had answered that it is done, and the offsets of the route's dead
    /// letters then: they stay.
    pub answered: Option<(u64, BTreeSet<u64>)>,
}

impl GivenUp {
    /// Whether a route need not get an event any more.
    fn excuses(&self, published: &Published, route: &str) -> bool {
        // One whose place is not known was perhaps there already.
        let below = published.offset.map_or(published.first_sent < self.asked, |offset| offset < self.below);
        self.route == route && below
    }

    /// Whether it is about this delivery.
    pub fn covers(&self, route: &str, delivery: &str) -> bool {
        let (offset, run) = parts(delivery);
        run == 0 && *self.route == *route && offset < self.below
    }

    /// Whether a request should never have been made.
    fn forbids(&self, received: &Received) -> bool {
        let Some((arrived, letters)) = &self.answered else { return false };
        let offset = parts(&received.delivery).0;
        self.covers(&received.route, &received.delivery)
            && *received.delivery != *IN_BATCH
            && received.at >= *arrived
            && !letters.contains(&offset)
    }
}

/// The beginning of an attempt of a delivery whose route keeps an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// In which life of the router.
    pub life: u64,
    /// On which route.
    pub route: String,
    /// What the delivery is ordered by.
    pub group: String,
    /// Its place in the log.
    pub offset: u64,
    /// The number of this attempt.
    pub attempt: u32,
    /// It says that later ones went before it.
    pub late: bool,
    /// Offsets of the same group whose attempts had not ended.
    pub beside: Vec<u64>,
}

/// The offset and the run of a DeliveryId, EPOCH-BUS-OFFSET-ROUTE-RUN; that of the live flow where it is none.
fn parts(delivery: &str) -> (u64, u32) {
    let mut numbers = delivery.split('-').skip(2);
    let offset = numbers.next().and_then(|p| p.parse().ok()).unwrap_or_default();
    (offset, numbers.nth(1).and_then(|p| p.parse().ok()).unwrap_or_default())
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Acknowledged and wanted, and neither delivered nor a dead letter.
    Lost(Key, String),
    /// Nobody published it, or it was refused.
    Invented(Key, String),
    /// The route does not want it.
    NotOwed(Key, String),
    /// An operator gave it up, and the router had said that it is done.
    Revived(Key, String),
    /// Attributes or data are not those that were published.
    Changed(Key, String, &'static str),
    /// Several DeliveryIds in one run.
    SecondId(Key, String, Vec<String>),
    /// One DeliveryId for several events or routes.
    SharedId(String, Vec<String>),
    /// No DeliveryId at all.
    NoId(Key, String, String),
    /// A valid event was refused.
    Refused(Key, u16),
    /// The first attempt of a delivery was made before that of an older one of its group.
    Overtook(String, u64, u64),
    /// Two attempts of one group were made at a time.
    Together(String, u64, u64),
}

impl Violation {
    /// One word for what happened.
    pub fn word(&self) -> &'static str {
        match self {
            Violation::Lost(..) => "lost",
            Violation::Invented(..) => "invented",
            Violation::NotOwed(..) => "not owed",
            Violation::Revived(..) => "revived",
            Violation::Changed(..) => "changed",
            Violation::SecondId(..) => "second id",
            Violation::SharedId(..) => "shared id",
            Violation::NoId(..) => "no id",
            Violation::Refused(..) => "refused",
            Violation::Overtook(..) => "overtook",
            Violation::Together(..) => "together",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lost(key, route) => {
                write!(f, "lost: {key} was acknowledged and is owed to {route}, but was neither delivered nor parked")
            }
            Violation::Invented(key, route) => write!(f, "invented: {key} reached {route}, but nobody published it"),
            Violation::NotOwed(key, route) => write!(f, "not owed: {key} reached {route}, which does not want it"),
            Violation::Revived(key, route) => {
                write!(f, "revived: {key} reached {route} after an operator had given it up")
            }
            Violation::Changed(key, route, what) => write!(f, "changed: {what} of {key} on its way to {route}"),
            Violation::SecondId(key, route, ids) => {
                write!(f, "second id: {key} reached {route} in one run as {}", ids.join(" and as "))
            }
            Violation::SharedId(id, owners) => write!(f, "shared id: {id} stands for {}", owners.join(" and for ")),
            Violation::NoId(key, route, id) => write!(f, "no id: {key} reached {route} with the delivery id `{id}`"),
            Violation::Overtook(group, first, then) => {
                write!(f, "overtook: of {group}, the first attempt at {then} came after one at {first}")
            }
            Violation::Together(group, one, other) => {
                write!(f, "together: of {group}, an attempt at {other} began while one at {one} was under way")
            }
            Violation::Refused(key, status) => write!(f, "refused: {key} is valid and was answered with {status}"),
        }
    }
}

/// What became of a route's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Events that are owed.
    pub owed: u64,
    /// Events that a sink took at least once.
    pub delivered: u64,
    /// Open dead letters.
    pub parked: u64,
    /// Requests, all attempts of all events.
    pub requests: u64,
}

/// The judgement.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// By route.
    pub balance: BTreeMap<String, Balance>,
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// What happened, one word each, without repetition.
    pub fn words(&self) -> BTreeSet<&'static str> {
        self.violations.iter().map(Violation::word).collect()
    }

    /// Ends the test with the whole verdict unless every promise was kept.
    ///
    /// # Panics
    /// When one was not.
    pub fn assert_holds(&self) {
        assert!(self.holds(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (route, b) in &self.balance {
            let Balance { owed, delivered, parked, requests } = b;
            writeln!(f, "{route}: owed {owed}, delivered {delivered}, parked {parked}, requests {requests}")?;
        }
        writeln!(f, "{} violations", self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN_MAX) {
            writeln!(f, "  {violation}")?;
        }
        match self.violations.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Owed,
    Free,
    NotOwed,
}

/// Whether a route is owed an event, as far as the clocks can tell.
fn due(published: &Published, route: &RouteHistory) -> Due {
    if published.refused.is_some() {
        return Due::NotOwed;
    }
    let absent = Version { requested: 0, confirmed: 0, wants: None };
    let versions: Vec<&Version> = std::iter::once(&absent).chain(&route.versions).collect();
    let (mut wanted, mut unwanted) = (false, false);
    for (i, version) in versions.iter().enumerate() {
        let came_later = published.acked.is_some_and(|acked| acked < version.requested);
        let was_over = versions.get(i + 1).is_some_and(|next| published.first_sent > next.confirmed);
        if came_later || was_over {
            continue;
        }
        match version.wants.as_ref().is_some_and(|wants| wants(&published.event)) {
            true => wanted = true,
            false => unwanted = true,
        }
    }
    match (wanted, unwanted, published.acked) {
        (true, false, Some(_)) => Due::Owed,
        (true, ..) => Due::Free,
        (false, ..) => Due::NotOwed,
    }
}

/// Something that reached a route: a request or a dead letter.
struct Seen<'a> {
    key: &'a Key,
    route: &'a str,
    print: Fingerprint,
    delivery: &'a str,
}

/// Judges a case.
pub fn judge(case: &Case) -> Verdict {
    let mut verdict = Verdict::default();
    let published: HashMap<&Key, &Published> = case.published.iter().map(|p| (&p.event.key, p)).collect();
    let routes: HashMap<&str, &RouteHistory> = case.routes.iter().map(|r| (r.name.as_str(), r)).collect();
    let requests = case.received.iter();
    let requests = requests.map(|r| Seen { key: &r.key, route: &r.route, print: r.print, delivery: &r.delivery });
    let parked = case.parked.iter();
    let parked = parked.map(|p| Seen { key: &p.key, route: &p.route, print: p.print, delivery: &p.delivery });
    let seen: Vec<Seen<'_>> = requests.chain(parked).collect();

    for p in &case.published {
        verdict.violations.extend(p.refused.map(|status| Violation::Refused(p.event.key.clone(), status)));
    }
    let replays: HashMap<u32, &Replayed> = case.replays.iter().map(|r| (r.run, r)).collect();
    judge_arrivals(&seen, &published, &routes, &replays, &case.damaged, &mut verdict);
    judge_ids(&seen, &case.damaged, &mut verdict);
    let revived = case.received.iter().filter(|r| case.given_up.iter().any(|given| given.forbids(r)));
    verdict.violations.extend(revived.map(|r| Violation::Revived(r.key.clone(), r.route.to_string())));
    judge_debts(case, &mut verdict);
    judge_order(&case.tried, &mut verdict);
    verdict
}

/// Of each group one attempt is made at a time, and the first attempts are made in the order of the log. A life
/// begins with what the one before had not settled for good: a suffix may be repeated, and that is in order too.
fn judge_order(tried: &[Tried], verdict: &mut Verdict) {
    let mut highest: BTreeMap<(u64, &str, &str), u64> = BTreeMap::new();
    for t in tried {
        let group = || format!("{} on {}", t.group, t.route);
        verdict.violations.extend(t.beside.iter().map(|beside| Violation::Together(group(), *beside, t.offset)));
        let highest = highest.entry((t.life, &t.route, &t.group)).or_default();
        if t.attempt == 1 && !t.late && t.offset < *highest {
            verdict.violations.push(Violation::Overtook(group(), *highest, t.offset));
        }
        *highest = t.offset.max(*highest);
    }
}

/// Nothing arrives that is not owed, and nothing is changed.
fn judge_arrivals(
    seen: &[Seen<'_>],
    published: &HashMap<&Key, &Published>,
    routes: &HashMap<&str, &RouteHistory>,
    replays: &HashMap<u32, &Replayed>,
    damaged: &BTreeSet<Key>,
    verdict: &mut Verdict,
) {
    for Seen { key, route, print, delivery } in seen {
        let place = || ((*key).clone(), (*route).to_owned());
        let Some(sent) = published.get(key) else {
            let (key, route) = place();
            verdict.violations.push(Violation::Invented(key, route));
            continue;
        };
        let owed = match parts(delivery) {
            (_, 0) => routes.get(route).is_some_and(|route| due(sent, route) != Due::NotOwed),
            (offset, run) => replays.get(&run).is_some_and(|r| r.owes(&sent.event, offset, route)),
        };
        if !owed && !damaged.contains(*key) {
            let (key, route) = place();
            verdict.violations.push(Violation::NotOwed(key, route));
        }
        let expected = sent.event.fingerprint();
        for (what, same) in [("data", expected.data == print.data), ("attributes", expected.attrs == print.attrs)] {
            if !same {
                let (key, route) = place();
                verdict.violations.push(Violation::Changed(key, route, what));
            }
        }
    }
}

/// One event, one route, one run: one id; and nobody else's.
fn judge_ids(seen: &[Seen<'_>], damaged: &BTreeSet<Key>, verdict: &mut Verdict) {
    let mut by_owner: BTreeMap<(&str, &Key, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut by_id: BTreeMap<&str, BTreeSet<(&Key, &str)>> = BTreeMap::new();
    for s in seen.iter().filter(|s| s.delivery != IN_BATCH) {
        // EPOCH-BUS-OFFSET-ROUTE-RUN
        let Some((_, run)) = s.delivery.rsplit_once('-').filter(|_| s.delivery.split('-').count() == 5) else {
            let (key, route) = (s.key.clone(), s.route.to_owned());
            verdict.violations.push(Violation::NoId(key, route, s.delivery.to_owned()));
            continue;
        };
        by_owner.entry((s.route, s.key, run)).or_default().insert(s.delivery);
        by_id.entry(s.delivery).or_default().insert((s.key, s.route));
    }
    for ((route, key, _), ids) in
        by_owner.into_iter().filter(|((_, key, _), ids)| ids.len() > 1 && !damaged.contains(*key))
    {
        let ids = ids.into_iter().map(str::to_owned).collect();
        verdict.violations.push(Violation::SecondId(key.clone(), route.to_owned(), ids));
    }
    for (id, owners) in by_id.into_iter().filter(|(_, owners)| owners.len() > 1) {
        let owners = owners.into_iter().map(|(key, route)| format!("{key} on {route}")).collect();
        verdict.violations.push(Violation::SharedId(id.to_owned(), owners));
    }
}

/// Everything that is owed was delivered or parked.
fn judge_debts(case: &Case, verdict: &mut Verdict) {
    let mut done: HashMap<(u32, &str), BTreeSet<&Key>> = HashMap::new();
    for r in &case.received {
        let balance = verdict.balance.entry(r.route.to_string()).or_default();
        balance.requests += 1;
        let run = parts(&r.delivery).1;
        if r.taken() && done.entry((run, &r.route)).or_default().insert(&r.key) && run == 0 {
            balance.delivered += 1;
        }
    }
    for p in &case.parked {
        verdict.balance.entry(p.route.clone()).or_default().parked += 1;
        done.entry((parts(&p.delivery).1, &p.route)).or_default().insert(&p.key);
    }
    for replay in case.replays.iter().filter(|r| r.done) {
        let there = case
            .published
            .iter()
            .filter(|p| p.acked.is_some() && !case.damaged.contains(&p.event.key))
            .filter_map(|p| Some((p, p.offset?)))
            .filter(|(_, offset)| !case.missing.iter().any(|missing| missing.contains(offset)));
        for (p, offset) in there {
            for (route, _) in replay.routes.iter().filter(|(route, _)| replay.owes(&p.event, offset, route)) {
                let done = done.get(&(replay.run, route.as_str()));
                if !done.is_some_and(|done| done.contains(&p.event.key)) {
                    let route = format!("{route} in replay {}", replay.run);
                    verdict.violations.push(Violation::Lost(p.event.key.clone(), route));
                }
            }
        }
    }
    for route in &case.routes {
        let done = done.get(&(0, route.name.as_str()));
        let balance = verdict.balance.entry(route.name.clone()).or_default();
        for p in case.published.iter().filter(|p| due(p, route) == Due::Owed) {
            if case.damaged.contains(&p.event.key) {
                continue;
            }
            balance.owed += 1;
            if case.given_up.iter().any(|given| given.excuses(p, &route.name)) {
                continue;
            }
            if !done.is_some_and(|done| done.contains(&p.event.key)) {
                verdict.violations.push(Violation::Lost(p.event.key.clone(), route.name.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
