use gocoffee::config;
use serde_json::{Value, json};

use super::{blocks, page, pages, quoted, rows};

/// A configuration in which everything that the page calls NAME is there, with nothing but what is required.
fn base() -> Value {
    json!({
        "buses": {"name": {}, "default": {}},
        "sources": {"name": {"http": {"path": "/events"}}},
        "targets": {"name": {"http": {"url": "http://127.0.0.1:9001/"}}},
        "routes": {"name": {"to": "name"}},
        "tests": {"name": {"event": {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, "reaches": ["name"]}},
    })
}

/// The configuration with a key set, as the router reads it; or what is wrong.
fn read(key: Option<(&str, &Value)>) -> Result<String, String> {
    read_of(key.map_or("", |(key, _)| key), key)
}

/// A target at Azure, with what is required of it.
fn azure(kind: &str) -> Option<Value> {
    let endpoint = "https://coffee.westeurope-1.eventgrid.azure.net";
    Some(match kind {
        "event_grid" => json!({"event_grid": {"endpoint": endpoint, "key": "${env:PATH}"}}),
        "event_grid_namespace" => {
            json!({"event_grid_namespace": {"endpoint": endpoint, "topic": "coffee", "key": "${env:PATH}"}})
        }
        "azure_function" => json!({"azure_function": {"url": "https://coffee.azurewebsites.net/api/price"}}),
        _ => return None,
    })
}

/// A source at Azure, with what is required of it.
fn azure_source(key: &str) -> Option<Value> {
    let kind = key.strip_prefix("sources.NAME.event_grid.")?.split('.').next()?;
    let endpoint = "https://coffee.westeurope-1.eventgrid.azure.net";
    let given = match kind {
        "webhook" => json!({"path": "/azure"}),
        "pull" => json!({"endpoint": endpoint, "topic": "coffee", "subscription": "router", "key": "${env:PATH}"}),
        _ => json!({}),
    };
    let mut grid = json!({});
    grid[kind] = given;
    Some(json!({ "event_grid": grid }))
}

/// The kind of source or target that a key is of; others are of any.
fn kind(key: &str) -> &str {
    let rest = key.strip_prefix("targets.NAME.").or_else(|| key.strip_prefix("sources.NAME."));
    rest.and_then(|rest| rest.split('.').next()).unwrap_or("http")
}

/// The same; `of` is a key that says of which kinds the source and the target are.
fn read_of(of: &str, key: Option<(&str, &Value)>) -> Result<String, String> {
    let (mut tree, kind) = (base(), kind(of));
    if let Some(target) = azure(kind) {
        tree["targets"]["name"] = target;
    }
    if let Some(source) = azure_source(of) {
        tree["sources"]["name"] = source;
    }
    if of.starts_with("archive.") {
        tree["archive"] = json!({"to": "./archive"});
    }
    if kind == "cloud_run" {
        tree["targets"]["name"] = json!({"cloud_run": {"url": "https://price-abc123-ew.a.run.app/"}});
    }
    if of.starts_with("sources.NAME.pubsub.") {
        tree["sources"]["name"] = json!({"pubsub": {"subscription": "projects/go-coffee/subscriptions/router"}});
    }
    if of.starts_with("sources.NAME.pubsub_publish.") {
        tree["sources"]["name"] = json!({"pubsub_publish": {}});
    }
    if of.starts_with("sources.NAME.pubsub_push.") {
        tree["sources"]["name"] = json!({"pubsub_push": {"path": "/google"}});
    }
    if kind == "eventbridge" {
        tree["targets"]["name"] = json!({"eventbridge": {"bus": "coffee"}});
        tree["sources"]["name"] = json!({"eventbridge": {"queue_url": "https://sqs.us-east-1.amazonaws.com/1/q"}});
    }
    if kind == "eventbridge_v2" {
        let bus = "arn:aws:events:us-east-1:123456789012:event-busv2/orders/abcdefghij0123456789abcde";
        tree["targets"]["name"] = json!({"eventbridge_v2": {"bus": bus}});
    }
    if kind == "aws" {
        tree["sources"]["name"] = json!({"aws": {"put_events": {}}});
    }
    if of.starts_with("sources.NAME.aws.api_destination.") {
        let way = of.split('.').nth(4).unwrap_or_default();
        let given = match way {
            "api_key" => json!({"keys": ["k"]}),
            "basic" => json!({"username": "u", "passwords": ["p"]}),
            _ => json!({"keys_url": "https://id/keys", "issuers": ["i"], "audiences": ["a"]}),
        };
        let way = if matches!(way, "api_key" | "basic") { way } else { "oauth" };
        tree["sources"]["name"] = json!({"aws": {"api_destination": {"path": "/sent", way: given}}});
    }
    if kind == "lambda" {
        tree["targets"]["name"] = json!({"lambda": {"function": "f"}});
    }
    if kind == "sqs" {
        tree["targets"]["name"] = json!({"sqs": {"queue_url": "https://sqs.us-east-1.amazonaws.com/1/q"}});
    }
    if kind == "pubsub" {
        tree["targets"]["name"] = json!({"pubsub": {"topic": "projects/go-coffee/topics/coffee"}});
    }
    if let Some((key, value)) = key {
        let mut at = &mut tree;
        for part in key.split('.') {
            at = &mut at[if part == "NAME" { "name" } else { part }];
        }
        *at = value.clone();
    }
    // JSON is YAML.
    let loaded = config::load("gocoffee.yaml", &tree.to_string());
    match loaded.config {
        Some(config) if loaded.report.errors() == 0 => Ok(format!("{config:?}")),
        _ => Err(loaded.report.to_text(false)),
    }
}

/// Keys of the page, with what it says of their defaults.
fn keys() -> Vec<(String, String)> {
    let key = |row: Vec<String>| Some((quoted(&row[0])?.to_owned(), row[1].clone()));
    rows(&page("docs/config.md")).into_iter().filter_map(key).collect()
}

#[test]
fn every_default_of_the_page_is_the_default() {
    let mut held = 0;
    for (key, default) in keys() {
        let Some(default) = quoted(&default) else { continue };
        let value = match default {
            r#"[localhost, 127.0.0.1, "[::1]"]"# => json!(["localhost", "127.0.0.1", "[::1]"]),
            other => serde_json::from_str(other).unwrap_or_else(|_| json!(other)),
        };
        let plain = read_of(&key, None);
        assert!(plain.is_ok(), "{plain:?}");
        assert_eq!(read(Some((&key, &value))), plain, "{key}: {default}");
        held += 1;
    }
    assert!(held >= 25, "{held} defaults");
}

#[test]
fn every_key_of_the_page_is_known() {
    for (key, _) in keys() {
        // A value that no key takes: what comes back must not be that the key is unknown.
        let answer = read(Some((&key, &json!([[]])))).unwrap_err();
        assert!(!answer.contains("unknown"), "{key}: {answer}");
    }
    let answer = read(Some(("admin.lissen", &json!([[]])))).unwrap_err();
    assert!(answer.contains("unknown"), "{answer}");
}

#[test]
fn every_key_of_the_structs_is_on_the_page() {
    let files = ["archive", "aws", "azure", "bus", "gcp", "route", "source", "store", "target"];
    let parts = files.iter().map(|file| page(&format!("router/src/config/{file}.rs")));
    let source = parts.fold(page("router/src/config.rs"), |all, part| all + &part);
    let fields = source.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
    let fields: Vec<&str> = fields.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
    assert!(fields.len() >= 40, "{fields:?}");
    let keys = keys();
    let on_page = |field: &str| keys.iter().any(|(key, _)| key.split('.').any(|part| part == field));
    let absent: Vec<&&str> = fields.iter().filter(|field| !on_page(field)).collect();
    assert!(absent.is_empty(), "docs/config.md does not name {absent:?}");
}

#[test]
fn every_example_passes_check() {
    let mut count = 0;
    for name in pages() {
        for block in blocks(&page(&name)).iter().filter(|b| b.kind.starts_with("yaml")) {
            let report = config::load(&name, &block.text).report;
            assert_eq!(report.errors(), 0, "{}", report.to_text(false));
            count += 1;
        }
    }
    assert!(count >= 2, "README.md and docs/config.md have examples");
}

#[test]
fn readme_shows_the_two_commands_and_a_short_configuration() {
    let readme = page("README.md");
    let commands = blocks(&readme).into_iter().find(|b| b.kind == "sh").unwrap().text;
    assert!(commands.starts_with("cargo demo ") && commands.contains("\ncargo xtask test "), "{commands}");
    let yaml = blocks(&readme).into_iter().find(|b| b.kind == "yaml").unwrap().text;
    assert_eq!(yaml.lines().count(), 10);
}
