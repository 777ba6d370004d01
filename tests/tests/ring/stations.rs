//! The clouds as their peers play them, with a link to each that can be cut, and routers beside them, each with what it
//! delivers to its own cloud in a journal.
//!
//! The subscription of the emulator is pulled past the link: of a stream that broke off the emulator keeps some keys to
//! itself for ever. What the router does then is tried in the suite `gcp`, with a server of that suite's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use router_tests::{
    coffee::{Coffee, Fingerprint, Key, coffee},
    world::{
        client::Client,
        link::Link,
        process::{Place, Router},
        publisher::Publisher,
        sink::Sink,
    },
};
use serde_json::json;

use super::{
    emulator::{Emulator, PROJECT},
    grid::{Grid, KEY, Play},
    peers::{Fed, Kind, Peer},
};

/// What may take long on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// The route of each configuration to what stands beside its router, and the one to the next cloud.
const HERE: &str = "here";
const ONWARD: &str = "onward";

/// Who stands for three clouds, and the links to them.
pub struct Clouds {
    pub aws: Peer,
    pub google: Emulator,
    pub azure: Arc<Grid>,
    pub to_aws: Link,
    pub to_google: Link,
    pub to_azure: Link,
}

impl Clouds {
    /// Starts them; `None`, and one line, where one is missing.
    pub async fn start(aws: Kind) -> Option<Clouds> {
        let (aws, google) = tokio::join!(Peer::start(aws), Emulator::start());
        let (aws, google, azure) = (aws?, google?, Arc::new(Grid::start(Play::default()).await));
        let (to_aws, to_google) = (Link::to(&aws.url).await, Link::to(&google.url).await);
        let to_azure = Link::to(&azure.url("")).await;
        Some(Clouds { aws, google, azure, to_aws, to_google, to_azure })
    }

    /// A bus whose rule feeds a queue, and a topic with a subscription that keeps the order of keys, all of one name.
    pub async fn make(&self, name: &str) -> Fed {
        let fed = self.aws.fed(name, json!({"source": [{"prefix": ""}]})).await;
        self.google.topic(name, json!({"enableMessageOrdering": true, "ackDeadlineSeconds": 10})).await;
        fed
    }

    /// A configuration of docs/ring.md as it is on one machine, with these peers in place of the clouds.
    pub fn config(&self, file: &str, place: &Place, sink: &Sink, fed: &Fed, mapping: &str) -> String {
        let address = |url: String| url.trim_start_matches("http://").trim_end_matches("/events").to_owned();
        let aws = self.to_aws.url();
        let queue = format!("{aws}/{}", fed.queue_url.splitn(4, '/').nth(3).unwrap());
        let keys = "credentials: { access_key_id: test, secret_access_key: test }";
        let nobody = |url: &str| format!("endpoint: \"{url}\", credentials: {{ anonymous: true }}");
        let (name, azure) = (&fed.bus, self.to_azure.url());
        let changes = [
            ("mapping: opaque", format!("mapping: {mapping}")),
            ("127.0.0.1:8080", address(place.url())),
            ("127.0.0.1:8081", address(place.admin_url())),
            ("./data", place.data().display().to_string()),
            ("http://127.0.0.1:9001/", sink.url(HERE)),
            (
                "\"https://sqs.us-east-1.amazonaws.com/123456789012/ring\"",
                format!("\"{queue}\", endpoint: \"{aws}\", {keys}, visibility: 10s"),
            ),
            ("bus: ring,", format!("bus: {name}, endpoint: \"{aws}\", {keys},")),
            (
                "topic: projects/go-coffee/topics/ring",
                format!("topic: projects/{PROJECT}/topics/{name}, {}", nobody(&self.to_google.url())),
            ),
            (
                "subscription: projects/go-coffee/subscriptions/router",
                format!(
                    "subscription: projects/{PROJECT}/subscriptions/{name}, {}, lease: 10s",
                    nobody(&self.google.url)
                ),
            ),
            ("https://ring.westeurope-1.eventgrid.azure.net", azure.clone()),
            ("https://coffee.westeurope-1.eventgrid.azure.net/api/events", format!("{azure}/api/events")),
            ("${env:NAMESPACE_KEY}", KEY.to_owned()),
            ("${env:EVENT_GRID_KEY}", KEY.to_owned()),
            ("${env:WEBHOOK_KEY}", "hook-secret".to_owned()),
        ];
        let mut text = written(file);
        for (there, here) in changes {
            assert!(text.matches(there).count() <= 1, "{file} has {there} more than once");
            text = text.replace(there, &here);
        }
        for cloud in ["amazonaws", "go-coffee", "azure.net", "${env:"] {
            assert!(!text.contains(cloud), "{file} still names {cloud}:\n{text}");
        }
        text
    }

    /// Nothing waits in a queue or a subscription that can be asked.
    pub async fn emptied(&self, fed: &Fed) {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let asked = json!({"QueueUrl": fed.queue_url, "AttributeNames": names});
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = self.aws.call("AmazonSQS.GetQueueAttributes", asked.clone()).await;
            let none = names.iter().all(|name| answer["Attributes"][*name] == json!("0"));
            if none && self.azure.waiting() == 0 {
                return;
            }
            assert!(Instant::now() < end, "left: {answer}, {} at Event Grid", self.azure.waiting());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A configuration of docs/ring.md, such as `google.yaml`, or `google.yaml with a topic`: what the page shows of a form is
/// the one line that differs.
fn written(which: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ring.md")).unwrap();
    let block = |beginning: &str| {
        let mut blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let found = blocks.find(|block| block.starts_with(beginning));
        found.unwrap_or_else(|| panic!("docs/ring.md has no block that begins with `{beginning}`")).to_owned()
    };
    let (file, form) = which.split_once(' ').unwrap_or((which, ""));
    let whole = block(&format!("# {file}, beside"));
    if form.is_empty() {
        return whole;
    }
    let other = block(&format!("# {file}, {form}"));
    let line = other.lines().last().unwrap();
    let name = line.split_inclusive(':').next().unwrap();
    assert_eq!(whole.lines().filter(|of| of.starts_with(name)).count(), 1, "{name}");
    whole.lines().map(|of| if of.starts_with(name) { line } else { of }.to_owned() + "\n").collect()
}

/// A router beside a cloud.
pub struct Station<'p> {
    pub place: &'p Place,
    pub sink: Sink,
    pub router: Router<'p>,
    client: Client,
}

impl<'p> Station<'p> {
    /// Starts the router with the configuration that is made for its place and its sink.
    pub async fn start(place: &'p Place, config: impl FnOnce(&Sink) -> String) -> Station<'p> {
        let sink = Sink::start().await;
        let router = place.start_written(&config(&sink)).await;
        Station { place, sink, router, client: Client::new(DEADLINE) }
    }

    /// Publishes events of a series here, one request after the other, in each mode in turn; they must be taken.
    pub async fn publish(&self, series: &'static str, count: u64) {
        let publisher = Publisher::new(&self.place.url());
        publisher.publish((0..count).map(move |n| coffee(series, n)), 1).await;
        let journal = publisher.journal();
        assert!(journal.iter().all(|p| p.acked.is_some()), "{series}: {journal:?}\n{}", self.place.logged());
        assert_eq!(journal.len() as u64, count);
    }

    /// What has come to what stands here: which events, and what they look like; each came once.
    pub fn came(&self) -> BTreeMap<Key, Fingerprint> {
        assert_eq!(self.sink.unreadable(), Vec::<String>::new());
        let mut came = BTreeMap::new();
        for received in self.sink.journal() {
            let before = came.insert(received.key.clone(), received.print);
            assert!(before.is_none(), "{} came twice\n{}", received.key, self.place.logged());
        }
        came
    }

    /// Waits until so many events have come.
    pub async fn until(&self, count: usize) {
        let end = Instant::now() + DEADLINE;
        while self.came().len() < count {
            assert!(Instant::now() < end, "{} of {count} came\n{}", self.came().len(), self.place.logged());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The numbers of a series' events by their keys, in the order in which they came.
    pub fn order(&self, series: &str) -> BTreeMap<Key, Vec<u64>> {
        let mut order = BTreeMap::<Key, Vec<u64>>::new();
        for received in self.sink.journal() {
            let number = received.key.id.rsplit_once('-').filter(|(of, _)| *of == series);
            if let Some(number) = number.and_then(|(_, n)| n.parse().ok()) {
                // A shop's events have its key and its source.
                let shop = Key { id: "".into(), ..received.key };
                order.entry(shop).or_default().push(number);
            }
        }
        order
    }

    /// A metric, summed over its samples with this label.
    pub async fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.client.get(&format!("{}/metrics", self.place.admin_url())).await.unwrap().text();
        let of = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok());
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
        lines.filter_map(of).map(|n| n as u64).sum()
    }

    /// Events that came back.
    pub async fn looped(&self) -> u64 {
        self.metric("gocoffee_events_looped_total", "bus=\"default\"").await
    }

    /// Deliveries that are owed to the next cloud.
    async fn lag(&self) -> u64 {
        self.metric("gocoffee_route_waiting", &format!("route=\"{ONWARD}\"")).await
    }

    /// Waits until so many deliveries are owed to the next cloud.
    pub async fn owes(&self, wanted: u64) {
        let end = Instant::now() + DEADLINE;
        loop {
            let now = self.lag().await;
            if now == wanted {
                return;
            }
            assert!(Instant::now() < end, "the lag is {now}, not {wanted}\n{}", self.place.logged());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many events came back; a queue may give some twice.
    pub async fn came_back(&self, wanted: u64) {
        let end = Instant::now() + DEADLINE;
        while self.looped().await < wanted {
            let now = self.looped().await;
            assert!(Instant::now() < end, "{now} of {wanted} came back\n{}", self.place.logged());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is owed; there is no dead letter.
    pub async fn settled(&self) {
        let status = self.router.settled(DEADLINE).await;
        let letters: BTreeMap<&str, u64> = status.routes.iter().map(|r| (&*r.name, r.dead_letters)).collect();
        assert!(letters.values().all(|count| *count == 0), "dead letters: {letters:?}\n{}", self.place.logged());
        assert!(letters.contains_key(HERE) && letters.contains_key(ONWARD), "{letters:?}");
    }
}

/// The events of some series as they must come.
pub fn sent(series: &[(&'static str, u64)]) -> BTreeMap<Key, Fingerprint> {
    let all = series.iter().flat_map(|(series, count)| (0..*count).map(|n| coffee(series, n)));
    all.map(|event: Coffee| (event.key.clone(), event.fingerprint())).collect()
}

/// The identities of events.
pub fn keys(events: &BTreeMap<Key, Fingerprint>) -> BTreeSet<&Key> {
    events.keys().collect()
}
