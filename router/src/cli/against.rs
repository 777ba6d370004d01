//! What a change of the configuration would do to what is owed: the routes of a data folder, or of the router
//! that works on it, beside those of a file. Nothing is changed.
//!
//! A route is known by its name. A new filter holds from the next event on, and leaves what is owed as it is;
//! a new target takes over what is owed; a route that is gone leaves what it owes behind.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use router_core::{
    plan,
    stats::LaneStateName,
    store::{LaneCount, State, Store as _},
};
use router_store::{disk::LockError, ledger::DiskLedger, store};
use serde::Serialize;

use super::{Admin, Exit, Failure, Output, api::Api, table::count};
use crate::{
    admin::{
        Operation,
        view::{Configured, Routes},
    },
    codes,
    config::{self, Config},
};

/// A route as it is now.
struct Now {
    /// Whether it is configured.
    active: bool,
    filter: Arc<str>,
    /// Unknown where no router runs: the ledger does not keep targets.
    target: Option<String>,
    waiting: u64,
    dead_letters: u64,
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
    /// The target so far and the one from then on, where they are known and differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<[String; 2]>,
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
        }
    }
}

/// All changes, by route.
pub async fn changes(config: &Config, data: &Path, admin: Option<&str>) -> Result<Vec<Change>, Failure> {
    let now = match stopped(data).await? {
        Some(now) => now,
        None => running(config, data, admin).await?,
    };
    Ok(compare(&now, config))
}

fn compare(now: &BTreeMap<String, Now>, config: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, route) in &config.routes {
        let was = now.get(name.as_str());
        let filter = plan::filter_text(route.filter.as_ref().map(config::Filter::spec).as_ref());
        let to = route.to.to_string();
        let targets = was.and_then(|was| was.target.clone()).filter(|was| *was != to).map(|was| [was, to]);
        let change = match was {
            None => Kind::New,
            Some(was) if !was.active && was.waiting == 0 => Kind::New,
            Some(was) if !was.active => Kind::Again,
            Some(was) => match (same(&was.filter, &filter), targets.is_none()) {
                (true, true) => continue,
                (false, true) => Kind::Filter,
                (true, false) => Kind::Target,
                (false, false) => Kind::FilterAndTarget,
            },
        };
        let (waiting, dead_letters) = was.map_or((0, 0), |was| (was.waiting, was.dead_letters));
        changes.push(Change { route: name.to_string(), change, waiting, dead_letters, targets });
    }
    // The router's own route is in no file.
    let own = router_core::quarantine::BUS;
    for (name, was) in now.iter().filter(|(name, was)| was.active && *name != own) {
        if !config.routes.keys().any(|route| route.as_str() == name) {
            let (waiting, dead_letters) = (was.waiting, was.dead_letters);
            changes.push(Change { route: name.clone(), change: Kind::Removed, waiting, dead_letters, targets: None });
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

fn unreadable(data: &Path, why: impl fmt::Display) -> Failure {
    let message = format!("what is owed in `{}` cannot be read: {why}", data.display());
    Failure::new(Exit::No, codes::DATA_UNREADABLE, message)
}

/// The routes of a folder that no router works on; `None` when one does. The ledger alone is opened, so that no
/// log is repaired.
async fn stopped(data: &Path) -> Result<Option<BTreeMap<String, Now>>, Failure> {
    if !DiskLedger::exists(&data.join("ledger")) {
        return Err(unreadable(data, "it holds no ledger; name the folder of a router"));
    }
    let store = match store::DiskStore::open(data, store::Options::default()).await {
        Ok(store) => store,
        Err(store::Error::Lock(LockError::Held(_))) => return Ok(None),
        Err(e) => return Err(unreadable(data, e)),
    };
    let ledger = store.ledger();
    let read = async { Ok::<_, router_core::store::Error>((ledger.state().await?, ledger.count().await?)) }.await;
    let closed = store.close().await;
    let (state, counts) = read.map_err(|e| unreadable(data, e))?;
    closed.map_err(|e| unreadable(data, e))?;
    Ok(Some(of_ledger(&state, &counts)))
}

fn of_ledger(state: &State, counts: &[LaneCount]) -> BTreeMap<String, Now> {
    let mut now = BTreeMap::new();
    for (name, id) in &state.routes {
        // The last version holds for the next event.
        let last = state.versions.iter().filter(|v| v.route == *id).max_by_key(|v| (v.from, v.filter.is_some()));
        let filter = last.and_then(|v| v.filter.clone());
        let mine = || counts.iter().filter(|c| c.lane.route == *id);
        let route = Now {
            active: filter.is_some(),
            filter: filter.unwrap_or_default(),
            target: None,
            waiting: mine().map(|c| c.pending).sum(),
            dead_letters: mine().map(|c| c.dead_letters).sum(),
        };
        now.insert(name.to_string(), route);
    }
    now
}

/// The routes of the router that works on the folder.
async fn running(config: &Config, data: &Path, admin: Option<&str>) -> Result<BTreeMap<String, Now>, Failure> {
    let admin = admin.map_or_else(|| format!("http://{}", config.admin.listen), Into::into);
    let asked = Admin { admin, token_file: None, data: data.into(), output: Output::Json };
    let routes: Routes = Api::new(&asked)?.get(Operation::Routes).await.map_err(|mut failure| {
        failure.message.push_str("; a router works on the data folder, so that it is asked: --admin says where it is");
        failure
    })?;
    Ok(routes.routes.into_iter().map(of_router).collect())
}

fn of_router(route: Configured) -> (String, Now) {
    let filter = route.filter.map_or_else(|| "null".into(), |filter| filter.to_string());
    let now = Now {
        active: route.state != LaneStateName::Orphaned,
        filter: filter.into(),
        target: route.target,
        waiting: route.waiting,
        dead_letters: route.dead_letters,
    };
    (route.name, now)
}
