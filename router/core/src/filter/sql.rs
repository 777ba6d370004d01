//! CESQL 1.0, the CloudEvents SQL Expression Language. [CE: cesql/spec.md, and its test kit]
//!
//! Expressions are total: each has a value of type String, Integer (32 bits) or Boolean, and a list of
//! errors. A part that fails makes the operator around it yield the zero value of its type. As a filter an
//! expression matches when it is TRUE without any error.
//!
//! What the specification leaves open, and what we do:
//! - `AND`, `OR` and `XOR` are of one rank and read from the left: write parentheses where they mix.
//! - Sums, differences, products and quotients outside 32 bits are a math error with value 0.
//! - `NOT` of an Integer is a cast error with value TRUE (as the test kit has it), although `BOOL` takes one.
//! - An attribute that is a JSON value outside CloudEvents' types is the String of its JSON text.
//!
//! Extension: `data.a.b` reads the event's JSON data. Names are case-sensitive, `data."odd name".x` takes any
//! name, and a number picks an element of an array. A string, a boolean or a 32-bit whole number has its
//! type; another number, an object and an array are the String of their JSON text; null is a missing
//! attribute. Strict mode refuses such paths.

mod eval;
mod functions;
mod like;
mod parse;
mod read;

use std::sync::Arc;

use super::{
    need::{Need, Path, Wanted},
    view::View,
};
pub use eval::{Evaluated, Outcome};
use functions::Function;
use like::Like;

/// What can go wrong, in the words of the test kit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    /// The text is no expression.
    Parse,
    /// Division by zero, or a result outside 32 bits.
    Math,
    /// A value that cannot be had in another type.
    Cast,
    /// No function has this name and number of arguments.
    MissingFunction,
    /// A function that cannot take these arguments.
    FunctionEvaluation,
    /// The event does not have this attribute.
    MissingAttribute,
}

/// A text that is no expression, or calls what is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// [`ErrorKind::Parse`] or [`ErrorKind::MissingFunction`].
    pub kind: ErrorKind,
    /// Where, and why.
    pub message: String,
}

/// An expression, ready to evaluate.
#[derive(Debug)]
pub struct Expression {
    text: Box<str>,
    root: Node,
}

/// A part of an expression and where it stands in the text.
#[derive(Debug)]
struct Node {
    what: What,
    span: std::ops::Range<usize>,
    depth: usize,
}

#[derive(Debug)]
enum What {
    Text(Arc<str>),
    Integer(i32),
    Boolean(bool),
    Attribute(Box<str>),
    Data(Vec<Box<str>>),
    ExistsAttribute(Box<str>),
    ExistsData(Vec<Box<str>>),
    Not(Box<Node>),
    Minus(Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Compare(Compare, Box<Node>, Box<Node>),
    /// Two or more, from the left.
    Logic(Logic, Vec<Node>),
    Like {
        value: Box<Node>,
        like: Like,
        not: bool,
    },
    In {
        value: Box<Node>,
        set: Vec<Node>,
        not: bool,
    },
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logic {
    And,
    Or,
    Xor,
}

impl Expression {
    /// Reads an expression; `strict`: without `data.` paths.
    ///
    /// # Errors
    /// Where and why it is none.
    pub fn parse(text: &str, strict: bool) -> Result<Self, Invalid> {
        Ok(Expression { text: text.into(), root: parse::parse(text, strict)? })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// TRUE without any error.
    pub(super) fn matches(&self, view: &View<'_>) -> bool {
        eval::is_true(&self.root, view)
    }

    /// Value and errors for an event.
    pub fn evaluate(&self, event: &schemas::Event) -> Evaluated {
        self.evaluate_view(&View::new(event, &mut Vec::new()))
    }

    /// Value and errors for a JSON document: its members stand for attributes.
    pub fn evaluate_document(&self, json: &[u8]) -> Evaluated {
        self.evaluate_view(&View::document(json, &mut Vec::new()))
    }

    pub(super) fn evaluate_view(&self, view: &View<'_>) -> Evaluated {
        eval::evaluate(&self.root, view)
    }

    /// The smallest part that decided against the event: its text, and what it evaluated to.
    pub(super) fn decided(&self, view: &View<'_>) -> (&str, Evaluated) {
        let mut node = &self.root;
        // Of what is joined by AND, the first part that is not TRUE; of what is joined by OR, all of it.
        while let What::Logic(Logic::And, parts) = &node.what {
            match parts.iter().find(|part| !eval::is_true(part, view)) {
                Some(part) => node = part,
                None => break,
            }
        }
        (self.text.get(node.span.clone()).unwrap_or_default(), eval::evaluate(node, view))
    }

    /// The attributes and data paths that a part of the text reads, in its order.
    pub(super) fn reads(&self) -> Vec<String> {
        let mut out = Vec::new();
        reads(&self.root, &mut out);
        out
    }

    /// About how many comparisons an event costs.
    pub(super) fn cost(&self) -> usize {
        cost(&self.root)
    }

    /// What every event that matches must have.
    pub(super) fn need(&self) -> Need {
        need(&self.root)
    }
}

impl Node {
    fn children(&self) -> Vec<&Node> {
        match &self.what {
            What::Not(a) | What::Minus(a) => vec![a],
            What::Arithmetic(_, a, b) | What::Compare(_, a, b) => vec![a, b],
            What::Logic(_, parts) | What::Call(_, parts) => parts.iter().collect(),
            What::Like { value, .. } => vec![value],
            What::In { value, set, .. } => std::iter::once(&**value).chain(set).collect(),
            _ => Vec::new(),
        }
    }
}

fn reads(node: &Node, out: &mut Vec<String>) {
    let name = match &node.what {
        What::Attribute(name) | What::ExistsAttribute(name) => Some(name.to_string()),
        What::Data(path) | What::ExistsData(path) => Some(format!("data.{}", path.join("."))),
        _ => None,
    };
    out.extend(name.filter(|name| !out.contains(name)));
    node.children().into_iter().for_each(|child| reads(child, out));
}

fn cost(node: &Node) -> usize {
    let own = if let What::Like { like, .. } = &node.what { like.cost() } else { 1 };
    node.children().into_iter().map(cost).sum::<usize>() + own
}

/// What every event must have for which a part is TRUE.
fn need(node: &Node) -> Need {
    match &node.what {
        What::Logic(Logic::And, parts) => parts.iter().map(need).fold(Need::Any, Need::and),
        // TRUE needs one part that is TRUE: those before it were FALSE without error.
        What::Logic(Logic::Or, parts) => parts.iter().map(need).reduce(Need::or).unwrap_or(Need::Any),
        What::Compare(compare, a, b) => compared(*compare, a, b),
        What::Like { value, like, not: false } => path(value).map_or(Need::Any, |path| liked(&path, like)),
        What::In { value, set, not: false } => match path(value) {
            Some(path) => set.iter().map(|element| equal(&path, element)).fold(Need::Never, Need::or),
            None => Need::Any,
        },
        What::ExistsAttribute(name) => Need::cast(Path::Attribute(name.clone()), Wanted::Present),
        What::Boolean(false) => Need::Never,
        _ => Need::Any,
    }
}

/// Where a part reads. Of data only what is reached by names: a number may pick an element of an array, and
/// what is there may be an array, whose JSON text the part has.
fn path(node: &Node) -> Option<Path> {
    match &node.what {
        What::Attribute(name) => Some(Path::Attribute(name.clone())),
        What::Data(names) if names.iter().all(|name| !name.contains('.') && name.parse::<usize>().is_err()) => {
            Some(Path::Data(Some(names.join(".").into())))
        }
        _ => None,
    }
}

/// The left operand is cast to the type of the right one.
fn compared(compare: Compare, a: &Node, b: &Node) -> Need {
    let Some(place) = path(a) else {
        // Cast the other way round, which is the same only for what is always a string.
        return match (compare, path(b)) {
            (Compare::Equal, Some(place)) if place.is_text() => match &a.what {
                What::Text(_) => equal(&place, a),
                _ => Need::Any,
            },
            _ => Need::Any,
        };
    };
    let What::Integer(bound) = b.what else {
        return if compare == Compare::Equal { equal(&place, b) } else { Need::Any };
    };
    let bound = f64::from(bound);
    match compare {
        Compare::Equal => Need::cast(place, Wanted::Number(bound)),
        Compare::NotEqual => Need::Any,
        Compare::Less | Compare::LessOrEqual => Need::cast(place, Wanted::Range(f64::NEG_INFINITY, bound)),
        Compare::Greater | Compare::GreaterOrEqual => Need::cast(place, Wanted::Range(bound, f64::INFINITY)),
    }
}

/// A comparison is sharp only as strings: another type casts first.
fn equal(path: &Path, text: &Node) -> Need {
    match &text.what {
        What::Text(text) => Need::cast(path.clone(), Wanted::Text((**text).into())),
        _ => Need::Any,
    }
}

fn liked(path: &Path, like: &Like) -> Need {
    let key = |wanted| Need::cast(path.clone(), wanted);
    match like.literal() {
        Some(text) => key(Wanted::Text(text)),
        None => {
            let inside = like.inside().map_or(Need::Any, |text| key(Wanted::Inside(text)));
            key(Wanted::Prefix(like.prefix())).and(key(Wanted::Suffix(like.suffix()))).and(inside)
        }
    }
}

#[cfg(test)]
mod tests;
