//! Goal: data is judged as the library judges a value of its own, what is wrong is named with its place, and a
//! catalogue that cannot be made says where.

use std::fs;

use serde_json::json;

use super::*;

fn document(kind: &str, schema: &Value) -> Document {
    Document { origin: format!("{kind}.schema.json").into(), kind: kind.into(), text: schema.to_string().into() }
}

fn one(schema: &Value) -> Catalogue {
    Catalogue::new(vec![document("t", schema)]).unwrap_or_else(|e| panic!("{schema}: {e:?}"))
}

fn event(data: &str) -> Event {
    Event::builder("1", "/s", "t").data(Form::Json, data.to_owned()).build().unwrap()
}

fn said(catalogue: &Catalogue, event: &Event) -> Vec<String> {
    catalogue.judge(event).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_built_in_is_what_stands_in_the_folder() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/payloads");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut types: Vec<String> = files.map(|name| name.strip_suffix(".schema.json").unwrap().to_owned()).collect();
    types.sort();
    assert_eq!(built_in_types().into_iter().collect::<Vec<_>>(), types);
    let catalogue = Catalogue::new(Document::built_in()).unwrap();
    for entry in catalogue.entries() {
        let id = format!("urn:gocoffee:schema:{}:1", entry.document.kind);
        assert_eq!(entry.id.as_deref(), Some(&*id));
        assert!(entry.title.is_some() && catalogue.find(&id).is_some());
    }
}

#[test]
fn a_document_keeps_what_the_validator_relies_on() {
    let text = jsonschema::json::conformance::document().to_string();
    let doc = Doc::parse(text.as_bytes()).unwrap();
    jsonschema::json::conformance::assert_conformance::<Tree>(&Data::of(doc.root()));
}

/// Schemas of many keywords, each with data of both kinds.
#[test]
fn data_is_judged_as_the_library_judges_its_own_values() {
    let schemas = [
        json!({"type": "integer"}),
        json!({"type": ["number", "null"], "minimum": -1.5, "exclusiveMaximum": 100, "multipleOf": 0.5}),
        json!({"enum": ["a", 1, null, {"x": [1.0]}, [1, "b"]]}),
        json!({"const": 10.0}),
        json!({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-zü]+$"}),
        json!({"items": {"type": "integer"}, "uniqueItems": true, "minItems": 1, "contains": {"const": 1}}),
        json!({"prefixItems": [{"type": "string"}], "items": false}),
        json!({"required": ["x"], "properties": {"x": {"type": "integer"}}, "additionalProperties": false}),
        json!({"patternProperties": {"^x": {"minimum": 1}}, "propertyNames": {"maxLength": 2}, "minProperties": 1}),
        json!({"anyOf": [{"type": "object"}, {"maximum": 3}], "not": {"required": ["y"]}}),
        json!({"oneOf": [{"type": "number"}, {"minimum": 5}]}),
        json!({"if": {"required": ["x"]}, "then": {"required": ["y"]}, "dependentRequired": {"y": ["z"]}}),
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"x": {"$ref": "#/$defs/node"}}, "type": "object"}}}),
        json!({"properties": {"x": true}, "unevaluatedProperties": false}),
    ];
    let data = [
        "1",
        "1.0",
        "1e2",
        "1.5",
        "-0",
        "100",
        "99.5",
        "18446744073709551616",
        "-9223372036854775809",
        "0.1",
        "null",
        "true",
        "\"a\"",
        "\"ab\"",
        "\"\\u0061b\"",
        "\"üüü\"",
        "\"abcd\"",
        "\"\\ud800\"",
        "[]",
        "[1]",
        "[1, 1]",
        "[1, \"b\"]",
        "[\"a\"]",
        "[\"a\", 1]",
        "[1, 2, 1.0]",
        "{}",
        "{\"x\": 1}",
        "{\"x\": 0}",
        "{\"x\": [1]}",
        "{\"x\": \"1\"}",
        "{\"y\": 1}",
        "{\"x\": 1, \"y\": 2}",
        "{\"x\": {\"x\": {}}}",
        "{\"x\": {\"x\": 1}}",
        "{\"xyz\": 1}",
        "{\"\\u0078\": 1}",
        "{\"x\": 1, \"y\": 1, \"z\": 1}",
    ];
    let mut judged = [0, 0];
    for schema in &schemas {
        let (ours, library) = (one(schema), jsonschema::draft202012::new(schema).unwrap());
        for text in data {
            // What is no text to the library is judged all the same, as far as it is one.
            let Ok(value) = serde_json::from_str::<Value>(text) else {
                let _no_panic = ours.judge(&event(text));
                continue;
            };
            let valid = ours.judge(&event(text)).is_empty();
            assert_eq!(valid, library.is_valid(&value), "{schema} judges {text}");
            judged[usize::from(valid)] += 1;
        }
    }
    assert!(judged[0] > 100 && judged[1] > 100, "{judged:?}");
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place_and_without_the_value() {
    let catalogue = Catalogue::new(Document::built_in()).unwrap();
    let data = r#"{"order":"o","shop":-4,"customer":{"name":7},"lines":[{"line":1,"item":"secret","quantity":"secret"}],"currency":"EUR"}"#;
    let order = Event::builder("1", "/s", "coffee.order.created").data(Form::Json, data).build().unwrap();
    let mut all = said(&catalogue, &order);
    all.sort();
    assert_eq!(
        all,
        [
            "data/customer/name: this value is not of type \"string\"",
            "data/lines/0/quantity: this value is not of type \"integer\"",
            "data/shop: this value is less than the minimum of 0",
        ]
    );
    assert!(catalogue.judge(&order).iter().all(|f| f.code == codes::SCHEMA_VIOLATED && !f.keyword.is_empty()));
    let odd = one(&json!({"additionalProperties": false}));
    let finding = &odd.judge(&event("{\"a\\u0007\\n\": 1}"))[0];
    assert!(!finding.message.contains(['\u{7}', '\n']), "{finding}");
    let long = format!("{{{:?}: 1}}", "x".repeat(5_000));
    assert!(odd.judge(&event(&long))[0].message.chars().count() <= MESSAGE_CHARS_MAX + 1);
    let many: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let strings = one(&json!({"items": {"type": "string"}}));
    assert_eq!(strings.judge(&event(&format!("[{}]", many.join(",")))).len(), FINDINGS_MAX);
}

#[test]
fn dataschema_goes_before_the_type_and_lets_nobody_off() {
    let named = |kind: &str, id: &str, wanted: &str| document(kind, &json!({"$id": id, "type": wanted}));
    let catalogue = Catalogue::new(vec![named("t", "urn:t:1", "string"), named("t.v2", "urn:t:2", "integer")]).unwrap();
    let event = |kind, schema: Option<&str>| {
        let event = Event::builder("1", "/s", kind).data(Form::Json, "1");
        schema.into_iter().fold(event, |event, schema| event.attr("dataschema", schema)).build().unwrap()
    };
    assert!(said(&catalogue, &event("t", None))[0].contains("string"));
    assert_eq!(said(&catalogue, &event("t", Some("urn:t:2"))), [""; 0]);
    assert_eq!(said(&catalogue, &event("t", Some("urn:t:2#"))), [""; 0]);
    assert_eq!(
        said(&catalogue, &event("t", Some("urn:t:3"))),
        ["attribute dataschema: the catalogue has no schema urn:t:3; for this type it has urn:t:1"]
    );
    // A type that nobody described is not judged, whatever it names.
    for schema in [None, Some("urn:other")] {
        assert!(catalogue.judge(&event("other", schema)).is_empty() && !catalogue.knows(&event("other", schema)));
    }
}

#[test]
fn data_that_is_no_json_is_not_what_a_schema_describes() {
    let catalogue = one(&json!(true));
    let text = Event::builder("1", "/s", "t").data(Form::Text, "1").build().unwrap();
    assert_eq!(said(&catalogue, &text), ["data: it is no JSON, which t describes"]);
    let none = Event::builder("1", "/s", "t").build().unwrap();
    assert_eq!(said(&catalogue, &none), ["data: there is none, and t describes it"]);
}

#[test]
fn a_schema_that_names_itself_is_walked_as_deep_as_is_judged_and_no_deeper() {
    let catalogue = one(&json!({"type": "array", "items": {"$ref": "#"}}));
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    // The stack of a thread of a pool.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let judged = thread.spawn(move || {
        let deep = |levels| said(&catalogue, &event(&nested(levels)));
        assert_eq!(deep(DEPTH_MAX), [""; 0]);
        assert_eq!(deep(DEPTH_MAX + 1), ["data: more than 128 levels are not judged by a schema"]);
        assert_eq!(deep(1_000).len(), 1);
        // Many containers are not many levels.
        assert_eq!(said(&catalogue, &event(&format!("[{}[]]", "[[]],".repeat(500)))), [""; 0]);
    });
    judged.unwrap().join().unwrap();
}

/// What a catalogue cannot be made of: the documents, and what is said.
#[test]
fn a_catalogue_that_cannot_be_made_says_where() {
    let cases = [
        (
            json!({"properties": {"a/b": {"$ref": "urn:nowhere"}}}),
            "t.schema.json: /properties/a~1b/$ref: urn:nowhere is not in the catalogue, and nothing is fetched; add its file to the folder",
        ),
        (
            json!({"$ref": "https://example.com/x.json#/a"}),
            "t.schema.json: /$ref: https://example.com/x.json is not in the catalogue",
        ),
        (json!({"$ref": "file:///etc/passwd"}), "t.schema.json: /$ref: file:///etc/passwd is not in the catalogue"),
        (json!({"items": {"$ref": "#/$defs/x"}}), "t.schema.json: /items/$ref: there is nothing at /$defs/x"),
        (json!({"items": {"$ref": "#x"}}), "t.schema.json: /items/$ref: there is no anchor x"),
        (json!({"items": {"type": "float"}}), "t.schema.json: /items/type: "),
        (json!({"items": {"pattern": "("}}), "t.schema.json: /items/pattern: "),
        (json!({"items": {"pattern": "(?=a)"}}), "t.schema.json: /items/pattern: "),
        (json!({"$schema": "urn:other"}), "t.schema.json: /$schema: urn:other is "),
        (json!([]), "t.schema.json: a schema is an object, `true` or `false`"),
    ];
    for (schema, wanted) in cases {
        let errors = Catalogue::new(vec![document("t", &schema)]).map(drop).unwrap_err();
        assert!(errors.len() == 1 && errors[0].to_string().starts_with(wanted), "{schema}: {errors:?}");
    }
    let broken = Document { text: "{".into(), ..document("t", &json!({})) };
    let twice = [document("a", &json!({"$id": "urn:a"})), document("b", &json!({"$id": "urn:a"}))];
    let errors = Catalogue::new([broken].into_iter().chain(twice).collect()).map(drop).unwrap_err();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with("t.schema.json: this is not JSON: "), "{said:?}");
    assert_eq!(said[1], "b.schema.json: /$id: urn:a is the $id of a.schema.json already; give each schema its own");
}

#[test]
fn schemas_refer_to_each_other_by_id_and_by_file() {
    let money = document("money", &json!({"type": "integer"}));
    let named = document("named", &json!({"$id": "https://example.com/s/named.json", "type": "string"}));
    let of = |reference: &str| document("t", &json!({"items": {"$ref": reference}}));
    for (reference, good) in [("money.schema.json", "[1]"), ("https://example.com/s/named.json", "[\"x\"]")] {
        let catalogue = Catalogue::new(vec![money.clone(), named.clone(), of(reference)]).unwrap();
        assert_eq!(said(&catalogue, &event(good)), [""; 0], "{reference}");
        assert_eq!(said(&catalogue, &event("[null]")).len(), 1, "{reference}");
    }
    // The later one for a type holds, and its name is free again.
    let (first, second) = (json!({"$id": "urn:t", "type": "string"}), json!({"$id": "urn:t", "type": "null"}));
    let catalogue = Catalogue::new(vec![document("t", &first), document("t", &second)]).unwrap();
    assert_eq!(said(&catalogue, &event("null")), [""; 0]);
}
