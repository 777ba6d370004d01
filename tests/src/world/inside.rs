//! The router in this process: a path, the public listener and one HTTP target per route, composed here so
//! that a test can put something between any two of them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use router_core::{
    clock::SystemClock,
    codes, filter, hops,
    id::{BusName, RouteName, SourceName, TargetName},
    path::{Budgets, BusSpec, Path, Redriven, RouteSpec, Topology},
    retain::{BacklogLimits, Retention},
    stats::{RouteStatus, Status},
    store::{Page, Selection, Store},
    target::Target,
};
use router_http::{
    Events, HttpTarget, HttpTargetConfig, Limits, Listener, Mount,
    client::Clients,
    listener::tls::RELOAD_EVERY,
    target::{Batch, Mode},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{edge::Edge, setup::Route};
use crate::{
    coffee::{Fingerprint, Key},
    oracle::Parked,
};

/// Bytes of an event.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// What a stop in order may take.
const STOP: Duration = Duration::from_secs(5);
/// Within this time a dead letter that is counted is listed.
const LISTED: Duration = Duration::from_secs(2);

/// What stands between the path and a target; the identity by default.
pub type Wrap<'a> = &'a dyn Fn(Arc<dyn Target>) -> Arc<dyn Target>;

/// A router that runs.
pub struct Inside {
    path: Arc<Path>,
    edge: Edge,
    address: SocketAddr,
    stop: CancellationToken,
    listener: JoinHandle<()>,
}

impl Inside {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(store: Arc<dyn Store>, routes: &[Route]) -> Inside {
        Inside::start_with(Edge::Plain, store, routes, &|target| target).await
    }

    /// Starts one that stands so on the network, whose targets are wrapped.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(edge: Edge, store: Arc<dyn Store>, routes: &[Route], wrap: Wrap<'_>) -> Inside {
        let path = Path::start(store, topology(routes, wrap), Arc::new(SystemClock::new())).await;
        let path = Arc::new(path.expect("the path starts"));
        let source = SourceName::new("web").expect("a name");
        let events = Events::with_keys("/events", source, bus(), edge.keys(&bus()));
        let endpoint = Arc::new(events.expect("a path and its keys"));
        let intake = Arc::new(path.intake(&bus()).expect("the default bus"));
        let limits = Limits { drain_timeout: STOP, ..Limits::default() };
        let (loopback, mounts) = (SocketAddr::from(([127, 0, 0, 1], 0)), vec![Mount { endpoint, intake }]);
        let listener = Listener::bind_with(loopback, limits, edge.edge(), RELOAD_EVERY, mounts).await;
        let listener = listener.expect("a free port, and certificates");
        let (address, stop) = (listener.addr(), CancellationToken::new());
        let listener = tokio::spawn(listener.run(stop.clone()));
        Inside { path, edge, address, stop, listener }
    }

    /// Where events are published to.
    pub fn url(&self) -> String {
        format!("{}://{}/events", self.edge.scheme(), self.address)
    }

    /// What it is doing.
    pub async fn status(&self) -> Status {
        self.path.status().await.expect("a status")
    }

    /// What one route is doing.
    pub async fn route(&self, name: &str) -> RouteStatus {
        let status = self.status().await;
        status
            .routes
            .into_iter()
            .find(|r| r.name.as_str() == name)
            .unwrap_or_else(|| panic!("there is no route {name}"))
    }

    /// Waits until the routes are as wanted.
    ///
    /// # Panics
    /// With the last status, when the deadline passes first.
    pub async fn until(&self, what: &str, deadline: Duration, wanted: impl Fn(&Status) -> bool) {
        let end = Instant::now() + deadline;
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return;
            }
            assert!(Instant::now() < end, "not {what} within {deadline:?}:\n{}", table(&status));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until nothing is owed any more.
    pub async fn settled(&self, deadline: Duration) {
        self.until("settled", deadline, settled).await;
    }

    /// All open dead letters, once as many are listed as are counted: the next commit writes them.
    ///
    /// # Panics
    /// When the two numbers stay apart.
    pub async fn parked(&self) -> Vec<Parked> {
        let end = Instant::now() + LISTED;
        loop {
            let counted: u64 = self.status().await.routes.iter().map(|r| r.dead_letters).sum();
            let parked = parked(&self.path).await;
            if parked.len() as u64 == counted {
                return parked;
            }
            assert!(Instant::now() < end, "{counted} dead letters are counted, {} are listed", parked.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Opens a route's dead letters again.
    pub async fn redrive(&self, route: &str) -> Redriven {
        let which = Selection { route: Some(RouteName::new(route).expect("a name")), ..Selection::default() };
        self.path.redrive(&which).await.expect("a redrive")
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it does not stop, or its store fails.
    pub async fn stop(self) {
        self.stop.cancel();
        self.listener.await.expect("the listener ends");
        self.path.stop(STOP).await.expect("the path stops");
    }

    /// Ends it as a crash would: nothing is committed, nobody is told.
    pub async fn crash(self) {
        self.listener.abort();
        // Ends cancelled: that is what was asked for.
        self.listener.await.ok();
        drop(self.path);
        // What the path spawned ends at its next turn of the executor.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All open dead letters with their payloads.
///
/// # Panics
/// When one has none, or the store fails.
pub async fn parked(path: &Path) -> Vec<Parked> {
    parked_but(path, |_| false).await.expect("the payload of an open dead letter is kept").0
}

/// All open dead letters with their payloads, and how many there are of events on the bus `default` that were damaged.
///
/// # Errors
/// Another one has none.
///
/// # Panics
/// When the store fails.
pub async fn parked_but(path: &Path, damaged: impl Fn(u64) -> bool) -> Result<(Vec<Parked>, u64), String> {
    let (mut parked, mut gone) = (Vec::new(), 0);
    let mut page = Page { after: None, count_max: 500 };
    loop {
        let letters = path.dead_letters(&Selection::default(), page).await.expect("dead letters");
        let Some(last) = letters.last() else { return Ok((parked, gone)) };
        page.after = Some(last.id);
        for letter in letters {
            let record = path.record(&letter.id).await.expect("the store reads");
            let Some(event) = record.map(|record| record.event) else {
                if *letter.reason == *codes::RECORD_DAMAGED.0 && damaged(letter.id.offset.0) {
                    gone += 1;
                    continue;
                }
                return Err(format!("the event of the dead letter {} is not kept: {}", letter.id, letter.reason));
            };
            let attrs: BTreeMap<String, String> = event.attrs().map(|(n, v)| (n.into(), v.to_string())).collect();
            let print = Fingerprint::of(attrs.iter().map(|(n, v)| (n.as_str(), v.as_str())), event.data());
            let key = Key { source: event.source().into(), id: event.id().into() };
            parked.push(Parked { route: letter.route.to_string(), key, print, delivery: letter.id.to_string() });
        }
    }
}

fn bus() -> BusName {
    BusName::new("default").expect("a name")
}

fn topology(routes: &[Route], wrap: Wrap<'_>) -> Topology {
    let clients = Clients::default();
    let spec = |route: &Route| RouteSpec {
        name: RouteName::new(&route.name).expect("a name"),
        bus: bus(),
        transform: None,
        filter: route.pattern.clone().map(filter::Spec::Pattern),
        target: TargetName::new(route.target()).expect("a name"),
        retry: route.retry,
        backlog: BacklogLimits::default(),
        reply: None,
        order: route.order.clone(),
        start: Default::default(),
    };
    let targets: BTreeMap<&str, &Route> = routes.iter().map(|route| (route.target(), route)).collect();
    Topology {
        quarantine: false,
        buses: vec![BusSpec {
            name: bus(),
            dedupe_age: Duration::from_secs(600),
            dedupe_entries_max: 1_000_000,
            retention: Retention::default(),
        }],
        routes: routes.iter().map(spec).collect(),
        targets: targets.values().map(|route| wrap(target(route, &clients))).collect(),
        event_bytes_max: EVENT_BYTES_MAX,
        budgets: Budgets::default(),
        router: hops::Router::new(None, &[7; 32]).ok().map(Arc::new),
    }
}

fn target(route: &Route, clients: &Clients) -> Arc<dyn Target> {
    let name = TargetName::new(route.target()).expect("a name");
    let config = HttpTargetConfig {
        mode: match (route.batch_count_max, route.structured) {
            (Some(count_max), _) => Mode::Batch(Batch { count_max: count_max.into(), ..Batch::default() }),
            (None, true) => Mode::Structured,
            (None, false) => Mode::Binary,
        },
        timeout: route.timeout,
        in_flight_max: usize::from(route.in_flight_max),
        ..HttpTargetConfig::new(name, &route.url)
    };
    let client = clients.get(config.client()).expect("a client");
    Arc::new(HttpTarget::new(config, client).expect("a target"))
}

/// Whether everything that came in was judged, and nothing is owed.
pub fn settled(status: &Status) -> bool {
    status.buses.iter().all(|b| b.planned == b.tail) && status.routes.iter().all(|r| r.waiting == 0)
}

/// The status in a few lines, for a test that gives up.
pub fn table(status: &Status) -> String {
    let mut text = String::new();
    for b in &status.buses {
        writeln!(text, "bus {}: tail {}, planned {}", b.name, b.tail, b.planned).ok();
    }
    for r in status.routes.iter().filter(|r| r.waiting > 0 || r.dead_letters > 0).take(20) {
        writeln!(
            text,
            "route {}: {:?}, waiting {}, in flight {}, retrying {}, in ledger {}, dead letters {}, delivered {}",
            r.name, r.state, r.waiting, r.in_flight, r.retrying, r.in_ledger, r.dead_letters, r.delivered
        )
        .ok();
    }
    for t in status.targets.iter().take(20) {
        writeln!(text, "target {}: {:?}, in flight {}, delivered {}", t.name, t.breaker, t.in_flight, t.delivered).ok();
    }
    text
}
