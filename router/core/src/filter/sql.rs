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
    index::{Attribute, Need},
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

/// A comparison is sharp only as strings: another type on the right casts the attribute first.
fn need(node: &Node) -> Need {
    let attribute = |node: &Node| match &node.what {
        What::Attribute(name) => Attribute::named(name),
        _ => None,
    };
    let text = |node: &Node| match &node.what {
        What::Text(text) => Some(Box::from(&**text)),
        _ => None,
    };
    match &node.what {
        What::Logic(Logic::And, parts) => parts.iter().map(need).fold(Need::Any, Need::and),
        // TRUE needs one part that is TRUE: those before it were FALSE without error.
        What::Logic(Logic::Or, parts) => parts.iter().map(need).reduce(Need::or).unwrap_or(Need::Any),
        What::Compare(Compare::Equal, a, b) => {
            let (attribute, text) = (attribute(a).or_else(|| attribute(b)), text(b).or_else(|| text(a)));
            attribute.zip(text).map_or(Need::Any, |(attribute, text)| Need::exact(attribute, vec![text]))
        }
        What::Like { value, like, not: false } => match attribute(value) {
            Some(attribute) => match like.literal() {
                Some(text) => Need::exact(attribute, vec![text]),
                None => Need::prefix(attribute, vec![like.prefix()]),
            },
            None => Need::Any,
        },
        What::In { value, set, not: false } => {
            match (attribute(value), set.iter().map(text).collect::<Option<Vec<_>>>()) {
                (Some(attribute), Some(texts)) => Need::exact(attribute, texts),
                _ => Need::Any,
            }
        }
        What::Boolean(false) => Need::Never,
        _ => Need::Any,
    }
}

#[cfg(test)]
mod tests;
