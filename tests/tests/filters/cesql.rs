use router_core::filter::sql::{ErrorKind, Evaluated, Expression, Outcome};
use serde_json::{Value, json};

/// A scalar as the kit's expressions write it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

fn event(case: &Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "/kit", "type": "kit"});
    if let Some(whole) = case.get("event") {
        event = whole.clone();
    }
    let overrides = case.get("eventOverrides").and_then(Value::as_object);
    for (name, value) in overrides.into_iter().flatten() {
        event[name.as_str()] = value.clone();
    }
    event
}

/// What is wrong with the answer.
fn judge(case: &Value) -> Option<String> {
    let event = schemas::json::decode(event(case).to_string().as_bytes()).unwrap();
    let expression = text(&case["expression"]);
    // In strict mode: the kit knows no paths into the data.
    let evaluated = match Expression::parse(&expression, true) {
        Ok(expression) => expression.evaluate(&event),
        Err(invalid) => Evaluated { value: Outcome::Boolean(false), errors: vec![invalid.kind] },
    };
    let errors: Vec<String> = evaluated.errors.iter().map(name).collect();
    let expected: Vec<String> = case.get("error").map(text).into_iter().collect();
    let value = serde_json::to_value(&evaluated.value).unwrap();
    let fits = match case.get("result") {
        // YAML reads FALSE as text where it wants `false`.
        Some(Value::String(s)) if s.eq_ignore_ascii_case("false") && value.is_boolean() => value == json!(false),
        Some(result) => value == *result,
        None => true,
    };
    (!fits || errors != expected).then(|| format!("{expression}: {value} {errors:?}, not {case}"))
}

fn name(kind: &ErrorKind) -> String {
    text(&serde_json::to_value(kind).unwrap())
}

#[test]
fn every_case_of_the_cesql_kit_holds() {
    let Some(files) = super::kit("cesql") else { return };
    let mut cases = 0;
    let mut wrong = Vec::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "yaml")) {
        let source = std::fs::read_to_string(file).unwrap();
        let kit = gocoffee::config::document(&file.display().to_string(), &source).unwrap();
        for case in kit["tests"].as_array().unwrap() {
            cases += 1;
            wrong.extend(judge(case));
        }
    }
    println!("{} of {cases} cases of the CESQL kit hold", cases - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases, 275, "the kit has changed");
}
