//! Paths: `$`, `.name`, `['any name']`, `[0]`, and `[*]` for every element or member.

use std::cell::OnceCell;

use schemas::{
    Event, Form, Value,
    doc::{Doc, Item, Kind},
};

use super::{Made, Read, error, parsed};

/// Steps of a path.
const STEPS_MAX: usize = 100;

/// A path into a JSON document.
#[derive(Debug)]
pub struct Path {
    steps: Vec<Step>,
    written: Box<str>,
}

#[derive(Debug)]
enum Step {
    Name(Box<str>),
    Index(usize),
    Each,
}

/// What a path leads to, as JSON text.
pub enum Found<'d> {
    One(Item<'d>),
    /// Through `[*]`: all of them.
    Many(Vec<Item<'d>>),
}

impl Found<'_> {
    pub fn json(&self) -> String {
        match self {
            Found::One(item) => item.raw().to_owned(),
            Found::Many(items) => format!("[{}]", items.iter().map(Item::raw).collect::<Vec<_>>().join(",")),
        }
    }

    /// A string's content; anything else as JSON.
    pub fn plain(&self) -> String {
        match self {
            Found::One(item) if item.kind() == Kind::String => item.as_str().unwrap_or_default().into_owned(),
            other => other.json(),
        }
    }
}

impl Path {
    /// `place` is what errors call it.
    pub fn parse(place: &str, text: &str) -> Read<Self> {
        let fail = |why: &str| error(place, format!("`{text}` is no path: {why}, e.g. `$.detail.lines[0].item`"));
        let Some(mut rest) = text.strip_prefix('$') else { return fail("it begins with `$`") };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() == STEPS_MAX {
                return fail("it has more than 100 steps");
            }
            if let Some(name) = rest.strip_prefix('.') {
                let end = name.find(['.', '[']).unwrap_or(name.len());
                let (name, behind) = name.split_at(end);
                if name.is_empty() {
                    return fail("a name follows a dot");
                }
                if name.contains(['*', '?', '(', '\'', '"', ' ']) {
                    return fail("a name with such characters is written ['…'], and every element is [*]");
                }
                steps.push(Step::Name(name.into()));
                rest = behind;
                continue;
            }
            let quoted = ["['", "[\""].into_iter().zip(["']", "\"]"]);
            let found = quoted.filter_map(|(open, close)| rest.strip_prefix(open)?.split_once(close)).next();
            if let Some((name, behind)) = found {
                steps.push(Step::Name(name.into()));
                rest = behind;
                continue;
            }
            let Some((inside, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
                return fail("a step is .name, ['name'], [0] or [*]");
            };
            steps.push(match (inside, inside.parse()) {
                ("*", _) => Step::Each,
                (_, Ok(index)) => Step::Index(index),
                _ => return fail("in brackets stands a number, a name in quotes, or *"),
            });
            rest = behind;
        }
        Ok(Path { steps, written: text.into() })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.written
    }

    /// What it leads to. Through `[*]` it may lead to an empty list, but never nowhere.
    pub fn find<'d>(&self, document: &'d Doc<'_>) -> Option<Found<'d>> {
        let mut items = vec![document.root()];
        let mut many = false;
        for step in &self.steps {
            let next = |item: Item<'d>| -> Vec<Item<'d>> {
                match step {
                    Step::Name(name) => item.get(name).into_iter().collect(),
                    Step::Index(index) => item.elements().nth(*index).into_iter().collect(),
                    Step::Each if item.kind() == Kind::Object => item.members().map(|(_, value)| value).collect(),
                    Step::Each => item.elements().collect(),
                }
            };
            items = items.into_iter().flat_map(next).collect();
            many |= matches!(step, Step::Each);
        }
        if many { Some(Found::Many(items)) } else { items.first().copied().map(Found::One) }
    }
}

/// The event as one JSON document, in either view, written when it is asked for.
pub struct Views<'e> {
    event: &'e Event,
    text: OnceCell<String>,
}

impl<'e> Views<'e> {
    pub fn new(event: &'e Event) -> Self {
        Views { event, text: OnceCell::new() }
    }

    /// Attributes by their names, and `data`.
    pub fn cloudevents(&self) -> Made<Doc<'_>> {
        parsed(self.text.get_or_init(|| {
            let mut members = vec![r#""specversion":"1.0""#.to_owned()];
            members.extend(self.event.attrs().map(|(name, value)| format!("{}:{}", quoted(name), json(&value))));
            members.extend(self.data().map(|data| format!("\"data\":{data}")));
            format!("{{{}}}", members.join(","))
        }))
    }

    /// As Amazon EventBridge has it.
    pub fn eventbridge(&self) -> Made<Doc<'_>> {
        parsed(self.text.get_or_init(|| {
            let mut members = self.envelope();
            members.extend(self.data().map(|data| format!("\"detail\":{data}")));
            format!("{{{}}}", members.join(","))
        }))
    }

    /// The members of the EventBridge view but `detail`.
    pub fn envelope(&self) -> Vec<String> {
        let mut members = vec![r#""version":"0""#.to_owned()];
        let names =
            [("id", "id"), ("detail-type", "type"), ("source", "source"), ("account", "account"), ("time", "time")];
        for (name, attribute) in names.into_iter().chain([("region", "region")]) {
            members.extend(self.event.get(attribute).map(|value| format!("\"{name}\":{}", json(&value))));
        }
        let resources = match self.event.get("resources") {
            Some(Value::String(s)) if Doc::parse(s.as_bytes()).is_ok_and(|d| d.root().kind() == Kind::Array) => {
                s.into()
            }
            Some(Value::Json(text)) => text.to_owned(),
            Some(other) => format!("[{}]", json(&other)),
            None => "[]".into(),
        };
        members.push(format!("\"resources\":{resources}"));
        members
    }

    fn data(&self) -> Option<String> {
        let text = || std::str::from_utf8(self.event.data()).ok();
        match self.event.form() {
            Form::Json => text().map(str::to_owned),
            Form::Text => text().map(quoted),
            Form::Binary | Form::None => None,
        }
    }
}

/// A string as JSON writes it.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn json(value: &Value<'_>) -> String {
    match value {
        Value::String(s) => quoted(s),
        other => other.to_string(),
    }
}
