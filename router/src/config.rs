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

use router_core::{
    filter,
    id::{BusName, RouteName, SourceName, TargetName},
    reply::ReplySpec,
    settle::RetryPolicy,
    transform,
};
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

/// From where on a route that is new gets events.
mod start;

/// Where sealed segments are copied to.
mod archive;

/// What an HTTP target can be told.
mod target;

/// The schemas that sources may ask for.
mod schemas;

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
    router::Router,
    start::Start,
};
pub use aws::{
    ApiDestinationSource, ApiKey, AwsAccessKey, AwsBatch, AwsCredentials, AwsSource, BasicLogin, EventBridgeMapping,
    EventBridgeSource, EventBridgeTarget, Invocation, LambdaTarget, OAuthTokens, PutEventsSource, SqsTarget,
};
pub use azure::{
    AzureEntra, AzureFunctionTarget, AzureSas, AzureTokens, EventGridBatch, EventGridMode, EventGridNamespaceTarget,
    EventGridPublish, EventGridPull, EventGridSchema, EventGridSource, EventGridTarget, EventGridWebhook,
};
pub use gcp::{
    CloudRunTarget, GoogleCredentials, GoogleTokens, PubSubBatch, PubSubPublish, PubSubPush, PubSubSource, PubSubTarget,
};
pub use load::{Loaded, document, load, load_file};
pub use target::{Batch, ClientAuth, OAuth, Rate, TargetRetry, TargetTls};
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

/// Where events are kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In files of this machine: what was acknowledged survives a power loss.
    Disk(Disk),
    /// In memory: for trials and tests, everything is gone at the end.
    Memory(Memory),
}

impl Default for Store {
    fn default() -> Self {
        Store::Disk(Disk::default())
    }
}

/// The store on disk.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// Its folder, from the working directory; `--data` goes before it. Default `./data`.
    pub path: PathBuf,
    /// Bytes of everything in it. Default: as many as the file system has, less `free_min`.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
    /// Bytes of the file system that stay free; below them intake refuses. Default `256MiB`.
    #[serde(deserialize_with = "value::bytes")]
    pub free_min: u64,
}

/// Bytes of the file system that stay free, so that the ledger can go on while the disk is full.
pub const FREE_MIN: u64 = 256 << 20;
/// Bytes of a segment of a log, unless `bytes_max` asks for smaller ones.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// No segment is smaller.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// So many segments have to fit `bytes_max`.
pub const SEGMENTS_MIN: u64 = 16;

impl Disk {
    /// Bytes of a segment of a log.
    pub fn segment_bytes(&self) -> u64 {
        let part = self.bytes_max.map_or(SEGMENT_BYTES, |max| max / SEGMENTS_MIN);
        part.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES)
    }
}

impl Default for Disk {
    fn default() -> Self {
        Disk { path: "./data".into(), bytes_max: None, free_min: FREE_MIN }
    }
}

/// The store in memory has no options.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {}

/// A named, durable, ordered log of events.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// How long a (source, id) is remembered.
    pub dedupe: Dedupe,
    /// How long events are kept after they are settled.
    pub retention: Retention,
}

/// How long a bus keeps events that nothing is owed for any more. Whole segments go, oldest first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Since they came in. Default `30d`; `7d` on the bus `system`.
    #[serde(deserialize_with = "value::duration")]
    pub age_max: Duration,
    /// Bytes of the bus on disk. Default: as many as `store.disk` allows.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { age_max: Duration::from_secs(30 * 24 * 3600), bytes_max: None }
    }
}

/// Replays.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// Running time after which a replay ends, whatever it has reached: until then it holds its range. Default `7d`.
    #[serde(deserialize_with = "value::duration")]
    pub run_age_max: Duration,
}

impl Default for Replay {
    fn default() -> Self {
        Replay { run_age_max: router_core::replay::RUN_AGE_MAX }
    }
}

/// How long dead letters are kept. What a limit ends is counted and logged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetters {
    /// Since they were parked. Default `14d`.
    #[serde(deserialize_with = "value::duration")]
    pub age_max: Duration,
    /// Bytes of their events; past it the oldest are ended. Default: no limit.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
}

impl Default for DeadLetters {
    fn default() -> Self {
        DeadLetters { age_max: Duration::from_secs(14 * 24 * 3600), bytes_max: None }
    }
}

/// The window in which a second event with the same source and id is a duplicate: the smaller bound holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dedupe {
    /// Running time. Default `10m`.
    #[serde(deserialize_with = "value::duration")]
    pub age: Duration,
    /// Events. Default 4,000,000.
    pub entries_max: u32,
}

impl Default for Dedupe {
    fn default() -> Self {
        Dedupe { age: Duration::from_secs(600), entries_max: 4_000_000 }
    }
}

/// Where events come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// CloudEvents over HTTP at the public listener.
    Http(HttpSource),
    /// A queue of SQS that EventBridge feeds.
    #[serde(rename = "eventbridge")]
    EventBridge(Box<EventBridgeSource>),
    /// What AWS's SDKs publish, straight to us.
    Aws(AwsSource),
    /// Event Grid at Azure.
    EventGrid(EventGridSource),
    /// A subscription of Pub/Sub at Google Cloud that is pulled.
    #[serde(rename = "pubsub")]
    PubSub(Box<PubSubSource>),
    /// A push subscription of Pub/Sub at Google Cloud.
    #[serde(rename = "pubsub_push")]
    PubSubPush(PubSubPush),
    /// What Pub/Sub's clients publish, straight to us.
    #[serde(rename = "pubsub_publish")]
    PubSubPublish(PubSubPublish),
}

/// What becomes of what a source that pulls cannot read, or what is never taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// It is quarantined, and acknowledged where it came from.
    Quarantine,
    /// It stays where it came from, or goes to the dead letters there.
    Reject,
}

impl<'de> Deserialize<'de> for OnInvalid {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "quarantine" => Ok(OnInvalid::Quarantine),
            "reject" => Ok(OnInvalid::Reject),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `quarantine` and `reject`"))),
        }
    }
}

/// Below what the gRPC of Pub/Sub is called.
const PUBSUB_PATH: &str = "/google.pubsub.v1.Publisher/";

/// None, for a source that knows its senders otherwise.
static NO_KEYS: Vec<Secret> = Vec::new();

/// Where a source is called.
#[derive(Debug, Clone, Copy)]
pub struct Called<'c> {
    /// The keys below its name, of what follows.
    pub(crate) at: &'static [&'static str],
    /// The path.
    pub(crate) path: &'c str,
    /// Keys that open it alone.
    pub(crate) keys: &'c [Secret],
    /// Whether it asks who calls.
    pub(crate) asks: bool,
}

impl Source {
    /// The keys below its name, and the bus that it feeds.
    pub fn bus(&self) -> (&'static [&'static str], &BusName) {
        match self {
            Source::Http(http) => (&["http"], &http.bus),
            Source::EventBridge(queue) => (&["eventbridge"], &queue.bus),
            Source::Aws(AwsSource::PutEvents(put)) => (&["aws", "put_events"], &put.bus),
            Source::Aws(AwsSource::ApiDestination(sent)) => (&["aws", "api_destination"], &sent.bus),
            Source::EventGrid(EventGridSource::Webhook(webhook)) => (&["event_grid", "webhook"], &webhook.bus),
            Source::EventGrid(EventGridSource::Pull(pull)) => (&["event_grid", "pull"], &pull.bus),
            Source::EventGrid(EventGridSource::Publish(publish)) => (&["event_grid", "publish"], &publish.bus),
            Source::PubSub(pull) => (&["pubsub"], &pull.bus),
            Source::PubSubPush(push) => (&["pubsub_push"], &push.bus),
            Source::PubSubPublish(publish) => (&["pubsub_publish"], &publish.bus),
        }
    }

    /// Where it is called; `None`: it pulls.
    pub fn called(&self) -> Option<Called<'_>> {
        let (at, _) = self.bus();
        let (path, keys, tokens): (&str, _, _) = match self {
            Source::Http(http) => (&http.path, &http.keys, false),
            // Its keys are no bearer tokens, but what requests are signed with.
            Source::Aws(AwsSource::PutEvents(put)) => (&put.path, &NO_KEYS, !put.access_keys.is_empty()),
            // Nor are these: they stand in another header, or beside a name.
            Source::Aws(AwsSource::ApiDestination(sent)) => (&sent.path, &NO_KEYS, sent.asks()),
            Source::EventGrid(EventGridSource::Webhook(webhook)) => {
                (&webhook.path, &webhook.keys, webhook.entra.is_some())
            }
            Source::EventGrid(EventGridSource::Publish(publish)) => {
                (&publish.path, &publish.keys, publish.entra.is_some())
            }
            Source::EventBridge(_) | Source::EventGrid(EventGridSource::Pull(_)) | Source::PubSub(_) => return None,
            Source::PubSubPush(push) => (&push.path, &NO_KEYS, push.tokens.is_some()),
            // Google's clients know no other.
            Source::PubSubPublish(publish) => (PUBSUB_PATH, &publish.keys, false),
        };
        Some(Called { at, path, keys, asks: !keys.is_empty() || tokens })
    }

    /// Whether it keeps what is no event in the quarantine.
    pub fn quarantines(&self) -> bool {
        let on_invalid = match self {
            Source::EventBridge(queue) => queue.on_invalid,
            Source::EventGrid(EventGridSource::Pull(pull)) => pull.on_invalid,
            Source::PubSub(pull) => pull.on_invalid,
            Source::Http(_)
            | Source::Aws(_)
            | Source::EventGrid(_)
            | Source::PubSubPush(_)
            | Source::PubSubPublish(_) => return false,
        };
        on_invalid == OnInvalid::Quarantine
    }
}

impl Source {
    /// What it does with an event whose data its schema refuses.
    pub fn validate(&self) -> Validate {
        match self {
            Source::Http(http) => http.validate,
            Source::EventBridge(queue) => queue.validate,
            Source::Aws(AwsSource::PutEvents(put)) => put.validate,
            Source::Aws(AwsSource::ApiDestination(sent)) => sent.validate,
            Source::EventGrid(EventGridSource::Webhook(webhook)) => webhook.validate,
            Source::EventGrid(EventGridSource::Pull(pull)) => pull.validate,
            Source::EventGrid(EventGridSource::Publish(publish)) => publish.validate,
            Source::PubSub(pull) => pull.validate,
            Source::PubSubPush(push) => push.validate,
            Source::PubSubPublish(publish) => publish.validate,
        }
    }
}

/// CloudEvents over HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    /// The path of the URL, e.g. `/events`. Required.
    pub path: String,
    /// The bus that takes them. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// Keys, one of which a sender must show as `Authorization: Bearer KEY`. Default: none is asked for.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// What becomes of events whose data their schema refuses. Default `off`: they are not held to it.
    #[serde(default)]
    pub validate: Validate,
}

/// Where events can go.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A POST for each event.
    Http(HttpTarget),
    /// A bus of EventBridge at AWS.
    #[serde(rename = "eventbridge")]
    EventBridge(EventBridgeTarget),
    /// A queue of SQS at AWS.
    Sqs(SqsTarget),
    /// A function of Lambda at AWS.
    Lambda(LambdaTarget),
    /// A topic, a domain or a channel of Event Grid at Azure.
    EventGrid(EventGridTarget),
    /// A topic of a namespace of Event Grid.
    EventGridNamespace(EventGridNamespaceTarget),
    /// A function at Azure.
    AzureFunction(AzureFunctionTarget),
    /// A topic of Pub/Sub at Google Cloud.
    #[serde(rename = "pubsub")]
    PubSub(PubSubTarget),
    /// A service of Cloud Run, or a function, at Google Cloud.
    CloudRun(CloudRunTarget),
}

impl Target {
    /// The key that says its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Http(_) => "http",
            Target::EventBridge(_) => "eventbridge",
            Target::Sqs(_) => "sqs",
            Target::Lambda(_) => "lambda",
            Target::EventGrid(_) => "event_grid",
            Target::EventGridNamespace(_) => "event_grid_namespace",
            Target::AzureFunction(_) => "azure_function",
            Target::PubSub(_) => "pubsub",
            Target::CloudRun(_) => "cloud_run",
        }
    }

    /// The key below it that says where it is.
    pub fn address_key(&self) -> &'static str {
        match self {
            Target::Http(_) => "url",
            Target::EventBridge(_) => "bus",
            Target::Sqs(_) => "queue_url",
            Target::Lambda(_) => "function",
            Target::EventGrid(_) | Target::EventGridNamespace(_) => "endpoint",
            Target::AzureFunction(_) => "url",
            Target::PubSub(_) => "topic",
            Target::CloudRun(_) => "url",
        }
    }
}

/// A POST for each event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTarget {
    /// Where to, `http://` or `https://`. Required.
    pub url: String,
    /// How the event is written. Default `binary`.
    #[serde(default)]
    pub mode: Mode,
    /// How long one attempt may take. Default `30s`.
    #[serde(default = "thirty_seconds", deserialize_with = "value::duration")]
    pub timeout: Duration,
    /// Headers that each request carries. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Sent as `Authorization: Bearer …`. Default: not sent.
    #[serde(default)]
    pub bearer: Option<Secret>,
    /// Sent as `Authorization: Basic …`. Default: not sent.
    #[serde(default)]
    pub basic: Option<Basic>,
    /// Sent as `Authorization: Bearer …`, with a token of an authorization server. Default: not sent.
    #[serde(default)]
    pub oauth: Option<OAuth>,
    /// Secrets that sign each request as Standard Webhooks does; two for a rotation. Default: not signed.
    #[serde(default)]
    pub webhook_secrets: Vec<Secret>,
    /// Several events in one request, in place of `mode`. Default: one.
    #[serde(default)]
    pub batch: Option<Batch>,
    /// Requests at a time. Default 64.
    #[serde(default = "sixty_four")]
    pub in_flight_max: u16,
    /// How fast events are sent. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// TLS to the target. Default: what the machine trusts.
    #[serde(default)]
    pub tls: Option<TargetTls>,
    /// Whether its addresses may be of the own network: see `docs/security.md`. Default: unsaid.
    #[serde(default)]
    pub allow_private: Option<bool>,
    /// What answers mean, where that differs from the table. Default: no difference.
    #[serde(default)]
    pub retry: TargetRetry,
}

/// How an event is written over HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in `ce-` headers, the data as the body.
    #[default]
    Binary,
    /// The whole event as JSON in the body.
    Structured,
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "binary" => Ok(Mode::Binary),
            "structured" => Ok(Mode::Structured),
            other => Err(serde::de::Error::custom(format!("`{other}` is no mode: `binary` or `structured`"))),
        }
    }
}

/// HTTP basic authentication.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// Required.
    pub username: String,
    /// Required.
    pub password: Secret,
}

/// Which events go where.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The bus it reads. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// What it wants. Default: every event of the bus.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// What the target gets in place of the event. Default: the event.
    #[serde(default)]
    pub transform: Option<Transform>,
    /// The target. Required.
    pub to: TargetName,
    /// How often and how long it tries.
    #[serde(default)]
    pub retry: Retry,
    /// How much it may be owed.
    #[serde(default)]
    pub backlog: Backlog,
    /// Whether the events in its target's answers are taken in, and by which bus. Default: they are not.
    #[serde(default)]
    pub reply: Reply,
    /// The context attribute whose value is the key: deliveries of one key keep their order. Default: none is kept.
    #[serde(default)]
    pub order: Option<String>,
    /// What a key does after one of its deliveries became a dead letter. Default `continue`.
    #[serde(default)]
    pub on_dead_letter: OnDeadLetter,
    /// Keys that may be stuck at a time. Default 10,000.
    #[serde(default)]
    pub stuck_keys_max: Option<u32>,
    /// From where on it gets events when it is new: `latest` from the next one on, `earliest` all that are kept, or from
    /// a time on; what is there already comes as a replay. Default `latest`.
    #[serde(default)]
    pub start: Start,
}

/// What becomes of the events in the answers of a route's target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reply {
    /// They are counted and left: `false`.
    #[default]
    No,
    /// The route's own bus takes them: `true`.
    Own,
    /// This bus takes them: `{ bus: NAME }`.
    Bus(BusName),
}

impl Reply {
    /// As the path takes it.
    pub fn spec(&self) -> Option<ReplySpec> {
        match self {
            Reply::No => None,
            Reply::Own => Some(ReplySpec { bus: None }),
            Reply::Bus(bus) => Some(ReplySpec { bus: Some(bus.clone()) }),
        }
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let Json(value) = Json::deserialize(d)?;
        match value {
            serde_json::Value::Bool(false) => Ok(Reply::No),
            serde_json::Value::Bool(true) => Ok(Reply::Own),
            serde_json::Value::Object(members) if members.len() == 1 => match members.get("bus") {
                Some(serde_json::Value::String(bus)) => BusName::new(bus).map(Reply::Bus).map_err(D::Error::custom),
                _ => Err(D::Error::custom("`reply` has the one key `bus`, the name of a bus")),
            },
            _ => Err(D::Error::custom("`reply` is `true`, `false`, or `{ bus: NAME }`")),
        }
    }
}

/// What a key does after a dead letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDeadLetter {
    /// It goes on with the next.
    #[default]
    Continue,
    /// It waits until the dead letter is redriven or purged.
    Hold,
}

impl<'de> Deserialize<'de> for OnDeadLetter {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "continue" => Ok(OnDeadLetter::Continue),
            "hold" => Ok(OnDeadLetter::Hold),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `continue` and `hold`"))),
        }
    }
}

/// How much a route may be owed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backlog {
    /// Running time after which a delivery becomes a dead letter, tried or not. Default: `retry.age_max`.
    #[serde(deserialize_with = "value::duration_some")]
    pub age_max: Option<Duration>,
    /// Bytes of the events that are owed. Default: no limit.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
    /// What happens at `bytes_max`. Default `dead-letter`.
    pub then: Then,
}

/// What happens to a backlog at its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Then {
    /// Its oldest deliveries become dead letters.
    #[default]
    DeadLetter,
    /// Its bus takes nothing in until it has drained.
    Hold,
}

impl<'de> Deserialize<'de> for Then {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "dead-letter" => Ok(Then::DeadLetter),
            "hold" => Ok(Then::Hold),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `dead-letter` and `hold`"))),
        }
    }
}

/// What a route wants, in one language.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// An event pattern over the CloudEvents JSON of the event.
    Pattern(Json),
    /// An event pattern over the EventBridge view of the event.
    Eventbridge(Json),
    /// A CESQL expression.
    Sql(Json),
    /// Attributes that are equal.
    Exact(Json),
    /// Attributes that begin so.
    Prefix(Json),
    /// Attributes that end so.
    Suffix(Json),
    /// Filters that all match.
    All(Json),
    /// Filters of which one matches.
    Any(Json),
    /// A filter that does not match.
    Not(Json),
}

impl Filter {
    /// As the path takes it.
    pub fn spec(&self) -> filter::Spec {
        match self.clone() {
            Filter::Pattern(Json(value)) => filter::Spec::Pattern(value),
            Filter::Eventbridge(Json(value)) => filter::Spec::Eventbridge(value),
            Filter::Sql(Json(value)) => filter::Spec::Sql(value),
            Filter::Exact(Json(value)) => filter::Spec::Exact(value),
            Filter::Prefix(Json(value)) => filter::Spec::Prefix(value),
            Filter::Suffix(Json(value)) => filter::Spec::Suffix(value),
            Filter::All(Json(value)) => filter::Spec::All(value),
            Filter::Any(Json(value)) => filter::Spec::Any(value),
            Filter::Not(Json(value)) => filter::Spec::Not(value),
        }
    }
}

/// What a target gets in place of the event, made in one way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// What stands at a path of the EventBridge view is the data.
    InputPath(Json),
    /// EventBridge's input transformer makes the data.
    Input(Json),
    /// Attributes and data are set.
    Set(Json),
}

impl Transform {
    /// As the path takes it.
    pub fn spec(&self) -> transform::Spec {
        match self.clone() {
            Transform::InputPath(Json(value)) => transform::Spec::InputPath(value),
            Transform::Input(Json(value)) => transform::Spec::Input(value),
            Transform::Set(Json(value)) => transform::Spec::Set(value),
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

/// How often and how long a delivery is tried.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Failed attempts, after which the delivery becomes a dead letter. Default 12.
    pub attempts_max: u32,
    /// Running time after which it becomes one. Default `24h`.
    #[serde(deserialize_with = "value::duration")]
    pub age_max: Duration,
    /// The first delay is drawn between zero and this. Default `500ms`.
    #[serde(deserialize_with = "value::duration")]
    pub delay_min: Duration,
    /// No delay is longer. Default `10m`.
    #[serde(deserialize_with = "value::duration")]
    pub delay_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let RetryPolicy { attempts_max, age_max, delay_min, delay_max, .. } = RetryPolicy::default();
        Retry { attempts_max, age_max, delay_min, delay_max }
    }
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

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

fn sixty_four() -> u16 {
    64
}
