//! Goal: `docs/openapi.json` is what the admin API does: the same operations, and every answer is of the schema
//! and the media type that the document gives for its status.

use std::{collections::BTreeSet, time::Duration};

use gocoffee::admin::{DOCUMENT, Operation};
use router_http::client::{Answer, Client};
use serde_json::{Value, json};

use crate::world::{World, order, run};

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

#[test]
fn document_has_the_operations_that_are_served_and_no_other() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            described.insert((id.to_owned(), method.to_uppercase(), path.clone()));
        }
    }
    let of = |op: &Operation| (op.id().to_owned(), op.method().to_string(), op.path().to_owned());
    assert_eq!(described, Operation::ALL.iter().map(of).collect());
}

#[test]
fn page_of_the_api_lists_the_operations() {
    let page = include_str!("../../../docs/api.md");
    for op in Operation::ALL {
        let row = format!("| `{} {}` |", op.method(), op.path());
        assert!(page.lines().any(|line| line.starts_with(&row)), "docs/api.md has no row {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `GET ") || line.starts_with("| `POST ")).count();
    assert_eq!(rows, Operation::ALL.len());
}

#[test]
fn document_is_openapi_with_nothing_dangling() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut used = BTreeSet::new();
    fn refs(value: &Value, used: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(key, value)| match value.as_str() {
                Some(name) if key == "$ref" => drop(used.insert(name.to_owned())),
                _ => refs(value, used),
            }),
            Value::Array(items) => items.iter().for_each(|item| refs(item, used)),
            _ => {}
        }
    }
    refs(&document, &mut used);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let there: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(used, there);
    for schema in schemas.values() {
        jsonschema::meta::validate(schema).unwrap();
    }
}

/// A router, the document, and what was seen.
struct Held {
    world: World,
    document: Value,
    client: Client,
    seen: BTreeSet<(&'static str, u16)>,
}

impl Held {
    /// Calls an operation, and holds its answer to the document.
    async fn call(&mut self, op: Operation, query: &str, body: Option<Value>) -> Value {
        let path = op.path().replace("/{id}", if query.starts_with('/') { "" } else { "/00c0ffee00c0ffee-0-17-2-0" });
        let url = format!("{}{path}{query}", self.world.admin());
        let token = self.world.running.token().clone();
        let answer = match &body {
            Some(body) => self.client.post_json(&url, Some(&token), body.to_string().into()).await,
            None => self.client.get(&url, Some(&token)).await,
        };
        self.judge(op, &answer.unwrap())
    }

    fn judge(&mut self, op: Operation, answer: &Answer) -> Value {
        let status = answer.status.as_u16();
        let operation = &self.document["paths"][op.path()][op.method().as_str().to_lowercase()];
        let described = &operation["responses"][status.to_string()]["content"];
        assert!(described.is_object(), "{} answered {status}, which the document does not have", op.id());
        let kind = answer.headers["content-type"].to_str().unwrap().to_lowercase();
        let (_, media) = described
            .as_object()
            .unwrap()
            .iter()
            .find(|(media, _)| media.to_lowercase() == kind)
            .unwrap_or_else(|| panic!("{} {status} is {kind}", op.id()));
        self.seen.insert((op.id(), status));
        let text = String::from_utf8_lossy(&answer.body);
        if kind == "application/x-ndjson" {
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            lines.iter().for_each(|line| self.fits(op, status, &media["schema"], line));
            return Value::Array(lines);
        }
        if !kind.contains("json") {
            return Value::String(text.into());
        }
        let body: Value = serde_json::from_str(&text).unwrap();
        self.fits(op, status, &media["schema"], &body);
        body
    }

    fn fits(&self, op: Operation, status: u16, schema: &Value, body: &Value) {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let wrong: Vec<String> = validator.iter_errors(body).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{} {status}: {wrong:?}\n{body:#}", op.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_what_the_document_says() {
    use Operation::*;
    let world = World::start().await;
    world.sink.answer(422);
    let orders: String = (0..3).map(|i| order(&i.to_string())).collect();
    world.cli(&["publish", "-"], &orders).await;
    world.until_listed(3).await;
    let mut held = Held { world, document: document(), client: Client::new().unwrap(), seen: BTreeSet::new() };
    for op in [Health, Ready, Metrics, Document, Status, Routes, Targets] {
        held.call(op, "", None).await;
    }
    let lines =
        held.call(Tail, "?from=earliest&follow=false&where=%7B%22exact%22%3A%7B%22id%22%3A%221%22%7D%7D", None).await;
    assert_eq!(
        (&lines[0]["begin"]["from"], &lines[1]["event"]["id"], &lines[2]["end"]),
        (&json!(1), &json!("1"), &json!("done"))
    );
    let lines = held.call(ExportArchive, "?from=2&to=2999-01-01T00:00:00Z", None).await;
    assert_eq!((lines.as_array().unwrap().len(), &lines[2]["offset"], &lines[3]["next"]), (4, &json!(3), &json!(4)));
    for op in [Tail, ExportArchive] {
        for (query, code) in
            [("from=x", "position"), ("where=%7B%7D", "filter"), ("x=1", "query"), ("bus=nowhere", "no-such-bus")]
        {
            assert_eq!(held.call(op, &format!("?{query}"), None).await["code"], code);
        }
    }
    let kept = held.call(Archive, "", None).await;
    assert_eq!((&kept["buses"][0]["tail"], &kept["buses"][0]["stretches"][0]["needed"]), (&json!(4), &json!(3)));
    let page = held.call(ListDeadLetters, "?count=2&route=orders&target=sink&since=2020-01-01T00:00:00Z", None).await;
    assert!(page["next"].is_string() && page["dead_letters"].as_array().unwrap().len() == 2, "{page}");
    let none = held.call(ListDeadLetters, "?before=2020-01-01T00:00:00Z", None).await;
    assert_eq!(none["dead_letters"], json!([]));
    for (query, code) in [
        ("count=0", "count"),
        ("x=1", "query"),
        ("route=X", "route"),
        ("target=X", "target"),
        ("since=1", "time"),
        ("after=1", "id"),
        ("where=1", "filter"),
        ("where=%7B%7D", "filter"),
    ] {
        assert_eq!(held.call(ListDeadLetters, &format!("?{query}"), None).await["code"], code);
    }
    let id = page["dead_letters"][0]["id"].as_str().unwrap().to_owned();
    assert!(held.call(ShowDeadLetter, &format!("/{id}"), None).await["event"].is_object());
    assert_eq!(held.call(ShowDeadLetter, "/x", None).await["code"], "id");
    assert_eq!(held.call(ShowDeadLetter, "", None).await["code"], "no-such-dead-letter");
    let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    for (question, status) in [
        (json!({"route": "orders", "event": event}), None),
        (json!({"filter": {"exact": {"type": "t"}}, "event": event}), None),
        (json!({"event": event}), Some("question")),
        (json!({"route": "nowhere", "event": event}), Some("no-such-route")),
        (json!({"route": "orders", "event": {}}), Some("event")),
        (json!({"filter": {"pattern": {"type": []}}, "event": event}), Some("filter")),
        (json!({"rute": 1}), Some("body")),
    ] {
        let body = held.call(ExplainFilter, "", Some(question)).await;
        assert_eq!(body["code"].as_str(), status, "{body}");
    }
    for (target, code) in [("sink", None), ("nowhere", Some("no-such-target")), ("X", Some("target"))] {
        assert_eq!(held.call(ProbeTarget, "", Some(json!({"target": target}))).await["code"].as_str(), code);
    }
    assert_eq!(held.call(ProbeTarget, "", Some(json!({}))).await["code"], "body");
    let dry_run = held.call(Reload, "", Some(json!({"dry_run": true}))).await;
    assert_eq!((&dry_run["applied"], &dry_run["changes"]), (&json!(false), &json!([])));
    assert_eq!(held.call(Reload, "", Some(json!({"dry": true}))).await["code"], "body");
    let file = held.world.data.path().join("test.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (wrong, code) in [("rutes: {}\n", "reload-refused"), ("stop_deadline: 1s\n", "needs-restart")] {
        std::fs::write(&file, format!("{text}{wrong}")).unwrap();
        assert_eq!(held.call(Reload, "", Some(json!({}))).await["code"], code);
    }
    for act in [PauseRoute, ResumeRoute] {
        for (route, code) in [("orders", None), ("nowhere", Some("no-such-route")), ("X", Some("route"))] {
            assert_eq!(held.call(act, "", Some(json!({"route": route}))).await["code"].as_str(), code);
        }
        assert_eq!(held.call(act, "", Some(json!({"rute": "orders"}))).await["code"], "body");
    }
    for (asked, code) in [
        (json!({"route": "orders", "to": "end", "dry_run": true}), None),
        (json!({"route": "orders", "to": "0"}), None),
        (json!({"route": "orders", "to": "somewhere"}), Some("position")),
        (json!({"route": "orders", "to": "end", "bus": "other"}), Some("route-bus")),
        (json!({"route": "nowhere", "to": "end"}), Some("no-such-route")),
        (json!({"route": "X", "to": "end"}), Some("route")),
        (json!({"route": "orders"}), Some("body")),
    ] {
        assert_eq!(held.call(SkipRoute, "", Some(asked)).await["code"].as_str(), code);
    }
    for (route, code) in [("orders", "route-configured"), ("nowhere", "no-such-route"), ("X", "route")] {
        assert_eq!(held.call(DropRoute, "", Some(json!({"route": route}))).await["code"], code);
    }
    for act in [RedriveDeadLetters, PurgeDeadLetters] {
        for (which, code) in [
            (json!({}), "selection"),
            (json!({"all": true, "route": "r"}), "selection"),
            (json!({"x": 1}), "body"),
            (json!({"ids": vec!["x"; 10_001]}), "ids"),
            (json!({"where": {"pattern": {"type": []}}}), "filter"),
        ] {
            assert_eq!(held.call(act, "", Some(which)).await["code"], code);
        }
    }
    assert_eq!(held.call(PurgeDeadLetters, "", Some(json!({"all": true, "dry_run": true}))).await["purged"], 3);
    assert_eq!(held.call(PurgeDeadLetters, "", Some(json!({"ids": [id]}))).await["purged"], 1);
    let left = held.call(ListDeadLetters, "", None).await;
    let other = left["dead_letters"][0]["id"].as_str().unwrap().to_owned();
    let old = held.call(ShowDeadLetter, &format!("/{other}"), None).await["event"].clone();
    for (edit, code) in [
        (json!({"id": "x", "event": old}), "id"),
        (json!({"id": other, "event": {}}), "event"),
        (json!({"id": other, "event": old}), "edit-identity"),
        (json!({"id": id, "event": old, "new_id": true}), "no-such-dead-letter"),
        (json!({"id": other}), "body"),
    ] {
        assert_eq!(held.call(EditDeadLetter, "", Some(edit)).await["code"], code);
    }
    let edited = held.call(EditDeadLetter, "", Some(json!({"id": other, "event": old, "new_id": true}))).await;
    assert_eq!((&edited["bus"], &edited["source"]), (&json!("default"), &old["source"]));
    // The new event is refused as the old one was.
    held.world.until_listed(2).await;
    assert_eq!(
        held.call(RedriveDeadLetters, "", Some(json!({"reason": "refused", "dry_run": true}))).await["redriven"],
        2
    );
    assert_eq!(held.call(RedriveDeadLetters, "", Some(json!({"before": "2999-01-01T00:00:00Z"}))).await["redriven"], 2);
    replays(&mut held).await;
    // What a route owes that is not configured any more can be dropped.
    assert_eq!(held.call(PauseRoute, "", Some(json!({"route": "orders"}))).await["code"], Value::Null);
    held.world.cli(&["publish", "-"], &order("7")).await;
    std::fs::write(&file, text.replace("routes: { orders:", "routes: { later:")).unwrap();
    assert_eq!(held.call(Reload, "", Some(json!({}))).await["applied"], true);
    let dropped = held.call(DropRoute, "", Some(json!({"route": "orders"}))).await;
    assert_eq!((&dropped["route"], &dropped["dry_run"]), (&json!("orders"), &json!(false)), "{dropped}");
    // The failed store: who needs it says so, and so does readiness.
    held.world.store.poison("test");
    let to = format!("http://{}/events", held.world.running.listen());
    let publish = tokio::spawn(async move { run(&["publish", "-", "--to", &to], &order("9")).await });
    tokio::time::timeout(Duration::from_secs(15), held.world.running.failed()).await.unwrap();
    publish.abort();
    for (op, code) in [(Status, "store"), (Routes, "store"), (ListDeadLetters, "store"), (Ready, "not-ready")] {
        // What was asked while the path was ending may still be answered by it.
        let end = tokio::time::Instant::now() + Duration::from_secs(15);
        let mut said = held.call(op, "", None).await["code"].clone();
        while said != code && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
            said = held.call(op, "", None).await["code"].clone();
        }
        assert_eq!(said, code);
    }
    for op in Operation::ALL {
        assert!(held.seen.contains(&(op.id(), 200)), "{} was never seen to succeed", op.id());
    }
}

/// A replay from its start to its end.
async fn replays(held: &mut Held) {
    use Operation::*;
    let asked = |more: Value| {
        let mut asked = json!({"from": {"offset": 1}, "routes": ["orders"]});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some(asked)
    };
    for (wrong, code) in [
        (json!({"bus": "nowhere"}), "replay-bus"),
        (json!({"routes": ["nowhere"]}), "replay-route"),
        (json!({"routes": []}), "replay-route"),
        (json!({"filter": {"pattern": {"type": []}}}), "replay-filter"),
        (json!({"filter": {"telepathy": 1}}), "replay-filter"),
        (json!({"to": {"offset": 9_999}}), "replay-range"),
        (json!({"from": {"time": "2999-01-01T00:00:00Z"}}), "replay-range"),
        (json!({"from": {"time": "yesterday"}}), "time"),
        (json!({"rate": 0}), "body"),
    ] {
        assert_eq!(held.call(StartReplay, "", asked(wrong)).await["code"], code);
    }
    let dry = held.call(StartReplay, "", asked(json!({"dry_run": true}))).await;
    assert_eq!((&dry["read"], &dry["routes"][0]["matched"]), (&json!(4), &json!(4)), "{dry}");
    assert_eq!(held.call(Replays, "", None).await["replays"], json!([]));
    let started = held.call(StartReplay, "", asked(json!({"rate": 1}))).await;
    assert_eq!((&started["id"], &started["to"]), (&json!(1), &json!(5)), "{started}");
    assert_eq!(held.call(PauseReplay, "", Some(json!({"id": 1}))).await["state"], "paused");
    assert_eq!(held.call(PauseReplay, "", Some(json!({"id": 1}))).await["code"], "replay-state");
    assert_eq!(held.call(ResumeReplay, "", Some(json!({"id": 1}))).await["state"], "running");
    assert_eq!(held.call(CancelReplay, "", Some(json!({"id": 9}))).await["code"], "no-such-replay");
    held.call(CancelReplay, "", Some(json!({"id": 1}))).await;
    assert_eq!(held.call(ShowReplay, "/1", None).await["id"], 1);
    assert_eq!(held.call(ShowReplay, "/x", None).await["code"], "no-such-replay");
    assert_eq!(held.call(Replays, "", None).await["replays"][0]["routes"][0]["name"], "orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_and_what_is_not_there_is_told_so() {
    let world = World::start().await;
    let (admin, token) = (world.admin(), world.running.token().clone());
    let mut held = Held { world, document: document(), client: Client::new().unwrap(), seen: BTreeSet::new() };
    for op in Operation::ALL.iter().copied() {
        let path = op.path().replace("{id}", "x");
        let open = held.document["paths"][op.path()][op.method().as_str().to_lowercase()]["security"] == json!([]);
        let url = format!("{admin}{path}");
        let reads = op.method() == "GET";
        let answer = match reads {
            true => held.client.get(&url, None).await.unwrap(),
            false => held.client.post_json(&url, None, "{}".into()).await.unwrap(),
        };
        assert_eq!(answer.status.as_u16(), if open { 200 } else { 401 }, "{path}");
        held.judge(op, &answer);
        // The other method, unless the path takes it, too.
        let answer = match reads {
            true => held.client.post_json(&url, Some(&token), "{}".into()).await.unwrap(),
            false => held.client.get(&url, Some(&token)).await.unwrap(),
        };
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let act = path.starts_with("/api/replays/");
        if !act && !["redrive", "edit", "purge"].iter().any(|act| path == format!("/api/dead-letters/{act}")) {
            assert_eq!((answer.status.as_u16(), body["code"].as_str()), (405, Some("method-not-allowed")), "{path}");
        }
    }
    for path in ["/", "/api", "/api/nowhere", "/api/dead-letters/a/b"] {
        let answer = held.client.get(&format!("{admin}{path}"), Some(&token)).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status.as_u16(), body["code"].as_str()), (404, Some("no-such-path")), "{path}");
    }
}
