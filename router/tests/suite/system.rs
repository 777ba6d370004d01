//! What the router tells on the bus `system`: folded, routable, and never causing itself.

use std::{sync::Arc, time::Duration};

use gocoffee::{
    config,
    serve::{Options, Running, serve},
};
use router_store::memory::MemoryStore;
use serde_json::Value;

use crate::world::{Sink, order, run};

/// What anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

struct System {
    running: Running,
    data: tempfile::TempDir,
    orders: Sink,
    pager: Sink,
}

impl System {
    async fn start() -> System {
        let (orders, pager, data) = (Sink::start().await, Sink::start().await, tempfile::tempdir().unwrap());
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nsources: {{ web: {{ http: {{ path: /events }} }} }}\n\
             targets: {{ orders: {{ http: {{ url: '{}' }} }}, pager: {{ http: {{ url: '{}' }} }} }}\n\
             routes: {{ orders: {{ to: orders }}, wake: {{ bus: system, to: pager }} }}\n",
            orders.url, pager.url
        );
        let loaded = config::load("test.yaml", &text);
        assert_eq!(loaded.report.to_text(false), "test.yaml: ok");
        let store = Arc::new(MemoryStore::new());
        let options = Options { data: Some(data.path().into()), store: Some(store), ..Options::default() };
        System { running: serve(loaded.config.unwrap(), options).await.unwrap(), data, orders, pager }
    }

    async fn cli(&self, args: &[&str]) -> String {
        let admin = format!("http://{}", self.running.admin());
        let own = ["--admin", &admin, "--data", self.data.path().to_str().unwrap()];
        let (exit, out, err) = run(&[args, &own].concat(), "").await;
        assert_eq!(exit, 0, "{err}");
        out
    }

    async fn publish(&self, ids: std::ops::Range<u32>) {
        let to = format!("http://{}/events", self.running.listen());
        let lines: String = ids.map(|id| order(&id.to_string())).collect();
        let (exit, _, err) = run(&["publish", "-", "--to", &to], &lines).await;
        assert_eq!(exit, 0, "{err}");
    }

    /// All events of the bus.
    async fn told(&self) -> Vec<Value> {
        let out = self.cli(&["archive", "export", "--bus", "system"]).await;
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn metrics(&self) -> String {
        let client = router_http::client::Client::new().unwrap();
        let answer = client.get(&format!("http://{}/metrics", self.running.admin()), None).await.unwrap();
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// Waits until this holds of them.
    async fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let end = std::time::Instant::now() + DEADLINE;
        loop {
            let told = self.told().await;
            if holds(&told) {
                return told;
            }
            assert!(std::time::Instant::now() < end, "never: {what}: {told:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How many dead letters of a route were told.
fn letters(told: &[Value], route: &str) -> u64 {
    let of = |e: &&Value| e["type"] == "gocoffee.dead-letters.parked" && e["data"]["route"] == route;
    told.iter().filter(of).map(|e| e["data"]["count"].as_u64().unwrap()).sum()
}

/// Whoever is to be woken answers this: what is told must cause nothing more of its kind.
async fn tells_dead_letters_and_nothing_of_itself(pager: u16) {
    let system = System::start().await;
    let start = std::time::Instant::now();
    system.orders.answer(422);
    system.pager.answer(pager);
    system.publish(0..50).await;
    let told = system.until("fifty dead letters are told", |told| letters(told, "orders") == 50).await;
    let first = told.iter().find(|e| e["type"] == "gocoffee.dead-letters.parked").unwrap();
    assert_eq!((first["subject"].as_str(), first["specversion"].as_str()), (Some("routes/orders"), Some("1.0")));
    assert!(first["source"].as_str().unwrap().starts_with("/gocoffee/"), "{first}");
    assert_eq!(first["data"]["reasons"]["refused"], first["data"]["count"]);
    let end = start + DEADLINE;
    while system.metrics().await.contains("gocoffee_system_facts_about_itself_total 0") {
        assert!(std::time::Instant::now() < end, "what is about the bus itself is counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A fact about them would have been told before what is told now.
    system.publish(50..60).await;
    let told = system.until("ten more", |told| letters(told, "orders") == 60).await;
    let about = |subject: &str| told.iter().filter(|e| e["subject"] == subject).count();
    assert_eq!((about("routes/wake"), about("targets/pager")), (0, 0), "{told:#?}");
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!(about("routes/orders") <= seconds + 2, "one event a second at most: {told:#?}");
    assert!(system.metrics().await.contains("gocoffee_system_facts_lost_total 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_told_and_those_of_the_bus_itself_cause_nothing() {
    tells_dead_letters_and_nothing_of_itself(422).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_the_bus_that_is_down_causes_nothing() {
    tells_dead_letters_and_nothing_of_itself(503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_is_told_before_it_is_answered() {
    let system = System::start().await;
    system.orders.answer(422);
    system.publish(0..30).await;
    system.until("thirty dead letters", |told| letters(told, "orders") == 30).await;
    let writes: [(&[&str], &str); 8] = [
        (&["routes", "pause", "orders"], "route paused"),
        (&["routes", "resume", "orders"], "route resumed"),
        (&["replay", "start", "--offsets", "1..31", "--routes", "orders", "--rate", "1/s"], "replay started"),
        (&["replay", "pause", "1"], "replay paused"),
        (&["replay", "resume", "1"], "replay resumed"),
        (&["replay", "cancel", "1"], "replay cancelled"),
        (&["dead-letters", "redrive", "--all"], "dead letters redriven"),
        (&["dead-letters", "purge", "--all", "--yes"], "dead letters purged"),
    ];
    for (n, (args, what)) in writes.into_iter().enumerate() {
        let _out = system.cli(args).await;
        let told = system.told().await;
        let audits: Vec<&Value> = told.iter().filter(|e| e["type"] == "gocoffee.audit").collect();
        assert_eq!(audits.len(), n + 1, "{args:?}: {audits:#?}");
        assert_eq!(audits[n]["data"]["what"], what);
        assert!(audits[n]["data"]["who"].as_str().unwrap().starts_with("127.0.0.1:"), "{}", audits[n]);
        if what == "dead letters redriven" {
            system.until("they are parked again", |told| letters(told, "orders") >= 60).await;
        }
    }
    let ended = |told: &[Value]| told.iter().any(|e| e["type"] == "gocoffee.replay.ended");
    let told = system.until("the end of the replay", ended).await;
    let ended = told.iter().find(|e| e["type"] == "gocoffee.replay.ended").unwrap();
    assert_eq!((ended["subject"].as_str(), ended["data"]["end"].as_str()), (Some("replays/1"), Some("cancelled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_is_told_and_delivered() {
    let system = System::start().await;
    system.orders.answer(503);
    system.publish(0..1).await;
    let kinds = |told: &[Value], kind: &str| told.iter().filter(|e| e["type"] == kind).count();
    let told = system.until("it opened", |told| kinds(told, "gocoffee.breaker.opened") > 0).await;
    assert_eq!(told[0]["data"]["target"], "orders");
    system.orders.answer(422);
    let closed = |told: &[Value]| kinds(told, "gocoffee.breaker.closed") > 0 && letters(told, "orders") == 1;
    let told = system.until("it closed", closed).await;
    let ids: Vec<String> = told.iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect();
    let end = std::time::Instant::now() + DEADLINE;
    while !ids.iter().all(|id| system.pager.taken().contains(id)) {
        assert!(std::time::Instant::now() < end, "a route delivers them");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_stops_is_told_once() {
    let system = System::start().await;
    system.orders.answer(410);
    system.publish(0..20).await;
    let stopped = |told: &[Value]| told.iter().filter(|e| e["type"] == "gocoffee.route.stopped").count();
    let told = system.until("it stopped", |told| stopped(told) > 0).await;
    let fact = told.iter().find(|e| e["type"] == "gocoffee.route.stopped").unwrap();
    assert_eq!((&fact["subject"], &fact["data"]["target"]), (&"routes/orders".into(), &"orders".into()));
    assert!(fact["data"]["why"].as_str().unwrap().starts_with("410"), "{fact}");
    // Told again only when it was let go on and stopped again.
    let _out = system.cli(&["routes", "resume", "orders"]).await;
    let counts = |told: &[Value]| -> u64 {
        let all = told.iter().filter(|e| e["type"] == "gocoffee.route.stopped");
        all.map(|e| e["data"]["count"].as_u64().unwrap()).sum()
    };
    let told = system.until("it stopped again", |told| counts(told) > 1).await;
    assert_eq!(counts(&told), 2, "{told:#?}");
}

#[tokio::test]
async fn nothing_from_outside_feeds_the_bus() {
    let route = "sources: { web: { http: { path: /e } } }\ntargets: { t: { http: { url: 'http://127.0.0.1:1/' } } }\n";
    for text in [
        "sources: { web: { http: { path: /e, bus: system } } }",
        &format!("{route}routes: {{ r: {{ to: t, reply: {{ bus: system }} }} }}"),
        &format!("{route}routes: {{ r: {{ to: t, bus: system, reply: true }} }}"),
        "sources: { web: { http: { path: /e } } }\nkeys: [{ name: k, secret: s3cr3t-enough-for-all, buses: [system] }]",
    ] {
        let loaded = config::load("test.yaml", text);
        let report = loaded.report.to_text(false);
        assert!(report.contains("nothing but the router itself feeds the bus `system`"), "{report}");
    }
    let loaded = config::load("test.yaml", &format!("{route}buses: {{ system: {{ dedupe: {{ age: 1m }} }} }}"));
    assert!(loaded.report.to_text(false).contains("only `retention` can be said of it"));
    let loaded = config::load(
        "test.yaml",
        "sources: { web: { http: { path: /e } } }\nbuses: { system: { retention: { bytes_max: 1GiB } } }\n",
    );
    assert_eq!(loaded.report.to_text(false), "test.yaml: ok");
    let config = loaded.config.unwrap();
    let (_, bus) = config.buses.iter().find(|(name, _)| name.as_str() == "system").unwrap();
    assert_eq!(bus.retention.age_max, Duration::from_secs(7 * 24 * 3600));
    assert!(gocoffee::connect::buses_with_path(&config).iter().all(|bus| bus.as_str() != "system"));
}
