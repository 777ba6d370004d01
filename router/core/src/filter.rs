//! Step 4, match: which routes want an event.
//!
//! [`Filter`] is the plain specification; [`Matcher`] judges all routes at once and answers the same.
//!
//! | key | language |
//! |---|---|
//! | `pattern` | event pattern of Amazon EventBridge over the CloudEvents JSON of the event: attributes by name, `data` below them |
//! | `eventbridge` | the same over the EventBridge view of the event, so that a rule is pasted unchanged |
//! | `sql` | CESQL 1.0 ([`sql`]) |
//! | `exact`, `prefix`, `suffix` | attributes, as the CloudEvents Subscriptions API has them |
//! | `all`, `any`, `not` | filters of every language |
//!
//! The EventBridge view: `source`, `id`, `time` are the attributes of these names, `detail-type` is `type`,
//! `detail` the data, `version` always "0"; `account`, `region` and `resources` are extensions of these
//! names, `replay-name` is the extension `replayname`.
//!
//! Attributes that came over HTTP in binary mode are strings, whatever they look like. Data that is text is
//! a string; data that is bytes is not seen.

/// Numbers by value.
mod decimal;

/// Scalars and places.
mod value;

/// The event as filters see it.
mod view;

/// Event patterns.
mod pattern;

/// CESQL.
pub mod sql;

/// The dialects of the Subscriptions API.
mod dialect;

/// Necessary conditions.
mod need;

/// All filters at once.
mod index;

/// Why not.
mod explain;

use std::sync::Arc;

use schemas::{Event, Invalid, doc::Node};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::explain::Explanation;
use self::{
    dialect::{Attributes, How},
    index::{Index, Memory},
    need::Need,
    pattern::Pattern,
    sql::Expression,
    view::{Names, View},
};
use crate::id::RouteId;

/// A filter as it is written in the configuration: one key, the language. Its JSON is what the ledger keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// An event pattern over the CloudEvents JSON of the event.
    Pattern(Value),
    /// An event pattern over the EventBridge view of the event.
    Eventbridge(Value),
    /// An expression, or `{ expression, strict }`.
    Sql(Value),
    /// Attributes that are equal.
    Exact(Value),
    /// Attributes that begin so.
    Prefix(Value),
    /// Attributes that end so.
    Suffix(Value),
    /// Filters that all match.
    All(Value),
    /// Filters of which one matches.
    Any(Value),
    /// A filter that does not match.
    Not(Value),
}

/// A filter that means nothing: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Error {
    /// From the filter's root, e.g. `pattern.data.total[0].numeric`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// About how many comparisons a filter may cost for each event.
pub const COST_MAX: usize = 20_000;

/// A filter, ready to judge events: the plain specification.
#[derive(Clone, Debug)]
pub struct Filter(Is);

#[derive(Clone, Debug)]
enum Is {
    All,
    None,
    Pattern(Arc<Pattern>),
    Sql(Arc<Expression>),
    Attributes(Arc<Attributes>),
    Every(Arc<[Filter]>),
    Any(Arc<[Filter]>),
    Not(Arc<Filter>),
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// Names at the top are those of a document, not of attributes.
    any_name: bool,
    /// Filters around this one.
    levels: usize,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// The first place that means nothing, or what the filter would cost when that is more than [`COST_MAX`].
    pub fn parse(spec: Spec) -> Result<Self, Error> {
        Filter::read("", spec, Options::default())?.affordable()
    }

    /// Reads a filter for JSON documents of any kind: their members stand for attributes, whatever they are called.
    ///
    /// # Errors
    /// As [`Filter::parse`].
    pub fn parse_for_documents(spec: Spec) -> Result<Self, Error> {
        Filter::read("", spec, Options { any_name: true, levels: 0 })?.affordable()
    }

    /// `path` is where the filter stands, with a dot at its end unless it is the root.
    fn read(path: &str, spec: Spec, options: Options) -> Result<Self, Error> {
        let at = |key: &str| format!("{path}{key}");
        let pattern = |key: &str, value: &Value, names| {
            Ok(Filter(Is::Pattern(Arc::new(Pattern::parse(&at(key), value, names, options.any_name)?))))
        };
        let attributes = |how: How, value: &Value| {
            let attributes = Attributes::parse(&at(how.name()), how, value, options.any_name)?;
            Ok(Filter(Is::Attributes(Arc::new(attributes))))
        };
        match spec {
            Spec::Pattern(value) => pattern("pattern", &value, Names::CloudEvents),
            Spec::Eventbridge(value) => pattern("eventbridge", &value, Names::EventBridge),
            Spec::Sql(value) => read_sql(&at("sql"), &value),
            Spec::Exact(value) => attributes(How::Exact, &value),
            Spec::Prefix(value) => attributes(How::Prefix, &value),
            Spec::Suffix(value) => attributes(How::Suffix, &value),
            Spec::All(value) => Ok(Filter(Is::Every(dialect::children(&at("all"), &value, options)?.into()))),
            Spec::Any(value) => Ok(Filter(Is::Any(dialect::children(&at("any"), &value, options)?.into()))),
            Spec::Not(value) => Ok(Filter(Is::Not(Arc::new(dialect::child(&at("not"), &value, options)?)))),
        }
    }

    fn affordable(self) -> Result<Self, Error> {
        match self.cost() {
            cost if cost <= COST_MAX => Ok(self),
            cost => Err(Error {
                path: "filter".into(),
                message: format!(
                    "it costs up to {cost} comparisons for each event, at most {COST_MAX} are allowed; \
                     split it into several routes"
                ),
            }),
        }
    }

    /// About how many comparisons an event costs.
    pub fn cost(&self) -> usize {
        match &self.0 {
            Is::All | Is::None => 0,
            Is::Pattern(pattern) => pattern.cost(),
            Is::Sql(expression) => expression.cost(),
            Is::Attributes(attributes) => attributes.wanted.len(),
            Is::Every(children) | Is::Any(children) => children.iter().map(Filter::cost).sum(),
            Is::Not(child) => child.cost(),
        }
    }

    /// Wants every event.
    pub fn all() -> Self {
        Filter(Is::All)
    }

    /// Wants none.
    pub fn none() -> Self {
        Filter(Is::None)
    }

    /// Whether the event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        self.wants_plainly(&View::new(event, &mut Vec::new()))
    }

    /// Whether a JSON document is wanted.
    ///
    /// # Errors
    /// The text is no JSON object.
    pub fn matches_document(&self, json: &[u8]) -> Result<bool, Invalid> {
        is_object(json)?;
        Ok(self.wants_plainly(&View::document(json, &mut Vec::new())))
    }

    /// Why the event is not wanted.
    pub fn explain(&self, event: &Event) -> Explanation {
        explain::explain(self, "", &View::new(event, &mut Vec::new()))
    }

    /// Why a JSON document is not wanted.
    ///
    /// # Errors
    /// The text is no JSON object.
    pub fn explain_document(&self, json: &[u8]) -> Result<Explanation, Invalid> {
        is_object(json)?;
        Ok(explain::explain(self, "", &View::document(json, &mut Vec::new())))
    }

    fn wants_plainly(&self, view: &View<'_>) -> bool {
        self.wants(view, &Pattern::matches_plainly)
    }

    fn wants(&self, view: &View<'_>, pattern: &impl Fn(&Pattern, &View<'_>) -> bool) -> bool {
        match &self.0 {
            Is::All => true,
            Is::None => false,
            Is::Pattern(p) => pattern(p, view),
            Is::Sql(expression) => expression.matches(view),
            Is::Attributes(attributes) => attributes.matches(view),
            Is::Every(children) => children.iter().all(|child| child.wants(view, pattern)),
            Is::Any(children) => children.iter().any(|child| child.wants(view, pattern)),
            Is::Not(child) => !child.wants(view, pattern),
        }
    }

    /// What every event that matches must have.
    fn need(&self) -> Need {
        match &self.0 {
            Is::All | Is::Not(_) => Need::Any,
            Is::None => Need::Never,
            Is::Pattern(pattern) => pattern.need(),
            Is::Sql(expression) => expression.need(),
            Is::Attributes(attributes) => attributes.need(),
            Is::Every(children) => children.iter().map(Filter::need).fold(Need::Any, Need::and),
            Is::Any(children) => children.iter().map(Filter::need).reduce(Need::or).unwrap_or(Need::Never),
        }
    }
}

fn is_object(json: &[u8]) -> Result<(), Invalid> {
    let mut nodes = Vec::new();
    let root = schemas::doc::parse_into(json, &mut nodes)?;
    match root.kind() {
        schemas::doc::Kind::Object => Ok(()),
        _ => Err(Invalid::new(schemas::codes::NOT_AN_OBJECT, schemas::Place::Event, "a filter judges a JSON object")),
    }
}

/// Text, or `{ expression, strict }`.
fn read_sql(path: &str, value: &Value) -> Result<Filter, Error> {
    let fail = |path: &str, message: String| Err(Error { path: path.into(), message });
    let (path, text, strict) = match value {
        Value::String(text) => (path.to_owned(), text, false),
        Value::Object(fields) => {
            if let Some(unknown) = fields.keys().find(|k| !["expression", "strict"].contains(&k.as_str())) {
                let path = format!("{path}.{unknown}");
                return fail(&path, format!("there is no `{unknown}`; there are `expression` and `strict`"));
            }
            let strict = match fields.get("strict") {
                None => false,
                Some(Value::Bool(strict)) => *strict,
                Some(_) => return fail(&format!("{path}.strict"), "`strict` is true or false".into()),
            };
            let Some(Value::String(text)) = fields.get("expression") else {
                return fail(path, "`expression` is missing, or is no string".into());
            };
            (format!("{path}.expression"), text, strict)
        }
        _ => return fail(path, "an expression is a string, e.g. \"type LIKE 'coffee.%'\"".into()),
    };
    match Expression::parse(text, strict) {
        Ok(expression) => Ok(Filter(Is::Sql(Arc::new(expression)))),
        Err(invalid) => fail(&path, invalid.message),
    }
}

/// All routes of one bus at one offset, as one question.
#[derive(Debug, Default)]
pub struct Matcher {
    /// In rising order.
    routes: Vec<(RouteId, Filter)>,
    /// By place in `routes`. Routes that match no event like this one cost it nothing, however many there are.
    index: Index,
}

/// Working memory of [`Matcher::matches`], the caller's so that it is used again.
#[derive(Debug, Default)]
pub struct Scratch {
    nodes: Vec<Node>,
    memory: Memory,
    hits: Vec<u32>,
}

impl Matcher {
    /// Builds the matcher.
    pub fn compile(routes: impl IntoIterator<Item = (RouteId, Filter)>) -> Self {
        let mut routes: Vec<(RouteId, Filter)> = routes.into_iter().collect();
        routes.sort_by_key(|(id, _)| *id);
        let index = Index::new(routes.iter().map(|(_, filter)| filter));
        Matcher { routes, index }
    }

    /// The routes that want the event, in rising order, into `out`: equals [`Filter::matches`] on every
    /// route. The event's data is read at most once.
    pub fn matches(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<RouteId>) {
        let Scratch { nodes, memory, hits } = scratch;
        let view = View::new(event, nodes);
        let route = |number: u32| self.routes.get(number as usize);
        let mut ask = |number| route(number).is_some_and(|(_, filter)| filter.wants(&view, &Pattern::matches));
        hits.clear();
        self.index.hits(event, memory, &mut |number| hits.push(number), &mut ask);
        hits.sort_unstable();
        // A filter may match in several ways.
        hits.dedup();
        out.extend(hits.iter().filter_map(|number| route(*number)).map(|(id, _)| *id));
    }
}

#[cfg(test)]
mod tests;
