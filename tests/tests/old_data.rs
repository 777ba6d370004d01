//! Goal: a data folder that an older version left behind is opened by this one, whole: each event, each debt, each dead
//! letter is there under its own id, and gets where it belongs. One from the future is refused by name.
//!
//! The folders lie in `tests/old-data`, one for each version whose formats differ; docs/reliability.md says when one is
//! added. None is ever replaced: it is what that version wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use gocoffee::admin::view::{Replay, RouteChanged, Status};
use http::Method;
use router_core::stats::LaneStateName;
use router_tests::{
    coffee::{Coffee, Fingerprint, KINDS, Key, coffee},
    oracle::Received,
    world::{
        process::{Place, Router},
        publisher::Publisher,
        setup::Route,
        sink::Sink,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Folders as files.
#[path = "old_data/pack.rs"]
mod pack;

/// What everything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is no part of the data.
const LEFT_OUT: [&str; 3] = ["lock", "admin.token", "ballast"];
/// Events: small ones, large ones that fill segments, and small ones after the routes have changed.
const SMALL: std::ops::Range<u64> = 0..40;
const LARGE: std::ops::Range<u64> = 40..220;
const LATER: std::ops::Range<u64> = 220..300;
const LARGE_BYTES: usize = 24 << 10;

/// What the version that wrote a folder knew of it.
#[derive(Serialize, Deserialize)]
struct Known {
    version: String,
    epoch: String,
    /// Every event, in the order of the log.
    events: Vec<KnownEvent>,
    /// The first offset that is kept.
    first: u64,
    /// What is owed, by route.
    owed: BTreeMap<String, BTreeSet<Key>>,
    /// Open dead letters: id, route, reason, and the event where it is one.
    letters: BTreeSet<(String, String, String, Option<Key>)>,
    /// A replay to `down` that is paused.
    replay: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct KnownEvent {
    key: Key,
    print: Fingerprint,
    offset: u64,
    /// How the ids of its deliveries begin: EPOCH-BUS-OFFSET.
    place: String,
    /// Whether `down` wants it.
    down: bool,
}

fn event(n: u64) -> Coffee {
    let plain = coffee("old", n);
    if !LARGE.contains(&n) {
        return plain;
    }
    let note = "☕ ".repeat(LARGE_BYTES / 4);
    let data = format!(r#"{{"shop":{}, "total":{},"n":{n},"note":"{note}"}}"#, plain.shop, plain.total);
    Coffee { data: data.into(), ..plain }
}

const DOWN_MIN: u64 = 1_700;

/// What `turned` wants: another type from the second life on.
fn turned(n: u64) -> &'static str {
    KINDS[if LATER.contains(&n) { 2 } else { 0 }]
}

/// A type in a few shops: of a segment of which more is owed, nothing would be let go.
fn few(route: Route, kind: &'static str) -> Route {
    route.wanting(json!({"type": [kind], "data": {"shop": [0, 1, 2, 3]}}), move |e| is_few(e, kind))
}

fn is_few(event: &Coffee, kind: &str) -> bool {
    *event.kind == *kind && event.shop < 4
}

fn routes(url: impl Fn(&str) -> String, later: bool) -> Vec<Route> {
    let route = |name: &str| Route::all(name, &url(name));
    vec![
        route("all"),
        route("down").total_min(DOWN_MIN),
        few(route("picky"), KINDS[4]),
        few(route("held"), KINDS[1]),
        few(route("turned"), KINDS[if later { 2 } else { 0 }]),
    ]
}

/// With a route whose answers are taken in.
fn asking(url: &str, retention: bool) -> Value {
    let retention = if retention { json!({"bytes_max": "2MiB"}) } else { json!({}) };
    json!({
        "buses": {"default": {"retention": retention}},
        "targets": {"asking": {"http": {"url": url}}},
        "routes": {"asking": {"filter": {"pattern": {"type": [KINDS[3]]}}, "to": "asking", "reply": true}},
    })
}

fn place() -> Place {
    Place::with_store(None, |data| json!({"disk": {"path": data, "bytes_max": "16MiB"}}))
}

fn waiting(status: &Status, route: &str) -> u64 {
    status.routes.iter().find(|r| r.name == route).map_or(0, |r| r.waiting)
}

async fn letters(router: &Router<'_>) -> BTreeSet<(String, String, String, Option<Key>)> {
    let all = router.dead_letters().await;
    let key = |letter: &gocoffee::admin::view::DeadLetter| {
        let event = letter.event.as_ref()?;
        Some(router_tests::coffee::read_json(event.get().as_bytes()).unwrap().key)
    };
    all.iter().map(|l| (l.id.clone(), l.route.clone(), l.reason.clone(), key(l))).collect()
}

// ---------------------------------------------------------------------------------- writing one

/// Answers everything with what is no event.
async fn nonsense(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut seen = Vec::new();
        // The requests are small: head and body come in a few reads, and end with the data's last brace.
        while let Ok(1..) = stream.read_buf(&mut seen).await {
            if seen.ends_with(b"}") {
                break;
            }
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/cloudevents+json\r\ncontent-length: 8\r\nconnection: close\r\n\r\nnonsense";
        stream.write_all(answer).await.ok();
        stream.shutdown().await.ok();
    }
}

/// Two lives of this version, in which something of each kind is left behind; the second one is killed.
async fn write(place: &Place) -> Known {
    let (sink, shut) = (Sink::start().await, Sink::closed());
    sink.script("picky", router_tests::world::script::Rule::status(422));
    let answers = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = format!("http://{}/", answers.local_addr().unwrap());
    let answers = tokio::spawn(nonsense(answers));
    let url = |name: &str| match name {
        "down" | "turned" => shut.url(name),
        name => sink.url(name),
    };
    let publisher = Publisher::new(&place.url());
    let router = place.start_with(&routes(url, false), &asking(&asked, true)).await;
    let _held: RouteChanged = router.admin(Method::POST, "/api/routes/pause", Some(json!({"route": "held"}))).await;
    publisher.publish(SMALL.map(event), 4).await;
    publisher.publish(LARGE.map(event), 4).await;
    let done = |s: &Status| waiting(s, "all") + waiting(s, "picky") + waiting(s, "asking") == 0;
    router.until("trimmed", PATIENCE, |s| done(s) && s.buses.iter().any(|b| b.first.0 > 20)).await;
    assert!(router.terminate().await.success(), "{}", place.logged());
    let (renewed, said) = place.recover(&["--new-epoch", "--yes"]);
    assert!(renewed, "{said}");

    let router = place.start_with(&routes(url, true), &asking(&asked, true)).await;
    let replay = place.try_replay("down").await.expect("a replay");
    let _paused: Value = router.admin(Method::POST, "/api/replays/pause", Some(json!({"id": replay}))).await;
    publisher.publish(LATER.map(event), 4).await;
    router
        .until("settled but for what is owed", PATIENCE, |s| done(s) && s.routes.iter().all(|r| r.lag_events == 0))
        .await;
    // What is not synced yet is written with the next commits.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = router.status().await;
    let letters = letters(&router).await;
    router.kill().await;
    answers.abort();
    known(&publisher, &sink, &status, letters, replay)
}

fn known(
    publisher: &Publisher,
    sink: &Sink,
    status: &Status,
    letters: BTreeSet<(String, String, String, Option<Key>)>,
    replay: u32,
) -> Known {
    let (numbers, journal) = (SMALL.start..LATER.end, sink.journal());
    let events: BTreeMap<Key, (u64, Coffee)> = numbers.map(|n| (event(n).key, (n, event(n)))).collect();
    assert_eq!(publisher.journal().iter().filter(|p| p.acked.is_some()).count(), events.len());
    let (mut known, mut owed) = (Vec::new(), BTreeMap::<String, BTreeSet<Key>>::new());
    for received in journal.iter().filter(|r| &*r.route == "all") {
        let (n, event) = &events[&received.key];
        let place = place_of(received);
        let offset = place.rsplit('-').next().unwrap().parse().unwrap();
        let down = event.total >= DOWN_MIN;
        let wanted = [("down", down), ("held", is_few(event, KINDS[1])), ("turned", is_few(event, turned(*n)))];
        for (route, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            owed.entry(route.into()).or_default().insert(event.key.clone());
        }
        known.push(KnownEvent { key: event.key.clone(), print: event.fingerprint(), offset, place, down });
    }
    known.sort_by_key(|e| e.offset);
    assert_eq!(known.len(), events.len(), "each came once");
    for (route, keys) in &owed {
        assert_eq!(waiting(status, route), keys.len() as u64, "{route}");
    }
    let first = status.buses.iter().find(|b| b.name.as_str() == "default").unwrap().first.0;
    assert!(letters.iter().any(|l| l.1 == "quarantine") && letters.iter().any(|l| l.1 == "picky"), "{letters:?}");
    Known { version: status.version.clone(), epoch: status.epoch.clone(), events: known, first, owed, letters, replay }
}

/// EPOCH-BUS-OFFSET of EPOCH-BUS-OFFSET-ROUTE-RUN.
fn place_of(received: &Received) -> String {
    received.delivery.rsplitn(3, '-').nth(2).unwrap().to_owned()
}

fn run_of(received: &Received) -> u32 {
    received.delivery.rsplit('-').next().unwrap().parse().unwrap()
}

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/old-data"))
}

/// Adds a folder for this version; to be run by hand, when a format has changed, before the change is released.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes a file into the checkout: cargo nextest run --workspace --test old_data --run-ignored only"]
async fn a_folder_of_this_version_is_added() {
    let place = place();
    let known = write(&place).await;
    let packed = pack::pack(&place.data(), &serde_json::to_string(&known).unwrap(), &LEFT_OUT);
    let path = fixtures().join(format!("v{}.bin.gz", known.version));
    assert!(!path.exists(), "{} is what that version wrote; it is not written again", path.display());
    println!("{}: {} bytes", path.display(), packed.len());
    fs::write(path, packed).unwrap();
}

// ---------------------------------------------------------------------------------- opening one

/// What arrived on a route in a run: by event, the place in its ids and what it looked like.
fn came(sink: &Sink, route: &str, run: u32) -> BTreeMap<Key, (String, Fingerprint)> {
    let journal = sink.journal();
    let here = journal.iter().filter(|r| &*r.route == route && run_of(r) == run && r.taken());
    here.map(|r| (r.key.clone(), (place_of(r), r.print))).collect()
}

fn expected<'a>(events: impl Iterator<Item = &'a KnownEvent>) -> BTreeMap<Key, (String, Fingerprint)> {
    events.map(|e| (e.key.clone(), (e.place.clone(), e.print))).collect()
}

async fn replay_done(router: &Router<'_>, id: u32) -> Replay {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let replays = router.replays().await;
        let replay = replays.into_iter().find(|r| r.id == id).expect("it is known");
        if replay.state == "done" {
            return replay;
        }
        assert!(tokio::time::Instant::now() < end, "{replay:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Opens a folder with the binary and compares everything with what its version knew.
async fn open(place: &Place, known: &Known) {
    let sink = Sink::start().await;
    let (routes, more) = (routes(|name| sink.url(name), true), asking(&sink.url("asking"), false));
    let router = place.start_with(&routes, &more).await;
    let status = router.status().await;
    assert_eq!(status.epoch, known.epoch);
    let bus = status.buses.iter().find(|b| b.name.as_str() == "default").unwrap();
    let last = known.events.last().unwrap().offset;
    assert_eq!((bus.first.0, bus.tail.0), (known.first, last + 1));
    assert_eq!(letters(&router).await, known.letters);
    let held = status.routes.iter().find(|r| r.name == "held").unwrap();
    assert_eq!((held.state, held.waiting), (LaneStateName::Paused, known.owed["held"].len() as u64));

    // What is owed.
    let of = |keys: &BTreeSet<Key>| expected(known.events.iter().filter(|e| keys.contains(&e.key)));
    let _resumed: RouteChanged = router.admin(Method::POST, "/api/routes/resume", Some(json!({"route": "held"}))).await;
    router.settled(PATIENCE).await;
    for (route, keys) in &known.owed {
        assert_eq!(came(&sink, route, 0), of(keys), "{route}");
    }
    assert_eq!(came(&sink, "all", 0).len(), 0, "what was settled stays so");

    // The replay that was paused, and one of all that is kept.
    let _resumed: Value = router.admin(Method::POST, "/api/replays/resume", Some(json!({"id": known.replay}))).await;
    let replay = replay_done(&router, known.replay).await;
    let range = known.events.iter().filter(|e| (replay.from..replay.to).contains(&e.offset) && e.down);
    assert_eq!(came(&sink, "down", known.replay), expected(range));
    let all = place.try_replay("all").await.expect("a replay");
    replay_done(&router, all).await;
    assert_eq!(came(&sink, "all", all), expected(known.events.iter().filter(|e| e.offset >= known.first)));

    // Dead letters, whose events lie in remnants.
    let picky: BTreeSet<Key> = known.letters.iter().filter(|l| l.1 == "picky").filter_map(|l| l.3.clone()).collect();
    assert_eq!(router.redrive("picky").await.redriven, picky.len() as u64);
    router.settled(PATIENCE).await;
    assert_eq!(came(&sink, "picky", 0), of(&picky));

    // An event that is known is known; a new one has the next offset.
    let publisher = Publisher::new(&place.url());
    publisher.publish([event(LATER.start), event(LATER.end)], 1).await;
    router.settled(PATIENCE).await;
    let came = came(&sink, "all", 0);
    assert_eq!(came.keys().collect::<Vec<_>>(), [&event(LATER.end).key]);
    assert_eq!(sink.unreadable(), Vec::<String>::new());
    assert!(router.terminate().await.success(), "{}", place.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_older_versions_are_whole() {
    let mut found = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "gz") {
            continue;
        }
        let place = place();
        let known: Known = serde_json::from_str(&pack::unpack(&fs::read(&path).unwrap(), &place.data())).unwrap();
        println!("{}: written by {}, {} events", path.display(), known.version, known.events.len());
        open(&place, &known).await;
        found += 1;
    }
    assert!(found > 0, "there is no folder in {}", fixtures().display());
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_of_this_version_is_whole() {
    let place = place();
    let known = write(&place).await;
    open(&place, &known).await;
}

fn segments(data: &Path, kind: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(data.join("buses/default")).unwrap().map(|f| f.unwrap().path());
    let mut files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == kind)).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_from_the_future_is_refused_by_name() {
    let packed =
        fs::read_dir(fixtures()).unwrap().map(|f| f.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "gz"));
    let packed = fs::read(packed.unwrap()).unwrap();
    for kind in ["log", "rem"] {
        let place = place();
        let known: Known = serde_json::from_str(&pack::unpack(&packed, &place.data())).unwrap();
        let path = segments(&place.data(), kind).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[8..12], [1, 0, 0, 0], "the format version of {}", path.display());
        bytes[8] = 9;
        fs::write(&path, &bytes).unwrap();
        let routes = routes(|name| format!("http://127.0.0.1:9/{name}"), true);
        let (code, said) = place.refuses(&routes, &asking("http://127.0.0.1:9/", false)).await;
        assert_eq!(code, Some(74), "{said}");
        let named = [path.to_str().unwrap(), "format version 9", "reads version 1", "newer one"];
        assert!(named.iter().all(|word| said.contains(word)), "{said}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is changed by it");
        // With what it was, it opens.
        bytes[8] = 1;
        fs::write(&path, &bytes).unwrap();
        open(&place, &known).await;
    }
}
