//! The whole configuration file as one tree of structs. Every field has a default or is required; a key
//! that is not here is an error with the nearest name that is.
//!
//! ```
//! let text = "
//! sources: { web: { http: { path: /events } } }
//! targets: { orders: { http: { url: 'http://127.0.0.1:9001/' } } }
//! routes:
//!   new-orders: { filter: { pattern: { type: [coffee.order.created] } }, to: orders }
//! ";
//! let loaded = gocoffee::config::load("gocoffee.yaml", text);
//! assert_eq!(loaded.report.errors(), 0);
//! assert_eq!(loaded.config.map(|c| c.routes.len()), Some(1));
//! ```

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use router_core::id::{BusName, RouteName, SourceName, TargetName};
use serde::Deserialize;

/// YAML with the place of everything.
mod yaml;

/// Tree to structs, with every error.
mod de;

/// File to [`Config`] and report.
mod load;

/// Tests of routes.
mod cases;

/// What no single value can tell: names that must exist, paths that must differ.
mod validate;

/// Durations, sizes, secrets.
pub mod value;

/// Who the router is to others.
mod router;

/// Where events are kept.
mod store;

/// How long a bus keeps what.
mod bus;

/// Where sealed segments are copied to.
mod archive;

/// Where events come from.
mod source;

/// The schemas that sources may ask for.
mod schemas;

/// Which events go where.
mod route;

/// From where on a route that is new gets events.
mod start;

/// Where events can go.
mod target;

/// What targets at AWS can be told.
mod aws;

/// What Azure's sources and targets can be told.
mod azure;

/// What sources and targets at Google Cloud can be told.
mod gcp;

/// Findings, for people and for programs.
pub mod report;

pub use self::schemas::{Schemas, Validate};
pub use self::{
    archive::{Archive, WhenFull},
    bus::{Bus, DeadLetters, Dedupe, Replay, Retention},
    route::{Backlog, Filter, OnDeadLetter, Reply, Retry, Route, Then, Transform},
    router::Router,
    source::{Called, HttpSource, OnInvalid, Source},
    start::Start,
    store::{Disk, FREE_MIN, Memory, SEGMENT_BYTES, SEGMENT_BYTES_MIN, SEGMENTS_MIN, Store},
};
pub use aws::{
    ApiDestinationSource, ApiKey, AwsAccessKey, AwsBatch, AwsCredentials, AwsSource, BasicLogin, EventBridgeMapping,
    EventBridgeSource, EventBridgeTarget, EventBridgeV2Target, Invocation, LambdaTarget, OAuthTokens, PutEventsSource,
    RawEventsBatch, SqsTarget,
};
pub use azure::{
    AzureEntra, AzureFunctionTarget, AzureSas, AzureTokens, EventGridBatch, EventGridMode, EventGridNamespaceTarget,
    EventGridPublish, EventGridPull, EventGridSchema, EventGridSource, EventGridTarget, EventGridWebhook,
};
pub use gcp::{
    CloudRunTarget, GoogleCredentials, GoogleTokens, PubSubBatch, PubSubPublish, PubSubPush, PubSubSource, PubSubTarget,
};
pub use load::{Loaded, document, load, load_file};
pub use target::{Basic, Batch, ClientAuth, HttpTarget, Mode, OAuth, Rate, Target, TargetRetry, TargetTls};
use value::{Json, Secret};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where events come in over HTTP. Default `127.0.0.1:8080`.
    #[serde(deserialize_with = "value::addr")]
    pub listen: SocketAddr,
    /// TLS there. Default: plain HTTP.
    pub tls: Option<Tls>,
    /// A proxy ends TLS, and nobody else reaches `listen`. Default `false`.
    pub behind_proxy: bool,
    /// Everyone who reaches `listen` may send, keys or not. Default `false`.
    pub open: bool,
    /// Who may send what, to all sources. Default: none is asked for.
    pub keys: Vec<Key>,
    /// The admin API. Default: on `127.0.0.1:8081`.
    pub admin: Admin,
    /// Who this router is to others. Default: somebody, by a key that is drawn.
    pub router: Router,
    /// Where events are kept. Default: on disk, under `./data`.
    pub store: Store,
    /// Buses by name. `default` is always there.
    #[serde(deserialize_with = "value::items")]
    pub buses: BTreeMap<BusName, Bus>,
    /// Where events come from. Default: nowhere.
    #[serde(deserialize_with = "value::items")]
    pub sources: BTreeMap<SourceName, Source>,
    /// Where events can go. Default: nowhere.
    #[serde(deserialize_with = "value::items")]
    pub targets: BTreeMap<TargetName, Target>,
    /// Which events go where. Default: none goes anywhere.
    #[serde(deserialize_with = "value::items")]
    pub routes: BTreeMap<RouteName, Route>,
    /// How long dead letters are kept.
    pub dead_letters: DeadLetters,
    /// Where sealed segments are copied to. Default: nowhere.
    pub archive: Option<Archive>,
    /// Replays.
    pub replay: Replay,
    /// The schemas that sources may ask for.
    pub schemas: Schemas,
    /// What is taken in and held at most.
    pub limits: Limits,
    /// How long a stop takes at most before attempts under way are dropped; they are made again after the next
    /// start. Default `20s`.
    #[serde(deserialize_with = "value::duration")]
    pub stop_deadline: Duration,
    /// Events, and the routes that they must reach. Default: none.
    #[serde(deserialize_with = "value::items")]
    pub tests: BTreeMap<String, Test>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            behind_proxy: false,
            open: false,
            keys: Vec::new(),
            admin: Admin::default(),
            router: Router::default(),
            store: Store::default(),
            buses: BTreeMap::new(),
            sources: BTreeMap::new(),
            targets: BTreeMap::new(),
            routes: BTreeMap::new(),
            dead_letters: DeadLetters::default(),
            archive: None,
            replay: Replay::default(),
            schemas: Schemas::default(),
            limits: Limits::default(),
            stop_deadline: Duration::from_secs(20),
            tests: BTreeMap::new(),
        }
    }
}

/// TLS at the public listener. The files are PEM, and read again when they change.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and those between it and its root. Required.
    pub cert: PathBuf,
    /// Its private key. Required.
    pub key: PathBuf,
    /// Authorities whose clients alone may connect. Default: clients need no certificate.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// A key, and what its holder may send. An empty list is no restriction.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What answers call it. Required.
    pub name: String,
    /// What is sent as `Authorization: Bearer …`. Required.
    pub secret: Secret,
    /// The `source` attributes that its events may have: exact, or a beginning and `*`. Default: any.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The `type` attributes that its events may have: exact, or a beginning and `*`. Default: any.
    #[serde(default)]
    pub types: Vec<String>,
    /// The buses that it may feed. Default: any.
    #[serde(default)]
    pub buses: Vec<BusName>,
    /// Events per second. Default: as many as come.
    #[serde(default)]
    pub events_per_second_max: Option<u32>,
}

/// The admin API: status, dead letters, metrics, health.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Default `127.0.0.1:8081`.
    #[serde(deserialize_with = "value::addr")]
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` alone are, for who is not on this machine. Default: nowhere else.
    #[serde(deserialize_with = "value::addr_some")]
    pub probes: Option<SocketAddr>,
    /// What callers must show. Default: drawn at the start into `admin.token` in the data folder.
    pub token: Option<Secret>,
    /// Values of `Host` that are answered, with or without the port. Default: `localhost`, `127.0.0.1`, `[::1]`.
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            probes: None,
            token: None,
            hosts: ["localhost", "127.0.0.1", "[::1]"].map(Into::into).to_vec(),
        }
    }
}

/// An event, and the routes that it must reach.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// A CloudEvent in its JSON form. Required.
    pub event: Json,
    /// The bus that takes it. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// The routes that it reaches, all of them. Required; empty: none.
    pub reaches: Vec<RouteName>,
}

/// What is taken in at the public listener, and held in memory, at most.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one event. Default `1MiB`, never below `64KiB`.
    #[serde(deserialize_with = "value::size")]
    pub event_bytes_max: usize,
    /// Bytes of a batch. Default `8MiB`.
    #[serde(deserialize_with = "value::size")]
    pub batch_bytes_max: usize,
    /// Events of a batch. Default 1000.
    pub batch_count_max: u32,
    /// Bytes of a request's head. Default `64KiB`.
    #[serde(deserialize_with = "value::size")]
    pub header_bytes_max: usize,
    /// Headers of a request. Default 128.
    pub header_count_max: u16,
    /// Bytes of all bodies that are held at a time. Default `256MiB`.
    #[serde(deserialize_with = "value::size")]
    pub bodies_bytes_max: usize,
    /// Connections at a time. Default 1024.
    pub connections_max: u32,
    /// Requests at a time, over all connections. Default 4096.
    pub requests_max: u32,
    /// From the first byte of a head to its last. Default `10s`.
    #[serde(deserialize_with = "value::duration")]
    pub header_read_timeout: Duration,
    /// From the head to the last byte of the body. Default `30s`.
    #[serde(deserialize_with = "value::duration")]
    pub body_read_timeout: Duration,
    /// Between two requests of a connection. Default `75s`.
    #[serde(deserialize_with = "value::duration")]
    pub idle_timeout: Duration,
    /// From the head to the answer, the body's time included. Default `60s`.
    #[serde(deserialize_with = "value::duration")]
    pub request_timeout: Duration,
    /// Deliveries in memory, over all routes. Default 65,536.
    pub waiting_total_max: u32,
}

/// What CloudEvents asks every intermediary to forward.
pub const EVENT_BYTES_FLOOR: usize = 64 << 10;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            event_bytes_max: 1 << 20,
            batch_bytes_max: 8 << 20,
            batch_count_max: 1_000,
            header_bytes_max: 64 << 10,
            header_count_max: 128,
            bodies_bytes_max: 256 << 20,
            connections_max: 1_024,
            requests_max: 4_096,
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            request_timeout: Duration::from_secs(60),
            waiting_total_max: 65_536,
        }
    }
}

/// The bus that is always there.
pub const DEFAULT_BUS: &str = "default";
/// The bus of the router's own facts: routes read it, nothing feeds it.
pub const SYSTEM_BUS: &str = router_core::system::BUS;
/// How long its events are kept, unless its retention says otherwise.
pub const SYSTEM_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// [`DEFAULT_BUS`] as a name.
pub(crate) fn default_bus() -> BusName {
    // The text is a name; were it none, its own default value would be found by every test.
    BusName::new(DEFAULT_BUS).unwrap_or_else(|_| unreachable!())
}
