//! What no single value can tell. Each check stands on its own, so that one broken entry hides no other;
//! names are looked up in the tree, where an entry that could not be read still counts as there.

/// What routes keep in order.
mod order;

/// Who the router is to others.
mod router;

/// Where sealed segments are copied to.
mod archive;

/// HTTP targets.
mod target;

/// The catalogue of schemas.
mod schemas;

/// Targets at AWS.
mod aws;

/// Sources and targets at Azure.
mod azure;

/// Sources and targets at Google Cloud.
mod gcp;

/// What becomes of answers, and names that the router keeps to itself.
mod reply;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use http::HeaderName;
use router_core::{filter, id::SourceName, transform};
use router_http::{
    codes::EXPOSED,
    listener::{Exposure, exposed},
    target::ConfigError,
};

use super::{
    Called, Config, DEFAULT_BUS, EVENT_BYTES_FLOOR, HttpTarget, Route, SEGMENT_BYTES_MIN, SEGMENTS_MIN, SYSTEM_BUS,
    Source, Store, Target, Then,
    report::{Finding, hint},
    value::{self, Secret},
    yaml::Node,
};
use crate::{codes, connect};

/// Headers that the router writes itself.
const OWN_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "traceparent",
    "tracestate",
    "upgrade",
    "te",
];

struct Cx<'a> {
    root: &'a Node,
    findings: &'a mut Vec<Finding>,
}

impl Cx<'_> {
    fn error(&mut self, keys: &[&str], message: impl Into<String>, help: impl Into<String>) {
        let finding = Finding::error(self.root.place(keys), message).help(help);
        self.findings.push(finding);
    }

    fn exposed(&mut self, keys: &[&str], message: impl Into<String>, help: &str) {
        let finding = Finding::error(self.root.place(keys), message).code(EXPOSED).help(help);
        self.findings.push(finding);
    }

    fn unreadable(&mut self, keys: &[&str], message: String) {
        let finding = Finding::warning(self.root.place(keys), message).code(codes::SECRET_UNREADABLE);
        self.findings.push(finding.help("`gocoffee serve` needs it"));
    }

    fn warning(&mut self, keys: &[&str], message: impl Into<String>, help: impl Into<String>) {
        let finding = Finding::warning(self.root.place(keys), message).help(help);
        self.findings.push(finding);
    }

    /// The keys of a section as they are written.
    fn names(&self, section: &str) -> BTreeSet<String> {
        self.root.get(&[section]).map(Node::entries).unwrap_or_default().iter().map(|e| e.key.clone()).collect()
    }

    fn known(&mut self, keys: &[&str], what: &str, name: &str, names: &BTreeSet<String>) {
        if !names.contains(name) {
            let help = hint(
                name,
                names.iter().map(String::as_str),
                &if what == "bus" { "buses".to_owned() } else { format!("{what}s") },
            );
            let finding = Finding::error(self.root.place(keys), format!("there is no {what} `{name}`"));
            self.findings.push(finding.code(codes::UNKNOWN_NAME).help(help));
        }
    }

    /// A bus that something outside feeds.
    fn fed(&mut self, keys: &[&str], bus: &str, buses: &BTreeSet<String>) {
        if bus == SYSTEM_BUS {
            let message = "nothing but the router itself feeds the bus `system`";
            self.error(keys, message, "name another bus");
        } else {
            self.known(keys, "bus", bus, buses);
        }
    }

    /// A secret that is not there is a warning: `check` often runs where the secrets are not. `serve`
    /// refuses to start without them.
    fn secret(&mut self, keys: &[&str], secret: &Secret) {
        if let Err(e) = secret.resolve() {
            self.unreadable(keys, e.message);
        }
    }
}

/// Checks all that a readable file may still have wrong.
pub fn validate(config: &Config, root: &Node, findings: &mut Vec<Finding>) {
    let mut cx = Cx { root, findings };
    listeners(config, &mut cx);
    router::check(config, &mut cx);
    limits(config, &mut cx);
    budgets(config, &mut cx);
    for (name, bus) in &config.buses {
        if bus.dedupe.entries_max == 0 {
            let keys = ["buses", name.as_str(), "dedupe", "entries_max"];
            cx.error(&keys, "without entries no duplicate is found", "write 1 or more");
        }
        let keys = ["buses", name.as_str(), "dedupe"];
        if name.as_str() == SYSTEM_BUS && cx.root.get(&keys).is_some() {
            cx.error(&keys, "nothing comes in twice on the bus `system`", "only `retention` can be said of it");
        }
    }
    archive::archive(&mut cx, config);
    reply::reserved(&mut cx);
    schemas::check(config, &mut cx);
    sources(config, &mut cx);
    targets(config, &mut cx);
    let mut buses = cx.names("buses");
    buses.insert(DEFAULT_BUS.into());
    buses.remove(SYSTEM_BUS);
    let targets = cx.names("targets");
    for (name, source) in &config.sources {
        let (at, bus) = source.bus();
        cx.fed(&[&["sources", name.as_str()][..], at, &["bus"]].concat(), bus.as_str(), &buses);
    }
    // Nothing feeds it, and every route may read it.
    buses.insert(SYSTEM_BUS.into());
    for (name, r) in &config.routes {
        cx.known(&["routes", name.as_str(), "bus"], "bus", r.bus.as_str(), &buses);
        reply::check(config, name.as_str(), r, &buses, &mut cx);
        cx.known(&["routes", name.as_str(), "to"], "target", r.to.as_str(), &targets);
        route(name.as_str(), r, &mut cx);
        order::check(name.as_str(), r, &mut cx);
    }
    unused(&mut cx);
}

/// Targets that no route names, and buses that nothing feeds and nothing reads. Looked up as they are written,
/// so that a route with a mistake elsewhere still counts.
fn unused(cx: &mut Cx<'_>) {
    let (mut targets, mut buses) = (BTreeSet::new(), BTreeSet::from([DEFAULT_BUS, SYSTEM_BUS]));
    for route in cx.root.get(&["routes"]).map(Node::entries).unwrap_or_default() {
        targets.extend(route.value.get(&["to"]).and_then(Node::text));
        buses.extend(route.value.get(&["bus"]).and_then(Node::text));
        buses.extend(route.value.get(&["reply", "bus"]).and_then(Node::text));
    }
    for source in cx.root.get(&["sources"]).map(Node::entries).unwrap_or_default() {
        let kinds = source.value.entries().iter();
        // A kind may be one of several below its name.
        let all = kinds.flat_map(|kind| std::iter::once(kind).chain(kind.value.entries()));
        buses.extend(all.filter_map(|kind| kind.value.get(&["bus"]).and_then(Node::text)));
    }
    let ways = [
        ("targets", targets, "no route delivers to the target", "name it in a route's `to`, or remove it"),
        ("buses", buses, "no source feeds and no route reads the bus", "name it in a source or route, or remove it"),
    ];
    for (section, used, what, help) in ways {
        for name in cx.names(section).iter().filter(|name| !used.contains(name.as_str())) {
            let span = cx.root.get(&[section]).and_then(|s| s.entry(name)).map_or(0..0, |e| e.key_span.clone());
            cx.findings.push(Finding::warning(span, format!("{what} `{name}`")).code(codes::UNUSED).help(help));
        }
    }
}

fn limits(config: &Config, cx: &mut Cx<'_>) {
    let limits = &config.limits;
    let event = limits.event_bytes_max;
    if event < EVENT_BYTES_FLOOR {
        let help = "CloudEvents asks every intermediary to take events of 64KiB; write `64KiB` or more";
        cx.error(&["limits", "event_bytes_max"], "`event_bytes_max` is below 64KiB", help);
    }
    for (key, bytes) in [("batch_bytes_max", limits.batch_bytes_max), ("bodies_bytes_max", limits.bodies_bytes_max)] {
        if bytes < event {
            let help = "one event of the size allowed must fit in";
            cx.error(&["limits", key], format!("`{key}` is below `event_bytes_max`"), help);
        }
    }
    let counts = [
        ("batch_count_max", limits.batch_count_max),
        ("header_count_max", limits.header_count_max.into()),
        ("connections_max", limits.connections_max),
        ("requests_max", limits.requests_max),
        ("waiting_total_max", limits.waiting_total_max),
        ("header_bytes_max", u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX)),
    ];
    for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
        cx.error(&["limits", key], format!("with `{key}` 0 nothing can come in"), "write 1 or more");
    }
}

/// Budgets that contradict each other, or that nothing fits.
fn budgets(config: &Config, cx: &mut Cx<'_>) {
    let event = u64::try_from(config.limits.event_bytes_max).unwrap_or(u64::MAX);
    let fits = "one event of the size that `limits.event_bytes_max` allows must fit in";
    let disk = match &config.store {
        Store::Disk(disk) => Some(disk),
        Store::Memory(_) => None,
    };
    let least = SEGMENTS_MIN * SEGMENT_BYTES_MIN.max(event);
    if let Some(max) = disk.and_then(|d| d.bytes_max).filter(|max| *max < least) {
        let help = format!(
            "write at least {}: {SEGMENTS_MIN} segments of a mebibyte, or of the largest event that is taken in",
            value::size_text(least)
        );
        cx.error(&["store", "disk", "bytes_max"], format!("nothing works in {}", value::size_text(max)), help);
    }
    let ledger = router_store::ledger::Options::default().free_bytes_min;
    if disk.is_some_and(|d| d.free_min < ledger) {
        let help = format!("the ledger needs {} to go on; write that or more", value::size_text(ledger));
        cx.error(&["store", "disk", "free_min"], "intake would go on when the ledger cannot", help);
    }
    for (name, bus) in &config.buses {
        let at = |key| ["buses", name.as_str(), "retention", key];
        let segment = disk.map_or(0, super::Disk::segment_bytes);
        if bus.retention.bytes_max.is_some_and(|max| max < segment) {
            let help =
                format!("whole segments are kept, of {} each here; write that or more", value::size_text(segment));
            cx.error(&at("bytes_max"), "`bytes_max` is below what one segment of a bus takes", help);
        }
        if name.as_str() != SYSTEM_BUS && bus.retention.age_max < bus.dedupe.age {
            let message = "events are kept for less time than their duplicates are looked for";
            cx.warning(&at("age_max"), message, "a duplicate of what is gone is taken for new; see `dedupe.age`");
        }
    }
    if config.dead_letters.bytes_max.is_some_and(|max| max < event) {
        cx.error(&["dead_letters", "bytes_max"], "`bytes_max` is below `event_bytes_max`", fits);
    }
    for (name, route) in &config.routes {
        let at = |key| ["routes", name.as_str(), "backlog", key];
        let backlog = &route.backlog;
        if backlog.bytes_max.is_some_and(|max| max < event) {
            cx.error(&at("bytes_max"), "`bytes_max` is below `event_bytes_max`", fits);
        }
        if backlog.then == Then::Hold && backlog.bytes_max.is_none() {
            cx.error(&at("then"), "`hold` without `bytes_max` never holds", "say how much the route may be owed");
        }
        if backlog.then == Then::Hold && backlog.age_max.is_some() {
            let help = "leave it out, or write `then: dead-letter`; `retry.age_max` ends what was tried all the same";
            cx.error(&at("age_max"), "a backlog that says `hold` gives nothing up by its age", help);
        }
    }
}

fn listeners(config: &Config, cx: &mut Cx<'_>) {
    let shared = !config.keys.is_empty();
    // The keys of all sources open those that take bearer tokens alone.
    let paths = config.sources.values().filter_map(|source| {
        let called = source.called()?;
        Some((called.path, called.asks || shared && matches!(source, Source::Http(_))))
    });
    // A listener without a source takes nothing in yet, and is told already what it will need.
    let paths = paths.chain(config.sources.is_empty().then_some(("/", shared)));
    let reach = |addr: SocketAddr| format!("`{addr}` can be reached from other machines");
    match exposed(config.listen, &connect::edge(config), paths) {
        Ok(()) => {}
        Err(Exposure::Open { addr, path }) => {
            let message = format!("{}, and everyone there could send to {path}", reach(addr));
            cx.exposed(&["listen"], message, "give `keys`, or `tls.client_ca`, or say `open: true`");
        }
        Err(e) => {
            let help = "give `tls: { cert, key }`, or say `behind_proxy: true` where a proxy ends TLS";
            let message = match e {
                Exposure::Readable(addr) => format!("{}, and there is no TLS", reach(addr)),
                other => other.to_string(),
            };
            cx.exposed(&["listen"], message, help);
        }
    }
    let admin = config.admin.listen;
    if !admin.ip().is_loopback() {
        let help = "write 127.0.0.1 or [::1], and put a proxy with TLS in front of it";
        cx.exposed(&["admin", "listen"], format!("{}, and there is no TLS", reach(admin)), help);
    }
    if let Some(tls) = &config.tls {
        let files = [("cert", Some(&tls.cert)), ("key", Some(&tls.key)), ("client_ca", tls.client_ca.as_ref())];
        for (key, file) in files.into_iter().filter_map(|(key, file)| Some((key, file?))) {
            if let Err(e) = std::fs::File::open(file) {
                let message = format!("the file `{}` cannot be read: {e}", file.display());
                cx.unreadable(&["tls", key], message);
            }
        }
    }
    let same = |a: SocketAddr, b: SocketAddr| a == b && a.port() != 0;
    if same(config.listen, config.admin.listen) {
        cx.error(&["admin", "listen"], "`listen` and `admin.listen` are the same address", "give one another port");
    }
    for (key, other) in [("listen", config.listen), ("admin.listen", config.admin.listen)] {
        if config.admin.probes.is_some_and(|probes| same(probes, other)) {
            let message = format!("`{key}` and `admin.probes` are the same address");
            cx.error(&["admin", "probes"], message, "give one another port");
        }
    }
    if let Some(token) = &config.admin.token {
        cx.secret(&["admin", "token"], token);
    }
    if config.admin.hosts.is_empty() {
        cx.error(&["admin", "hosts"], "without a host nobody is answered", "write `[localhost]`, or leave it out");
    }
}

/// The keys of all sources, as far as they can be had.
fn keys(config: &Config, cx: &mut Cx<'_>) -> Vec<connect::KnownKey> {
    let mut buses = cx.names("buses");
    buses.insert(DEFAULT_BUS.into());
    buses.remove(SYSTEM_BUS);
    let before = cx.findings.len();
    for key in &config.keys {
        cx.secret(&["keys"], &key.secret);
        for bus in &key.buses {
            cx.fed(&["keys"], bus.as_str(), &buses);
        }
    }
    if cx.findings.len() > before {
        return Vec::new();
    }
    connect::keys(config).unwrap_or_else(|e| {
        let message = match e {
            connect::Error::Keys(why) => why,
            other => other.to_string(),
        };
        cx.findings.push(Finding::error(cx.root.place(&["keys"]), message));
        Vec::new()
    })
}

fn sources(config: &Config, cx: &mut Cx<'_>) {
    let shared = self::keys(config, cx);
    let nothing = config.sources.is_empty() && cx.names("sources").is_empty();
    // With shared keys every bus has a path of its own.
    if nothing && config.keys.is_empty() {
        let help = "write `sources: { web: { http: { path: /events } } }`";
        cx.warning(&["sources"], "there is no source: nothing can come in", help);
    }
    let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
    let of_buses: BTreeMap<String, _> =
        connect::buses_with_path(config).into_iter().map(|bus| (connect::bus_path(&bus), bus)).collect();
    // In the order of the file: the second of two is the one to change.
    let mut sources: Vec<_> = config.sources.iter().collect();
    sources.sort_by_key(|(name, _)| cx.root.place(&["sources", name.as_str()]).start);
    let clients = connect::Clients::default();
    for (name, source) in sources {
        let before = cx.findings.len();
        aws::source(name.as_str(), source, cx);
        azure::source(name.as_str(), source, cx);
        gcp::source(name.as_str(), source, cx);
        let Some(Called { at, path, keys, .. }) = source.called() else {
            if cx.findings.len() == before {
                pulled(name, source, &clients, cx);
            }
            continue;
        };
        let keys_at = [&["sources", name.as_str()][..], at, &["keys"]].concat();
        let at = [&["sources", name.as_str()][..], at, &["path"]].concat();
        if !router_http::listener::is_path(path) {
            cx.error(&at, format!("`{path}` is no path"), "write a path without query, e.g. `/events`");
        } else if let Some(first) = paths.insert(path, name.as_str()) {
            let message = format!("the sources `{first}` and `{name}` have the same path `{path}`");
            let finding = Finding::error(cx.root.place(&at), message).code(codes::TWICE);
            let help = match source {
                Source::PubSubPublish(_) => "keep one, with the `topics` of both: clients of Pub/Sub know one path",
                _ => "give each source its own path",
            };
            cx.findings.push(finding.help(help));
        } else if let Some(bus) = of_buses.get(path) {
            let message = format!("`{path}` is the path of the bus `{bus}` itself");
            let finding = Finding::error(cx.root.place(&at), message).code(codes::TWICE);
            let help = "leave this source out, since events come in there without it, or give it another path";
            cx.findings.push(finding.help(help));
        }
        for key in keys {
            cx.secret(&keys_at, key);
        }
        if router_http::listener::is_path(path)
            && cx.findings.len() == before
            && let Some(message) = refusal(name, source, &shared, &clients)
        {
            cx.findings.push(Finding::error(cx.root.place(&keys_at), message));
        }
    }
}

/// The last word of a source that pulls, as at a start.
fn pulled(name: &SourceName, source: &Source, clients: &connect::Clients, cx: &mut Cx<'_>) {
    let Err(error) = connect::source(name, source, &[], clients) else { return };
    let mut keys = [&["sources", name.as_str()][..], source.bus().0].concat();
    let message = match error {
        connect::Error::Source(_, why) => why,
        connect::Error::Aws { keys: below, why, .. } => {
            keys.extend(below);
            why
        }
        other => other.to_string(),
    };
    cx.findings.push(Finding::error(cx.root.place(&keys), message).code(codes::CONFIG_VALUE));
}

/// Why a source that is called cannot be connected; secrets that are not there were told before.
fn refusal(
    name: &SourceName,
    source: &Source,
    shared: &[connect::KnownKey],
    clients: &connect::Clients,
) -> Option<String> {
    match connect::source(name, source, shared, clients).err()? {
        connect::Error::Source(_, why) => Some(why),
        e @ connect::Error::BuiltWithout { .. } => Some(e.to_string()),
        _ => None,
    }
}

fn targets(config: &Config, cx: &mut Cx<'_>) {
    let clients = connect::Clients::default();
    for (name, target) in &config.targets {
        let before = cx.findings.len();
        match target {
            Target::Http(http) => {
                http_target(name.as_str(), http, cx);
                target::errors(name.as_str(), http, cx);
            }
            Target::EventBridge(bus) => aws::eventbridge(name.as_str(), bus, cx),
            Target::EventBridgeV2(bus) => aws::eventbridge_v2(name.as_str(), bus, cx),
            Target::Sqs(queue) => aws::sqs(name.as_str(), queue, cx),
            Target::Lambda(function) => aws::lambda(name.as_str(), function, cx),
            Target::EventGrid(topic) => azure::topic(name.as_str(), topic, cx),
            Target::EventGridNamespace(topic) => azure::namespace(name.as_str(), topic, cx),
            Target::AzureFunction(function) => azure::function(name.as_str(), function, cx),
            Target::PubSub(topic) => gcp::pubsub(name.as_str(), topic, cx),
            Target::CloudRun(service) => gcp::cloud_run(name.as_str(), service, cx),
        }
        // What the checks above let through, the target itself has the last word on, as at a start. Without
        // its secrets it cannot be made, and that was said already.
        let made = if cx.findings.len() == before { connect::target(name, target, &clients).err() } else { None };
        let mut keys = vec!["targets", name.as_str(), target.kind()];
        let mut code = codes::CONFIG_VALUE;
        let message = match &made {
            Some(connect::Error::Target(_, e)) => {
                keys.extend(key_of(e));
                Some(e.to_string())
            }
            Some(connect::Error::TargetTls(_, e)) => {
                keys.push("tls");
                Some(e.to_string())
            }
            Some(connect::Error::Aws { keys: below, why, .. } | connect::Error::Google { keys: below, why, .. }) => {
                keys.extend(*below);
                Some(why.clone())
            }
            Some(connect::Error::Azure(_, why)) => {
                keys.push(target.address_key());
                Some(why.clone())
            }
            Some(e @ connect::Error::BuiltWithout { .. }) => {
                code = e.code();
                Some(e.to_string())
            }
            _ => None,
        };
        cx.findings.extend(message.map(|message| Finding::error(cx.root.place(&keys), message).code(code)));
        match target {
            Target::Http(http) => target::warnings(name.as_str(), http, cx),
            Target::EventBridge(bus) => aws::eventbridge_warnings(name.as_str(), bus, cx),
            Target::EventGrid(topic) => azure::topic_warnings(name.as_str(), topic, cx),
            Target::EventBridgeV2(_)
            | Target::Sqs(_)
            | Target::Lambda(_)
            | Target::EventGridNamespace(_)
            | Target::AzureFunction(_)
            | Target::PubSub(_)
            | Target::CloudRun(_) => {}
        }
    }
}

/// The key of a target that an error is about.
fn key_of(e: &ConfigError) -> Vec<&str> {
    match e {
        ConfigError::Header { name, .. } => vec!["headers", name.as_str()],
        ConfigError::Headers(_) => vec!["headers"],
        ConfigError::Url(_) | ConfigError::Address(_) => vec!["url"],
        ConfigError::Batch => vec!["batch"],
        ConfigError::TokenUrl(_) | ConfigError::TokenAddress(_) => vec!["oauth", "token_url"],
        ConfigError::OAuth(_) => vec!["oauth"],
        ConfigError::WebhookSecrets(_) => vec!["webhook_secrets"],
        _ => Vec::new(),
    }
}

fn http_target(name: &str, target: &HttpTarget, cx: &mut Cx<'_>) {
    let at = |key| ["targets", name, "http", key];
    if let Err(why) = check_url(&target.url) {
        cx.error(&at("url"), "no events can be delivered to this URL", why);
    }
    if target.in_flight_max == 0 {
        cx.error(&at("in_flight_max"), "without a request nothing is delivered", "write 1 or more");
    }
    if target.bearer.is_some() && target.basic.is_some() {
        cx.error(&at("basic"), "`bearer` and `basic` both write the header Authorization", "keep one of the two");
    }
    for (header, secret) in &target.headers {
        let keys = ["targets", name, "http", "headers", header];
        let lower = header.to_ascii_lowercase();
        let known = target.bearer.is_some() || target.basic.is_some() || target.oauth.is_some();
        let taken = lower == "authorization" && known;
        if HeaderName::from_bytes(header.as_bytes()).is_err() {
            cx.error(&keys, format!("`{header}` is no name of a header"), "e.g. `X-Api-Key`");
        } else if OWN_HEADERS.contains(&lower.as_str())
            || lower.starts_with("ce-")
            || lower.starts_with("gocoffee-")
            || taken
        {
            cx.error(&keys, format!("the router writes the header `{header}` itself"), "leave it out");
        }
        cx.secret(&keys, secret);
    }
    if let Some(bearer) = &target.bearer {
        cx.secret(&at("bearer"), bearer);
    }
    if let Some(basic) = &target.basic {
        cx.secret(&["targets", name, "http", "basic", "password"], &basic.password);
        if basic.username.contains(':') {
            let keys = ["targets", name, "http", "basic", "username"];
            cx.error(&keys, "a user name of HTTP basic authentication holds no colon", "see RFC 7617, section 2");
        }
    }
}

fn check_url(url: &str) -> Result<(), String> {
    if url.contains("${") {
        return Err("the URL cannot hold secrets; use `headers`, `bearer` or `basic`".into());
    }
    router_http::client::url(url).map(drop).map_err(|e| e.to_string())
}

fn route(name: &str, route: &Route, cx: &mut Cx<'_>) {
    let retry = |key| ["routes", name, "retry", key];
    if route.retry.attempts_max == 0 {
        cx.error(&retry("attempts_max"), "a delivery is tried at least once", "write 1 or more");
    }
    if route.retry.delay_min > route.retry.delay_max {
        cx.error(&retry("delay_min"), "`delay_min` is longer than `delay_max`", "exchange the two, or leave one out");
    }
    if let Some(spec) = route.transform.as_ref().map(super::Transform::spec)
        && let Err(transform::Error { path, message, .. }) = transform::Transform::parse(&spec)
    {
        let keys = ["routes", name, "transform"];
        let span = cx.root.get(&keys).and_then(|node| node.place_of_path(&path));
        let span = span.unwrap_or_else(|| cx.root.place(&keys));
        cx.findings.push(Finding::error(span, format!("{path}: {message}")).code(codes::TRANSFORM_REFUSED));
    }
    let Some(spec) = route.filter.as_ref().map(super::Filter::spec) else { return };
    if let Err(filter::Error { path, message, .. }) = filter::Filter::parse(spec) {
        let keys = ["routes", name, "filter"];
        let span = cx.root.get(&keys).and_then(|node| node.place_of_path(&path));
        let span = span.unwrap_or_else(|| cx.root.place(&keys));
        cx.findings.push(Finding::error(span, format!("{path}: {message}")).code(codes::FILTER_INVALID));
    }
}
