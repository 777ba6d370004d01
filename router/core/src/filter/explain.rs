//! Why an event does not match: the clause that decided, what the event had there, and the nearest thing
//! that would have matched.

use schemas::doc::Kind;
use serde::Serialize;

use super::{
    Filter, Is,
    dialect::{Attributes, canonical},
    pattern::{Field, Pattern, test},
    sql::{Expression, Outcome},
    value::{Found, Place, elements, quoted},
    view::{Names, View},
};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the event matches. The other fields tell why not.
    pub matches: bool,
    /// The clause that decided, from the filter's root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// What it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What the event has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The nearest thing that would have matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl Explanation {
    fn yes() -> Self {
        Explanation { matches: true, clause: None, wanted: None, found: None, nearest: None }
    }

    fn no(clause: impl Into<String>, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Explanation {
            matches: false,
            clause: Some(clause.into()),
            wanted: Some(wanted.into()),
            found: Some(found.into()),
            nearest: None,
        }
    }

    fn nearest(self, nearest: Option<String>) -> Self {
        Explanation { nearest, ..self }
    }
}

/// Values, alternatives and filters that are shown at most.
const SHOWN_MAX: usize = 5;

fn shown(all: impl Iterator<Item = String>, between: &str) -> String {
    let mut all: Vec<String> = all.take(SHOWN_MAX + 1).collect();
    if let Some(last) = all.get_mut(SHOWN_MAX) {
        *last = "…".into();
    }
    all.join(between)
}

/// Explains a filter; `path` is where it stands, with a dot at its end unless it is the root.
pub fn explain(filter: &Filter, path: &str, view: &View<'_>) -> Explanation {
    if filter.wants_plainly(view) {
        return Explanation::yes();
    }
    match &filter.0 {
        Is::All => Explanation::yes(),
        Is::None => Explanation::no("filter", "no event", "this event"),
        Is::Pattern(pattern) => explain_pattern(pattern, path, view),
        Is::Sql(expression) => explain_sql(expression, path, view),
        Is::Attributes(attributes) => explain_attributes(attributes, path, view),
        Is::Every(children) => {
            let all = children.iter().enumerate().map(|(i, child)| explain(child, &format!("{path}all[{i}]."), view));
            all.into_iter().find(|e| !e.matches).unwrap_or_else(Explanation::yes)
        }
        Is::Any(children) => {
            let one = |(i, child): (usize, &Filter)| {
                let e = explain(child, &format!("{path}any[{i}]."), view);
                format!("{}: {}", e.clause.unwrap_or_default(), e.found.unwrap_or_default())
            };
            let found = shown(children.iter().enumerate().map(one), "; ");
            Explanation::no(format!("{path}any"), format!("one of {} filters", children.len()), found)
        }
        Is::Not(_) => Explanation::no(format!("{path}not"), "that the filter inside does not match", "it matches"),
    }
}

fn explain_pattern(pattern: &Pattern, path: &str, view: &View<'_>) -> Explanation {
    let language = if pattern.names() == Names::CloudEvents { "pattern" } else { "eventbridge" };
    let failing = |fields: &'_ [Field]| -> Vec<usize> {
        let fails = |field: &Field| {
            let values = pattern.values(field, view);
            let absent = values.is_empty() && field.tests.absence();
            !absent && !values.iter().any(|value| field.tests.pass(value))
        };
        fields.iter().enumerate().filter(|(_, field)| fails(field)).map(|(i, _)| i).collect()
    };
    // Of the ways through `$or`, the one that lacks least.
    let ways = pattern.combinations().iter().map(|c| (c, failing(&c.fields)));
    let Some((way, failing)) = ways.min_by_key(|(_, failing)| failing.len()) else { return Explanation::yes() };
    let Some(field) = failing.first().and_then(|i| way.fields.get(*i)) else {
        let fields = shown(way.fields.iter().map(|f| f.path.to_string()), ", ");
        let found = "each has a value that matches, but they stand in different elements of an array";
        return Explanation::no(format!("{path}{language}"), format!("{fields} in the same element"), found);
    };
    let values = pattern.values(field, view);
    let wanted = shown(field.tests.shown(), " or ");
    let clause = format!("{path}{language}.{}", field.path);
    let Some(first) = values.first() else {
        let name = nearest_name(&field.path, pattern.names(), view);
        let nearest = name.map(|name| format!("the event has `{name}`"));
        return Explanation::no(clause, wanted, "nothing").nearest(nearest);
    };
    let found = shown(values.iter().map(Found::show), ", ");
    let nearest = match test::type_hint(&field.tests, first) {
        Some(hint) => Some(hint.into_owned()),
        None => test::nearest(&field.tests, first),
    };
    Explanation::no(clause, wanted, found).nearest(nearest)
}

fn explain_sql(expression: &Expression, path: &str, view: &View<'_>) -> Explanation {
    let (part, evaluated) = expression.decided(view);
    let value = match &evaluated.value {
        Outcome::Boolean(b) => b.to_string().to_uppercase(),
        Outcome::Integer(i) => i.to_string(),
        Outcome::String(s) => quoted(s),
    };
    let errors: Vec<String> =
        evaluated.errors.iter().filter_map(|e| serde_json::to_value(e).ok()?.as_str().map(Into::into)).collect();
    let errors = if errors.is_empty() { String::new() } else { format!(" with the errors {}", errors.join(", ")) };
    let inputs = Expression::parse(part, false).map(|e| e.reads()).unwrap_or_default();
    let input = |name: &String| match expression_value(name, view) {
        Some(value) => format!("{name} = {value}"),
        None => format!("{name} is missing"),
    };
    let missing = inputs.iter().find(|name| expression_value(name, view).is_none());
    let nearest = missing.and_then(|name| nearest_name(name, Names::CloudEvents, view));
    let inputs = shown(inputs.iter().map(input), ", ");
    let found = if inputs.is_empty() { format!("{value}{errors}") } else { format!("{value}{errors}; {inputs}") };
    Explanation::no(format!("{path}sql: {part}"), "TRUE without errors", found)
        .nearest(nearest.map(|name| format!("the event has `{name}`")))
}

fn expression_value(name: &str, view: &View<'_>) -> Option<String> {
    match at(name, Names::CloudEvents, view)? {
        Place::Scalar(found) => Some(found.show()),
        Place::Item(item) => Found::scalar(item).map_or_else(|| Some(quoted(item.raw())), |found| Some(found.show())),
    }
}

fn explain_attributes(attributes: &Attributes, path: &str, view: &View<'_>) -> Explanation {
    let Some((name, wanted)) = attributes.wanted.iter().find(|(name, wanted)| !attributes.entry(view, name, wanted))
    else {
        return Explanation::yes();
    };
    let clause = format!("{path}{}.{name}", attributes.how.name());
    match view.attribute(name).as_ref().and_then(canonical) {
        Some(value) => Explanation::no(clause, quoted(wanted), quoted(&value)),
        None => {
            let nearest = nearest_name(name, Names::CloudEvents, view);
            let nearest = nearest.map(|name| format!("the event has `{name}`"));
            Explanation::no(clause, quoted(wanted), "nothing").nearest(nearest)
        }
    }
}

/// What stands at a path, names joined by dots; of an array the first object's.
fn at<'v>(path: &str, names: Names, view: &'v View<'_>) -> Option<Place<'v>> {
    let mut parts = path.split('.');
    let mut place = view.member(names, parts.next()?)?;
    for name in parts {
        let Place::Item(mut item) = place else { return None };
        if item.kind() == Kind::Array {
            item = match name.parse::<usize>().ok().and_then(|i| item.elements().nth(i)) {
                Some(element) => {
                    place = Place::Item(element);
                    continue;
                }
                None => elements(item).find(|e| e.kind() == Kind::Object)?,
            };
        }
        place = Place::Item(item.get(name)?);
    }
    Some(place)
}

/// A name that the event does have, at the place where a path breaks off, when one is near.
fn nearest_name(path: &str, names: Names, view: &View<'_>) -> Option<String> {
    let mut before = String::new();
    for name in path.split('.') {
        let here = if before.is_empty() { name.into() } else { format!("{before}.{name}") };
        if at(&here, names, view).is_some() {
            before = here;
            continue;
        }
        let there: Vec<String> = if before.is_empty() {
            top(names, view)
        } else {
            let Some(Place::Item(item)) = at(&before, names, view) else { return None };
            let item = if item.kind() == Kind::Array { elements(item).next()? } else { item };
            item.members().map(|(name, _)| name.into_owned()).collect()
        };
        let near = there.into_iter().map(|n| (distance(&n.to_lowercase(), &name.to_lowercase()), n)).min()?;
        let full = if before.is_empty() { near.1 } else { format!("{before}.{}", near.1) };
        return (near.0 <= 2.max(name.len() / 3)).then_some(full);
    }
    None
}

fn top(names: Names, view: &View<'_>) -> Vec<String> {
    if let Some(root) = view.root() {
        return root.members().map(|(name, _)| name.into_owned()).collect();
    }
    match names {
        Names::EventBridge => {
            let all = ["source", "detail-type", "detail", "account", "region", "resources", "time", "id", "version"];
            all.map(Into::into).to_vec()
        }
        Names::CloudEvents => {
            let attributes = view.event().into_iter().flat_map(|e| e.attrs()).map(|(name, _)| name.to_owned());
            attributes.chain(["data".into(), "specversion".into()]).collect()
        }
    }
}

/// Characters of a text that are compared for nearness.
const COMPARED_MAX: usize = 100;

/// Insertions, removals and replacements between two texts.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(COMPARED_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(COMPARED_MAX).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (above, y) in row.iter().skip(1).zip(&b) {
            left = (diagonal + usize::from(x != *y)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
