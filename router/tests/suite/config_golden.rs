//! What `check` says about a file, word for word.

use gocoffee::config;

/// Every kind of mistake at once: none hides another.
const BROKEN: &str = r#"listen: 0.0.0.0:8080
lisen: 127.0.0.1:9
admin: { listen: nowhere, token: "${env:GOCOFFEE_TEST_UNSET}" }
store: { disc: { path: ./data } }
buses:
  Default: {}
  orders: { dedupe: { age: 10 minutes, entries_max: "5" }, retentoin: { age_max: 30d } }
sources:
  web: { http: { path: /events } }
  app: { http: { path: /events, bus: order } }
  aws: { eventbridge: { queue_url: x } }
targets:
  orders: { http: { url: ftp://127.0.0.1/, bearer: "s3cret", timout: 3s } }
  mail: { http: { mode: binarry } }
  mail: { http: { url: http://127.0.0.1/ } }
routes:
  one: { to: ordres }
  two: { to: orders, filter: { patern: {} }, retry: { attempts_max: -1, delay_min: 1h, delay_max: 1m } }
  three: { filter: { pattern: { type: [] } }, to: mail }
  four: { bus: [default] }
  five: nothing
limits: { event_bytes_max: 1KiB }
"#;

#[test]
fn every_mistake_of_a_file_is_found_at_once() {
    let loaded = config::load("gocoffee.yaml", BROKEN);
    assert!(loaded.config.is_none());
    insta::assert_snapshot!(loaded.report.to_text(false));
}

/// One test holds; the others fail, each in its way.
const TESTS: &str = r#"
sources: { web: { http: { path: /events } } }
targets: { kitchen: { http: { url: 'http://127.0.0.1:9001/' } } }
buses: { night: {} }
routes:
  orders: { filter: { pattern: { type: [coffee.order.created], data: { total: [{ numeric: ['>', 5] }] } } }, to: kitchen }
  all: { to: kitchen }
  later: { bus: night, to: kitchen }
tests:
  it holds:
    event: { specversion: '1.0', id: '1', source: /s, type: coffee.order.created, data: { total: 7.5 } }
    reaches: [orders, all]
  too cheap:
    event: { specversion: '1.0', id: '1', source: /s, type: coffee.order.created, data: { total: 4.5 } }
    reaches: [orders, later]
  nowhere:
    event: { specversion: '1.0', id: '1', source: /s, type: x }
    reaches: []
  no such route:
    event: { specversion: '1.0', id: '1', source: /s, type: x }
    reaches: [al]
  no event:
    event: { specversion: '1.0', id: '1', type: x }
    reaches: [all]
"#;

#[test]
fn a_test_that_fails_says_what_was_missing_and_why() {
    insta::assert_snapshot!(config::load("gocoffee.yaml", TESTS).report.to_text(false));
}

#[test]
fn a_transform_that_means_nothing_is_refused_at_its_place() {
    let text = "
sources: { web: { http: { path: /events } } }
targets: { kitchen: { http: { url: 'http://127.0.0.1:9001/' } } }
routes:
  one: { transform: { input: { paths: { total: $.detail.total }, template: '{\"total\": <totl>}' } }, to: kitchen }
  two: { transform: { set: { attributes: { id: '2' } } }, to: kitchen }
";
    insta::assert_snapshot!(config::load("gocoffee.yaml", text).report.to_text(false));
}

#[test]
fn findings_read_as_json_too() {
    let loaded = config::load("gocoffee.yaml", "listen: 0.0.0.0:80\nsources: {}\n");
    insta::assert_snapshot!(serde_json::to_string_pretty(&loaded.report.to_json()).unwrap());
}

/// What `check` says first of a file that begins so, with one source.
fn first_of(text: &str) -> String {
    let text = format!("{text}\nsources: {{ w: {{ http: {{ path: /e }} }} }}\n");
    config::load("gocoffee.yaml", &text).report.to_text(false).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn listener_that_others_reach_needs_keys_and_tls() {
    let (listen, key) = ("listen: 0.0.0.0:80", "keys: [{ name: shop, secret: s3cret, sources: ['/shop/*'] }]");
    assert!(first_of(listen).contains("everyone there could send to /e"));
    assert!(first_of(&format!("{listen}\n{key}")).contains("there is no TLS"));
    for rest in [format!("{key}\nbehind_proxy: true"), "open: true".into()] {
        assert_eq!(first_of(&format!("{listen}\n{rest}")), "gocoffee.yaml: ok", "{rest}");
    }
    let tls = first_of(&format!("{listen}\n{key}\ntls: {{ cert: /no/cert.pem, key: /no/key.pem }}"));
    assert!(tls.starts_with("warning[R0010]: the file `/no/cert.pem` cannot be read"), "{tls}");
}

#[test]
fn keys_that_cannot_be_are_found() {
    for (keys, says) in [
        ("{ name: a, secret: s }, { name: a, secret: t }", "two keys are called `a`"),
        ("{ name: a, secret: s }, { name: b, secret: s }", "have the same secret"),
        ("{ name: a, secret: s, events_per_second_max: 0 }", "nothing can come in"),
        ("{ name: a, secret: s, types: ['a*b'] }", "is no pattern"),
        ("{ name: a, secret: s, buses: [oders] }", "there is no bus `oders`"),
        ("{ name: a, secret: s, source: [/x] }", "unknown key `source`"),
    ] {
        let said = first_of(&format!("keys: [{keys}]"));
        assert!(said.starts_with("error[R") && said.contains(says), "{keys}: {said}");
    }
}

#[test]
fn text_that_is_no_yaml_is_one_finding() {
    let loaded = config::load("gocoffee.yaml", "routes:\n  a: [1, 2\nlisten: x\n");
    insta::assert_snapshot!(loaded.report.to_text(false));
}

#[test]
fn no_secret_is_shown_beside_a_mistake() {
    let text = "targets: { a: { http: { bearer: s3cr3t, url: 'http://127.0.0.1/', bogus: 1 } } }\nsources: { w: { http: { path: /e, keys: [s3cr3t], x: 1 } } }\n";
    let report = config::load("gocoffee.yaml", text).report;
    assert_eq!(report.errors(), 2);
    assert!(!report.to_text(false).contains("s3cr3t"));
    assert!(!report.to_json().to_string().contains("s3cr3t"));
}

#[test]
fn design_example_of_this_stage_is_valid() {
    let text = r#"
listen: 127.0.0.1:8080
admin:  { listen: 127.0.0.1:8081 }
store:  { disk: { path: ./data } }
buses:  { default: { dedupe: { age: 10m } } }
sources:
  web:      { http: { path: /events } }
targets:
  orders:   { http: { url: http://127.0.0.1:9001/, mode: structured, in_flight_max: 4 } }
routes:
  new-orders:
    filter: { pattern: { type: ["coffee.order.created"] } }
    to: orders
    retry: { attempts_max: 12, age_max: 24h }
"#;
    let loaded = config::load("gocoffee.yaml", text);
    assert_eq!(loaded.report.to_text(false), "gocoffee.yaml: ok");
}

#[test]
fn empty_file_is_the_defaults() {
    for text in ["", "# nothing\n", "routes:\nadmin:\n"] {
        let loaded = config::load("gocoffee.yaml", text);
        assert_eq!((loaded.report.errors(), loaded.report.warnings()), (0, 1), "{text:?}");
    }
}

#[test]
fn hostile_text_is_answered_and_never_panics() {
    for text in [
        "a: &x [*x]",
        "? [a]\n: b",
        "!t a: 1",
        "a: 1\n---\nb: 2",
        "- 1\n- 2",
        "\u{0}",
        "5",
        "{{{{",
        "routes: {a: {to: ä}}",
    ] {
        let loaded = config::load("gocoffee.yaml", text);
        assert!(loaded.report.errors() > 0, "{text:?}");
        assert!(!loaded.report.to_text(true).is_empty());
    }
    let deep = "[".repeat(100_000);
    assert!(config::load("gocoffee.yaml", &deep).report.errors() > 0);
}

#[test]
fn what_only_the_target_itself_refuses_is_found_too() {
    let text = "sources: { w: { http: { path: /e, keys: ['has space'] } } }\n\
                targets: { a: { http: { url: 'http://127.0.0.1/', headers: { X-Key: \"a\\nb\" } } } }\n";
    let report = config::load("gocoffee.yaml", text).report;
    let lines: Vec<u64> =
        report.to_json()["findings"].as_array().unwrap().iter().map(|f| f["line"].as_u64().unwrap()).collect();
    // In line 2 the target, which no route names, and its header.
    assert_eq!(lines, [1, 2, 2], "{}", report.to_text(false));
    assert!(!report.to_text(false).contains("has space"));
}

#[test]
fn one_broken_route_hides_no_other_and_a_flood_is_cut() {
    let routes =
        |n: usize| (0..n).map(|i| format!("  r{i}: {{ too: t, filter: {{ pattern: 5 }} }}\n")).collect::<String>();
    let report = config::load("gocoffee.yaml", &format!("routes:\n{}", routes(3))).report;
    assert_eq!(report.errors(), 3, "{}", report.to_text(false));
    let report = config::load("gocoffee.yaml", &format!("routes:\n{}", routes(20_000))).report;
    assert_eq!(report.errors(), 100);
    assert!(report.to_text(false).ends_with("there may be more, correct these first"));
}

#[test]
fn no_flood_of_warnings_carries_an_error_away() {
    let target =
        |n| format!("  t{n}: {{ http: {{ url: 'http://127.0.0.1/', bearer: '${{env:GOCOFFEE_NO_SUCH_{n}}}' }} }}\n");
    let targets: String = (0..200).map(target).collect();
    let loaded = config::load("gocoffee.yaml", &format!("targets:\n{targets}routes: {{ r: {{ to: nowhere }} }}\n"));
    assert!(loaded.config.is_none());
    assert_eq!((loaded.report.errors(), loaded.report.findings().len()), (1, 100));
}

#[test]
fn unused_and_repeated_names_are_found_with_their_places() {
    let text = "sources: { w: { http: { path: /e, bus: fed } } }\nbuses: { fed: {}, idle: {} }\n\
                targets:\n  used: { http: { url: 'http://127.0.0.1/' } }\n  spare: { http: { url: 'http://127.0.0.1/' } }\n\
                routes: { r: { to: used, too: 1 } }\nlisten: 127.0.0.1:1\nlisten: 127.0.0.1:2\n";
    insta::assert_snapshot!(config::load("gocoffee.yaml", text).report.to_text(false));
}

/// Goal: what becomes of answers is refused with its place where it cannot be, and so are the router's own names.
#[test]
fn replies_need_a_bus_and_one_event_to_answer() {
    let text = "
sources: { web: { http: { path: /events } } }
targets:
  one: { http: { url: 'http://127.0.0.1:9001/' } }
  many: { http: { url: 'http://127.0.0.1:9002/', batch: {} } }
buses: { answers: {}, quarantine: {} }
routes:
  a: { to: one, reply: true }
  b: { to: one, reply: { bus: answers } }
  c: { to: one, reply: { bus: nowhere } }
  d: { to: many, reply: true }
  e: { to: one, reply: yes please }
  system: { to: one }
";
    let loaded = config::load("gocoffee.yaml", text);
    let said = loaded.report.to_text(false);
    for wrong in [
        "there is no bus `nowhere`",
        "the target `many` answers for a batch, where nobody knows what a reply answers",
        "`reply` is `true`, `false`, or `{ bus: NAME }`",
        "the router keeps the name `quarantine` to itself",
        "the router keeps the name `system` to itself",
    ] {
        assert!(said.contains(wrong), "{wrong} is not in\n{said}");
    }
    assert!(!said.contains("reads the bus `answers`"), "a bus of replies is used\n{said}");
    let fine = text.lines().filter(|l| !["  c:", "  d:", "  e:", "  system"].iter().any(|bad| l.starts_with(bad)));
    let fine = fine.collect::<Vec<_>>().join("\n").replace(", quarantine: {}", "");
    let fine = config::load("gocoffee.yaml", &fine);
    assert_eq!(fine.report.errors(), 0, "{}", fine.report.to_text(false));
    let replies: Vec<_> = fine.config.unwrap().routes.values().map(|r| r.reply.spec().map(|s| s.bus)).collect();
    assert_eq!(format!("{replies:?}"), r#"[Some(None), Some(Some("answers"))]"#);
}

/// What routes say of their order, right and wrong.
const ORDERS: &str = r#"
sources: { web: { http: { path: /events } } }
targets: { kitchen: { http: { url: 'http://127.0.0.1:9001/' } } }
routes:
  fine: { to: kitchen, order: partitionkey, on_dead_letter: hold, stuck_keys_max: 100 }
  no-name: { to: kitchen, order: partition-key }
  no-group: { to: kitchen, order: id }
  no-order: { to: kitchen, on_dead_letter: hold, stuck_keys_max: 0 }
  no-word: { to: kitchen, order: subject, on_dead_letter: wait }
"#;

#[test]
fn an_order_that_means_nothing_is_refused_at_its_place() {
    insta::assert_snapshot!(config::load("gocoffee.yaml", ORDERS).report.to_text(false));
}
