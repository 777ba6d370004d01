//! Goal: over HTTP, a source holds its events to their schemas as it was told to, no way in is milder than it, and the
//! commands say the same of the same events.

use std::sync::{Arc, Mutex};

use gocoffee::{
    config,
    serve::{Options, serve},
};
use router_core::id::BusName;
use router_store::memory::MemoryStore;

use crate::world::run;

type Got = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A target that remembers ids and marks.
async fn sink() -> (String, Got) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, got) = (format!("http://{}/", listener.local_addr().unwrap()), Got::default());
    let seen = got.clone();
    let take = async move |headers: axum::http::HeaderMap| {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        seen.lock().unwrap().push((text("ce-id").unwrap(), text("ce-gocoffeeschema")));
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await.unwrap() });
    (url, got)
}

fn alert(id: &str, severity: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"alert.trigger","data":{{"alert":"a","severity":{severity},"title":"t","text":"x"}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_warn_and_refuse_and_no_path_of_the_bus_is_milder() {
    let ((url, got), dir) = (sink().await, tempfile::tempdir().unwrap());
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nstore: {{ memory: {{}} }}\nbuses: {{ strict: {{}} }}\n\
         sources:\n  off: {{ http: {{ path: /off }} }}\n  warn: {{ http: {{ path: /warn, validate: warn }} }}\n  \
         refuse: {{ http: {{ path: /refuse, bus: strict, validate: refuse }} }}\n\
         targets: {{ sink: {{ http: {{ url: '{url}' }} }} }}\nroutes: {{ all: {{ to: sink }}, strict: {{ bus: strict, to: sink }} }}\n"
    );
    let loaded = config::load("test.yaml", &text);
    assert_eq!(loaded.report.to_text(false), "test.yaml: ok");
    let options =
        Options { data: Some(dir.path().into()), store: Some(Arc::new(MemoryStore::new())), ..Options::default() };
    let running = serve(loaded.config.unwrap(), options).await.unwrap();
    let publish = async |path: &str, lines: &str| {
        run(&["publish", "--to", &format!("http://{}{path}", running.listen()), "-"], lines).await
    };
    for (path, id) in [("/off", "off"), ("/warn", "warn"), ("/buses/default/events", "default")] {
        let both = format!("{}\n{}\n", alert(&format!("{id}-good"), "\"info\""), alert(&format!("{id}-bad"), "7"));
        let (exit, out, err) = publish(path, &both).await;
        assert_eq!(exit, 0, "{out}{err}");
    }
    for path in ["/refuse", "/buses/strict/events"] {
        let both = format!("{}\n{}\n", alert(&format!("{path}-good"), "\"info\""), alert("bad", "7"));
        let (exit, out, err) = publish(path, &both).await;
        assert_eq!(exit, 1, "{out}{err}");
        assert!(out.contains("accepted 1, duplicate 0, refused 1"), "{out}{err}");
        assert!(
            format!("{out}{err}").contains("data/severity: ") && format!("{out}{err}").contains("schema-violated"),
            "{out}{err}"
        );
    }
    for _ in 0..500 {
        if got.lock().unwrap().len() >= 8 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut all = got.lock().unwrap().clone();
    all.sort();
    let marked: Vec<&str> = all.iter().filter(|(_, mark)| mark.is_some()).map(|(id, _)| id.as_str()).collect();
    assert_eq!((all.len(), marked), (8, vec!["default-bad", "warn-bad"]), "{all:?}");
    let mark = all.iter().find_map(|(_, mark)| mark.as_deref()).unwrap();
    assert!(mark.starts_with("data/severity:"), "{mark}");
    let warned = running.path().stats().bus(&BusName::new("default").unwrap()).schema_warned.get();
    assert_eq!(warned, 2);
    running.stop(std::time::Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn the_commands_list_show_and_hold() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shop.opened.schema.json"), r#"{"$id":"urn:opened","required":["shop"]}"#).unwrap();
    let path = dir.path().to_str().unwrap();
    let (exit, out, _) = run(&["schemas", "ls", "--path", path], "").await;
    assert_eq!(exit, 0);
    assert!(out.contains("urn:gocoffee:schema:alert.trigger:1") && out.contains("built in"), "{out}");
    assert!(out.lines().any(|l| l.starts_with("shop.opened") && l.ends_with("shop.opened.schema.json")), "{out}");
    let (exit, out, _) = run(&["schemas", "show", "urn:opened", "--path", path], "").await;
    assert_eq!((exit, out.trim()), (0, r#"{"$id":"urn:opened","required":["shop"]}"#));
    let (exit, _, err) = run(&["schemas", "show", "none"], "").await;
    assert_eq!(exit, 1, "{err}");
    let lines = format!("{}\n{}\n", alert("1", "\"info\""), alert("2", "7"));
    let (exit, out, _) = run(&["schemas", "check", "-"], &lines).await;
    assert_eq!(exit, 1);
    assert!(out.starts_with("-:2: data/severity: ") && out.contains("2 events: 1 valid, 1 invalid"), "{out}");
    let (exit, out, _) =
        run(&["schemas", "check", "--type", "shop.opened", "--path", path, "-"], "{\"shop\": 1}").await;
    assert_eq!((exit, out.as_str()), (0, "1 events: 1 valid, 0 invalid, 0 without a schema\n"));
    std::fs::write(dir.path().join("b.schema.json"), r#"{"$ref":"urn:none"}"#).unwrap();
    let (exit, _, err) = run(&["schemas", "ls", "--path", path], "").await;
    assert!(exit == 2 && err.contains("b.schema.json: /$ref: urn:none is not in the catalogue"), "{err}");
    let config =
        format!("schemas: {{ path: '{path}' }}\nsources: {{ web: {{ http: {{ path: /e, validate: warn }} }} }}\n");
    let report = config::load("gocoffee.yaml", &config).report.to_text(false);
    assert!(
        report.contains("R0070") && report.contains("urn:none") && report.contains("gocoffee.yaml:1:18"),
        "{report}"
    );
}
