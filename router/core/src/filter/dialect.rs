//! The dialects of the CloudEvents Subscriptions API (section 3.2.4): `exact`, `prefix` and `suffix` over
//! attributes, `all`, `any` and `not` over filters. Edges as in Knative Eventing
//! (`pkg/eventfilter/subscriptionsapi`): every entry of a map has to hold, an empty map always does, an
//! attribute that is missing never does, and empty names and values are refused.

use serde_json::Value;

use super::{
    Error, Filter, Options,
    need::{Need, Path, Wanted},
    value::{Found, Place},
    view::View,
};

/// How an attribute is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Exact,
    Prefix,
    Suffix,
}

impl How {
    /// Its key.
    pub fn name(self) -> &'static str {
        match self {
            How::Exact => "exact",
            How::Prefix => "prefix",
            How::Suffix => "suffix",
        }
    }

    fn holds(self, value: &str, wanted: &str) -> bool {
        match self {
            How::Exact => value == wanted,
            How::Prefix => value.starts_with(wanted),
            How::Suffix => value.ends_with(wanted),
        }
    }
}

/// Attributes that must all hold.
#[derive(Debug)]
pub struct Attributes {
    pub how: How,
    pub wanted: Vec<(Box<str>, Box<str>)>,
}

/// An attribute as CloudEvents writes it in a header: what the dialects compare.
pub fn canonical(place: &Place<'_>) -> Option<String> {
    match place {
        Place::Scalar(found) => found_text(found),
        Place::Item(item) => match Found::scalar(*item) {
            Some(found) => found_text(&found),
            None => Some(item.raw().into()),
        },
    }
}

fn found_text(found: &Found<'_>) -> Option<String> {
    match found {
        Found::Null => None,
        Found::Bool(b) => Some(b.to_string()),
        Found::Number(n) => Some(n.to_string()),
        Found::String(s) => Some(s.to_string()),
    }
}

impl Attributes {
    /// Reads a map of names to strings.
    ///
    /// # Errors
    /// The first entry that means nothing.
    pub fn parse(path: &str, how: How, value: &Value, any_name: bool) -> Result<Self, Error> {
        let fail = |path: String, message: &str| Err(Error { path, message: message.into() });
        let Value::Object(entries) = value else {
            let message = format!("`{}` is a mapping of attributes to strings, e.g. {{ type: coffee }}", how.name());
            return fail(path.into(), &message);
        };
        let mut wanted = Vec::new();
        for (name, value) in entries {
            let place = format!("{path}.{name}");
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if !is_name && !any_name {
                return fail(place, "an attribute's name is lower-case letters and digits, and not empty");
            }
            match value {
                Value::String(s) if s.is_empty() => {
                    return fail(place, "the value is empty; leave the entry out, or ask with `not` and `prefix`");
                }
                Value::String(s) => wanted.push((name.as_str().into(), s.as_str().into())),
                _ => return fail(place, "the value is a string: put it in quotes"),
            }
        }
        Ok(Attributes { how, wanted })
    }

    pub fn matches(&self, view: &View<'_>) -> bool {
        self.wanted.iter().all(|(name, wanted)| self.entry(view, name, wanted))
    }

    /// Whether one entry holds.
    pub fn entry(&self, view: &View<'_>, name: &str, wanted: &str) -> bool {
        match view.attribute(name) {
            Some(Place::Scalar(Found::String(s))) => self.how.holds(&s, wanted),
            Some(place) => canonical(&place).is_some_and(|s| self.how.holds(&s, wanted)),
            None => false,
        }
    }

    pub fn need(&self) -> Need {
        let of = |(name, wanted): &(Box<str>, Box<str>)| {
            let wanted = match self.how {
                How::Exact => Wanted::Text(wanted.clone()),
                How::Prefix => Wanted::Prefix(wanted.clone()),
                How::Suffix => Wanted::Suffix(wanted.clone()),
            };
            Need::cast(Path::Attribute(name.clone()), wanted)
        };
        self.wanted.iter().map(of).fold(Need::Any, Need::and)
    }
}

/// Filters below each other at most.
const LEVELS_MAX: usize = 32;

/// The filters of `all` or `any`; at least one.
pub fn children(path: &str, value: &Value, options: Options) -> Result<Vec<Filter>, Error> {
    let fail = |message: &str| Err(Error { path: path.into(), message: message.into() });
    match value {
        Value::Array(list) if list.is_empty() => fail("at least one filter stands here"),
        Value::Array(list) => {
            list.iter().enumerate().map(|(i, one)| child(&format!("{path}[{i}]"), one, options)).collect()
        }
        _ => fail("a list of filters stands here, e.g. [{ exact: { type: coffee } }]"),
    }
}

/// A filter inside another: one key, the language.
pub fn child(path: &str, value: &Value, options: Options) -> Result<Filter, Error> {
    if options.levels >= LEVELS_MAX {
        let message = format!("more than {LEVELS_MAX} filters inside each other");
        return Err(Error { path: path.into(), message });
    }
    let spec = serde_json::from_value(value.clone())
        .map_err(|e| Error { path: path.into(), message: format!("a filter is an object with one key: {e}") })?;
    Filter::read(&format!("{path}."), spec, Options { levels: options.levels + 1, ..options })
}
