//! Goal: events go to Event Grid and come from there through the router as its users run it, and none is lost when it is
//! killed in between. Event Grid is played by Microsoft's documentation, since nothing of it runs outside of Azure; the
//! publisher is Microsoft's own Python client.
//!
//! `cargo xtask test` puts the client into `peers` in the target folder. Where it is missing, its test says so in one
//! line and ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Event Grid, played; the tests of the adapter use the same.
#[path = "../../router/azure/tests/azure/grid.rs"]
#[allow(dead_code)]
mod grid;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use grid::{Grid, KEY, Play};
use http::{HeaderMap, HeaderValue, Method, header};
use router_tests::world::{client::Client, process::Place};
use serde_json::{Value, json};

/// What may take long on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

fn event(n: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{n}","source":"/shop/7","type":"coffee.order.created","tenant":"blue","data":{{"total": {n}.50}}}}"#
    )
}

/// Waits until it is so.
async fn until(what: &str, place: &Place, so: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < end, "never: {what}\n{}", place.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ids of what the custom topic has taken.
fn arrived(grid: &Grid) -> BTreeSet<String> {
    let lists = grid.taken().into_iter().filter(|taken| taken.path == "/api/events");
    lists.flat_map(|taken| ids(&taken.json())).collect()
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

async fn post(url: &str, headers: &[(&'static str, &'static str)], body: String) -> u16 {
    let headers: HeaderMap =
        headers.iter().map(|(n, v)| (n.parse::<header::HeaderName>().unwrap(), HeaderValue::from_static(v))).collect();
    let sent = Client::new(Duration::from_secs(30)).send(Method::POST, url, headers, Bytes::from(body)).await;
    sent.unwrap().status
}

fn pull(grid: &Grid) -> Value {
    json!({"event_grid": {"pull":
        {"endpoint": grid.url(""), "topic": "coffee", "subscription": "router", "key": KEY, "wait": "10s"}}})
}

fn topic(grid: &Grid) -> Value {
    json!({"event_grid": {"endpoint": grid.url(""), "sas": {"key": KEY}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_out_to_a_namespace_and_come_back_through_it_to_a_topic() {
    let grid = Grid::start(Play::default()).await;
    let place = Place::new();
    let more = json!({
        "buses": {"azure": {}},
        "sources": {
            "hook": {"event_grid": {"webhook": {"path": "/azure", "bus": "azure", "keys": ["hook-secret"]}}},
            "back": pull(&grid),
        },
        "targets": {
            "out": {"event_grid_namespace": {"endpoint": grid.url(""), "topic": "coffee", "key": KEY}},
            "topic": topic(&grid),
        },
        "routes": {
            // What comes back has the identity that it went out with: it is a duplicate, and goes out once.
            "out": {"to": "out"},
            "hooked": {"bus": "azure", "to": "topic"},
        },
    });
    let router = place.start_with(&[], &more).await;
    let structured = [("content-type", "application/cloudevents+json")];
    for n in 0..10 {
        assert_eq!(post(&place.url(), &structured, event(n)).await, 202);
    }
    until("all came back and were acknowledged", &place, || grid.acknowledged().len() == 10).await;
    let sent: Vec<Value> = grid.acknowledged();
    assert!(sent.iter().all(|event| event["tenant"] == "blue" && event["data"]["total"].is_number()));
    let hook = place.url().replace("/events", "/azure");
    let list = format!("[{},{}]", event(100), event(101));
    let batch =
        [("content-type", "application/cloudevents-batch+json; charset=utf-8"), ("aeg-event-type", "Notification")];
    assert_eq!(post(&hook, &batch, list.clone()).await, 503, "without the secret it stays with Event Grid");
    assert_eq!(post(&format!("{hook}?key=hook-secret"), &batch, list).await, 200);
    until("both went to the topic", &place, || arrived(&grid).len() == 2).await;
    assert_eq!(arrived(&grid), BTreeSet::from(["100".to_owned(), "101".to_owned()]));
    router.terminate().await;
}

/// Goal: a router that is killed while it pulls loses nothing: what it had not acknowledged is handed out again, what it
/// had acknowledged was durable.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_during_a_pull_loses_no_event() {
    const COUNT: usize = 20_000;
    let grid = Grid::start(Play { lock: Duration::from_secs(3), ..Play::default() }).await;
    // The last quarter comes after the kills, so that none of them finds everything done.
    grid.put((0..COUNT / 4 * 3).map(event));
    let place = Place::new();
    let more = json!({
        "sources": {"azure": pull(&grid)},
        "targets": {"topic": topic(&grid)},
        "routes": {"all": {"to": "topic"}},
    });
    for share in [4, 2] {
        let router = place.start_with(&[], &more).await;
        until("a part was acknowledged", &place, || grid.acknowledged().len() >= COUNT / share).await;
        router.kill().await;
    }
    grid.put((COUNT / 4 * 3..COUNT).map(event));
    let router = place.start_with(&[], &more).await;
    until("all were acknowledged", &place, || grid.waiting() == 0).await;
    let acknowledged: BTreeSet<String> = ids(&Value::Array(grid.acknowledged())).into_iter().collect();
    assert_eq!(acknowledged.len(), COUNT);
    assert!(grid.rejected().is_empty());
    until("all went to the topic", &place, || arrived(&grid).len() == COUNT).await;
    router.terminate().await;
}

/// Python with Microsoft's client; `None`, and one line, where it is not there.
fn python() -> Option<PathBuf> {
    let exe = std::env::current_exe().unwrap();
    let peers = exe.ancestors().nth(3).unwrap().join("peers/bin/python");
    let found = [peers, "python3".into()].into_iter().find(|python| {
        let asked = std::process::Command::new(python).args(["-c", "import azure.eventgrid"]).output();
        asked.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!("azure-eventgrid is not there, so this test is skipped: `cargo xtask test` installs it");
    }
    found
}

const PUBLISHER: &str = r#"
import sys, datetime
from azure.core.credentials import AzureKeyCredential, AzureSasCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, EventGridPublisherClient, generate_sas
url, key = sys.argv[1], sys.argv[2]
custom = url + "/api/events"
def events(first):
    return [CloudEvent(source="/shop/7", type="order", id=str(n), data={"n": n}, extensions={"tenant": "blue"}) for n in (first, first + 1)]
end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
EventGridPublisherClient(custom, AzureKeyCredential(key)).send(events(1))
EventGridPublisherClient(custom, AzureSasCredential(generate_sas(custom, key, end))).send(events(3))
EventGridPublisherClient(custom, AzureKeyCredential(key)).send([EventGridEvent(subject="s", event_type="order", data={"n": 5}, data_version="1", id="5")])
EventGridPublisherClient(url, AzureKeyCredential(key), namespace_topic="coffee").send(events(6))
EventGridPublisherClient(url, AzureKeyCredential(key), namespace_topic="coffee").send(events(8)[0])
try:
    EventGridPublisherClient(custom, AzureKeyCredential("d3Jvbmc=")).send(events(9))
    sys.exit("a wrong key opens")
except ClientAuthenticationError:
    print("published")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn microsofts_python_client_publishes_unchanged() {
    let Some(python) = python() else { return };
    let grid = Grid::start(Play::default()).await;
    let place = Place::new();
    let more = json!({
        "sources": {"sdk": {"event_grid": {"publish": {"keys": [KEY], "topics": ["coffee"]}}}},
        "targets": {"topic": topic(&grid)},
        "routes": {"all": {"to": "topic"}},
    });
    let router = place.start_with(&[], &more).await;
    let url = place.url().replace("/events", "");
    let run = tokio::process::Command::new(python).args(["-c", PUBLISHER, &url, KEY]).output();
    let output = tokio::time::timeout(DEADLINE, run).await.expect("the client ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("published"), "{said}\n{}", place.logged());
    let wanted: BTreeSet<String> = (1..=8).map(|n| n.to_string()).collect();
    until("all went to the topic", &place, || arrived(&grid) == wanted).await;
    let own = grid.taken().into_iter().flat_map(|taken| taken.json().as_array().unwrap().clone());
    let own = own.into_iter().find(|event| event["id"] == "5").unwrap();
    assert_eq!(
        (&own["source"], &own["subject"], &own["dataversion"]),
        (&json!("/eventgrid/sdk"), &json!("s"), &json!("1"))
    );
    router.terminate().await;
}
