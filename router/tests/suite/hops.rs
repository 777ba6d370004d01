//! Goal: over the real binary, two routers that mirror each other end after one turn, and no event vanishes for what
//! it says of its hops.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use axum::{
    body::{Bytes, to_bytes},
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::world::{order, run};

/// A router in a process of its own.
struct Router {
    child: tokio::process::Child,
    events: String,
    admin: String,
    /// Its id in the list of hops.
    id: String,
    dir: tempfile::TempDir,
}

impl Router {
    /// With one route, `out`, of everything to this URL.
    async fn start(to: &str) -> Router {
        Router::start_in(tempfile::tempdir().unwrap(), to).await
    }

    async fn start_in(dir: tempfile::TempDir, to: &str) -> Router {
        let config = dir.path().join("gocoffee.yaml");
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nsources: {{ web: {{ http: {{ path: /events }} }} }}\n\
             targets: {{ out: {{ http: {{ url: '{to}' }} }} }}\nroutes: {{ out: {{ to: out }} }}\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"))
            .args(["serve", "--config", config.to_str().unwrap(), "--data", dir.path().join("data").to_str().unwrap()])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut id = None;
        let ready = loop {
            let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().expect("it starts")).unwrap();
            id = id.or_else(|| line["router"].as_str().map(str::to_owned));
            if line["message"] == "ready" {
                break line;
            }
        };
        tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
        let url = |key: &str| format!("http://{}", ready[key].as_str().unwrap());
        Router {
            child,
            events: url("listen") + "/events",
            admin: url("admin"),
            id: id.expect("it says who it is"),
            dir,
        }
    }

    async fn cli(&self, args: &[&str], input: &str) -> String {
        let data = self.dir.path().join("data");
        let (_, out, err) =
            run(&[args, &["--admin", &self.admin, "--data", data.to_str().unwrap()]].concat(), input).await;
        assert!(err.is_empty(), "{args:?}: {err}");
        out
    }

    /// Waits until the route has delivered so many, owes nothing, and has so many dead letters.
    async fn until(&self, delivered: u64, dead_letters: u64) {
        let mut status = Value::Null;
        for _ in 0..1_500 {
            status = serde_json::from_str(&self.cli(&["status", "--output", "json"], "").await).unwrap();
            let route = &status["routes"][0];
            if route["delivered"] == delivered && route["waiting"] == 0 && route["dead_letters"] == dead_letters {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never: {delivered} delivered and {dead_letters} dead letters; {status:#}");
    }

    async fn looped(&self) -> String {
        let request = Request::get(format!("{}/metrics", self.admin)).body(Bytes::new()).unwrap();
        let text = String::from_utf8(send(request).await.1.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with("gocoffee_events_looped_total{bus=\"default\"}"));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    /// Posts one structured event, or a batch.
    async fn post(&self, body: &Value) -> (u16, Value) {
        let kind = if body.is_array() { "application/cloudevents-batch+json" } else { "application/cloudevents+json" };
        let request = Request::post(&self.events).header(header::CONTENT_TYPE, kind).body(body.to_string().into());
        let (status, answer) = send(request.unwrap()).await;
        (status, serde_json::from_slice(&answer).unwrap())
    }
}

async fn send(request: Request<Bytes>) -> (u16, Bytes) {
    let client = router_http::client::Client::new().unwrap();
    let answer = client.send(request, Duration::from_secs(30), 1 << 20).await.unwrap();
    (answer.status.as_u16(), answer.body)
}

/// What was sent by way of the test: the way, the request, and what it was answered.
#[derive(Clone)]
struct Sent {
    way: String,
    headers: HeaderMap,
    body: Bytes,
    status: u16,
    answer: Value,
}

/// What lies between routers: it hands on to where each way leads, or takes what leads nowhere.
#[derive(Clone, Default)]
struct Between {
    url: String,
    ways: Arc<[(&'static str, OnceLock<String>); 2]>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Between {
    async fn start() -> Between {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ways = Arc::new([("/to-a", OnceLock::new()), ("/to-b", OnceLock::new())]);
        let between = Between { url, ways, sent: Arc::default() };
        let own = between.clone();
        let app = axum::Router::new().fallback(async move |request| own.hand_on(request).await);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        between
    }

    fn leads(&self, way: &str, to: &str) {
        let (_, slot) = self.ways.iter().find(|(name, _)| *name == way).unwrap();
        slot.set(to.to_owned()).unwrap();
    }

    async fn hand_on(&self, request: axum::extract::Request) -> Response {
        let (parts, body) = request.into_parts();
        let (way, body) = (parts.uri.path().to_owned(), to_bytes(body, 1 << 20).await.unwrap());
        let to = self.ways.iter().find(|(name, _)| *name == way).and_then(|(_, to)| to.get());
        let (status, answer) = match to {
            Some(to) => {
                let mut on = Request::post(to).body(body.clone()).unwrap();
                let kept = |name: &str| name.starts_with("ce-") || name == "content-type";
                for (name, value) in parts.headers.iter().filter(|(name, _)| kept(name.as_str())) {
                    on.headers_mut().insert(name.clone(), value.clone());
                }
                send(on).await
            }
            None => (204, Bytes::new()),
        };
        let told = serde_json::from_slice(&answer).unwrap_or_default();
        self.sent.lock().unwrap().push(Sent { way, headers: parts.headers, body, status, answer: told });
        (StatusCode::from_u16(status).unwrap(), answer).into_response()
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    fn hops(&self, n: usize) -> String {
        self.sent()[n].headers["ce-gocoffeehops"].to_str().unwrap().to_owned()
    }
}

fn event(id: &str, hops: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "t", "gocoffeehops": hops, "data": {"n": 1}})
}

#[tokio::test(flavor = "multi_thread")]
async fn two_routers_that_mirror_each_other_end_after_one_turn() {
    let between = Between::start().await;
    let a = Router::start(&format!("{}/to-b", between.url)).await;
    let b = Router::start(&format!("{}/to-a", between.url)).await;
    between.leads("/to-a", &a.events);
    between.leads("/to-b", &b.events);
    let (_, out, _) = run(&["publish", "-", "--to", &a.events], &order("1")).await;
    assert_eq!(out, "accepted 1, duplicate 0, refused 0\n");
    // Both have settled what they owed, so that nothing more can be on its way.
    a.until(1, 0).await;
    b.until(1, 0).await;
    // The way back may be over before the answer to the way there was noted.
    let mut sent = between.sent();
    sent.sort_by(|one, other| other.way.cmp(&one.way));
    let ways: Vec<(&str, u16)> = sent.iter().map(|s| (s.way.as_str(), s.status)).collect();
    assert_eq!(ways, [("/to-b", 202), ("/to-a", 202)], "one turn, and nothing again");
    assert_eq!(sent[0].answer, json!({"accepted": 1, "duplicate": 0, "looped": 0, "offsets": [1]}));
    assert_eq!(sent[1].answer, json!({"accepted": 0, "duplicate": 0, "looped": 1, "offsets": [null]}));
    assert_eq!((a.looped().await, b.looped().await), ("1".into(), "0".into()));
    assert_eq!(sent[0].body, sent[1].body);
    let list = sent[1].headers["ce-gocoffeehops"].to_str().unwrap().to_owned();
    let routers: Vec<&str> = list.split(',').map(|entry| entry.split_once('.').unwrap().0).collect();
    assert_eq!(routers, [a.id.as_str(), b.id.as_str()]);
    // The key outlives the process: what left before is known after a start.
    let Router { mut child, dir, id, .. } = a;
    child.kill().await.unwrap();
    let again = Router::start_in(dir, &format!("{}/to-b", between.url)).await;
    assert_eq!(again.id, id);
    let lines = format!("{}{}", event("1", "").to_string().replace("\"t\"", "\"coffee.order.created\""), "\n");
    let looped = lines.replace("\"gocoffeehops\":\"\"", &format!("\"gocoffeehops\":\"{list}\""));
    let (_, out, _) = run(&["publish", "-", "--to", &again.events], &format!("{looped}{}", order("2"))).await;
    assert_eq!(out, "accepted 1, duplicate 0, refused 0, looped 1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_vanishes_for_what_it_says_of_its_hops() {
    let between = Between::start().await;
    let a = Router::start(&format!("{}/function", between.url)).await;
    let none = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "t"});
    assert_eq!(a.post(&none).await.0, 202);
    a.until(1, 0).await;
    let list = between.hops(0);
    // A function's new event, with all that it got but the id; and one that somebody forged.
    let forged = format!("{}.0000000000000000", a.id);
    for (id, hops) in [("2", list.as_str()), ("3", forged.as_str()), ("4", "no list, at all…")] {
        let (status, answer) = a.post(&event(id, hops)).await;
        assert_eq!((status, &answer["accepted"]), (202, &json!(1)), "{id}: {answer}");
    }
    a.until(4, 0).await;
    let mut got: Vec<String> = between.sent().iter().map(|s| s.headers["ce-id"].to_str().unwrap().to_owned()).collect();
    got.sort();
    assert_eq!(got, ["1", "2", "3", "4"]);
    assert_eq!(a.looped().await, "0");
    // In a batch, the answer says which.
    let invalid = json!({"specversion": "1.0", "id": "", "source": "/s", "type": "t"});
    let (status, answer) = a.post(&json!([event("1", &list), event("5", ""), event("1", ""), invalid])).await;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["accepted"][0], json!({"index": 0, "id": "1", "looped": true}));
    assert_eq!((&answer["accepted"][1]["index"], &answer["accepted"][1]["looped"]), (&json!(1), &Value::Null));
    assert_eq!((&answer["duplicate"][0]["index"], &answer["refused"][0]["index"]), (&json!(2), &json!(3)));
    a.until(5, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seventeenth_hop_is_a_dead_letter_that_can_be_taken_in_again() {
    let between = Between::start().await;
    let a = Router::start(&format!("{}/function", between.url)).await;
    let list: Vec<String> = (0..16).map(|n| format!("router-{n}.0123456789abcdef")).collect();
    assert_eq!(a.post(&event("1", &list.join(","))).await.0, 202);
    assert_eq!(a.post(&event("2", &list[..15].join(","))).await.0, 202);
    a.until(1, 1).await;
    assert_eq!(between.hops(0).split(',').count(), 16);
    // The ledger lists a dead letter a moment after it is counted.
    let mut listed = Value::Null;
    for _ in 0..1_500 {
        listed = serde_json::from_str(&a.cli(&["dead-letters", "ls", "--output", "json"], "").await).unwrap();
        if listed["dead_letters"].as_array().unwrap().len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let letter = &listed["dead_letters"][0];
    assert_eq!(letter["reason"], "hops-full", "{listed}");
    let id = letter["id"].as_str().unwrap();
    assert!(a.cli(&["dead-letters", "show", id], "").await.contains("passed 16 routers"));
    let mut edited = event("1", "");
    edited.as_object_mut().unwrap().remove("gocoffeehops");
    let out = a.cli(&["dead-letters", "redrive", id, "--edit", "-", "--new-id"], &edited.to_string()).await;
    assert!(out.starts_with("taken in as /shop "), "{out}");
    a.until(2, 0).await;
    let value = between.sent()[1].headers.get("ce-gocoffeehops").cloned().unwrap_or(HeaderValue::from_static(""));
    assert!(value.to_str().unwrap().starts_with(&a.id), "{value:?}");
}

#[test]
fn who_the_router_is_is_refused_with_its_place() {
    let base = "sources: { web: { http: { path: /e } } }\n";
    let report = |text: &str| gocoffee::config::load("test.yaml", &format!("{base}{text}")).report.to_text(false);
    let said = report("router: { id: Lisbon }\n");
    assert!(said.contains("test.yaml:2:15") && said.contains("is no id of a router"), "{said}");
    let said = report("router: { id: lisbon, key: short }\n");
    assert!(said.contains("test.yaml:2:28") && said.contains("it has 5 bytes"), "{said}");
    let said = report("router: { id: lisbon, key: 0123456789abcdef0123456789abcdef }\n");
    assert!(!said.contains("router"), "{said}");
    let start = |start: &str| {
        report(&format!(
            "targets: {{ t: {{ http: {{ url: 'http://127.0.0.1:1/' }} }} }}\nroutes: {{ r: {{ to: t, start: {start} }} }}\n"
        ))
    };
    let said = start("yesterday");
    assert!(said.contains("test.yaml:3:30") && said.contains("`latest`, `earliest` and a time"), "{said}");
    for fine in ["latest", "earliest", "2026-01-02T03:04:05Z"] {
        assert_eq!(start(fine), "test.yaml: ok");
    }
}
