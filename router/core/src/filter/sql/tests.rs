//! What the test kit leaves open. The kit itself is read by `router-tests`, where it is there.

use schemas::{Event, Form, Value};

use super::*;

fn event() -> Event {
    Event::builder("1", "/shop/7", "coffee.order.created")
        .attr("subject", "Latte")
        .attr("rush", true)
        .attr("sequence", 12)
        .attr("hop", "5")
        .attr("odd", Value::Json("[1,2]"))
        .data(Form::Json, r#"{"total":4.5,"count":3,"gift":false,"state":"new","none":null,"A b":{"c":["x","y"]},"lines":[{"sku":"latte"}]}"#)
        .build()
        .unwrap()
}

fn told(text: &str) -> String {
    match Expression::parse(text, false) {
        Ok(expression) => serde_json::to_string(&expression.evaluate(&event())).unwrap(),
        Err(invalid) => invalid.message,
    }
}

#[test]
fn expressions_have_a_value_and_errors() {
    let table = [
        ("type = 'coffee.order.created' AND rush", r#"{"value":true,"errors":[]}"#),
        ("NOT type = 'x'", r#"{"value":false,"errors":["cast"]}"#),
        ("NOT (type = 'x')", r#"{"value":true,"errors":[]}"#),
        ("-hop * 2 + 1", r#"{"value":-9,"errors":[]}"#),
        ("10 - 4 - 3", r#"{"value":3,"errors":[]}"#),
        ("TRUE OR FALSE AND FALSE", r#"{"value":false,"errors":[]}"#),
        ("1 = 1 = TRUE", r#"{"value":true,"errors":[]}"#),
        ("missing", r#"{"value":false,"errors":["missingAttribute"]}"#),
        ("missing + absent", r#"{"value":0,"errors":["missingAttribute","missingAttribute"]}"#),
        ("CONCAT('a', missing)", r#"{"value":"","errors":["missingAttribute"]}"#),
        ("missing AND 1 / 0 = 1", r#"{"value":false,"errors":["missingAttribute"]}"#),
        ("2147483647 + 1", r#"{"value":0,"errors":["math"]}"#),
        ("-2147483648 / -1", r#"{"value":0,"errors":["math"]}"#),
        ("-2147483648 % -1", r#"{"value":0,"errors":[]}"#),
        ("-7 / 2", r#"{"value":-3,"errors":[]}"#),
        ("-7 % 2", r#"{"value":-1,"errors":[]}"#),
        ("IS_INT('12')", r#"{"value":true,"errors":[]}"#),
        ("IS_INT('x')", r#"{"value":false,"errors":[]}"#),
        ("IS_BOOL(rush)", r#"{"value":true,"errors":[]}"#),
        ("1 IN ('x', 1)", r#"{"value":false,"errors":["cast"]}"#),
        ("1 IN (1, 'x')", r#"{"value":true,"errors":[]}"#),
        ("1 NOT IN (2)", r#"{"value":true,"errors":[]}"#),
        ("EXISTS nothing OR EXISTS Subject", r#"{"value":true,"errors":[]}"#),
        ("odd", r#"{"value":"[1,2]","errors":[]}"#),
        ("SUBSTRING('Äpfel', 2, 2)", r#"{"value":"pf","errors":[]}"#),
        ("SUBSTRING('abc', 1, -1)", r#"{"value":"","errors":["functionEvaluation"]}"#),
        ("LENGTH('日本')", r#"{"value":2,"errors":[]}"#),
        ("'日本' LIKE '_本'", r#"{"value":true,"errors":[]}"#),
        ("'a_b%c' LIKE 'a\\_b\\%c'", r#"{"value":true,"errors":[]}"#),
        ("'xaybzc' LIKE 'x%_y%_c'", r#"{"value":true,"errors":[]}"#),
        ("'aab' LIKE '%ab'", r#"{"value":true,"errors":[]}"#),
        ("'' LIKE '%'", r#"{"value":true,"errors":[]}"#),
        ("'ab' LIKE 'ab%ab'", r#"{"value":false,"errors":[]}"#),
        ("'it\\'s'", r#"{"value":"it's","errors":[]}"#),
        ("'a\\b'", r#"{"value":"a\\b","errors":[]}"#),
    ];
    for (text, expected) in table {
        assert_eq!(told(text), expected, "{text}");
    }
}

#[test]
fn data_is_read_by_path() {
    let table = [
        ("data.count", r#"{"value":3,"errors":[]}"#),
        ("data.total", r#"{"value":"4.5","errors":[]}"#),
        ("data.total > 4", r#"{"value":false,"errors":["cast"]}"#),
        ("data.gift", r#"{"value":false,"errors":[]}"#),
        ("data.state = 'new' AND EXISTS data.count", r#"{"value":true,"errors":[]}"#),
        ("data.State", r#"{"value":false,"errors":["missingAttribute"]}"#),
        ("EXISTS data.none", r#"{"value":false,"errors":[]}"#),
        ("data.'A b'.c.1", r#"{"value":"y","errors":[]}"#),
        ("data.lines.0.sku LIKE 'lat%'", r#"{"value":true,"errors":[]}"#),
        ("data.lines.7.sku", r#"{"value":false,"errors":["missingAttribute"]}"#),
        ("data.lines", r#"{"value":"[{\"sku\":\"latte\"}]","errors":[]}"#),
        ("data", r#"{"value":false,"errors":["missingAttribute"]}"#),
    ];
    for (text, expected) in table {
        assert_eq!(told(text), expected, "{text}");
    }
    let refused = Expression::parse("data.count = 3", true).unwrap_err();
    assert_eq!(refused.message, "at character 1: `data.` paths are an extension of CESQL, and strict mode has none");
    assert!(Expression::parse("subject = 'data.count'", true).is_ok());
}

#[test]
fn what_is_no_expression_is_refused_with_its_place() {
    let table = [
        ("", "at character 1: found the end, but a value stands here"),
        ("type =", "at character 7: found the end, but a value stands here"),
        ("type = 'x", "at character 8: the string has no end"),
        ("'ä' = #", "at character 7: `#` means nothing here"),
        ("(TRUE", "at character 6: found the end, but `)` is missing"),
        ("TRUE FALSE", "at character 6: found `FALSE`, but the expression ends here, or goes on with an operator"),
        ("x LIKE y", "at character 8: found `y`, but `LIKE` takes a string"),
        ("x IN 1", "at character 6: found `1`, but `IN` takes a list, e.g. ('a', 'b')"),
        ("x IN ()", "at character 7: found `)`, but a value stands here"),
        ("2147483648", "at character 1: `2147483648` is no 32-bit integer (-2147483648 to 2147483647)"),
        (
            "my_attr = 1",
            "at character 1: `my_attr` is no attribute: names are letters and digits; a function is called with ( )",
        ),
        ("subject.x = 1", "at character 1: `subject` has no fields; only `data` has"),
        ("data. = 1", "at character 6: a name is missing after the dot"),
        ("LENGTH('a', 'b')", "at character 1: LENGTH takes 1 arguments, not 2"),
        ("AND TRUE", "at character 1: found `AND`, but a value stands here"),
    ];
    for (text, message) in table {
        assert_eq!(Expression::parse(text, false).unwrap_err().message, message, "{text}");
    }
    let unknown = Expression::parse("MAX(1)", false).unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::MissingFunction);
    assert!(unknown.message.contains("there is no function `MAX`; there are LENGTH, CONCAT"), "{unknown}");
}

#[test]
fn depth_and_cost_have_an_end_and_chains_have_none() {
    let deep = format!("{}TRUE{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(Expression::parse(&deep, false).unwrap_err().message.contains("more than 100 parts"));
    assert!(Expression::parse(&"NOT ".repeat(5_000), false).is_err());
    assert!(Expression::parse(&format!("1{}", " + 1".repeat(5_000)), false).is_err());
    let chain = format!("type = 'x'{}", " OR type = 'y'".repeat(3_000));
    assert!(Expression::parse(&chain, false).is_ok());
    let bomb = format!("x LIKE '%{}%'", "a_".repeat(40));
    assert!(Expression::parse(&bomb, false).unwrap_err().message.contains("80 comparisons for each character"));
    let doubled = format!("LENGTH(CONCAT({}))", ["data.big"; 50].join(","));
    let big = format!(r#"{{"big":"{}"}}"#, "x".repeat(1 << 17));
    let event = Event::builder("1", "/s", "t").data(Form::Json, big).build().unwrap();
    let evaluated = Expression::parse(&doubled, false).unwrap().evaluate(&event);
    assert_eq!(evaluated.errors, [ErrorKind::FunctionEvaluation]);
}
