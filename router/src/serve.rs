//! A running router: open the store, take up what is owed, start the path, then let events in; stop in
//! reverse. Usable in-process, which is how tests run several.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use router_core::{
    clock::{Clock, SystemClock},
    id::BusName,
    path::{Path, StartError},
    source::Intake,
    store,
};
use router_http::{
    Listener, Mount, Secret,
    listener::{BindError, tls},
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    admin::{
        self,
        audit::{self, Who},
    },
    around::{Around, Nothing},
    catalogue::Known,
    codes,
    config::{Config, Validate},
    connect::{self, Connected, Opened},
    pulls::Pulls,
    reload::{self, Reloader},
    watch,
};

/// How long a stop takes at most, where nothing is configured, before attempts under way are dropped; they are made
/// again after the next start.
pub const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// What is not in the configuration.
#[derive(Clone, Default)]
pub struct Options {
    /// The data folder, in place of the configured one.
    pub data: Option<PathBuf>,
    /// An open store, in place of the configured one; its owner closes it.
    pub store: Option<Arc<dyn store::Store>>,
    /// The file of the configuration, to be read again at a reload.
    pub file: Option<PathBuf>,
    /// How often files with certificates and keys are looked at, in place of [`tls::RELOAD_EVERY`].
    pub reload_every: Option<Duration>,
    /// How often it is looked for what retention lets go, in place of every ten seconds.
    pub sweep_every: Option<Duration>,
    /// What stands around its ports.
    pub around: Option<Arc<dyn Around>>,
}

/// Why a router does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the configuration names cannot be had.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The store cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] router_store::store::Error),
    /// The path cannot be started.
    #[error(transparent)]
    Path(#[from] StartError),
    /// The public listener cannot be bound.
    #[error("`listen`: {0}")]
    Listen(#[from] BindError),
    /// The admin listener cannot be bound.
    #[error("`admin.listen`: {addr} cannot be used: {why}; is another router running? Give it another port")]
    AdminListen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        why: std::io::Error,
    },
    /// The listener of the probes cannot be bound.
    #[error("`admin.probes`: {addr} cannot be used: {why}; is another router running? Give it another port")]
    ProbesListen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        why: std::io::Error,
    },
    /// The token cannot be read or drawn.
    #[error("the admin token in `{}` cannot be read or written: {why}; see who owns the folder", .data.display())]
    Token {
        /// The data folder.
        data: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
}

impl Error {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            Error::Connect(e) => e.code(),
            Error::Store(e) => e.code(),
            Error::Path(e) => e.code(),
            Error::Listen(e) => e.code(),
            Error::AdminListen { .. } | Error::ProbesListen { .. } => codes::ADMIN_ADDRESS,
            Error::Token { .. } => codes::ADMIN_TOKEN_FILE,
        }
    }
}

/// A router that runs. Dropping it stops everything at once, as a crash would; [`Running::stop`] does it in order.
pub struct Running {
    path: Arc<Path>,
    opened: Opened,
    api: Arc<admin::Api>,
    token: Secret,
    data: PathBuf,
    stop_deadline: Duration,
    pulls: Pulls,
    listen: Server,
    admin: Server,
    /// Answers while everything else stops, and is dropped with it.
    probes: Option<Server>,
    /// Reads keys again when they change; dropped with the router.
    _renewal: JoinSet<()>,
    /// Ends who reads events beside the flow.
    _readers: DropGuard,
}

/// A server task and its address.
struct Server {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn end(mut self) {
        self.stop.cancel();
        // A task that panicked has ended too, which is all that is asked here.
        if (&mut self.task).await.is_err() {
            tracing::error!(code = %codes::SERVER_ENDED, addr = %self.addr, "a server ended by a panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a router.
///
/// # Errors
/// [`Error`]: nothing is left running.
pub async fn serve(config: Config, options: Options) -> Result<Running, Error> {
    let data = connect::data_folder(&config, options.data);
    let around = options.around.unwrap_or_else(|| Arc::new(Nothing));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // What can be refused without touching the store comes first, so that a wrong secret changes nothing.
    let mut topology = connect::topology(&config)?;
    topology.targets = topology.targets.into_iter().map(|target| around.target(target)).collect();
    let configured = config.admin.token.as_ref().map(|t| connect::secret(|| "admin.token".into(), t)).transpose()?;
    let router = config.router.key.as_ref().map(|_| connect::router(&config.router, &data)).transpose()?;
    let keys = connect::keys(&config)?;
    if let Some(every) = options.sweep_every {
        topology.budgets.sweep_every = every;
    }
    let archiving = connect::archiving(&config, &*around)?;
    let clients = connect::Clients::default();
    let mut sources = Vec::new();
    for (name, source) in &config.sources {
        sources.push(connect::source(name, source, &keys, &clients)?);
    }
    sources.extend(connect::bus_sources(&config, &keys)?);
    let known = connect::schemas(&config)?;
    let reload_every = options.reload_every.unwrap_or(tls::RELOAD_EVERY);
    let renewal = watch::Keys::new(&sources).spawn(reload_every);
    let addr = config.admin.listen;
    let admin = TcpListener::bind(addr).await.map_err(|why| Error::AdminListen { addr, why })?;
    let probes = match config.admin.probes {
        Some(addr) => Some((TcpListener::bind(addr).await.map_err(|why| Error::ProbesListen { addr, why })?, addr)),
        None => None,
    };
    let (routes, targets) = (topology.routes.clone(), reload::Targets::of(&config, &topology));
    let opened = match options.store {
        Some(store) => Opened::Other(store),
        None => connect::store(&config, &data).await?,
    };
    let token = match configured {
        Some(token) => token,
        None => admin::token::read_or_draw(&data).map_err(|why| Error::Token { data: data.clone(), why })?,
    };
    let router = router.map_or_else(|| connect::router(&config.router, &data), Ok)?;
    tracing::info!(router = %router.id(), "what leaves carries this router's id in gocoffeehops");
    topology.router = Some(Arc::new(router));
    let path = Arc::new(Path::start_with(around.store(opened.store()), topology, archiving, clock.clone()).await?);
    let started = clock.wall();
    let readers = admin::reading::Readers::default();
    let guard_of_readers = readers.guard();
    let ready = AtomicBool::new(false);
    let reloader = Reloader::new(options.file, config.clone(), targets, routes, path.clone(), clock.clone());
    let reloader = Arc::new(reloader.around(around.clone()));
    let api = Arc::new(admin::Api { path: path.clone(), clock, started, reloader, ready, readers });
    let (pushes, pulled): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| matches!(source, Connected::Push { .. }));
    let listener = match bind(&config, pushes, known.as_ref(), &path, &*around, reload_every).await {
        Ok(listener) => listener,
        Err(e) => {
            // The first error is the one to tell; what a stop cannot write is done again after the next start.
            if let Err(second) = end(&path, &opened, STOP_DEADLINE).await {
                tracing::error!(code = %second.code(), error = %second, "the store failed while the start was undone");
            }
            return Err(e.into());
        }
    };
    let guard = admin::guard::Guard { token: token.clone(), hosts: config.admin.hosts.clone() };
    let admin = serve_admin(admin, admin::router(api.clone(), guard), addr);
    let probes = probes.map(|(listener, addr)| serve_admin(listener, admin::probes::router(api.clone()), addr));
    let listen = serve_public(listener);
    api.ready.store(true, Ordering::Relaxed);
    let pulls = pull(pulled, known.as_ref(), &path);
    Ok(Running {
        pulls,
        path,
        opened,
        api,
        token,
        data,
        stop_deadline: config.stop_deadline,
        listen,
        admin,
        probes,
        _renewal: renewal,
        _readers: guard_of_readers,
    })
}

/// Stops the path, then closes the store, which is closed whatever the path says.
async fn end(path: &Path, opened: &Opened, deadline: Duration) -> Result<(), store::Error> {
    let stopped = path.stop(deadline).await;
    stopped.and(opened.close().await)
}

async fn bind(
    config: &Config,
    sources: Vec<Connected>,
    known: Option<&Arc<Known>>,
    path: &Path,
    around: &dyn Around,
    reload_every: Duration,
) -> Result<Listener, BindError> {
    let mounts = sources.into_iter().filter_map(|source| {
        let Connected::Push { endpoint, bus, validate, .. } = source else { return None };
        // `check` has seen to it that the bus exists, and the path has opened it.
        let intake = intake(path, &bus, known, validate)?;
        Some(Mount { endpoint: endpoint.into(), intake: around.intake(Arc::new(intake)) })
    });
    let (limits, edge) = (connect::limits(&config.limits), connect::edge(config));
    Listener::bind_with(config.listen, limits, edge, reload_every, mounts.collect()).await
}

/// The way into a bus, for a source that holds events to their schemas or not.
fn intake(path: &Path, bus: &BusName, known: Option<&Arc<Known>>, validate: Validate) -> Option<Intake> {
    let intake = path.intake(bus)?;
    Some(match connect::judging(known, validate) {
        Some(schemas) => intake.judging(schemas),
        None => intake,
    })
}

/// Starts the sources that pull, last of all: whatever they bring finds everything running.
fn pull(sources: Vec<Connected>, known: Option<&Arc<Known>>, path: &Path) -> Pulls {
    let mut pulls = Pulls::default();
    for source in sources {
        if let Connected::Pull { source, bus, validate } = source
            && let Some(intake) = intake(path, &bus, known, validate)
        {
            pulls.start(source, Arc::new(path.doorway(bus, intake)));
        }
    }
    pulls
}

fn serve_public(listener: Listener) -> Server {
    let stop = CancellationToken::new();
    Server { addr: listener.addr(), stop: stop.clone(), task: tokio::spawn(listener.run(stop)) }
}

fn serve_admin(listener: TcpListener, router: axum::Router, asked: SocketAddr) -> Server {
    let stop = CancellationToken::new();
    let addr = listener.local_addr().unwrap_or(asked);
    let stopped = stop.clone().cancelled_owned();
    // Writes are told with the address of who made them.
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let task = tokio::spawn(async move {
        if let Err(e) = axum::serve(listener, service).with_graceful_shutdown(stopped).await {
            tracing::error!(code = %codes::SERVER_ENDED, error = %e, "the admin API ended");
        }
    });
    Server { addr, stop, task }
}

impl Running {
    /// Where events come in.
    pub fn listen(&self) -> SocketAddr {
        self.listen.addr
    }

    /// Where the admin API is.
    pub fn admin(&self) -> SocketAddr {
        self.admin.addr
    }

    /// Where health and figures are for others, if they are anywhere.
    pub fn probes(&self) -> Option<SocketAddr> {
        self.probes.as_ref().map(|server| server.addr)
    }

    /// What the admin API asks for.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The folder of everything that is kept.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// How long a stop takes at most, as it is configured.
    pub fn stop_deadline(&self) -> Duration {
        self.stop_deadline
    }

    /// The path, for who runs the router in-process.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Reads the configuration's file again and puts it into force, as a signal asks for it.
    ///
    /// # Errors
    /// [`reload::Error`]: nothing has changed.
    pub async fn reload(&self) -> Result<reload::Reloaded, reload::Error> {
        let done = self.api.reloader.clone().reload(false).await?;
        audit::reloaded(&self.api, &Who::SIGNAL, &done.changes).await;
        Ok(done)
    }

    /// Resolves when the store has failed and the process must end.
    pub async fn failed(&self) -> store::Error {
        let why = self.path.failed().await;
        self.api.ready.store(false, Ordering::Relaxed);
        why
    }

    /// Lets nothing more in, ends what is under way until the deadline, and leaves the rest durable.
    ///
    /// # Errors
    /// The store's: what it could not write is done again after the next start.
    pub async fn stop(self, deadline: Duration) -> Result<(), store::Error> {
        let Running { pulls, path, opened, api, listen, admin, .. } = self;
        let deadline_at = tokio::time::Instant::now() + deadline;
        api.ready.store(false, Ordering::Relaxed);
        api.readers.end();
        if tokio::time::timeout_at(deadline_at, pulls.end()).await.is_err() {
            tracing::warn!(code = %codes::SOURCE_ENDED, "sources that pull were cut off at the deadline; what they had not told comes again");
        }
        if tokio::time::timeout_at(deadline_at, listen.end()).await.is_err() {
            tracing::warn!(code = %router_http::codes::REQUESTS_CUT, "requests that were still open at the deadline were cut off");
        }
        let left = deadline_at.saturating_duration_since(tokio::time::Instant::now());
        let stopped = end(&path, &opened, left).await;
        // A client that holds a connection open must not hold the process.
        if tokio::time::timeout(Duration::from_secs(1), admin.end()).await.is_err() {
            tracing::debug!("admin connections were cut off");
        }
        stopped
    }
}
