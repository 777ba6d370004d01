//! From the configuration to what it names. This is the registry: a kind of source, target or store is one
//! variant in [`crate::config`] and one arm here.

/// AWS.
mod aws;

/// Azure.
#[cfg(feature = "azure")]
mod azure;

/// Google Cloud.
mod gcp;

/// Who the router is to others.
mod router;

/// The archive in object storage.
mod archive;

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use router_core::{
    admit::{Demand, Schemas},
    id::{BusName, SourceName, TargetName},
    order::{OnDeadLetter, Order, STUCK_KEYS_MAX},
    path::{Budgets, BusSpec, RouteSpec, Topology},
    retain::{BacklogLimits, DiskBudget, LetterLimits, Retention, Then},
    settle::RetryPolicy,
    source::Source,
    store,
    target::{Rate, Target},
};
use router_http::{
    Edge, Endpoint, Events, HttpTarget, HttpTargetConfig, Key, KeySpec, Limits, Secret, TlsFiles, client,
    events::EventsError, listener::TlsError, target,
};
use router_store::{
    memory::MemoryStore,
    store::{BALLAST_BYTES, DiskStore, Options},
};

use crate::{
    catalogue::{self, Known},
    codes,
    config::{self, Config, Validate, value},
};

pub use self::{
    archive::{archived_buses, archiving, environment, retention_of},
    router::router,
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
    /// TLS of a target.
    #[error("targets.{0}: tls: {1}")]
    TargetTls(TargetName, TlsError),
    /// The schemas.
    #[error("schemas: {0}")]
    Schemas(String),
    /// The router's key.
    #[error("router.key: {0}")]
    Router(String),
    /// The router's key in the data folder.
    #[error("the key of the router in `{}` cannot be used: {why}; see who owns the file, and `gocoffee explain R0044`", file.display())]
    RouterKey {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A source or a target at AWS.
    #[error("{place}: {}: {why}", keys.join("."))]
    Aws {
        /// Its key in the configuration.
        place: String,
        /// The keys below its kind.
        keys: &'static [&'static str],
        /// What is wrong, and what to write.
        why: String,
    },
    /// A target at Google Cloud.
    #[error("targets.{name}: {}: {why}", keys.join("."))]
    Google {
        /// The target.
        name: TargetName,
        /// The keys below its kind.
        keys: &'static [&'static str],
        /// What is wrong, and what to write.
        why: String,
    },
    /// A target at Azure.
    #[error("targets.{0}: {1}")]
    Azure(TargetName, String),
    /// The archive in object storage.
    #[error("archive: {0}")]
    Archive(String),
    /// A kind that this program was built without.
    #[error(
        "{place}: this gocoffee was built without {feature}; use one that was built with `--features {feature}`, as by default"
    )]
    BuiltWithout {
        /// The key in the configuration.
        place: String,
        /// The feature that it needs.
        feature: &'static str,
    },
}

impl Error {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            Error::Secret { .. } => codes::SECRET_UNREADABLE,
            Error::Keys(_)
            | Error::Source(..)
            | Error::Target(..)
            | Error::Aws { .. }
            | Error::Google { .. }
            | Error::Azure(..)
            | Error::Archive(_)
            | Error::Router(_) => codes::CONFIG_VALUE,
            Error::RouterKey { .. } => codes::ROUTER_KEY_FILE,
            Error::BuiltWithout { .. } => codes::BUILT_WITHOUT,
            Error::TargetTls(..) => router_http::codes::TLS_FILES,
            Error::Schemas(_) => codes::CATALOGUE_REFUSED,
        }
    }
}

/// A source, connected.
pub enum Connected {
    /// It is called: mounted at the public listener.
    Push {
        /// What answers there.
        endpoint: Box<dyn Endpoint>,
        /// The bus that it feeds.
        bus: BusName,
        /// The keys that it asks for.
        keys: Vec<KnownKey>,
        /// What it does with an event whose data its schema refuses.
        validate: Validate,
    },
    /// It pulls.
    Pull {
        /// What pulls.
        source: Arc<dyn Source>,
        /// The bus that it feeds.
        bus: BusName,
        /// What it does with an event whose data its schema refuses.
        validate: Validate,
    },
}

/// A key, and where its secret is kept.
#[derive(Clone)]
pub struct KnownKey {
    /// The key.
    pub key: Arc<Key>,
    /// Its secret, as the configuration names it.
    pub secret: value::Secret,
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
pub fn keys(config: &Config) -> Result<Vec<KnownKey>, Error> {
    let mut names = BTreeSet::new();
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
        let made = Key::new(spec).map_err(|e| Error::Keys(e.to_string()))?;
        Ok(KnownKey { key: made, secret: key.secret.clone() })
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
pub fn source(
    name: &SourceName,
    source: &config::Source,
    keys: &[KnownKey],
    clients: &Clients,
) -> Result<Connected, Error> {
    match source {
        #[cfg(feature = "aws")]
        config::Source::EventBridge(queue) => aws::queue(name, queue, &clients.aws),
        #[cfg(feature = "aws")]
        config::Source::Aws(config::AwsSource::PutEvents(put)) => aws::put_events(name, put),
        #[cfg(feature = "aws")]
        config::Source::Aws(config::AwsSource::ApiDestination(sent)) => aws::api_destination(name, sent),
        #[cfg(not(feature = "aws"))]
        config::Source::EventBridge(_) | config::Source::Aws(_) => {
            let _none = clients;
            let place = format!("sources.{name}.{}", source.bus().0.join("."));
            Err(Error::BuiltWithout { place, feature: "aws" })
        }
        config::Source::Http(http) => {
            let refused = |e: &dyn std::fmt::Display| Error::Source(name.clone(), e.to_string());
            let mut all = keys.to_vec();
            for (n, named) in (1..).zip(&http.keys) {
                let text = secret(|| format!("sources.{name}.http.keys"), named)?;
                let key = Key::new(KeySpec::new(format!("{name}/{n}"), text)).map_err(|e| refused(&e))?;
                all.push(KnownKey { key, secret: named.clone() });
            }
            push(&http.path, name.clone(), http.bus.clone(), all, http.validate).map_err(|e| refused(&e))
        }
        #[cfg(feature = "azure")]
        config::Source::EventGrid(given) => azure::source(name, given),
        #[cfg(not(feature = "azure"))]
        config::Source::EventGrid(_) => {
            Err(Error::BuiltWithout { place: format!("sources.{name}.event_grid"), feature: "azure" })
        }
        #[cfg(feature = "gcp")]
        config::Source::PubSubPush(given) => gcp::push(name, given),
        #[cfg(feature = "gcp")]
        config::Source::PubSub(given) => gcp::pull(name, given, &clients.google),
        #[cfg(feature = "gcp")]
        config::Source::PubSubPublish(given) => gcp::publish(name, given),
        #[cfg(not(feature = "gcp"))]
        config::Source::PubSub(_) | config::Source::PubSubPush(_) | config::Source::PubSubPublish(_) => {
            let place = format!("sources.{name}.{}", source.bus().0.join("."));
            Err(Error::BuiltWithout { place, feature: "gcp" })
        }
    }
}

/// What a source that pulls does with what is no event.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn on_invalid(given: config::OnInvalid) -> router_core::source::OnInvalid {
    use router_core::source::OnInvalid;
    match given {
        config::OnInvalid::Quarantine => OnInvalid::Quarantine,
        config::OnInvalid::Reject => OnInvalid::Reject,
    }
}

fn push(
    path: &str,
    from: SourceName,
    bus: BusName,
    keys: Vec<KnownKey>,
    validate: Validate,
) -> Result<Connected, EventsError> {
    let shown = keys.iter().map(|known| known.key.clone()).collect();
    let endpoint = Box::new(Events::with_keys(path, from, bus.clone(), shown)?);
    Ok(Connected::Push { endpoint, bus, keys, validate })
}

/// The path at which a bus takes events beside its sources.
pub fn bus_path(bus: &BusName) -> String {
    format!("/buses/{bus}/events")
}

/// The buses that have a path of their own. It never gives more than the sources do: where there are shared
/// keys, it asks for one of them and every bus has it; where there are none, only buses have it that a
/// source without keys feeds.
pub fn buses_with_path(config: &Config) -> Vec<BusName> {
    let mut buses: BTreeSet<BusName> = config.buses.keys().cloned().collect();
    buses.insert(config::default_bus());
    let open = |bus: &BusName| {
        let feeds = |source: &config::Source| match source {
            config::Source::Http(http) => http.keys.is_empty() && http.bus == *bus,
            // What stands for a cloud says nothing of who may send CloudEvents to a bus.
            config::Source::EventBridge(_)
            | config::Source::Aws(_)
            | config::Source::EventGrid(_)
            | config::Source::PubSub(_)
            | config::Source::PubSubPush(_)
            | config::Source::PubSubPublish(_) => false,
        };
        config.sources.values().any(feeds)
    };
    let fed = buses.into_iter().filter(|bus| bus.as_str() != config::SYSTEM_BUS);
    fed.filter(|bus| !config.keys.is_empty() || open(bus)).collect()
}

/// Connects the buses' own paths.
///
/// # Errors
/// [`Error`].
pub fn bus_sources(config: &Config, keys: &[KnownKey]) -> Result<Vec<Connected>, Error> {
    let connect = |bus: BusName| {
        let failed = |why: String| Error::Keys(format!("{}: {why}", bus_path(&bus)));
        // In logs such a source has the name of its bus.
        let from = SourceName::new(bus.as_str()).map_err(|e| failed(e.to_string()))?;
        let validate = strictest(config, &bus);
        push(&bus_path(&bus), from, bus.clone(), keys.to_vec(), validate).map_err(|e| failed(e.to_string()))
    };
    buses_with_path(config).into_iter().map(connect).collect()
}

/// What a bus's own path does with events that their schema refuses: no less than any source that feeds the bus.
fn strictest(config: &Config, bus: &BusName) -> Validate {
    let feeds = |source: &&config::Source| source.bus().1 == bus;
    config.sources.values().filter(feeds).map(config::Source::validate).max().unwrap_or_default()
}

/// The catalogue that the configuration names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn catalogue_of(config: &Config) -> Result<schemas::catalogue::Catalogue, Vec<schemas::catalogue::Error>> {
    catalogue::load(config.schemas.path.as_deref(), config.schemas.built_in)
}

/// The schemas that sources ask for, compiled; `None` where none asks.
///
/// # Errors
/// [`Error::Schemas`].
pub fn schemas(config: &Config) -> Result<Option<Arc<Known>>, Error> {
    if config.sources.values().all(|source| source.validate() == Validate::Off) {
        return Ok(None);
    }
    let said =
        |errors: Vec<schemas::catalogue::Error>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let catalogue = catalogue_of(config).map_err(|errors| Error::Schemas(said(errors)))?;
    Ok(Some(Arc::new(Known(catalogue))))
}

/// What the intake of a source is told of schemas.
pub fn judging(known: Option<&Arc<Known>>, validate: Validate) -> Option<Schemas> {
    let demand = match validate {
        Validate::Off => return None,
        Validate::Warn => Demand::Warn,
        Validate::Refuse => Demand::Refuse,
    };
    known.map(|known| Schemas { judge: known.clone(), demand })
}

/// What targets that are configured alike share.
#[derive(Default)]
pub struct Clients {
    http: client::Clients,
    #[cfg_attr(not(feature = "aws"), expect(dead_code))]
    aws: aws::Accounts,
    #[cfg_attr(not(feature = "gcp"), expect(dead_code))]
    google: gcp::Accounts,
}

/// Connects all targets; no connection is opened yet.
///
/// # Errors
/// [`Error`], of the first target that cannot be.
pub fn targets(config: &Config) -> Result<Vec<Arc<dyn Target>>, Error> {
    let clients = Clients::default();
    config.targets.iter().map(|(name, target)| self::target(name, target, &clients)).collect()
}

/// Connects one target; no connection is opened yet.
///
/// # Errors
/// [`Error`].
pub fn target(name: &TargetName, target: &config::Target, clients: &Clients) -> Result<Arc<dyn Target>, Error> {
    match target {
        config::Target::Http(http) => {
            let config = http_target(name, http)?;
            let client = clients.http.get(config.client()).map_err(|e| Error::TargetTls(name.clone(), e))?;
            let target = HttpTarget::new(config, client);
            Ok(Arc::new(target.map_err(|e| Error::Target(name.clone(), e))?))
        }
        #[cfg(feature = "aws")]
        config::Target::EventBridge(bus) => aws::eventbridge(name, bus, &clients.aws),
        #[cfg(feature = "aws")]
        config::Target::EventBridgeV2(bus) => aws::eventbridge_v2(name, bus, &clients.aws),
        #[cfg(feature = "aws")]
        config::Target::Sqs(queue) => aws::sqs(name, queue, &clients.aws),
        #[cfg(feature = "aws")]
        config::Target::Lambda(function) => {
            let client = clients.http.get(client::Settings::default());
            aws::lambda(name, function, &clients.aws, client.map_err(|e| Error::TargetTls(name.clone(), e))?)
        }
        #[cfg(not(feature = "aws"))]
        config::Target::EventBridge(_)
        | config::Target::EventBridgeV2(_)
        | config::Target::Sqs(_)
        | config::Target::Lambda(_) => Err(built_without(name, target, "aws")),
        #[cfg(feature = "azure")]
        config::Target::EventGrid(topic) => azure::topic(name, topic, rate(topic.rate.as_ref()), &clients.http),
        #[cfg(feature = "azure")]
        config::Target::EventGridNamespace(topic) => {
            azure::namespace(name, topic, rate(topic.rate.as_ref()), &clients.http)
        }
        #[cfg(feature = "azure")]
        config::Target::AzureFunction(called) => {
            azure::azure_function(name, called, rate(called.rate.as_ref()), &clients.http)
        }
        #[cfg(not(feature = "azure"))]
        config::Target::EventGrid(_) | config::Target::EventGridNamespace(_) | config::Target::AzureFunction(_) => {
            Err(built_without(name, target, "azure"))
        }
        #[cfg(feature = "gcp")]
        config::Target::PubSub(topic) => gcp::pubsub(name, topic, &clients.google),
        #[cfg(feature = "gcp")]
        config::Target::CloudRun(service) => gcp::cloud_run(name, service, &clients.google, &clients.http),
        #[cfg(not(feature = "gcp"))]
        config::Target::PubSub(_) | config::Target::CloudRun(_) => Err(built_without(name, target, "gcp")),
    }
}

#[cfg(not(all(feature = "aws", feature = "azure", feature = "gcp")))]
fn built_without(name: &TargetName, target: &config::Target, feature: &'static str) -> Error {
    Error::BuiltWithout { place: format!("targets.{name}.{}", target.kind()), feature }
}

fn rate(rate: Option<&config::Rate>) -> Option<Rate> {
    // Zeros were refused by `check`.
    let events_per_second_max = NonZeroU32::new(rate?.events_per_second_max)?;
    let burst = rate?.burst.map_or(Some(events_per_second_max), NonZeroU32::new)?;
    Some(Rate { events_per_second_max, burst })
}

fn http_target(name: &TargetName, http: &config::HttpTarget) -> Result<HttpTargetConfig, Error> {
    let place = |key: &str| format!("targets.{name}.http.{key}");
    let mut headers = std::collections::BTreeMap::new();
    for (header, value) in &http.headers {
        headers.insert(header.clone(), secret(|| place(&format!("headers.{header}")), value)?);
    }
    let signing = |value| secret(|| place("webhook_secrets"), value);
    let webhook_secrets = http.webhook_secrets.iter().map(signing).collect::<Result<_, _>>()?;
    let mode = match (&http.batch, http.mode) {
        (Some(batch), _) => target::Mode::Batch(target::Batch {
            count_max: batch.count_max.into(),
            bytes_max: batch.bytes_max,
            delay_max: batch.delay_max.unwrap_or_default(),
        }),
        (None, config::Mode::Binary) => target::Mode::Binary,
        (None, config::Mode::Structured) => target::Mode::Structured,
    };
    let mut statuses = target::Statuses::default();
    for (status, verdict) in &http.retry.statuses {
        statuses.set(status, verdict).map_err(|e| Error::Target(name.clone(), target::ConfigError::Status(e)))?;
    }
    let tls = http.tls.clone().unwrap_or_default();
    Ok(HttpTargetConfig {
        mode,
        timeout: http.timeout,
        headers,
        auth: auth(name, http)?,
        in_flight_max: http.in_flight_max.into(),
        rate: rate(http.rate.as_ref()),
        webhook_secrets,
        statuses,
        private: http.allow_private.into(),
        tls: client::TlsFiles { ca: tls.ca, identity: tls.cert.zip(tls.key) },
        ..HttpTargetConfig::new(name.clone(), http.url.clone())
    })
}

fn auth(name: &TargetName, http: &config::HttpTarget) -> Result<target::Auth, Error> {
    let secret = |key: &str, value| secret(|| format!("targets.{name}.http.{key}"), value);
    Ok(match (&http.bearer, &http.basic, &http.oauth) {
        (Some(bearer), ..) => target::Auth::Bearer(secret("bearer", bearer)?),
        (None, Some(basic), _) => {
            target::Auth::Basic { user: basic.username.clone(), password: secret("basic.password", &basic.password)? }
        }
        (None, None, Some(oauth)) => target::Auth::OAuth(target::OAuth {
            token_url: oauth.token_url.clone(),
            client_id: oauth.client_id.clone(),
            client_secret: secret("oauth.client_secret", &oauth.client_secret)?,
            scope: oauth.scope.clone(),
            audience: oauth.audience.clone(),
            client_auth: match oauth.client_auth {
                config::ClientAuth::Basic => target::ClientAuth::Basic,
                config::ClientAuth::Post => target::ClientAuth::Post,
            },
        }),
        (None, None, None) => target::Auth::None,
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
        config::Store::Disk(disk) => {
            let mut options = Options::default();
            options.log = options.log.segment_bytes(disk.segment_bytes());
            options.ballast_bytes = disk.segment_bytes().min(BALLAST_BYTES);
            Ok(Opened::Disk(Arc::new(DiskStore::open(data, options).await?)))
        }
    }
}

/// What the path connects.
///
/// # Errors
/// [`Error`], of the targets.
pub fn topology(config: &Config) -> Result<Topology, Error> {
    Ok(topology_of(config, targets(config)?))
}

/// The same with these targets.
pub fn topology_of(config: &Config, targets: Vec<Arc<dyn Target>>) -> Topology {
    let mut buses: Vec<BusSpec> = config.buses.iter().map(|(name, bus)| bus_spec(name.clone(), bus)).collect();
    if !buses.iter().any(|b| b.name.as_str() == config::DEFAULT_BUS) {
        buses.push(bus_spec(config::default_bus(), &config::Bus::default()));
    }
    let system = router_core::system::bus();
    if !config.buses.contains_key(&system) {
        let retention = config::Retention { age_max: config::SYSTEM_AGE, bytes_max: None };
        buses.push(bus_spec(system, &config::Bus { retention, ..config::Bus::default() }));
    }
    Topology {
        buses,
        routes: config.routes.iter().map(|(name, route)| route_spec(name.clone(), route)).collect(),
        targets,
        event_bytes_max: config.limits.event_bytes_max,
        budgets: budgets(config),
        // A start says it, once it has a data folder.
        router: None,
        quarantine: config.sources.values().any(config::Source::quarantines),
    }
}

/// What is kept and held at most.
fn budgets(config: &Config) -> Budgets {
    let disk = match &config.store {
        config::Store::Disk(disk) => DiskBudget { bytes_max: disk.bytes_max, free_min: disk.free_min },
        config::Store::Memory(_) => DiskBudget::default(),
    };
    let config::DeadLetters { age_max, bytes_max } = config.dead_letters;
    Budgets {
        disk,
        dead_letters: LetterLimits { age_max: Some(age_max), bytes_max },
        run_age_max: config.replay.run_age_max,
        waiting_total_max: usize::try_from(config.limits.waiting_total_max).unwrap_or(usize::MAX),
        ..Budgets::default()
    }
}

fn bus_spec(name: BusName, bus: &config::Bus) -> BusSpec {
    let config::Retention { age_max, bytes_max } = bus.retention;
    let retention = Retention { age_max: Some(age_max), bytes_max };
    let entries_max = usize::try_from(bus.dedupe.entries_max).unwrap_or(usize::MAX);
    BusSpec { name, dedupe_age: bus.dedupe.age, dedupe_entries_max: entries_max, retention }
}

fn route_spec(name: router_core::id::RouteName, route: &config::Route) -> RouteSpec {
    let config::Retry { attempts_max, age_max, delay_min, delay_max } = route.retry;
    RouteSpec {
        name,
        bus: route.bus.clone(),
        filter: route.filter.as_ref().map(config::Filter::spec),
        transform: route.transform.as_ref().map(config::Transform::spec),
        target: route.to.clone(),
        retry: RetryPolicy { attempts_max, age_max, delay_min, delay_max },
        backlog: backlog(&route.backlog, age_max),
        reply: route.reply.spec(),
        order: order(route),
        start: route.start.spec(),
    }
}

fn order(route: &config::Route) -> Option<Order> {
    let on_dead_letter = match route.on_dead_letter {
        config::OnDeadLetter::Continue => OnDeadLetter::Continue,
        config::OnDeadLetter::Hold => OnDeadLetter::Hold,
    };
    let stuck_keys_max = route.stuck_keys_max.map_or(STUCK_KEYS_MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    route.order.as_deref().map(|attribute| Order { attribute: attribute.into(), on_dead_letter, stuck_keys_max })
}

fn backlog(backlog: &config::Backlog, retry_age_max: Duration) -> BacklogLimits {
    let config::Backlog { age_max, bytes_max, then } = *backlog;
    match then {
        config::Then::DeadLetter => {
            BacklogLimits { age_max: Some(age_max.unwrap_or(retry_age_max)), bytes_max, then: Then::DeadLetter }
        }
        config::Then::Hold => BacklogLimits { age_max: None, bytes_max, then: Then::Hold },
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
