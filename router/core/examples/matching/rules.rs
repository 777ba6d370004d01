//! The rules that are measured: five of each class, as event-ruler's own benchmark has them, and any number of
//! mixed ones.

use serde_json::{Value, json};

use crate::corpus::{Draw, STREETS, TYPES, corner, plot};

/// Rules of one class, over the data.
pub struct Class {
    /// Its name.
    pub name: &'static str,
    /// Patterns over the data.
    pub rules: Vec<Value>,
    /// What is to be reached: times event-ruler's figure, which follows, and part of quamina's in the same run.
    pub at_least: Option<(f64, f64, f64)>,
}

/// All classes.
pub fn classes() -> Vec<Class> {
    let each = |field: &str, tests: [Value; 5]| -> Vec<Value> {
        tests.into_iter().map(|test| json!({"properties": {field: [test]}})).collect()
    };
    let plots = [10, 5_002, 40_000, 77_778, 123_456].map(|n| json!(plot(n)));
    let streets = |kind: &str, texts: [&str; 5]| each("STREET", texts.map(|text| json!({kind: text})));
    let corners = [10, 5_002, 40_000, 77_778, 123_456].map(corner);
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let first = |(x, _): &(String, String)| {
        let x = json!([{"numeric": ["=", number(x)]}]);
        json!({"geometry": {"type": ["Polygon"], "firstCoordinates": {"x": x}}})
    };
    let same = |(x, y): &(String, String)| {
        let equal = |text: &str| json!([{"numeric": ["=", number(text)]}]);
        json!({"geometry": {"type": ["Polygon"], "coordinates": {"x": equal(x), "y": equal(y), "z": equal("0")}}})
    };
    let anything_but = vec![
        json!({"properties": {"STREET": [{"anything-but": ["FULTON"]}]}}),
        json!({"properties": {"STREET": [{"anything-but": ["MASON"]}]}}),
        json!({"properties": {"ST_TYPE": [{"anything-but": ["AV"]}]}}),
        json!({"geometry": {"type": [{"anything-but": ["Polygon"]}]}}),
        json!({"properties": {"FROM_ST": [{"anything-but": ["441"]}]}}),
    ];
    let wildcards = ["143*", "2*0*1*7", "*218", "3*5*2", "*77*8"].map(|text| json!({"wildcard": text}));
    let class = |name, rules, at_least| Class { name, rules, at_least };
    vec![
        class("exact", each("MAPBLKLOT", plots), Some((5.0, 367_000.0, 0.9))),
        class("prefix", streets("prefix", ["AC", "BL", "DR", "FU", "RH"]), Some((4.0, 370_000.0, 0.9))),
        class(
            "equals-ignore-case",
            streets("equals-ignore-case", ["jefferson", "bEaCh", "HyDe", "CHESTNUT", "ToRrEs"]),
            Some((3.5, 315_000.0, 0.9)),
        ),
        class("suffix", streets("suffix", ["ON", "KE", "MM", "ING", "GO"]), Some((2.0, 354_000.0, 1.0))),
        class("wildcard", each("MAPBLKLOT", wildcards), Some((4.0, 272_000.0, 2.7))),
        class("numeric", corners.iter().map(first).collect(), Some((3.0, 192_000.0, 1.1))),
        class("anything-but", anything_but, Some((2.0, 204_000.0, 1.0))),
        class("complex arrays", corners.iter().map(same).collect(), Some((3.0, 43_600.0, 1.1))),
        class(
            "suffix, ignoring case",
            each("STREET", ["on", "ke", "mm", "ing", "go"].map(|s| json!({"suffix": {"equals-ignore-case": s}}))),
            None,
        ),
    ]
}

/// Mixed rules as a router has them: a type, and one more condition that few events meet. Over the event.
pub fn mixed(count: usize, seed: u64) -> Vec<Value> {
    let mut draw = Draw(seed);
    (0..count).map(|number| one(number, &mut draw)).collect()
}

fn one(number: usize, draw: &mut Draw) -> Value {
    let shop = draw.below(1_000_000);
    let low = draw.below(1_000_000_000);
    let kind = json!([draw.of(&TYPES)]);
    let street = STREETS.map(str::to_lowercase);
    let data = match number % 8 {
        0 => json!({"order": [format!("order-{}", draw.below(10_000_000))]}),
        1 => json!({"order": [{"prefix": format!("order-{}", 100_000 + draw.below(10_000_000))}]}),
        2 => json!({"order": [{"suffix": format!("-{}", draw.below(10_000_000))}]}),
        3 => json!({"order": [{"equals-ignore-case": format!("ORDER-{}", draw.below(10_000_000))}]}),
        4 => json!({"order": [{"wildcard": format!("order-{}*7", 100_000 + draw.below(10_000_000))}]}),
        5 => json!({"total": [{"numeric": [">=", low, "<", low + 10]}], "currency": [{"anything-but": ["EUR"]}]}),
        6 => json!({"shop": [shop], "lines": {"item": ["Latte"], "quantity": [{"numeric": [">", 1]}]}}),
        _ => {
            let number = draw.below(10_000_000);
            let fields = json!({"MAPBLKLOT": [plot(number)], "STREET": [{"equals-ignore-case": draw.of(&street)}]});
            return json!({"type": ["city.plot.changed"], "data": {"properties": fields}});
        }
    };
    json!({"type": kind, "data": data})
}

/// CESQL as a router has it. Of the last `unfound`, no condition but that on the type can be looked up.
pub fn expressions(count: usize, unfound: usize, seed: u64) -> Vec<String> {
    let mut draw = Draw(seed);
    let one = |number: usize| {
        let (kind, order) = (draw.of(&TYPES), draw.below(1_000_000));
        if number + unfound >= count {
            return format!("type = '{kind}' AND (subject LIKE '%-{order}' OR LENGTH(subject) > 100)");
        }
        match number % 5 {
            0 => format!("type = '{kind}' AND subject = 'orders/order-{order}'"),
            1 => format!("source = '/shops/{}' AND type LIKE 'coffee.order.%'", draw.below(10_000)),
            2 => format!("subject LIKE 'orders/order-{order}%' AND NOT EXISTS replay"),
            3 => format!("partitionkey IN ('orders/order-{order}', 'orders/order-{}')", order + 1),
            _ => format!(
                "type = '{kind}' AND (subject LIKE '%-{order}' OR subject = 'order-{order}') AND LENGTH(subject) > 8"
            ),
        }
    };
    (0..count).map(one).collect()
}
