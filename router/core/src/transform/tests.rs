//! Tables of transforms against one event.

use serde_json::json;

use super::*;

const CONTEXT: Context<'static> =
    Context { route: "mirror", appended: Timestamp(1_768_458_617_459_000), event_bytes_max: 64 << 10 };

fn event() -> Event {
    Event::builder("1", "/shops/7", "coffee.order.created")
        .attr("subject", "Latte")
        .attr("datacontenttype", "text/json")
        .attr("rush", true)
        .attr("region", "eu-west-1")
        .data(
            Form::Json,
            r#"{"total":4.50,"note":"say \"hi\"","lines":[{"item":"Latte","n":1},{"item":"Mocha"}],"paid":null}"#,
        )
        .build()
        .unwrap()
}

fn apply(spec: serde_json::Value) -> Result<Event, String> {
    let spec: Spec = serde_json::from_value(spec).map_err(|e| e.to_string())?;
    let transform = Transform::parse(&spec).map_err(|e| e.to_string())?;
    transform.apply(&event(), &CONTEXT).map_err(|e| format!("{}: {e}", e.code))
}

fn data(spec: serde_json::Value) -> String {
    let made = apply(spec.clone()).unwrap_or_else(|e| panic!("{spec}: {e}"));
    assert_eq!((made.id(), made.source()), ("1", "/shops/7"), "identity stays");
    String::from_utf8(made.data().to_vec()).unwrap()
}

#[test]
fn a_path_picks_the_data_as_it_was_written() {
    let table = [
        ("$.detail.total", "4.50"),
        ("$.detail.lines[1]", r#"{"item":"Mocha"}"#),
        ("$.detail.lines[*].item", r#"["Latte","Mocha"]"#),
        ("$['detail-type']", r#""coffee.order.created""#),
        ("$.detail-type", r#""coffee.order.created""#),
        ("$.detail.paid", "null"),
        ("$.resources", "[]"),
    ];
    for (path, expected) in table {
        assert_eq!(data(json!({"input_path": path})), expected, "{path}");
    }
    let nothing = apply(json!({"input_path": "$.detail.tip"})).unwrap_err();
    assert_eq!(nothing, "transform-nothing: the event has nothing at `$.detail.tip`");
}

#[test]
fn a_template_fills_in_as_eventbridge_does() {
    let fill = |template: &str| {
        let paths = json!({"total": "$.detail.total", "note": "$.detail.note", "item": "$.detail.lines[0].item",
            "line": "$.detail.lines[0]", "none": "$.detail.none", "kind": "$.detail-type"});
        apply(json!({"input": {"paths": paths, "template": template}}))
            .map(|made| String::from_utf8(made.data().to_vec()).unwrap())
    };
    let table = [
        (r#"{"total": <total>, "item": <item>}"#, r#"{"total": 4.50, "item": "Latte"}"#),
        (r#""<item> for <total>""#, r#""Latte for 4.50""#),
        (r#"{"line": <line>}"#, r#"{"line": {"item":"Latte","n":1}}"#),
        (r#"{"none": <none>, "text": "<none>"}"#, r#"{"none": "", "text": ""}"#),
        (r#"{"a": "1 < 2 and \"<item>\""}"#, r#"{"a": "1 < 2 and \"Latte\""}"#),
        (r#"["<aws.events.rule-name>", <aws.events.rule-arn>]"#, r#"["mirror", "arn:gocoffee:events:::rule/mirror"]"#),
        (r#"<aws.events.event.ingestion-time>"#, r#""2026-01-15T06:30:17Z""#),
    ];
    for (template, expected) in table {
        assert_eq!(fill(template).as_deref(), Ok(expected), "{template}");
    }
    let whole = fill("<aws.events.event.json>").unwrap();
    assert!(whole.contains(r#""detail":{"total":4.50"#) && whole.contains(r#""version":"0""#), "{whole}");
    assert!(!fill("<aws.events.event>").unwrap().contains("detail\":{"));
    // A value with quotes, inside of quotes: not escaped, and so no JSON.
    assert!(fill(r#"{"note": "<note>"}"#).unwrap_err().starts_with("transform-invalid: "));
    assert_eq!(fill(r#"{"note": <note>}"#).as_deref(), Ok(r#"{"note": "say \"hi\""}"#));
}

#[test]
fn attributes_and_data_are_set() {
    let made = apply(json!({"set": {
        "attributes": {"type": "mirror.<$.type>", "subject": null, "total": "<$.data.total> EUR", "copy": true, "n": 3},
        "data": {"note": "<$.data.note>", "text": "note: <$.data.note>", "all": ["<$.data.lines[*].item>"], "who": "<$.source>", "k": 1.0},
    }}))
    .unwrap();
    assert_eq!(made.kind(), "mirror.coffee.order.created");
    assert_eq!(made.get("subject"), None);
    assert_eq!(made.get("total"), Some(Attr::String("4.50 EUR")));
    assert_eq!((made.get("copy"), made.get("n")), (Some(Attr::Boolean(true)), Some(Attr::Integer(3))));
    assert_eq!(made.get("rush"), Some(Attr::Boolean(true)), "what is not set stays");
    assert_eq!(
        std::str::from_utf8(made.data()).unwrap(),
        r#"{"note":"say \"hi\"","text":"note: say \"hi\"","all":[["Latte","Mocha"]],"who":"/shops/7","k":1.0}"#
    );
    let kept = apply(json!({"set": {"attributes": {"copy": true}}})).unwrap();
    assert_eq!(kept.data(), event().data(), "data that is not set is not touched");
    let missing = apply(json!({"set": {"data": {"tip": "<$.data.tip>"}}})).unwrap_err();
    assert_eq!(missing, "transform-missing: the event has nothing at `$.data.tip`");
}

#[test]
fn what_is_made_is_as_large_as_an_event_may_be() {
    let many = json!({"set": {"data": vec!["<$.data>"; 2_000]}});
    assert!(apply(many).unwrap_err().starts_with("transform-too-large: "));
    let subject = json!({"set": {"attributes": {"subject": "x".repeat(70_000)}}});
    assert!(apply(subject).unwrap_err().starts_with("transform-too-large: "));
}

#[test]
fn text_becomes_json_and_says_so() {
    let text = Event::builder("1", "/s", "t")
        .attr("datacontenttype", "text/plain")
        .data(Form::Text, "a \"b\"")
        .build()
        .unwrap();
    let made = |spec| Transform::parse(&serde_json::from_value(spec).unwrap()).unwrap().apply(&text, &CONTEXT).unwrap();
    let event = made(json!({"input_path": "$.detail"}));
    assert_eq!(
        (event.data(), event.get("datacontenttype")),
        (br#""a \"b\"""#.as_slice(), Some(Attr::String("application/json")))
    );
    let event = made(json!({"set": {"attributes": {"a": "b"}}}));
    assert_eq!((event.data(), event.get("datacontenttype")), (b"a \"b\"".as_slice(), Some(Attr::String("text/plain"))));
}

#[test]
fn what_means_nothing_is_refused_with_its_place() {
    let long = "x".repeat(template::TEMPLATE_BYTES_MAX);
    let table = [
        (json!({"input_path": 1}), "input_path: "),
        (json!({"input_path": "detail"}), "input_path: `detail` is no path: it begins with `$`"),
        (json!({"input_path": "$."}), "input_path: "),
        (json!({"input_path": "$.a[x]"}), "input_path: "),
        (json!({"input": {"template": "\"<x>\""}}), "input.template: Invalid placeholder: `<x>`"),
        (json!({"input": {"template": "hello"}}), "input.template: with its variables filled in it is no JSON"),
        (json!({"input": {"template": "\"<aws.events.event.json>\""}}), "input.template: `<aws.events.event.json>` is"),
        (json!({"input": {"template": format!("\"{long}\"")}}), "input.template: a template is at most 8192 bytes"),
        (json!({"input": {"paths": {"aws.x": "$"}, "template": "1"}}), "input.paths.aws.x: "),
        (json!({"input": {"paths": {"x": "y"}, "template": "1"}}), "input.paths.x: `y` is no path"),
        (json!({"input": {"templat": "1"}}), "input.templat: there is no `templat`"),
        (json!({"set": {}}), "set: nothing is set"),
        (json!({"set": {"attributes": {"id": "2"}}}), "set.attributes.id: "),
        (json!({"set": {"attributes": {"type": null}}}), "set.attributes.type: "),
        (json!({"set": {"attributes": {"Total": "2"}}}), "set.attributes.Total: "),
        (json!({"set": {"attributes": {"a": []}}}), "set.attributes.a: "),
        (json!({"set": {"data": ["<$.a"]}}), "set.data[0]: "),
    ];
    for (spec, place) in table {
        let refused = apply(spec.clone()).unwrap_err();
        assert!(refused.starts_with(place), "{spec}: {refused}");
    }
}
