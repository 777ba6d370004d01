//! Tables of patterns against events, and the property that the matcher answers as the plain filters do.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pattern(value: serde_json::Value) -> Result<Filter, Error> {
    Filter::parse(Spec::Pattern(value))
}

fn order(data: &str) -> Event {
    Event::builder("1", "/shop/7", "coffee.order.created")
        .attr("subject", "Latte")
        .attr("rush", true)
        .attr("sequence", 12)
        .attr("weight", Value::Json("1.50"))
        .data(Form::Json, data.to_string())
        .build()
        .unwrap()
}

use schemas::{Form, Value};

#[test]
fn patterns_match_as_eventbridge_says() {
    let data = r#"{"total":4.50,"state":"new","paid":null,"gift":false,"tags":["hot","to-go"],"none":[],"deep":{"a":{"b":"c"}},
        "lines":[{"sku":"latte","n":1},{"sku":"mocha","n":2}],"nested":[["x",["y"]],"z"],"twice":1,"twice":2,"big":12345678901234567890}"#;
    let event = order(data);
    let table = [
        (json!({"type": ["coffee.order.created"]}), true),
        (json!({"type": ["coffee.order"]}), false),
        (json!({"type": [{"prefix": "coffee.order"}]}), true),
        (json!({"type": [{"suffix": ".created"}, "x"]}), true),
        (json!({"subject": ["latte"]}), false),
        (json!({"subject": [{"equals-ignore-case": "LATTE"}]}), true),
        (json!({"rush": [true]}), true),
        (json!({"rush": ["true"]}), false),
        (json!({"sequence": [12.0]}), true),
        (json!({"weight": [{"numeric": ["=", 1.5]}]}), true),
        (json!({"specversion": ["1.0"]}), true),
        (json!({"missing": ["x"]}), false),
        (json!({"missing": [{"exists": false}]}), true),
        (json!({"subject": [{"exists": false}]}), false),
        (json!({"data": {"total": [{"numeric": [">", 0]}]}}), true),
        (json!({"data": {"total": [{"numeric": [">", 4.5]}]}}), false),
        (json!({"data": {"total": [{"numeric": [">=", 4.5, "<", 5]}]}}), true),
        (json!({"data": {"state": [{"numeric": [">", 0]}]}}), false),
        (json!({"data": {"big": [12345678901234567890u64]}}), true),
        (json!({"data": {"big": [12345678901234567891u64]}}), false),
        (json!({"data": {"state": ["old", "new"]}}), true),
        (json!({"data": {"state": [{"anything-but": "old"}]}}), true),
        (json!({"data": {"state": [{"anything-but": ["old", "new"]}]}}), false),
        (json!({"data": {"paid": [{"anything-but": "x"}]}}), true),
        (json!({"data": {"missing": [{"anything-but": "x"}]}}), false),
        (json!({"data": {"paid": [null]}}), true),
        (json!({"data": {"missing": [null]}}), false),
        (json!({"data": {"gift": [false]}}), true),
        (json!({"data": {"tags": ["to-go"]}}), true),
        (json!({"data": {"tags": [{"anything-but": "hot"}]}}), true),
        (json!({"data": {"none": [{"exists": false}]}}), true),
        (json!({"data": {"none": [{"exists": true}]}}), false),
        (json!({"data": {"deep": {"a": {"b": ["c"]}}}}), true),
        (json!({"data": {"deep": {"x": {"b": [{"exists": false}]}}}}), true),
        (json!({"data": {"deep": [{"exists": true}]}}), false),
        (json!({"data": {"lines": {"sku": ["mocha"], "n": [2]}}}), true),
        (json!({"data": {"lines": {"sku": ["mocha"], "n": [1]}}}), false),
        (json!({"data": {"nested": ["y"]}}), true),
        (json!({"data": {"twice": [1]}}), false),
        (json!({"data": {"twice": [2]}}), true),
        (json!({"type": ["coffee.order.created"], "data": {"state": ["old"]}}), false),
    ];
    for (p, expected) in table {
        assert_eq!(pattern(p.clone()).unwrap().matches(&event), expected, "{p}");
    }
}

#[test]
fn patterns_match_as_event_ruler_defines_it() {
    let event = order(
        r#"{"ip":"010.0.1.7","v6":"2001:DB8::1","name":"Ünïcode","path":"a/b*c/d","x":[{"a":1},{"b":2},{"a":1,"b":2,"c":[{"d":1},{"e":2}]}],
        "y":[[{"a":1}],[{"b":2}]],"p":[{"a":1},{"b":2}],"q.r":5,"s":{"t.u":[{"v":1}]},"mixed":[3,{"in":4}],"$or":[1],"n":{"S":"101"}}"#,
    );
    let table = [
        (json!({"data": {"ip": [{"cidr": "10.0.0.0/16"}]}}), true),
        (json!({"data": {"ip": [{"cidr": "10.0.0.0/24"}]}}), false),
        (json!({"data": {"ip": [{"cidr": "10.0.1.200/24"}]}}), true),
        (json!({"data": {"ip": ["10.0.1.7"]}}), true),
        (json!({"data": {"ip": [{"anything-but": "10.0.1.7"}]}}), true),
        (json!({"data": {"v6": ["2001:db8:0::1"]}}), true),
        (json!({"data": {"v6": [{"cidr": "2001:db8::/64"}]}}), true),
        (json!({"data": {"v6": [{"cidr": "0.0.0.0/0"}]}}), false),
        (json!({"data": {"name": [{"equals-ignore-case": "üNÏcode"}]}}), true),
        (json!({"data": {"name": [{"prefix": {"equals-ignore-case": "ÜN"}}]}}), true),
        (json!({"data": {"name": [{"suffix": {"equals-ignore-case": "CODE"}}]}}), true),
        (json!({"data": {"name": [{"suffix": {"equals-ignore-case": "KODE"}}]}}), false),
        (json!({"data": {"path": [{"wildcard": "a/*/d"}]}}), true),
        (json!({"data": {"path": [{"wildcard": "a/b\\*c/d"}]}}), true),
        (json!({"data": {"path": [{"wildcard": "a/*b*c*/d*"}]}}), true),
        (json!({"data": {"path": [{"wildcard": "a/b*b*c/d"}]}}), false),
        (json!({"data": {"path": [{"wildcard": "*"}]}}), true),
        (json!({"data": {"path": [{"exactly": "a/b*c/d"}]}}), true),
        (json!({"data": {"path": [{"anything-but": {"wildcard": ["x*", "a/*"]}}]}}), false),
        (json!({"data": {"path": [{"anything-but": {"suffix": ["/x", "/y"]}}]}}), true),
        // Values of one element.
        (json!({"data": {"p": {"a": [1], "b": [2]}}}), false),
        (json!({"data": {"x": {"a": [1], "b": [2]}}}), true),
        (json!({"data": {"x": {"c": {"d": [1], "e": [2]}}}}), false),
        (json!({"data": {"x": {"b": [2], "c": {"e": [2]}}}}), true),
        (json!({"data": {"y": {"a": [1], "b": [2]}}}), false),
        // Absent where: after a value was taken, in its element; before, in the whole array.
        (json!({"data": {"p": {"a": [1], "b": [{"exists": false}]}}}), true),
        (json!({"data": {"p": {"a": [{"exists": false}], "b": [2]}}}), false),
        (json!({"data": {"p": {"z": [{"exists": false}], "b": [2]}}}), true),
        (json!({"data": {"x": {"z": [{"exists": false}]}}}), true),
        // Dots.
        (json!({"data.x.a": [1]}), true),
        (json!({"data": {"q": {"r": [5]}}}), true),
        (json!({"data": {"q.r": [5]}}), true),
        (json!({"data": {"s": {"t": {"u": {"v": [1]}}}}}), true),
        (json!({"data": {"s.t": {"u.v": [{"exists": false}]}}}), false),
        (json!({"data": {"mixed": [3], "mixed.in": [4]}}), true),
        (json!({"data": {"mixed": [4]}}), false),
        // `$or`.
        (json!({"data": {"$or": [{"ip": [1]}, {"q.r": [5]}]}}), true),
        (json!({"$or": [{"subject": ["x"]}, {"data": {"q.r": [6]}}]}), false),
        (json!({"data": {"p": {"a": [1], "$or": [{"b": [2]}, {"c": [3]}]}}}), false),
        (json!({"data": {"x": {"a": [1], "$or": [{"b": [2]}, {"c": [3]}]}}}), true),
        (json!({"data": {"$or": [1]}}), true),
        (json!({"data": {"$or": [{"prefix": "a"}, {"exists": true}]}}), true),
        (json!({"data": {"n": {"S": [{"numeric": [">", 100]}, {"anything-but": "101"}]}}}), false),
    ];
    for (p, expected) in table {
        let filter = pattern(p.clone()).unwrap();
        assert_eq!(filter.matches(&event), expected, "{p}");
        assert_eq!(matched(&filter, &event), expected, "the matcher, {p}");
    }
}

fn matched(filter: &Filter, event: &Event) -> bool {
    let mut out = vec![];
    Matcher::compile([(RouteId(7), filter.clone())]).matches(event, &mut Scratch::default(), &mut out);
    !out.is_empty()
}

#[test]
fn rules_of_eventbridge_are_pasted_unchanged() {
    let event = Event::builder("e1", "aws.ec2", "EC2 Instance State-change Notification")
        .attr("account", "123456789012")
        .attr("region", "eu-west-1")
        .attr("resources", r#"["arn:aws:ec2:a","arn:aws:ec2:b"]"#)
        .attr("time", "2026-01-02T03:04:05Z")
        .data(Form::Json, r#"{"state":"running"}"#)
        .build()
        .unwrap();
    let table = [
        (
            json!({"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"], "detail": {"state": ["running"]}}),
            true,
        ),
        (json!({"account": ["123456789012"], "region": [{"prefix": "eu-"}], "version": ["0"], "id": ["e1"]}), true),
        (json!({"resources": [{"suffix": ":b"}]}), true),
        (json!({"resources": [{"prefix": "["}]}), false),
        (json!({"time": [{"prefix": "2026-01"}]}), true),
        (json!({"type": [{"exists": false}], "data": [{"exists": false}]}), true),
        (json!({"detail.state": ["running"]}), true),
        (json!({"detail": {"state": ["stopped"]}}), false),
    ];
    for (p, expected) in table {
        let filter = Filter::parse(Spec::Eventbridge(p.clone())).unwrap();
        assert_eq!((filter.matches(&event), matched(&filter, &event)), (expected, expected), "{p}");
    }
    let listed = Event::builder("1", "/s", "t").attr("resources", Value::Json(r#"["a"]"#)).build().unwrap();
    assert!(Filter::parse(Spec::Eventbridge(json!({"resources": ["a"]}))).unwrap().matches(&listed));
}

fn spec(json: serde_json::Value) -> Result<Filter, Error> {
    Filter::parse(serde_json::from_value(json).unwrap())
}

#[test]
fn dialects_match_as_knative_does() {
    let event = order("{}");
    let table = [
        (json!({"exact": {"type": "coffee.order.created", "subject": "Latte"}}), true),
        (json!({"exact": {"type": "coffee.order.created", "subject": "latte"}}), false),
        (json!({"exact": {"missing": "x"}}), false),
        (json!({"exact": {}}), true),
        (json!({"not": {"exact": {}}}), false),
        (json!({"exact": {"rush": "true", "sequence": "12", "weight": "1.50", "specversion": "1.0"}}), true),
        (json!({"prefix": {"type": "coffee."}}), true),
        (json!({"suffix": {"type": ".created", "source": "/7"}}), true),
        (json!({"not": {"prefix": {"missing": "x"}}}), true),
        (json!({"all": [{"prefix": {"type": "coffee."}}, {"not": {"suffix": {"type": ".deleted"}}}]}), true),
        (json!({"any": [{"exact": {"type": "x"}}, {"sql": "sequence > 11"}]}), true),
        (json!({"any": [{"exact": {"type": "x"}}, {"sql": "sequence > 12"}]}), false),
        (json!({"all": [{"sql": "missing = 1"}]}), false),
        (json!({"not": {"sql": "missing = 1"}}), true),
        (
            json!({"all": [{"pattern": {"rush": [true]}}, {"eventbridge": {"detail-type": [{"prefix": "coffee"}]}}]}),
            true,
        ),
    ];
    for (filter, expected) in table {
        let parsed = spec(filter.clone()).unwrap();
        assert_eq!((parsed.matches(&event), matched(&parsed, &event)), (expected, expected), "{filter}");
    }
}

#[test]
fn dialects_and_expressions_that_mean_nothing_are_refused_with_their_place() {
    let table = [
        (json!({"exact": {"": "x"}}), "exact."),
        (json!({"exact": {"type": ""}}), "exact.type"),
        (json!({"prefix": {"Type": "x"}}), "prefix.Type"),
        (json!({"suffix": {"type": 5}}), "suffix.type"),
        (json!({"exact": ["x"]}), "exact"),
        (json!({"all": []}), "all"),
        (json!({"any": {}}), "any"),
        (json!({"all": [{"any": [{"exact": {"type": 1}}]}]}), "all[0].any[0].exact.type"),
        (json!({"not": {"pattern": {"type": "x"}}}), "not.pattern.type"),
        (json!({"not": {"telepathy": 1}}), "not"),
        (json!({"sql": "type ="}), "sql"),
        (json!({"sql": 5}), "sql"),
        (json!({"sql": {"expression": "data.x = 1", "strict": true}}), "sql.expression"),
        (json!({"sql": {"expression": "TRUE", "loose": true}}), "sql.loose"),
    ];
    for (filter, place) in table {
        let error = spec(filter.clone()).err().unwrap_or_else(|| panic!("{filter} is taken"));
        assert_eq!(error.path, place, "{filter}: {error}");
    }
    let nested = (0..40).fold(json!({"exact": {"type": "x"}}), |inner, _| json!({"not": inner}));
    assert!(spec(nested).unwrap_err().message.contains("more than 32 filters"));
    let unknown = serde_json::from_value::<Spec>(json!({"telepathy": 1})).unwrap_err().to_string();
    assert!(unknown.contains("`pattern`, `eventbridge`, `sql`, `exact`"), "{unknown}");
    let kept = serde_json::to_string(&Spec::Sql(json!("TRUE"))).unwrap();
    assert_eq!(kept, r#"{"sql":"TRUE"}"#, "the ledger keeps it by name");
}

#[test]
fn what_costs_too_much_is_refused_with_its_cost() {
    let or = |n: usize| json!((0..n).map(|i| json!({format!("f{i}"): [i]})).collect::<Vec<_>>());
    let error =
        pattern(json!({"data": {"a": {"$or": or(10)}, "b": {"$or": or(10)}, "c": {"$or": or(11)}}})).unwrap_err();
    assert!(error.message.contains("more than 1000 combinations"), "{error}");
    assert!(pattern(json!({"data": {"a": {"$or": or(10)}, "b": {"$or": or(10)}, "c": {"$or": or(10)}}})).is_ok());
    let star = "*a".repeat(90);
    let many: Vec<_> = (0..300).map(|_| json!({"wildcard": star})).collect();
    let error = pattern(json!({"data": {"a": many}})).unwrap_err();
    assert!(error.message.contains("it costs up to 27300 comparisons"), "{error}");
    let names: Vec<String> = (0..10_000).map(|i| format!("name{i}")).collect();
    assert!(pattern(json!({"data": {"a": names}})).is_ok(), "a list of strings is one search");
    let deep = pattern(json!({"data".to_owned() + &".a".repeat(100): [1]})).unwrap_err();
    assert!(deep.message.contains("more than 100 names"), "{deep}");
}

#[test]
fn explanations_name_the_clause_the_value_and_what_is_near() {
    let event = order(r#"{"total":4.5,"lines":[{"sku":"latte","n":1},{"sku":"mocha","n":2}]}"#);
    let why = |filter: serde_json::Value| {
        let e = spec(filter).unwrap().explain(&event);
        assert!(!e.matches);
        [e.clause, e.wanted, e.found, e.nearest].map(Option::unwrap_or_default)
    };
    let table = [
        (
            json!({"pattern": {"type": ["coffee.order.deleted", "coffee.order.create"]}}),
            [
                "pattern.type",
                r#""coffee.order.create" or "coffee.order.deleted""#,
                r#""coffee.order.created""#,
                r#""coffee.order.create""#,
            ],
        ),
        (
            json!({"pattern": {"type": [{"prefix": "coffee"}], "data": {"totl": [{"numeric": [">", 0]}]}}}),
            ["pattern.data.totl", r#"{"numeric":[">",0]}"#, "nothing", "the event has `data.total`"],
        ),
        (
            json!({"pattern": {"data": {"total": ["4.5"]}}}),
            ["pattern.data.total", r#""4.5""#, "4.5", "the event has a number, the filter asks for a string"],
        ),
        (
            json!({"pattern": {"data": {"lines": {"sku": ["latte"], "n": [2]}}}}),
            [
                "pattern",
                "data.lines.n, data.lines.sku in the same element",
                "each has a value that matches, but they stand in different elements of an array",
                "",
            ],
        ),
        (
            json!({"sql": "type LIKE 'coffee.%' AND subjekt = 'Latte'"}),
            [
                "sql: subjekt = 'Latte'",
                "TRUE without errors",
                "FALSE with the errors missingAttribute; subjekt is missing",
                "the event has `subject`",
            ],
        ),
        (
            json!({"all": [{"prefix": {"type": "coffee"}}, {"exact": {"subject": "Mocha"}}]}),
            ["all[1].exact.subject", r#""Mocha""#, r#""Latte""#, ""],
        ),
        (
            json!({"any": [{"exact": {"subject": "Mocha"}}, {"exact": {"type": "x"}}]}),
            [
                "any",
                "one of 2 filters",
                r#"any[0].exact.subject: "Latte"; any[1].exact.type: "coffee.order.created""#,
                "",
            ],
        ),
        (
            json!({"not": {"exact": {"subject": "Latte"}}}),
            ["not", "that the filter inside does not match", "it matches", ""],
        ),
    ];
    for (filter, expected) in table {
        assert_eq!(why(filter.clone()), expected, "{filter}");
    }
    assert!(spec(json!({"exact": {"subject": "Latte"}})).unwrap().explain(&event).matches);
}

#[test]
fn documents_are_judged_by_their_own_names() {
    let filter = Filter::parse_for_documents(Spec::Pattern(json!({"Kind": ["x"], "a.b": [1]}))).unwrap();
    assert!(filter.matches_document(br#"{"Kind":"x","a":{"b":1}}"#).unwrap());
    assert!(filter.matches_document(br#"{"Kind":"x","a.b":1}"#).unwrap());
    assert!(!filter.matches_document(br#"{"Kind":"y","a.b":1}"#).unwrap());
    assert!(filter.matches_document(b"[]").is_err() && filter.matches_document(b"{").is_err());
    let sql = Filter::parse_for_documents(Spec::Sql(json!("kind = 'x' AND data.n = 1"))).unwrap();
    assert!(sql.matches_document(br#"{"kind":"x","data":{"n":1}}"#).unwrap());
}

#[test]
fn text_is_a_string_and_has_no_fields() {
    let event = Event::builder("1", "/s", "t").data(Form::Text, r#"{"a":1}"#).build().unwrap();
    assert!(pattern(json!({"data": [{"prefix": "{"}]})).unwrap().matches(&event));
    assert!(!pattern(json!({"data": {"a": [1]}})).unwrap().matches(&event));
    assert!(pattern(json!({"data": {"a": [{"exists": false}]}})).unwrap().matches(&event));
}

#[test]
fn what_means_nothing_is_refused_with_its_place() {
    let table = [
        (json!([]), "pattern"),
        (json!({}), "pattern"),
        (json!({"type": "x"}), "pattern.type"),
        (json!({"type": []}), "pattern.type"),
        (json!({"type": {"a": ["x"]}}), "pattern.type"),
        (json!({"Type": ["x"]}), "pattern.Type"),
        (json!({"data_base64": ["x"]}), "pattern.data_base64"),
        (json!({"data": {}}), "pattern.data"),
        (json!({"data": {"a": [{"prefix": 1}]}}), "pattern.data.a[0].prefix"),
        (json!({"data": {"a": ["x", {"prefx": "a"}]}}), "pattern.data.a[1].prefx"),
        (json!({"data": {"a": [{"prefix": "a", "suffix": "b"}]}}), "pattern.data.a[0]"),
        (json!({"data": {"a": [{}]}}), "pattern.data.a[0]"),
        (json!({"data": {"a": [["x"]]}}), "pattern.data.a[0]"),
        (json!({"data": {"a": [{"exists": "yes"}]}}), "pattern.data.a[0].exists"),
        (json!({"data": {"a": [{"numeric": []}]}}), "pattern.data.a[0].numeric"),
        (json!({"data": {"a": [{"numeric": [">"]}]}}), "pattern.data.a[0].numeric[1]"),
        (json!({"data": {"a": [{"numeric": ["!", 1]}]}}), "pattern.data.a[0].numeric[0]"),
        (json!({"data": {"a": [{"numeric": [">", "1"]}]}}), "pattern.data.a[0].numeric[1]"),
        (json!({"data": {"a": [{"numeric": ["<", 1, ">", 0]}]}}), "pattern.data.a[0].numeric[2]"),
        (json!({"data": {"a": [{"numeric": [">", 5, "<", 5]}]}}), "pattern.data.a[0].numeric"),
        (json!({"data": {"a": [{"anything-but": []}]}}), "pattern.data.a[0].anything-but"),
        (json!({"data": {"a": [{"anything-but": [1, "a"]}]}}), "pattern.data.a[0].anything-but"),
        (json!({"data": {"a": [{"anything-but": ["a", null]}]}}), "pattern.data.a[0].anything-but[1]"),
        (json!({"data": {"a": [{"anything-but": {"prefix": ""}}]}}), "pattern.data.a[0].anything-but.prefix"),
        (json!({"data": {"a": [{"anything-but": {"numeric": ["=", 1]}}]}}), "pattern.data.a[0].anything-but.numeric"),
        (json!({"data": {"a": [{"wildcard": "a**"}]}}), "pattern.data.a[0].wildcard"),
        (json!({"data": {"a": [{"wildcard": "a\\b"}]}}), "pattern.data.a[0].wildcard"),
        (json!({"data": {"a": [{"wildcard": "*a".repeat(101)}]}}), "pattern.data.a[0].wildcard"),
        (json!({"data": {"a": [{"cidr": "10.0.0.0"}]}}), "pattern.data.a[0].cidr"),
        (json!({"data": {"a": [{"cidr": "10.0.0.0/32"}]}}), "pattern.data.a[0].cidr"),
        (json!({"data": {"a": [{"cidr": "10.0.0/8"}]}}), "pattern.data.a[0].cidr"),
        (json!({"$or": [{"a": [1]}, {}]}), "pattern.$or[1]"),
        (json!({"$or": [{"a": [1]}]}), "pattern.$or[0].a"),
        (json!({"detail-type": ["x"]}), "pattern.detail-type"),
        (json!({"data": {"a": [{"anything-but": null}]}}), "pattern.data.a[0].anything-but"),
    ];
    for (p, place) in table {
        let error = pattern(p.clone()).err().unwrap_or_else(|| panic!("{p} is taken"));
        assert_eq!(error.path, place, "{p}: {error}");
    }
}

#[test]
fn an_event_chooses_its_depth_and_breaks_nothing() {
    let deep = format!("{}1{}", "[".repeat(900), "]".repeat(900));
    let event = order(&format!(r#"{{"a":{deep}}}"#));
    assert!(pattern(json!({"data": {"a": [1]}})).unwrap().matches(&event));
    assert!(!pattern(json!({"data": {"a": {"b": [1]}}})).unwrap().matches(&event));
}

#[test]
fn a_hundred_thousand_routes_of_other_types_are_not_asked() {
    let routes = (0..100_000u32)
        .map(|n| (RouteId(n), pattern(json!({"type": [format!("idle.{n}")], "data": {"a": [n]}})).unwrap()));
    let matcher = Matcher::compile(routes);
    assert!(matcher.index.always().is_empty());
    let event = Event::builder("1", "/s", "idle.77").data(Form::Json, r#"{"a":77}"#).build().unwrap();
    let mut out = vec![];
    matcher.matches(&event, &mut Scratch::default(), &mut out);
    assert_eq!(out, [RouteId(77)]);
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,2}", Just("A".into()), Just("é".into()), Just("10.0.0.1".into()), Just("1".into())]
}

fn number() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        (-2..3i32).prop_map(|n| json!(n)),
        prop_oneof![Just("1.0"), Just("1e0"), Just("9007199254740993"), Just("-0"), Just("0.1"), Just("1e400")]
            .prop_map(|text| serde_json::from_str(text).unwrap()),
    ]
}

fn any_test() -> impl Strategy<Value = serde_json::Value> {
    let text = || {
        (word(), 0..6).prop_map(|(s, kind)| match kind {
            0 => json!({"prefix": s}),
            1 => json!({"suffix": s}),
            2 => json!({"equals-ignore-case": s}),
            3 => json!({"prefix": {"equals-ignore-case": s}}),
            4 => json!({"suffix": {"equals-ignore-case": s}}),
            _ => json!({"wildcard": format!("{s}*")}),
        })
    };
    prop_oneof![
        4 => word().prop_map(|s| json!(s)),
        4 => number(),
        1 => Just(json!(null)),
        1 => any::<bool>().prop_map(|b| json!(b)),
        3 => text(),
        1 => word().prop_map(|s| json!({"anything-but": s})),
        1 => number().prop_map(|n| json!({"anything-but": n})),
        1 => word().prop_map(|s| json!({"anything-but": {"equals-ignore-case": [s]}})),
        2 => number().prop_map(|n| json!({"numeric": [">=", n]})),
        1 => Just(json!({"cidr": "10.0.0.0/8"})),
        4 => any::<bool>().prop_map(|b| json!({"exists": b})),
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abc]", 1 => Just("a.b".into()), 1 => Just("a-".into())]
}

fn any_fields() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop::collection::vec(any_test(), 1..3).prop_map(|list| json!(list));
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            4 => prop::collection::vec((any_name(), inner.clone()), 1..4)
                .prop_map(|fields| json!(fields.into_iter().collect::<serde_json::Map<_, _>>())),
            1 => (any_name(), inner.clone(), any_name(), inner).prop_map(|(a, x, b, y)| json!({"$or": [{a: x}, {b: y}]})),
        ]
    })
}

fn any_attributes() -> impl Strategy<Value = serde_json::Value> {
    let name = prop_oneof![Just("type"), Just("subject"), Just("ext"), Just("source")];
    prop::collection::vec((name, "[ab]{1,2}"), 0..3).prop_map(|entries| {
        json!(
            entries.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>()
        )
    })
}

fn any_expression() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("type"), Just("subject"), Just("ext"), Just("data.a"), Just("data.b.c")];
    let leaf = (name, word(), 0..7).prop_map(|(name, s, kind)| match kind {
        0 => format!("{name} = '{s}'"),
        1 => format!("'{s}' = {name}"),
        2 => format!("{name} LIKE '{s}%'"),
        3 => format!("{name} IN ('{s}', 'a')"),
        4 => format!("EXISTS {name}"),
        5 => format!("{name} = 1"),
        _ => format!("{name} LIKE '{s}'"),
    });
    leaf.prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner, 0..4).prop_map(|(a, b, kind)| match kind {
            0 => format!("({a}) AND ({b})"),
            1 => format!("({a}) OR ({b})"),
            2 => format!("({a}) XOR ({b})"),
            _ => format!("NOT ({a})"),
        })
    })
}

fn any_filter() -> impl Strategy<Value = serde_json::Value> {
    let leaf = || prop::collection::vec(any_test(), 1..3);
    let top = |kind: &'static str, data: &'static str, wrap: &'static str| {
        (prop::option::of(leaf()), prop::option::of(leaf()), prop::option::of(any_fields())).prop_filter_map(
            "not empty",
            move |(t, source, fields)| {
                let mut top = serde_json::Map::new();
                t.map(|t| top.insert(kind.into(), json!(t)));
                source.map(|s| top.insert("source".into(), json!(s)));
                fields.map(|f| top.insert(data.into(), f));
                (!top.is_empty()).then(|| json!({wrap: top}))
            },
        )
    };
    let one = prop_oneof![
        4 => top("type", "data", "pattern"),
        2 => top("detail-type", "detail", "eventbridge"),
        2 => any_expression().prop_map(|e| json!({"sql": e})),
        1 => any_attributes().prop_map(|a| json!({"exact": a})),
        1 => any_attributes().prop_map(|a| json!({"prefix": a})),
        1 => any_attributes().prop_map(|a| json!({"suffix": a})),
    ];
    one.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"all": list})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"any": list})),
            inner.prop_map(|one| json!({"not": one})),
        ]
    })
}

/// JSON text, members repeated now and then.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        word().prop_map(|s| json!(s).to_string()),
        number().prop_map(|n| n.to_string()),
        prop_oneof![Just("null".to_owned()), Just("true".into()), Just("[]".into()), Just("{}".into())],
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            3 => prop::collection::vec((any_name(), inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    ("[ab]{1,2}", "[ab]{1,2}", prop::option::of("[ab]{1,2}"), prop::option::of(any::<bool>()), any_json()).prop_map(
        |(kind, source, subject, ext, data)| {
            let mut builder = Event::builder("1", &source, &kind);
            if let Some(subject) = &subject {
                builder = builder.attr("subject", subject.as_str());
            }
            if let Some(ext) = ext {
                builder = builder.attr("ext", ext);
            }
            builder.data(Form::Json, data).build().unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_matcher_answers_as_the_plain_filters(filters in prop::collection::vec(any_filter(), 1..12), event in any_event()) {
        let specs = filters.clone();
        let filters: Vec<_> = filters.into_iter().map(|f| spec(f).unwrap()).chain([Filter::all(), Filter::none()]).collect();
        let expected: Vec<_> = filters.iter().enumerate().filter(|(_, f)| f.matches(&event)).map(|(i, _)| RouteId(i as u32)).collect();
        let explained = filters.iter().all(|f| f.explain(&event).matches == f.matches(&event));
        prop_assert!(explained);
        let matcher = Matcher::compile(filters.into_iter().enumerate().map(|(i, f)| (RouteId(i as u32), f)));
        let mut out = vec![];
        matcher.matches(&event, &mut Scratch::default(), &mut out);
        prop_assert_eq!(out, expected, "{:?} {}", specs, std::str::from_utf8(event.data()).unwrap());
    }
}
