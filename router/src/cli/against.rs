//! What a change of the configuration would do to what is owed: the routes of a data folder, or of the router
//! that works on it, beside those of a file. Nothing is changed.
//!
//! A route is known by its name. A new filter holds from the next event on, and leaves what is owed as it is;
//! a new target takes over what is owed; a route that is gone leaves what it owes behind.

use std::{collections::BTreeMap, fmt, path::Path};

use router_core::{
    stats::LaneStateName,
    store::{LaneCount, State, Store as _},
};
use router_store::{disk::LockError, ledger::DiskLedger, store};

use super::{Admin, Exit, Failure, Output, api::Api};
use crate::{
    admin::{
        Operation,
        view::{Configured, Routes},
    },
    change::{Change, Now, compare},
    codes,
    config::Config,
};

/// All changes, by route.
pub async fn changes(config: &Config, data: &Path, admin: Option<&str>) -> Result<Vec<Change>, Failure> {
    let now = match stopped(data).await? {
        Some(now) => now,
        None => running(config, data, admin).await?,
    };
    Ok(compare(&now, config, None))
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
        let bus = last.and_then(|v| state.buses.iter().find(|(_, id)| *id == v.bus)).map(|(name, _)| name.to_string());
        let route = Now {
            active: filter.is_some(),
            bus,
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
        bus: Some(route.bus),
        active: route.state != LaneStateName::Orphaned,
        filter: filter.into(),
        target: route.target,
        waiting: route.waiting,
        dead_letters: route.dead_letters,
    };
    (route.name, now)
}
