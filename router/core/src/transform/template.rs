//! Templates: EventBridge's, one text with `<variables>`, and ours, a JSON value whose strings hold `<$.paths>`.

use std::collections::BTreeMap;

use schemas::{Event, doc::Doc};
use serde_json::Value;

use super::{
    Context, Failure, Made, Read, error, failure,
    path::{Path, Views, quoted},
    too_large,
};
use crate::codes;

/// Paths of one template, as EventBridge limits them.
pub const PATHS_MAX: usize = 100;
/// Bytes of one template, as EventBridge limits them.
pub const TEMPLATE_BYTES_MAX: usize = 8 << 10;

/// A text with variables.
#[derive(Debug)]
pub struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Variable { what: Variable, in_string: bool },
}

#[derive(Debug)]
enum Variable {
    Path(Path),
    RuleArn,
    RuleName,
    IngestionTime,
    /// Without `detail`.
    Envelope,
    Whole,
}

impl Template {
    /// Reads `{ paths, template }`.
    pub fn parse(place: &str, value: &Value) -> Read<Self> {
        let Value::Object(parts) = value else {
            return error(place, "`input` is a mapping of `paths` and `template`");
        };
        if let Some(unknown) = parts.keys().find(|key| !["paths", "template"].contains(&key.as_str())) {
            let message = format!("there is no `{unknown}`; there are `paths` and `template`");
            return error(&format!("{place}.{unknown}"), message);
        }
        let named = match parts.get("paths") {
            None => BTreeMap::new(),
            Some(Value::Object(paths)) => named(&format!("{place}.paths"), paths)?,
            Some(_) => return error(&format!("{place}.paths"), "`paths` is a mapping of names to paths"),
        };
        let place = format!("{place}.template");
        let Some(Value::String(text)) = parts.get("template") else {
            return error(&place, "a template is a string that holds JSON, e.g. '{ \"total\": <total> }'");
        };
        if text.len() > TEMPLATE_BYTES_MAX {
            return error(&place, format!("a template is at most {TEMPLATE_BYTES_MAX} bytes long"));
        }
        let template = Template(read(&place, text, &named)?);
        // Whatever the variables hold, what stands around them has to be JSON.
        let sample: String = template.0.iter().map(Part::sample).collect();
        match serde_json::from_str::<serde::de::IgnoredAny>(&sample) {
            Ok(_) => Ok(template),
            Err(e) => {
                error(&place, format!("with its variables filled in it is no JSON: {e}; put text into double quotes"))
            }
        }
    }

    /// The text with the variables' values, which is JSON.
    pub fn fill(&self, event: &Event, context: &Context<'_>) -> Made<String> {
        let views = Views::new(event);
        let document = views.eventbridge()?;
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable { what, in_string } => {
                    out.push_str(&what.value(&views, &document, context, *in_string));
                }
            }
            if out.len() > context.event_bytes_max {
                return too_large(context);
            }
        }
        match schemas::doc::validate(out.as_bytes()) {
            Ok(()) => Ok(out),
            Err(e) => failure(
                codes::TRANSFORM_INVALID,
                format!(
                    "what the template makes is no JSON: {e}; a variable inside of quotes is put in without escapes"
                ),
            ),
        }
    }
}

fn named(place: &str, paths: &serde_json::Map<String, Value>) -> Read<BTreeMap<String, String>> {
    if paths.len() > PATHS_MAX {
        return error(place, format!("{} paths, at most {PATHS_MAX} are taken", paths.len()));
    }
    let mut named = BTreeMap::new();
    for (name, path) in paths {
        let place = format!("{place}.{name}");
        if name.is_empty() || name.starts_with("aws.") || !name.chars().all(is_of_name) {
            return error(
                &place,
                "a variable's name is letters, digits, `.`, `-` and `_`, and does not begin with `aws.`",
            );
        }
        let Value::String(path) = path else { return error(&place, "a path is a string, e.g. `$.detail.total`") };
        Path::parse(&place, path)?;
        named.insert(name.clone(), path.clone());
    }
    Ok(named)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c)
}

fn read(place: &str, text: &str, named: &BTreeMap<String, String>) -> Read<Vec<Part>> {
    let mut parts = Vec::new();
    let (mut plain, mut in_string, mut escaped) = (String::new(), false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let name = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(name, _)| name);
        if let Some(name) = name.filter(|name| !name.is_empty() && name.chars().all(is_of_name)) {
            parts.push(Part::Text(std::mem::take(&mut plain).into()));
            parts.push(Part::Variable { what: variable(place, name, in_string, named)?, in_string });
            rest = rest.get(name.len() + 2..).unwrap_or_default();
            continue;
        }
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        plain.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    parts.push(Part::Text(plain.into()));
    Ok(parts)
}

fn variable(place: &str, name: &str, in_string: bool, named: &BTreeMap<String, String>) -> Read<Variable> {
    let what = match name {
        "aws.events.rule-arn" => Variable::RuleArn,
        "aws.events.rule-name" => Variable::RuleName,
        "aws.events.event.ingestion-time" => Variable::IngestionTime,
        "aws.events.event" => Variable::Envelope,
        "aws.events.event.json" => Variable::Whole,
        name => match named.get(name) {
            Some(path) => Variable::Path(Path::parse(place, path)?),
            None => {
                let names: Vec<&str> = named.keys().map(String::as_str).collect();
                let message = format!("Invalid placeholder: `<{name}>` is not among the paths ({})", names.join(", "));
                return error(place, message);
            }
        },
    };
    if in_string && matches!(what, Variable::Envelope | Variable::Whole) {
        return error(place, format!("`<{name}>` is a JSON object: it cannot stand inside of a string"));
    }
    Ok(what)
}

impl Part {
    fn sample(&self) -> &str {
        match self {
            Part::Text(text) => text,
            Part::Variable { in_string: true, .. } => "",
            Part::Variable { in_string: false, .. } => "0",
        }
    }
}

impl Variable {
    fn value(&self, views: &Views<'_>, document: &Doc<'_>, context: &Context<'_>, in_string: bool) -> String {
        let text = |text: String| if in_string { text } else { quoted(&text) };
        match self {
            Variable::Path(path) => match path.find(document) {
                Some(found) if in_string => found.plain(),
                Some(found) => found.json(),
                None => text(String::new()),
            },
            Variable::RuleArn => text(format!("arn:gocoffee:events:::rule/{}", context.route)),
            Variable::RuleName => text(context.route.into()),
            Variable::IngestionTime => text(context.appended.rfc3339()),
            Variable::Envelope => format!("{{{}}}", views.envelope().join(",")),
            Variable::Whole => document.root().raw().into(),
        }
    }
}

/// A string with paths in it.
#[derive(Debug)]
pub struct Words(Vec<Word>);

#[derive(Debug)]
enum Word {
    Text(Box<str>),
    Path(Path),
}

impl Words {
    /// Reads a string in which `<$.path>` stands for what is there.
    pub fn parse(place: &str, text: &str) -> Read<Self> {
        let mut words = Vec::new();
        let mut rest = text;
        while let Some((plain, behind)) = rest.split_once("<$") {
            let Some((path, behind)) = behind.split_once('>') else {
                return error(place, format!("`<${behind}` is a path without its `>`"));
            };
            if !plain.is_empty() {
                words.push(Word::Text(plain.into()));
            }
            words.push(Word::Path(Path::parse(place, &format!("${path}"))?));
            rest = behind;
        }
        if !rest.is_empty() {
            words.push(Word::Text(rest.into()));
        }
        Ok(Words(words))
    }

    /// Strings as they are, other values as JSON.
    pub fn text(&self, document: &Doc<'_>, context: &Context<'_>) -> Made<String> {
        let mut out = String::new();
        for word in &self.0 {
            match word {
                Word::Text(text) => out.push_str(text),
                Word::Path(path) => out.push_str(&path.find(document).ok_or_else(|| missing(path))?.plain()),
            }
            if out.len() > context.event_bytes_max {
                return too_large(context);
            }
        }
        Ok(out)
    }
}

fn missing(path: &Path) -> Failure {
    Failure { code: codes::TRANSFORM_MISSING, message: format!("the event has nothing at `{}`", path.text()) }
}

/// A JSON value to be made: a string that is one path is what stands there, whatever its type.
#[derive(Debug)]
pub enum Data {
    Fixed(Box<str>),
    Path(Path),
    Words(Words),
    List(Vec<Data>),
    Object(Vec<(Box<str>, Data)>),
}

impl Data {
    /// Reads it; as deep as the configuration's reader lets it be.
    pub fn parse(place: &str, value: &Value) -> Read<Self> {
        Ok(match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Data::Fixed(value.to_string().into()),
            Value::String(text) => {
                let Words(mut words) = Words::parse(place, text)?;
                match (words.pop(), words.is_empty()) {
                    (Some(Word::Path(path)), true) => Data::Path(path),
                    (last, _) => {
                        words.extend(last);
                        Data::Words(Words(words))
                    }
                }
            }
            Value::Array(list) => {
                let each = list.iter().enumerate().map(|(i, value)| Data::parse(&format!("{place}[{i}]"), value));
                Data::List(each.collect::<Read<_>>()?)
            }
            Value::Object(members) => {
                let each = members
                    .iter()
                    .map(|(name, value)| Ok((name.as_str().into(), Data::parse(&format!("{place}.{name}"), value)?)));
                Data::Object(each.collect::<Read<_>>()?)
            }
        })
    }

    /// Its JSON.
    pub fn fill(&self, document: &Doc<'_>, context: &Context<'_>) -> Made<String> {
        let mut out = String::new();
        self.write(document, context, &mut out)?;
        Ok(out)
    }

    fn write(&self, document: &Doc<'_>, context: &Context<'_>, out: &mut String) -> Made<()> {
        match self {
            Data::Fixed(json) => out.push_str(json),
            Data::Path(path) => out.push_str(&path.find(document).ok_or_else(|| missing(path))?.json()),
            Data::Words(words) => out.push_str(&quoted(&words.text(document, context)?)),
            Data::List(list) => {
                for (i, value) in list.iter().enumerate() {
                    out.push(if i == 0 { '[' } else { ',' });
                    value.write(document, context, out)?;
                }
                out.push_str(if list.is_empty() { "[]" } else { "]" });
            }
            Data::Object(members) => {
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push(if i == 0 { '{' } else { ',' });
                    out.push_str(&quoted(name));
                    out.push(':');
                    value.write(document, context, out)?;
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
        if out.len() > context.event_bytes_max { too_large(context) } else { Ok(()) }
    }
}
