//! What a target gets in place of the event: part of step 6. Pure: no file, no network, no environment.
//!
//! | key | what becomes of the event |
//! |---|---|
//! | `input_path` | its data is what stands at a path of its EventBridge view, e.g. `$.detail` |
//! | `input` | its data is a template with values from such paths, as EventBridge's input transformer has it |
//! | `set` | some attributes and the data are set, from its CloudEvents JSON |
//!
//! Identity (`id` and `source`) stays: it is by this that targets know an event again. What a transform makes is
//! as large as an event may be, at most. One that fails does so for good: the same event fails again.
//!
//! Facts about EventBridge: Amazon EventBridge User Guide, "Amazon EventBridge input transformation". A variable
//! in the place of a JSON value is written as JSON; inside of a string it is put in as it is, without escapes. A
//! path that leads nowhere is the empty string.

/// Paths into an event.
mod path;

/// Templates.
mod template;

use schemas::{Code, Event, Form, Value as Attr, doc::Doc, media};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{
    path::{Path, Views},
    template::{Data, Template, Words},
};
use crate::{clock::Timestamp, codes};

/// A transform as it is written in the configuration: one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// A path of the EventBridge view.
    InputPath(Value),
    /// `{ paths, template }`.
    Input(Value),
    /// `{ attributes, data }`.
    Set(Value),
}

/// A transform that means nothing: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Error {
    /// From the transform's root, e.g. `input.paths.total`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// An event of which nothing could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The reason of the dead letter.
    pub code: Code,
    /// What was wrong, and where.
    pub message: String,
}

/// What a transform may know beside the event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The route's name.
    pub route: &'c str,
    /// When the event was taken in.
    pub appended: Timestamp,
    /// Bytes of the event that is made, at most.
    pub event_bytes_max: usize,
}

/// A transform, ready to apply.
#[derive(Debug)]
pub struct Transform(How);

#[derive(Debug)]
enum How {
    InputPath(Path),
    Input(Template),
    Set { attributes: Vec<(Box<str>, Attribute)>, data: Option<Data> },
}

#[derive(Debug)]
enum Attribute {
    Remove,
    Fixed(Value),
    Words(Words),
}

type Read<T> = Result<T, Error>;
type Made<T> = Result<T, Failure>;

fn error<T>(path: &str, message: impl Into<String>) -> Read<T> {
    Err(Error { path: path.into(), message: message.into() })
}

fn failure<T>(code: Code, message: impl Into<String>) -> Made<T> {
    Err(Failure { code, message: message.into() })
}

impl Transform {
    /// Reads a transform.
    ///
    /// # Errors
    /// The first place that means nothing.
    pub fn parse(spec: &Spec) -> Read<Self> {
        Ok(Transform(match spec {
            Spec::InputPath(Value::String(text)) => How::InputPath(Path::parse("input_path", text)?),
            Spec::InputPath(_) => return error("input_path", "a path is a string, e.g. `$.detail`"),
            Spec::Input(value) => How::Input(Template::parse("input", value)?),
            Spec::Set(value) => read_set(value)?,
        }))
    }

    /// What the target gets.
    ///
    /// # Errors
    /// Nothing can be made of the event; the same holds at the next try.
    pub fn apply(&self, event: &Event, context: &Context<'_>) -> Made<Event> {
        let made = match &self.0 {
            How::InputPath(path) => {
                let views = Views::new(event);
                let document = views.eventbridge()?;
                match path.find(&document) {
                    Some(found) => with_data(event, &[], found.json(), context)?,
                    None => {
                        let message = format!("the event has nothing at `{}`", path.text());
                        return failure(codes::TRANSFORM_NOTHING, message);
                    }
                }
            }
            How::Input(template) => with_data(event, &[], template.fill(event, context)?, context)?,
            How::Set { attributes, data } => set(event, attributes, data.as_ref(), context)?,
        };
        match made.body().len() {
            bytes if bytes > context.event_bytes_max => too_large(context),
            _ => Ok(made),
        }
    }
}

fn too_large<T>(context: &Context<'_>) -> Made<T> {
    let message =
        format!("what the transform makes is larger than `event_bytes_max`, {} bytes", context.event_bytes_max);
    failure(codes::TRANSFORM_TOO_LARGE, message)
}

fn read_set(value: &Value) -> Read<How> {
    let Value::Object(parts) = value else {
        return error("set", "`set` is a mapping of `attributes` and `data`");
    };
    if let Some(unknown) = parts.keys().find(|key| !["attributes", "data"].contains(&key.as_str())) {
        return error(&format!("set.{unknown}"), format!("there is no `{unknown}`; there are `attributes` and `data`"));
    }
    let mut attributes = Vec::new();
    match parts.get("attributes") {
        None => {}
        Some(Value::Object(entries)) => {
            for (name, value) in entries {
                attributes.push((name.as_str().into(), read_attribute(name, value)?));
            }
        }
        Some(_) => return error("set.attributes", "`attributes` is a mapping of names to values"),
    }
    let data = parts.get("data").map(|value| Data::parse("set.data", value)).transpose()?;
    if attributes.is_empty() && data.is_none() {
        return error("set", "nothing is set; leave the transform out, or write `attributes` or `data`");
    }
    Ok(How::Set { attributes, data })
}

fn read_attribute(name: &str, value: &Value) -> Read<Attribute> {
    let path = format!("set.attributes.{name}");
    if ["id", "source", "specversion"].contains(&name) {
        return error(&path, format!("`{name}` belongs to the event's identity, which a transform keeps"));
    }
    if name.starts_with("gocoffee") || name == "data" {
        return error(&path, "the router writes this itself");
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return error(&path, "an attribute's name is lower-case letters and digits");
    }
    match value {
        Value::Null if name == "type" => error(&path, "every event has a type"),
        Value::Null => Ok(Attribute::Remove),
        Value::Bool(_) => Ok(Attribute::Fixed(value.clone())),
        Value::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(Attribute::Fixed(value.clone())),
        Value::String(text) => Words::parse(&path, text).map(Attribute::Words),
        _ => error(&path, "an attribute is a string, a boolean, a whole number of 32 bits, or null to leave it out"),
    }
}

/// An attribute's new value.
enum Written {
    Text(String),
    Boolean(bool),
    Integer(i32),
}

fn set(event: &Event, attributes: &[(Box<str>, Attribute)], data: Option<&Data>, context: &Context<'_>) -> Made<Event> {
    let views = Views::new(event);
    let document = views.cloudevents()?;
    let mut written = Vec::new();
    for (name, value) in attributes {
        let value = match value {
            Attribute::Remove => None,
            Attribute::Fixed(Value::Bool(b)) => Some(Written::Boolean(*b)),
            Attribute::Fixed(n) => n.as_i64().and_then(|n| i32::try_from(n).ok()).map(Written::Integer),
            Attribute::Words(words) => Some(Written::Text(words.text(&document, context)?)),
        };
        written.push((&**name, value));
    }
    match data {
        Some(data) => with_data(event, &written, data.fill(&document, context)?, context),
        None => build(event, &written, None),
    }
}

fn with_data(event: &Event, written: &[(&str, Option<Written>)], json: String, context: &Context<'_>) -> Made<Event> {
    if json.len() > context.event_bytes_max {
        return too_large(context);
    }
    build(event, written, Some(json))
}

/// The event with what was written, in place of what it had.
fn build(event: &Event, written: &[(&str, Option<Written>)], json: Option<String>) -> Made<Event> {
    let new = |name: &str| written.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_ref());
    let kind = match new("type") {
        Some(Some(Written::Text(kind))) => kind.as_str(),
        _ => event.kind(),
    };
    let mut builder = Event::builder(event.id(), event.source(), kind);
    let kept = event.attrs().filter(|(name, _)| !["id", "source", "type"].contains(name));
    for (name, value) in kept.filter(|(name, _)| new(name).is_none()) {
        // What is JSON now must not be called something else.
        let stale = json.is_some() && name == "datacontenttype" && !is_json(&value);
        builder = builder.attr(name, if stale { Attr::String("application/json") } else { value });
    }
    for (name, value) in written.iter().filter(|(name, _)| *name != "type") {
        builder = match value {
            None => builder,
            Some(Written::Text(text)) => builder.attr(name, text.as_str()),
            Some(Written::Boolean(b)) => builder.attr(name, *b),
            Some(Written::Integer(i)) => builder.attr(name, *i),
        };
    }
    builder = match json {
        Some(json) => builder.data(Form::Json, json),
        None => builder.data(event.form(), event.data_bytes()),
    };
    let invalid = |e: schemas::Invalid| Failure {
        code: codes::TRANSFORM_INVALID,
        message: format!("what the transform makes is no event: {e}"),
    };
    builder.build().map_err(invalid)
}

fn is_json(media_type: &Attr<'_>) -> bool {
    matches!(media_type, Attr::String(s) if media::is_json(s))
}

/// A document that is known to be one.
fn parsed(text: &str) -> Made<Doc<'_>> {
    Doc::parse(text.as_bytes()).map_err(|e| Failure {
        code: codes::TRANSFORM_INVALID,
        message: format!("the event is too deep or too wide for a transform: {e}"),
    })
}

#[cfg(test)]
mod tests;
