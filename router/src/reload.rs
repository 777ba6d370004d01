//! Another configuration, while the router runs: the file is read again, checked, compared with what runs, and
//! put into force as a whole, or not at all.
//!
//! Routes, targets, retention, budgets and what is kept change while it runs. A target goes on undisturbed
//! when neither its part of the file nor a secret or an authority that it names has changed. Everything
//! else needs a restart: then nothing of the file is applied, so that what runs is always what one file
//! said. One reload at a time; a second one waits for the first.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use router_core::{
    clock::Clock,
    id::TargetName,
    path::{Path, ReviseError, RouteSpec, Topology},
    stats::LaneStateName,
    store,
    target::Target,
};
use router_http::Secret;
use schemas::Code;
use tokio::sync::Mutex;

use crate::{
    around::{Around, Nothing},
    change::{self, Now},
    codes,
    config::{self, Config, report::Report, value},
    connect,
};

/// Why a configuration was not put into force: nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The router was started without a file.
    #[error("the router was started without a file, so that there is nothing to read again")]
    NoFile,
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The file has errors.
    #[error("{}", .0.to_text(false))]
    Findings(Box<Report>),
    /// The file differs in what only a start can change.
    #[error("the file changes what only a restart can change, and nothing of it was applied: {}; restart the router, or take that back", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// What the file names cannot be had.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The path goes on as it was.
    #[error(transparent)]
    Path(#[from] ReviseError),
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Which page says more.
    pub fn code(&self) -> Code {
        match self {
            Error::NoFile => codes::NO_FILE,
            Error::Unreadable(_) | Error::Findings(_) | Error::Connect(_) => codes::RELOAD_REFUSED,
            Error::NeedsRestart(_) => router_core::codes::NEEDS_RESTART,
            Error::Path(e) => e.code(),
            Error::Store(_) => codes::STORE,
        }
    }
}

/// What a reload did, or would do.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// It was put into force.
    pub applied: bool,
    /// What changes, a sentence each.
    pub changes: Vec<String>,
    /// What needs a restart: with any of it nothing is applied.
    pub needs_restart: Vec<String>,
    /// Warnings of the file, as `check` writes them.
    pub warnings: Option<String>,
}

/// What came of the reloads so far, for whoever watches.
#[derive(Debug, Default)]
pub struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    last_us: AtomicU64,
    last_applied: AtomicBool,
}

impl Reloads {
    /// How many were applied, and how many refused.
    pub fn counts(&self) -> [(&'static str, u64); 2] {
        [("applied", self.applied.load(Ordering::Relaxed)), ("refused", self.refused.load(Ordering::Relaxed))]
    }

    /// When the last one ended, in microseconds since 1970, and whether it was applied; none: 0.
    pub fn last(&self) -> (u64, bool) {
        (self.last_us.load(Ordering::Relaxed), self.last_applied.load(Ordering::Relaxed))
    }

    fn count(&self, applied: bool, at_us: u64) {
        if applied { &self.applied } else { &self.refused }.fetch_add(1, Ordering::Relaxed);
        self.last_us.store(at_us, Ordering::Relaxed);
        self.last_applied.store(applied, Ordering::Relaxed);
    }
}

/// A target as it was made, with what its part of the file named when it was.
struct Made {
    config: config::Target,
    named: Named,
    target: Arc<dyn Target>,
}

/// What stands outside the file: secrets and authorities.
struct Named(Vec<Option<Secret>>);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
        self.0.iter().map(text).eq(other.0.iter().map(text))
    }
}

impl Named {
    fn of(config: &config::Target) -> Self {
        let one = |secret: &value::Secret| secret.resolve().ok().map(Secret::new);
        let authority = |tls: Option<&config::TargetTls>| {
            let ca = tls.and_then(|tls| tls.ca.as_ref());
            ca.map(|ca| std::fs::read_to_string(ca).ok().map(Secret::new))
        };
        let azure =
            |key: &Option<value::Secret>, sas: Option<&config::AzureSas>, entra: Option<&config::AzureEntra>| {
                let secrets =
                    (key.iter()).chain(sas.map(|sas| &sas.key)).chain(entra.and_then(|e| e.client_secret.as_ref()));
                secrets.map(one).collect::<Vec<_>>()
            };
        // What stands in the environment, a profile or at the instance is renewed by its own client.
        let aws = |credentials: &config::AwsCredentials| {
            let written = credentials.secret_access_key.iter().chain(&credentials.session_token);
            written.map(one).collect::<Vec<_>>()
        };
        let google = |credentials: &config::GoogleCredentials| {
            let file = credentials.file.as_ref();
            file.map(|file| std::fs::read_to_string(file).ok().map(Secret::new)).into_iter().collect::<Vec<_>>()
        };
        let http = match config {
            config::Target::Http(http) => http,
            config::Target::EventGrid(to) => {
                let secrets = azure(&to.key, to.sas.as_ref(), to.entra.as_ref());
                return Named(secrets.into_iter().chain(authority(to.tls.as_ref())).collect());
            }
            config::Target::EventGridNamespace(to) => {
                let secrets = azure(&to.key, to.sas.as_ref(), to.entra.as_ref());
                return Named(secrets.into_iter().chain(authority(to.tls.as_ref())).collect());
            }
            config::Target::AzureFunction(to) => return Named(azure(&to.key, None, to.entra.as_ref())),
            config::Target::PubSub(topic) => return Named(google(&topic.credentials)),
            config::Target::CloudRun(service) => return Named(google(&service.credentials)),
            config::Target::EventBridge(bus) => return Named(aws(&bus.credentials)),
            config::Target::EventBridgeV2(bus) => return Named(aws(&bus.credentials)),
            config::Target::Sqs(queue) => return Named(aws(&queue.credentials)),
            config::Target::Lambda(function) => return Named(aws(&function.credentials)),
        };
        let secrets = (http.headers.values().chain(&http.bearer).chain(&http.webhook_secrets))
            .chain(http.basic.as_ref().map(|basic| &basic.password))
            .chain(http.oauth.as_ref().map(|oauth| &oauth.client_secret));
        Named(secrets.map(one).chain(authority(http.tls.as_ref())).collect())
    }
}

/// What is in force.
struct InForce {
    config: Config,
    targets: BTreeMap<TargetName, Made>,
}

/// See the module.
pub struct Reloader {
    file: Option<PathBuf>,
    path: Arc<Path>,
    clock: Arc<dyn Clock>,
    now: Mutex<InForce>,
    routes: RwLock<Arc<Vec<RouteSpec>>>,
    around: Arc<dyn Around>,
    /// What came of it.
    pub reloads: Arc<Reloads>,
}

/// The targets of a configuration by what they were made of, as the path runs them.
pub struct Targets(BTreeMap<TargetName, Made>);

impl Targets {
    /// Those of this topology, which was made of that configuration a moment ago.
    pub fn of(config: &Config, topology: &Topology) -> Self {
        let made = topology.targets.iter().filter_map(|target| {
            let config = config.targets.get(target.name())?.clone();
            Some((target.name().clone(), Made { named: Named::of(&config), config, target: target.clone() }))
        });
        Targets(made.collect())
    }
}

impl Reloader {
    /// Of a router that was started with this configuration, out of that file.
    pub fn new(
        file: Option<PathBuf>,
        config: Config,
        Targets(targets): Targets,
        routes: Vec<RouteSpec>,
        path: Arc<Path>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (now, routes) = (Mutex::new(InForce { config, targets }), RwLock::new(Arc::new(routes)));
        Reloader { file, path, clock, now, routes, around: Arc::new(Nothing), reloads: Arc::default() }
    }

    /// With this around the targets that it makes.
    #[must_use]
    pub fn around(self, around: Arc<dyn Around>) -> Self {
        Reloader { around, ..self }
    }

    /// The routes as they are configured.
    pub fn routes(&self) -> Arc<Vec<RouteSpec>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again and puts it into force; with `dry_run` only says what that would do. It is
    /// finished also when nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error`]: nothing has changed.
    pub async fn reload(self: Arc<Self>, dry_run: bool) -> Result<Reloaded, Error> {
        let reloader = self.clone();
        let done = tokio::spawn(async move { reloader.run(dry_run).await }).await;
        let done = done.unwrap_or_else(|e| Err(Error::Unreadable(format!("the reload ended by a bug: {e}"))));
        if !dry_run {
            self.reloads.count(done.as_ref().is_ok_and(|done| done.applied), self.clock.wall().0);
        }
        done
    }

    async fn run(&self, dry_run: bool) -> Result<Reloaded, Error> {
        let mut now = self.now.lock().await;
        let file = self.file.clone().ok_or(Error::NoFile)?;
        let (config, warnings) = read(file).await?;
        let mut needs_restart = fixed(&now.config, &config);
        if self.path.quarantine().is_none()
            && let Some((first, _)) = config.routes.iter().find(|(_, route)| route.reply.spec().is_some())
        {
            // What answers hold that is no event needs a bus of its own, which only a start makes.
            needs_restart.push(format!("routes.{first}.reply"));
        }
        let (mut topology, mut targets) = self.topology(&now, &config)?;
        let changes = self.changes(&now, &config, &targets).await?;
        if !needs_restart.is_empty() && !dry_run {
            return Err(Error::NeedsRestart(needs_restart));
        }
        if dry_run {
            return Ok(Reloaded { applied: false, changes, needs_restart, warnings });
        }
        topology.targets = targets.values().map(|made| made.target.clone()).collect();
        let routes = Arc::new(topology.routes.clone());
        self.path.revise(topology).await?;
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        now.targets = std::mem::take(&mut targets);
        now.config = config;
        Ok(Reloaded { applied: true, changes, needs_restart, warnings })
    }

    /// What the path is to connect, and its targets: those that are the same are not made again.
    fn topology(
        &self,
        now: &InForce,
        config: &Config,
    ) -> Result<(Topology, BTreeMap<TargetName, Made>), connect::Error> {
        let clients = connect::Clients::default();
        let mut targets = BTreeMap::new();
        for (name, part) in &config.targets {
            let named = Named::of(part);
            let same = now.targets.get(name).filter(|made| made.config == *part && made.named == named);
            let target = match same {
                Some(made) => made.target.clone(),
                None => self.around.target(connect::target(name, part, &clients)?),
            };
            targets.insert(name.clone(), Made { config: part.clone(), named, target });
        }
        Ok((connect::topology_of(config, Vec::new()), targets))
    }

    /// What changes, a sentence each.
    async fn changes(
        &self,
        now: &InForce,
        config: &Config,
        targets: &BTreeMap<TargetName, Made>,
    ) -> Result<Vec<String>, Error> {
        let status = self.path.status().await?;
        let routes = status.routes.iter().map(|r| {
            let spec = now.config.routes.get(&r.name).and_then(|route| route.filter.as_ref()).map(config::Filter::spec);
            let was = Now {
                active: r.state != LaneStateName::Orphaned,
                bus: Some(r.bus.to_string()),
                filter: router_core::plan::filter_text(spec.as_ref()),
                target: r.target.as_ref().map(ToString::to_string),
                waiting: r.waiting,
                dead_letters: r.dead_letters,
            };
            (r.name.to_string(), was)
        });
        let mut routes: BTreeMap<String, Now> = routes.collect();
        // One that was here before and owes nothing is not shown any more, and is not new all the same.
        for name in self.path.known_routes().await? {
            routes.entry(name.to_string()).or_default();
        }
        let routes = change::compare(&routes, config, Some(&now.config));
        let mut changes: Vec<String> = routes.iter().map(ToString::to_string).collect();
        for (name, made) in targets {
            match now.targets.get(name) {
                None => changes.push(format!("+ target {name}: new")),
                Some(was) if was.config != made.config => {
                    changes.push(format!("~ target {name}: changed; what is owed to it goes by it at once"));
                }
                Some(was) if !Arc::ptr_eq(&was.target, &made.target) => {
                    changes.push(format!("~ target {name}: another secret or authority, of the same names"));
                }
                Some(_) => {}
            }
        }
        changes
            .extend(now.targets.keys().filter(|n| !targets.contains_key(*n)).map(|n| format!("- target {n}: removed")));
        changes.extend(kept(&now.config, config).into_iter().map(|key| format!("~ {key}")));
        Ok(changes)
    }
}

async fn read(file: PathBuf) -> Result<(Config, Option<String>), Error> {
    let loaded = tokio::task::spawn_blocking(move || config::load_file(&file)).await;
    let loaded = loaded.unwrap_or_else(|e| Err(e.to_string())).map_err(Error::Unreadable)?;
    let warnings = (loaded.report.warnings() > 0).then(|| loaded.report.to_text(false));
    match loaded.config {
        Some(config) => Ok((config, warnings)),
        None => Err(Error::Findings(Box::new(loaded.report))),
    }
}

/// Keys that differ and that change while the router runs, beside routes and targets.
fn kept(was: &Config, is: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, bus) in &is.buses {
        if was.buses.get(name).map_or_else(config::Retention::default, |b| b.retention.clone()) != bus.retention {
            keys.push(format!("buses.{name}.retention"));
        }
    }
    if was.dead_letters != is.dead_letters {
        keys.push("dead_letters".into());
    }
    if was.limits.waiting_total_max != is.limits.waiting_total_max {
        keys.push("limits.waiting_total_max".into());
    }
    if let (config::Store::Disk(was), config::Store::Disk(is)) = (&was.store, &is.store)
        && (was.bytes_max, was.free_min) != (is.bytes_max, is.free_min)
    {
        keys.push("store.disk".into());
    }
    keys
}

/// Keys that differ and that only a start can change.
fn fixed(was: &Config, is: &Config) -> Vec<String> {
    // Whoever adds a key to the file decides what a change of it means, here or where changes are told.
    let Config {
        listen: _,
        tls: _,
        behind_proxy: _,
        open: _,
        keys: _,
        admin: _,
        router: _,
        store: _,
        buses: _,
        sources: _,
        targets: _,
        routes: _,
        schemas: _,
        dead_letters: _,
        archive: _,
        replay: _,
        limits: _,
        stop_deadline: _,
        tests: _,
    } = is;
    let store = |config: &Config| match &config.store {
        config::Store::Disk(disk) => Some(disk.path.clone()),
        config::Store::Memory(_) => None,
    };
    // A bus that is not written down and one that says nothing are the same.
    let buses = |config: &Config| {
        let mut all: BTreeMap<_, _> =
            config.buses.iter().map(|(name, bus)| (name.clone(), bus.dedupe.clone())).collect();
        all.entry(config::default_bus()).or_default();
        all
    };
    // Which buses are copied follows from which there are.
    let archived = |config: &Config| connect::archived_buses(config);
    let limits = |config: &Config| config::Limits { waiting_total_max: 0, ..config.limits.clone() };
    let keys = [
        ("listen", was.listen != is.listen),
        ("tls", was.tls != is.tls),
        ("behind_proxy", was.behind_proxy != is.behind_proxy),
        ("open", was.open != is.open),
        ("keys", was.keys != is.keys),
        ("admin", was.admin != is.admin),
        ("router", was.router != is.router),
        ("store", store(was) != store(is)),
        ("buses", buses(was) != buses(is)),
        ("sources", was.sources != is.sources),
        ("schemas", was.schemas != is.schemas),
        ("archive", was.archive != is.archive || archived(was) != archived(is)),
        ("replay", was.replay != is.replay),
        ("limits", limits(was) != limits(is)),
        ("stop_deadline", was.stop_deadline != is.stop_deadline),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}
