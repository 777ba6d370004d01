//! From the configuration to what it names. This is the registry: a kind of source, target or store is one
//! variant in [`crate::config`] and one arm here.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

use router_core::{
    id::{BusName, SourceName, TargetName},
    path::{BusSpec, RouteSpec, Topology},
    settle::RetryPolicy,
    store,
    target::Target,
};
use router_http::{
    Edge, Endpoint, Events, HttpTarget, HttpTargetConfig, Key, KeySpec, Limits, Secret, TlsFiles, client::Client,
    target,
};
use router_store::{
    memory::MemoryStore,
    store::{DiskStore, Options},
};

use crate::{
    codes,
    config::{self, Config, value},
};

/// Why something that the configuration names cannot be had. Each says where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A secret.
    #[error("{place}: {why}; set it, or see `gocoffee check`")]
    Secret {
        /// The key in the configuration.
        place: String,
        /// What is missing.
        why: value::Unreadable,
    },
    /// The keys of all sources.
    #[error("keys: {0}")]
    Keys(String),
    /// A source.
    #[error("sources.{0}: {1}")]
    Source(SourceName, String),
    /// A target.
    #[error("targets.{0}: {1}")]
    Target(TargetName, target::ConfigError),
    /// The client that all HTTP targets share.
    #[error("TLS cannot be set up: {0}")]
    Client(String),
}

impl Error {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            Error::Secret { .. } => codes::SECRET_UNREADABLE,
            Error::Keys(_) | Error::Source(..) | Error::Target(..) => codes::CONFIG_VALUE,
            Error::Client(_) => codes::TLS_SETUP,
        }
    }
}

/// A source, connected.
pub enum Connected {
    /// It is called: mounted at the public listener, feeding this bus.
    Push(Box<dyn Endpoint>, BusName),
}

/// The folder of everything that is kept: `--data`, the disk store's path, or `./data`.
pub fn data_folder(config: &Config, over: Option<PathBuf>) -> PathBuf {
    over.unwrap_or_else(|| match &config.store {
        config::Store::Disk(disk) => disk.path.clone(),
        config::Store::Memory(_) => config::Disk::default().path,
    })
}

/// Reads a secret that stands at this key.
///
/// # Errors
/// [`Error::Secret`].
pub fn secret(place: impl FnOnce() -> String, secret: &value::Secret) -> Result<Secret, Error> {
    secret.resolve().map(Secret::new).map_err(|why| Error::Secret { place: place(), why })
}

/// The keys of all sources; each is one, with one rate, whichever source it is shown to.
///
/// # Errors
/// [`Error`], of the first key that cannot be.
pub fn keys(config: &Config) -> Result<Vec<Arc<Key>>, Error> {
    let mut names = std::collections::BTreeSet::new();
    let key = |key: &config::Key| {
        if !names.insert(key.name.clone()) {
            return Err(Error::Keys(format!("two keys are called `{}`; give each its own name", key.name)));
        }
        let rate = key.events_per_second_max.map(|rate| {
            NonZeroU32::new(rate).ok_or_else(|| {
                Error::Keys(format!("key {}: with `events_per_second_max` 0 nothing can come in", key.name))
            })
        });
        let spec = KeySpec {
            sources: key.sources.clone(),
            types: key.types.clone(),
            buses: key.buses.clone(),
            events_per_second_max: rate.transpose()?,
            ..KeySpec::new(key.name.clone(), secret(|| format!("keys, {}", key.name), &key.secret)?)
        };
        Key::new(spec).map_err(|e| Error::Keys(e.to_string()))
    };
    config.keys.iter().map(key).collect()
}

/// How the public listener stands on the network.
pub fn edge(config: &Config) -> Edge {
    let tls = config.tls.as_ref().map(|config::Tls { cert, key, client_ca }| TlsFiles {
        cert: cert.clone(),
        key: key.clone(),
        client_ca: client_ca.clone(),
    });
    Edge { tls, behind_proxy: config.behind_proxy, open: config.open }
}

/// Connects a source, to which those keys are shown and its own.
///
/// # Errors
/// [`Error`].
pub fn source(name: &SourceName, source: &config::Source, keys: &[Arc<Key>]) -> Result<Connected, Error> {
    match source {
        config::Source::Http(http) => {
            let refused = |e: &dyn std::fmt::Display| Error::Source(name.clone(), e.to_string());
            let mut all = keys.to_vec();
            for (n, key) in (1..).zip(&http.keys) {
                let key = secret(|| format!("sources.{name}.http.keys"), key)?;
                all.push(Key::new(KeySpec::new(format!("{name}/{n}"), key)).map_err(|e| refused(&e))?);
            }
            let events = Events::with_keys(&http.path, name.clone(), http.bus.clone(), all).map_err(|e| refused(&e))?;
            Ok(Connected::Push(Box::new(events), http.bus.clone()))
        }
    }
}

/// Connects all targets; no connection is opened yet.
///
/// # Errors
/// [`Error`], of the first target that cannot be.
pub fn targets(config: &Config) -> Result<Vec<Arc<dyn Target>>, Error> {
    let client = Client::new().map_err(|e| Error::Client(e.to_string()))?;
    config.targets.iter().map(|(name, target)| self::target(name, target, &client)).collect()
}

/// Connects one target; no connection is opened yet.
///
/// # Errors
/// [`Error`].
pub fn target(name: &TargetName, target: &config::Target, client: &Client) -> Result<Arc<dyn Target>, Error> {
    match target {
        config::Target::Http(http) => {
            let config = http_target(name, http)?;
            let target = HttpTarget::new(config, client.clone());
            Ok(Arc::new(target.map_err(|e| Error::Target(name.clone(), e))?))
        }
    }
}

fn http_target(name: &TargetName, http: &config::HttpTarget) -> Result<HttpTargetConfig, Error> {
    let place = |key: &str| format!("targets.{name}.http.{key}");
    let mut headers = std::collections::BTreeMap::new();
    for (header, value) in &http.headers {
        headers.insert(header.clone(), secret(|| place(&format!("headers.{header}")), value)?);
    }
    let auth = match (&http.bearer, &http.basic) {
        (Some(bearer), _) => target::Auth::Bearer(secret(|| place("bearer"), bearer)?),
        (None, Some(basic)) => target::Auth::Basic {
            user: basic.username.clone(),
            password: secret(|| place("basic.password"), &basic.password)?,
        },
        (None, None) => target::Auth::None,
    };
    let mode = match http.mode {
        config::Mode::Binary => target::Mode::Binary,
        config::Mode::Structured => target::Mode::Structured,
    };
    Ok(HttpTargetConfig {
        mode,
        timeout: http.timeout,
        headers,
        auth,
        in_flight_max: http.in_flight_max.into(),
        ..HttpTargetConfig::new(name.clone(), http.url.clone())
    })
}

/// An open store.
pub enum Opened {
    /// On disk.
    Disk(Arc<DiskStore>),
    /// In memory, or one that whoever embeds the router brought along and looks after.
    Other(Arc<dyn store::Store>),
}

impl Opened {
    /// The store as the path takes it.
    pub fn store(&self) -> Arc<dyn store::Store> {
        match self {
            Opened::Disk(disk) => disk.clone(),
            Opened::Other(other) => other.clone(),
        }
    }

    /// Closes it in order, after the path has stopped.
    ///
    /// # Errors
    /// The store's; the next start repairs.
    pub async fn close(&self) -> Result<(), store::Error> {
        match self {
            Opened::Disk(disk) => disk.close().await,
            Opened::Other(_) => Ok(()),
        }
    }
}

/// Opens the store.
///
/// # Errors
/// The store's, which say what to do.
pub async fn store(config: &Config, data: &Path) -> Result<Opened, router_store::store::Error> {
    match &config.store {
        config::Store::Memory(_) => Ok(Opened::Other(Arc::new(MemoryStore::new()))),
        config::Store::Disk(_) => Ok(Opened::Disk(Arc::new(DiskStore::open(data, Options::default()).await?))),
    }
}

/// What the path connects.
///
/// # Errors
/// [`Error`], of the targets.
pub fn topology(config: &Config) -> Result<Topology, Error> {
    let mut buses: Vec<BusSpec> = config.buses.iter().map(|(name, bus)| bus_spec(name.clone(), bus)).collect();
    if !buses.iter().any(|b| b.name.as_str() == config::DEFAULT_BUS) {
        buses.push(bus_spec(config::default_bus(), &config::Bus::default()));
    }
    Ok(Topology {
        buses,
        routes: config.routes.iter().map(|(name, route)| route_spec(name.clone(), route)).collect(),
        targets: targets(config)?,
        event_bytes_max: config.limits.event_bytes_max,
    })
}

fn bus_spec(name: BusName, bus: &config::Bus) -> BusSpec {
    let entries_max = usize::try_from(bus.dedupe.entries_max).unwrap_or(usize::MAX);
    BusSpec { name, dedupe_age: bus.dedupe.age, dedupe_entries_max: entries_max }
}

fn route_spec(name: router_core::id::RouteName, route: &config::Route) -> RouteSpec {
    let config::Retry { attempts_max, age_max, delay_min, delay_max } = route.retry;
    RouteSpec {
        name,
        bus: route.bus.clone(),
        filter: route.filter.as_ref().map(config::Filter::spec),
        target: route.to.clone(),
        retry: RetryPolicy { attempts_max, age_max, delay_min, delay_max },
    }
}

/// The limits of the public listener.
pub fn limits(limits: &config::Limits) -> Limits {
    Limits {
        header_bytes_max: limits.header_bytes_max,
        header_count_max: limits.header_count_max.into(),
        event_bytes_max: limits.event_bytes_max,
        batch_bytes_max: limits.batch_bytes_max,
        batch_count_max: usize::try_from(limits.batch_count_max).unwrap_or(usize::MAX),
        bodies_bytes_max: limits.bodies_bytes_max,
        connections_max: usize::try_from(limits.connections_max).unwrap_or(usize::MAX),
        requests_max: usize::try_from(limits.requests_max).unwrap_or(usize::MAX),
        header_read_timeout: limits.header_read_timeout,
        body_read_timeout: limits.body_read_timeout,
        idle_timeout: limits.idle_timeout,
        request_timeout: limits.request_timeout,
        ..Limits::default()
    }
}
