//! What stands at a place of an event, and numbers compared by value.

use std::{borrow::Cow, cmp::Ordering};

use schemas::doc::{Item, Kind};

use super::decimal::Decimal;

/// A scalar of an event: of its data, or an attribute. Numbers keep their digits.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'a> {
    Null,
    Bool(bool),
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
}

impl<'a> Found<'a> {
    /// A JSON value that is no array and no object.
    pub fn scalar(item: Item<'a>) -> Option<Self> {
        Some(match item.kind() {
            Kind::Null => Found::Null,
            Kind::Bool => Found::Bool(item.as_bool()?),
            Kind::Number => Found::Number(Cow::Borrowed(item.as_number()?)),
            Kind::String => Found::String(item.as_str()?),
            Kind::Array | Kind::Object => return None,
        })
    }

    /// As JSON, for people; long strings are cut.
    pub fn show(&self) -> String {
        match self {
            Found::Null => "null".into(),
            Found::Bool(b) => b.to_string(),
            Found::Number(n) => cut(n),
            Found::String(s) => quoted(&cut(s)),
        }
    }
}

/// Characters of a value that are shown at most.
const SHOWN_MAX: usize = 80;

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.into(),
    }
}

/// A string as JSON writes it.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Something in an event: a scalar that is no JSON text, or a place in one.
#[derive(Clone, Debug)]
pub enum Place<'a> {
    Scalar(Found<'a>),
    Item(Item<'a>),
}

/// A number of a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    exact: Decimal,
    /// The same, where it is a whole number that fits: compared without reading digits.
    whole: Option<i64>,
    /// The nearest double. Of two numbers whose doubles differ, the one with the lower double is lower.
    double: f64,
    written: Box<str>,
}

impl Number {
    /// Reads a JSON number.
    pub fn parse(text: &str) -> Option<Self> {
        let (exact, double) = (Decimal::parse(text)?, text.parse().ok()?);
        Some(Number { exact, whole: text.parse().ok(), double, written: text.into() })
    }

    /// How the event's number compares with this one. What is no number compares with nothing.
    pub fn order_of(&self, text: &str) -> Option<Ordering> {
        if let (Some(whole), Ok(found)) = (self.whole, text.parse::<i64>()) {
            return Some(found.cmp(&whole));
        }
        if *text == *self.written {
            return Some(Ordering::Equal);
        }
        match text.parse::<f64>().ok()?.partial_cmp(&self.double)? {
            // Up to fifteen digits, each number has a double of its own; otherwise digits decide.
            Ordering::Equal if is_short(text) && is_short(&self.written) => Some(Ordering::Equal),
            Ordering::Equal => Some(Decimal::parse(text)?.cmp(&self.exact)),
            unequal => Some(unequal),
        }
    }

    /// The nearest double.
    pub fn double(&self) -> f64 {
        self.double
    }

    /// Whether this is the smaller one.
    pub fn is_below(&self, other: &Number) -> bool {
        self.exact < other.exact
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.written
    }
}

/// Whether a number has few enough digits, and no exponent, to be told by its double.
fn is_short(number: &str) -> bool {
    number.len() <= 15 && !number.contains(['e', 'E'])
}

/// What stands in an array, arrays in it flattened; without recursion, since the event chose its depth.
pub fn elements(array: Item<'_>) -> impl Iterator<Item = Item<'_>> {
    let mut open = vec![array.elements()];
    std::iter::from_fn(move || {
        loop {
            match open.last_mut()?.next() {
                Some(item) if item.kind() == Kind::Array => open.push(item.elements()),
                Some(item) => return Some(item),
                None => {
                    open.pop();
                }
            }
        }
    })
}

/// [`elements`] of an array; anything else is its own only one.
pub fn elements_or_self(item: Item<'_>) -> impl Iterator<Item = Item<'_>> {
    let itself = (item.kind() != Kind::Array).then_some(item);
    itself.into_iter().chain(elements(item))
}

/// The text without regard to case: each character's lower-case form.
pub fn folded(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

/// [`folded`], from its end.
pub fn folded_back(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().rev().flat_map(|c| c.to_lowercase().rev())
}

/// Whether one sequence begins with all of the other.
pub fn begins(mut text: impl Iterator<Item = char>, mut with: impl Iterator<Item = char>) -> bool {
    with.all(|c| text.next() == Some(c))
}
