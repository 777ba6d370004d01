use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    time::{Duration, Instant},
};

use router_tests::{
    coffee::coffee,
    world::{client::Client, process::Place, publisher::Publisher, setup::Route, sink::Sink},
};
use serde_json::Value;

use super::{document, files, root, run, text, tool};

/// The folder.
const HERE: &str = "infra/observe";
/// The rules, as their tools are told.
const RULES: [&str; 2] = ["rules/recording.yaml", "rules/alerts.yaml"];
/// Their tests.
const TESTS: [&str; 2] = ["rules/tests.yaml", "rules/tests-slow.yaml"];
/// What anything may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Names in the code; counters and histograms without their endings.
fn names() -> BTreeSet<String> {
    let source = text("router/src/admin/names.rs");
    let names = source.split("Name(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    names.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// Everything in a text that is written like a metric of the router.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices("gocoffee_").map(|(at, _)| &text[at..]);
    starts.map(|rest| rest.split(|c| !is_part(c)).next().unwrap().to_owned()).collect()
}

/// The name in the code that a series belongs to.
fn family(series: &str) -> &str {
    let endings = ["_total", "_bucket", "_count", "_sum"];
    endings.iter().find_map(|ending| series.strip_suffix(ending)).unwrap_or(series)
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn str_of(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The rules of a file.
fn rules(name: &str) -> Vec<Value> {
    let groups = array(&document(&format!("{HERE}/{name}"))["groups"]);
    groups.iter().flat_map(|group| array(&group["rules"])).collect()
}

#[test]
fn every_metric_that_is_watched_is_one_of_the_code() {
    let (names, mut seen) = (names(), 0);
    for file in files(HERE) {
        for series in named(&text(&file)) {
            let known = names.contains(family(&series)) || names.contains(&series);
            assert!(known, "{file}: `{series}` is no metric of the router");
            seen += 1;
        }
    }
    assert!(seen > 100 && names.len() > 40, "{seen} uses of {} metrics", names.len());
}

#[test]
fn every_recorded_name_that_is_watched_is_recorded() {
    let recorded: BTreeSet<String> = rules(RULES[0]).iter().map(|rule| str_of(&rule["record"]).to_owned()).collect();
    for file in files(HERE).iter().filter(|file| !file.ends_with(".md")) {
        for (at, _) in text(file).match_indices("gocoffee:") {
            let rest = &text(file)[at..];
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').next().unwrap();
            // A title has a space there.
            assert!(name == "gocoffee:" || recorded.contains(name), "{file}: `{name}` is not recorded");
        }
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_alert_says_what_to_do_and_is_on_the_page() {
    let page = text(format!("{HERE}/README.md"));
    let alerts = rules(RULES[1]);
    assert!(alerts.len() >= 20);
    for rule in &alerts {
        let (name, severity) = (str_of(&rule["alert"]), str_of(&rule["labels"]["severity"]));
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        for key in ["summary", "description"] {
            assert!(str_of(&rule["annotations"][key]).len() > 10, "{name} has no {key}");
        }
        let runbook = str_of(&rule["annotations"]["runbook"]);
        let (file, heading) = runbook.split_once('#').unwrap_or((runbook, ""));
        assert!(root().join(file).is_file(), "{name}: {runbook}");
        let found = text(file).lines().any(|line| line.starts_with('#') && anchor(line) == heading);
        assert!(heading.is_empty() || found, "{name}: {file} has no heading for #{heading}");
        assert!(page.contains(&format!("| `{name}` | {severity} |")), "README.md has no row for {name}, {severity}");
    }
    assert_eq!(page.matches("| `Gocoffee").count(), alerts.len(), "rows of README.md");
}

#[test]
fn every_alert_is_tried_firing_and_quiet() {
    let mut tried: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for test in TESTS.iter().flat_map(|file| array(&document(&format!("{HERE}/{file}"))["tests"])) {
        for one in array(&test["alert_rule_test"]) {
            let fires = usize::from(!array(&one["exp_alerts"]).is_empty());
            tried.entry(str_of(&one["alertname"]).to_owned()).or_default()[fires] += 1;
        }
    }
    for rule in rules(RULES[1]) {
        let counts = tried.remove(str_of(&rule["alert"])).unwrap_or_default();
        assert!(counts[0] > 0 && counts[1] > 0, "{}: quiet {}, firing {}", rule["alert"], counts[0], counts[1]);
    }
    assert!(tried.is_empty(), "tests of alerts that are not there: {tried:?}");
}

#[test]
fn promtool_takes_the_rules_and_their_tests_hold() {
    let Some(promtool) = tool("promtool") else { return };
    run(&promtool, HERE, &["check", "config", "prometheus.yml"]).unwrap();
    run(&promtool, HERE, &[&["check", "rules"], &RULES[..]].concat()).unwrap();
    let said = run(&promtool, HERE, &[&["test", "rules"], &TESTS[..]].concat()).unwrap();
    assert_eq!(said.matches("SUCCESS").count(), TESTS.len(), "{said}");
}

#[test]
fn a_rule_that_is_wrong_fails_its_test() {
    let Some(promtool) = tool("promtool") else { return };
    let folder = tempfile::tempdir().unwrap();
    for file in RULES.iter().chain(&TESTS) {
        let to = folder.path().join(file.trim_start_matches("rules/"));
        let wrong = text(format!("{HERE}/{file}"))
            .replace("gocoffee_disk_level{level=\"full\"} == 1", "gocoffee_bus_refuses == 2");
        fs::write(to, wrong).unwrap();
    }
    let tests = folder.path().join("tests.yaml");
    let said = run(&promtool, HERE, &["test", "rules", tests.to_str().unwrap()]).expect_err("it is wrong");
    assert!(said.contains("GocoffeeDiskFull"), "{said}");
}

#[test]
fn amtool_takes_the_alertmanager_and_routes_by_severity() {
    let Some(amtool) = tool("amtool") else { return };
    run(&amtool, HERE, &["check-config", "alertmanager.yml"]).unwrap();
    for (severity, receiver) in [("page", "pages"), ("ticket", "tickets")] {
        let label = format!("severity={severity}");
        let said =
            run(&amtool, HERE, &["config", "routes", "test", "--config.file", "alertmanager.yml", &label]).unwrap();
        assert!(said.lines().any(|line| line == receiver), "{severity}: {said}");
    }
    let config = document(&format!("{HERE}/alertmanager.yml"));
    let alerts: BTreeSet<String> = rules(RULES[1]).iter().map(|rule| str_of(&rule["alert"]).to_owned()).collect();
    for rule in array(&config["inhibit_rules"]) {
        for matcher in array(&rule["source_matchers"]).iter().chain(&array(&rule["target_matchers"])) {
            let named =
                str_of(matcher).split(['"', '|']).filter(|word| word.starts_with("Gocoffee") && !word.contains('.'));
            named.for_each(|name| assert!(alerts.contains(name), "{name} in {matcher} is no alert"));
        }
    }
}

/// Titles and queries of a dashboard, whose variables stand for something.
fn queries(board: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in array(&board["panels"]) {
        let title = str_of(&panel["title"]).to_owned();
        let targets = array(&panel["targets"]);
        assert!(!targets.is_empty(), "{title} asks for nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            found.push((title.clone(), str_of(&target["expr"]).to_owned()));
        }
    }
    found
}

#[test]
fn every_query_of_every_dashboard_is_promql_over_its_variables() {
    let promtool = tool("promtool");
    let (mut uids, mut asked) = (BTreeSet::new(), Vec::new());
    let boards: Vec<String> = files(&format!("{HERE}/dashboards"));
    assert_eq!(boards.len(), 5);
    for file in &boards {
        let board = document(file);
        assert!(uids.insert(str_of(&board["uid"]).to_owned()), "{file}: another board has its uid");
        let variables = array(&board["templating"]["list"]);
        let variables: Vec<&str> = variables.iter().map(|v| str_of(&v["name"])).collect();
        for (title, query) in queries(&board) {
            let mut plain = query.replace("$__rate_interval", "5m");
            for name in &variables {
                plain = plain.replace(&format!("${name}"), ".*");
            }
            assert!(!plain.contains('$'), "{file}: {title}: {query} uses a variable that the board does not have");
            asked.push(serde_json::json!({"record": format!("asked:{}", asked.len()), "expr": plain}));
        }
    }
    let Some(promtool) = promtool else { return };
    let folder = tempfile::tempdir().unwrap();
    let check = |rules: &[Value]| {
        let file = folder.path().join("asked.yaml");
        // JSON is YAML.
        fs::write(&file, serde_json::json!({"groups": [{"name": "asked", "rules": rules}]}).to_string()).unwrap();
        run(&promtool, HERE, &["check", "rules", file.to_str().unwrap()])
    };
    let said = check(&asked).unwrap();
    assert!(said.contains(&format!("{} rules found", asked.len())), "{said}");
    asked.push(serde_json::json!({"record": "asked:wrong", "expr": "sum(rate(gocoffee_attempts_total[5m])"}));
    check(&asked).expect_err("a query that is none is found");
}

#[test]
fn pipelines_of_the_collector_name_what_is_there_and_all_of_it() {
    let config = document(&format!("{HERE}/collector.yaml"));
    let declared = |part: &str| -> BTreeSet<String> {
        config[part].as_object().unwrap_or_else(|| panic!("{part}")).keys().cloned().collect()
    };
    let list = |value: &Value| array(value).iter().map(|v| str_of(v).to_owned()).collect::<Vec<_>>();
    for part in ["receivers", "processors", "exporters"] {
        let pipelines = config["service"]["pipelines"].as_object().unwrap();
        let used: BTreeSet<String> = pipelines.values().flat_map(|pipeline| list(&pipeline[part])).collect();
        assert_eq!(used, declared(part), "{part}");
    }
    assert_eq!(list(&config["service"]["extensions"]).into_iter().collect::<BTreeSet<_>>(), declared("extensions"));
}

/// An answer of Prometheus' API, as soon as it is as wanted.
async fn until(client: &Client, url: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let (end, mut last) = (Instant::now() + PATIENCE, "no answer".to_owned());
    while Instant::now() < end {
        if let Ok(answer) = client.get(url).await {
            last = answer.text();
            let json: Value = serde_json::from_str(&last).unwrap_or_default();
            if wanted(&json["data"]) {
                return json["data"].clone();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what} within {PATIENCE:?}: {last}")
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Series that a router has only once something happened that does not happen here.
const NOT_YET: [&str; 2] = ["gocoffee_events_refused", "gocoffee_dead_letters_ended"];

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_a_running_router_and_evaluates_all_rules() {
    let Some(prometheus) = tool("prometheus") else { return };
    let (sink, place) = (Sink::start().await, Place::new());
    let archive = tempfile::tempdir().unwrap();
    let more = serde_json::json!({"archive": {"to": archive.path()}});
    let router = place.start_with(&[Route::all("orders", &sink.url("orders"))], &more).await;
    let publisher = Publisher::new(&place.url());
    publisher.publish((0..20).map(|n| coffee("observe", n)), 4).await;
    router.settled(PATIENCE).await;

    let folder = tempfile::tempdir().unwrap();
    let admin = place.admin_url();
    let rules: Vec<_> = RULES.iter().map(|file| root().join(HERE).join(file)).collect();
    let config = serde_json::json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": rules,
        "scrape_configs": [{
            "job_name": "gocoffee",
            "static_configs": [{"targets": [admin.trim_start_matches("http://")]}],
        }],
    });
    fs::write(folder.path().join("prometheus.yml"), config.to_string()).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut child = tokio::process::Command::new(prometheus)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={address}"))
        .current_dir(folder.path())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");

    let client = Client::new(Duration::from_secs(10));
    let query = |q: &str| format!("http://{address}/api/v1/query?query={q}");
    let has = |wanted: &'static str| move |data: &Value| data["result"][0]["value"][1] == wanted;
    until(&client, &query("up"), "scraped", has("1")).await;
    let delivered = query("gocoffee_deliveries_delivered_total");
    until(&client, &delivered, "counted as delivered", has("20")).await;

    // What alerts look for is there, under the names and labels that they look for.
    let series =
        until(&client, &format!("http://{address}/api/v1/label/__name__/values"), "listed", Value::is_array).await;
    let scraped: BTreeSet<String> = array(&series).iter().map(|name| family(str_of(name)).to_owned()).collect();
    let watched = named(&RULES.map(|file| text(format!("{HERE}/{file}"))).concat());
    for family in watched.iter().map(|name| family(name)).filter(|family| !NOT_YET.contains(family)) {
        assert!(scraped.contains(family), "{family} is not scraped: {scraped:?}");
    }
    for (metric, states) in
        [("gocoffee_route_state", &["stopped", "orphaned", "paused"][..]), ("gocoffee_target_breaker", &["closed"])]
    {
        for state in states {
            let url = query(&format!("count({metric}%7Bstate=%22{state}%22%7D)"));
            until(&client, &url, "a state of the code", has("1")).await;
        }
    }
    for level in ["calm", "short", "full"] {
        let url = query(&format!("count(gocoffee_disk_level%7Blevel=%22{level}%22%7D)"));
        until(&client, &url, "a level of the code", has("1")).await;
    }

    let all_evaluated = |data: &Value| {
        let rules: Vec<Value> = array(&data["groups"]).iter().flat_map(|group| array(&group["rules"])).collect();
        rules.len() > 30 && rules.iter().all(|rule| rule["health"] == "ok")
    };
    let data = until(&client, &format!("http://{address}/api/v1/rules"), "all evaluated", all_evaluated).await;
    let firing: Vec<Value> = array(&data["groups"]).iter().flat_map(|group| array(&group["rules"])).collect();
    let firing: Vec<&Value> =
        firing.iter().filter(|rule| rule["state"] == "firing").map(|rule| &rule["name"]).collect();
    assert!(firing.is_empty(), "a healthy router fires {firing:?}");
    child.kill().await.unwrap();
    assert!(router.terminate().await.success());
}
