//! What a change of the configuration does to the routes and what they owe.
//!
//! A route is known by its name. A new filter holds from the next event on, and leaves what is owed as it is;
//! a new target takes over what is owed; a route that is gone leaves what it owes behind.

use std::{collections::BTreeMap, fmt, sync::Arc};

use router_core::plan;
use serde::Serialize;

use crate::config::{self, Config};

/// A count as it is printed.
fn count(n: u64) -> String {
    crate::cli::count(n)
}

/// A route as it is now.
#[derive(Default)]
pub struct Now {
    /// Whether it is configured.
    pub active: bool,
    /// The bus that it reads, or read last.
    pub bus: Option<String>,
    /// What it wants, as JSON.
    pub filter: Arc<str>,
    /// Unknown where no router runs: the ledger does not keep targets.
    pub target: Option<String>,
    /// Deliveries that are owed.
    pub waiting: u64,
    /// Dead letters that are open.
    pub dead_letters: u64,
}

/// What happens to one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    route: String,
    /// What is done.
    change: Kind,
    /// Deliveries that are owed.
    waiting: u64,
    /// Dead letters that are open.
    dead_letters: u64,
    /// The bus so far and the one from then on, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    buses: Option<[String; 2]>,
    /// The target so far and the one from then on, where they are known and differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<[String; 2]>,
    /// From where on it gets what is there already, as a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
}

/// What is done to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    New,
    Again,
    Removed,
    Filter,
    Target,
    FilterAndTarget,
    /// It reads another bus.
    Bus,
    /// What holds for what it is owed too: its retry policy, its backlog's limits, its transform, and so on.
    Settings,
}

impl Change {
    /// Whether deliveries are left behind without a route.
    pub fn orphans(&self) -> bool {
        self.change == Kind::Removed && self.waiting > 0
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { route, waiting, dead_letters, .. } = self;
        let (owed, letters) = (count(*waiting), count(*dead_letters));
        let filter = format!("a new filter from the next event on; {owed} deliveries that are owed stay as they are");
        let target = self.targets.as_ref().map(|[from, to]| {
            format!("goes to `{to}` instead of `{from}`, and so do {owed} deliveries that are owed already")
        });
        let target = target.unwrap_or_default();
        let bus = self.buses.as_ref().map(|[from, to]| {
            format!("reads bus `{to}` instead of `{from}` from the next event on; {owed} deliveries that it owes of `{from}` go on")
        });
        let bus = bus.unwrap_or_default();
        match (self.change, &self.start) {
            (Kind::New, Some(start)) if start == "earliest" => {
                write!(f, "+ {route}: new; it gets all that is kept, as a replay, and events from the next one on")
            }
            (Kind::New, Some(start)) => {
                write!(
                    f,
                    "+ {route}: new; it gets what came in from {start} on, as a replay, and events from the next one on"
                )
            }
            _ => self.of_known(f, [&filter, &target, &bus], &owed, &letters),
        }
    }
}

impl Change {
    fn of_known(&self, f: &mut fmt::Formatter<'_>, said: [&str; 3], owed: &str, letters: &str) -> fmt::Result {
        let (route, [filter, target, bus]) = (&self.route, said);
        match self.change {
            Kind::New => write!(f, "+ {route}: new; it takes events from the next one on"),
            Kind::Again => write!(f, "+ {route}: configured again; {owed} deliveries that it owes go on"),
            Kind::Removed => write!(
                f,
                "- {route}: removed; {owed} deliveries that it owes are orphaned, {letters} dead letters stay as they are"
            ),
            Kind::Filter => write!(f, "~ {route}: {filter}"),
            Kind::Target => write!(f, "~ {route}: {target}"),
            Kind::FilterAndTarget => write!(f, "~ {route}: {filter}; it {target}"),
            Kind::Bus if target.is_empty() => write!(f, "~ {route}: {bus}"),
            Kind::Bus => write!(f, "~ {route}: {bus}; it {target}"),
            Kind::Settings => write!(
                f,
                "~ {route}: another retry policy, backlog, transform, order or replies, for {owed} deliveries that are owed already too"
            ),
        }
    }
}

/// What becomes of the routes that are, by the configuration; where the former one is known, what no route shows
/// of itself is compared too.
pub fn compare(now: &BTreeMap<String, Now>, config: &Config, former: Option<&Config>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, route) in &config.routes {
        let was = now.get(name.as_str());
        let filter = plan::filter_text(route.filter.as_ref().map(config::Filter::spec).as_ref());
        let to = route.to.to_string();
        let targets = was.and_then(|was| was.target.clone()).filter(|was| *was != to).map(|was| [was, to]);
        let bus = route.bus.to_string();
        let moves = was.filter(|was| was.active).and_then(|was| was.bus.clone()).filter(|was| *was != bus);
        let buses = moves.map(|was| [was, bus]);
        // Where it starts is said of a route that is new.
        let started = |route: &config::Route| config::Route { start: config::Start::default(), ..route.clone() };
        let settings = former.and_then(|former| former.routes.get(name)).is_some_and(|f| started(f) != started(route));
        let start = (was.is_none() && route.start != config::Start::Latest).then(|| route.start.to_string());
        let change = match was {
            None => Kind::New,
            Some(was) if !was.active && was.waiting == 0 => Kind::New,
            Some(was) if !was.active => Kind::Again,
            Some(_) if buses.is_some() => Kind::Bus,
            Some(was) => match (same(&was.filter, &filter), targets.is_none()) {
                (true, true) if settings => Kind::Settings,
                (true, true) => continue,
                (false, true) => Kind::Filter,
                (true, false) => Kind::Target,
                (false, false) => Kind::FilterAndTarget,
            },
        };
        let (waiting, dead_letters) = was.map_or((0, 0), |was| (was.waiting, was.dead_letters));
        changes.push(Change { route: name.to_string(), change, waiting, dead_letters, buses, targets, start });
    }
    // The router's own route is in no file.
    let own = router_core::quarantine::BUS;
    for (name, was) in now.iter().filter(|(name, was)| was.active && *name != own) {
        if !config.routes.keys().any(|route| route.as_str() == name) {
            let (waiting, dead_letters) = (was.waiting, was.dead_letters);
            let change = Kind::Removed;
            let (buses, targets, start) = (None, None, None);
            changes.push(Change { route: name.clone(), change, waiting, dead_letters, buses, targets, start });
        }
    }
    changes.sort_by(|a, b| a.route.cmp(&b.route));
    changes
}

/// Two filters are one when they are the same JSON, however it is written.
fn same(a: &str, b: &str) -> bool {
    let read = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    a == b || read(a).is_some_and(|a| Some(a) == read(b))
}
