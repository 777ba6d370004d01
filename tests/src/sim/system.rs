//! What the router tells of itself, on a bus of its own: a route reads it, and its target fares like any other.
//!
//! The oracle knows nothing of these events, since nobody published them. What holds of them is held here: each one that
//! is in the log reached the route or is one of its dead letters, nothing else did, none is about the route itself or
//! its target, and once all is settled no further one comes.

use std::{collections::BTreeMap, time::Duration};

use router_core::{
    id::{Offset, RouteName, TargetName},
    path::{BusSpec, Path, RouteSpec},
    retain::{BacklogLimits, Retention},
    settle::RetryPolicy,
    store::Store,
    system,
};

use super::Totals;
use crate::{
    coffee::Key,
    oracle::{Parked, Received},
    world::inside,
};

/// The route.
pub const ROUTE: &str = "watch";
/// Its target.
pub const TARGET: &str = "watcher";
/// How long nothing may be told at the end.
const QUIET: Duration = Duration::from_secs(60);
/// Bytes that are read at a time.
const BYTES: usize = 1 << 20;

/// What was told: each event by its identity, with its type and subject.
pub type Told = BTreeMap<Key, (String, String)>;

/// The bus.
pub fn bus() -> BusSpec {
    BusSpec {
        name: system::bus(),
        dedupe_age: Duration::from_secs(3600),
        dedupe_entries_max: 100_000,
        retention: Retention::default(),
    }
}

/// The route that reads all of it.
pub fn route() -> RouteSpec {
    RouteSpec {
        name: RouteName::new(ROUTE).expect("a name"),
        bus: system::bus(),
        transform: None,
        filter: None,
        target: TargetName::new(TARGET).expect("a name"),
        retry: RetryPolicy { attempts_max: 5, delay_min: Duration::from_millis(20), ..RetryPolicy::default() },
        backlog: BacklogLimits::default(),
        reply: None,
        order: None,
        start: Default::default(),
    }
}

/// Everything is settled: what was told, and that nothing more is.
pub async fn quiet(path: &Path, store: &dyn Store) -> Result<Told, String> {
    // What was just seen is told within a second, and then has to be delivered.
    tokio::time::sleep(QUIET).await;
    let log = store.log(&system::bus()).await.map_err(|e| e.to_string())?;
    let tail = log.bounds().1;
    tokio::time::sleep(QUIET).await;
    let status = path.status().await.map_err(|e| e.to_string())?;
    if log.bounds().1 != tail || !inside::settled(&status) {
        return Err(format!("nothing happens any more, and more is told all the same:\n{}", inside::table(&status)));
    }
    let (mut told, mut from) = (Told::new(), log.bounds().0);
    while from < tail {
        let chunk = log.read(from, BYTES).await.map_err(|e| e.to_string())?;
        for record in chunk.records() {
            let event = record.map_err(|e| e.to_string())?.event;
            let key = Key { source: event.source().into(), id: event.id().into() };
            let subject = event.get("subject").map(|s| s.to_string()).unwrap_or_default();
            if told.insert(key.clone(), (event.kind().into(), subject)).is_some() {
                return Err(format!("{key} is told twice"));
            }
        }
        from = chunk.next.max(Offset(from.0 + 1));
    }
    Ok(told)
}

/// What is wrong with what arrived.
pub fn judge(told: &Told, received: &[Received], parked: &[Parked], totals: &mut Totals) -> Vec<String> {
    let mut wrong = Vec::new();
    totals.add("facts told", told.len() as u64);
    for (key, (kind, subject)) in told {
        let taken = received.iter().any(|r| r.key == *key && r.taken());
        if !taken && !parked.iter().any(|p| p.key == *key) {
            wrong.push(format!("lost: {kind} {key} was told, and neither delivered to {ROUTE} nor parked"));
        }
        if *subject == format!("routes/{ROUTE}") || *subject == format!("targets/{TARGET}") {
            wrong.push(format!("{kind} {key} is about the bus itself"));
        }
    }
    for r in received.iter().filter(|r| !told.contains_key(&r.key)) {
        wrong.push(format!("invented: {} reached {ROUTE}, and is not told", r.key));
    }
    wrong
}
