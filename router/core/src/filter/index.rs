//! What an event must have for a filter to match at all, and an index over it: a filter whose condition
//! does not hold is not asked. A condition is necessary, never sufficient; the filter itself decides.

use std::collections::HashMap;

use schemas::{Event, Value};

/// An attribute that is indexed. All of them are strings in every event that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    Type,
    Source,
    Subject,
}

impl Attribute {
    const ALL: [Attribute; 3] = [Attribute::Type, Attribute::Source, Attribute::Subject];

    /// The attribute of that CloudEvents name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "type" => Some(Attribute::Type),
            "source" => Some(Attribute::Source),
            "subject" => Some(Attribute::Subject),
            _ => None,
        }
    }

    fn of(self, event: &Event) -> Option<&str> {
        match self {
            Attribute::Type => Some(event.kind()),
            Attribute::Source => Some(event.source()),
            Attribute::Subject => match event.get("subject") {
                Some(Value::String(s)) => Some(s),
                _ => None,
            },
        }
    }
}

/// A necessary condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// None is known.
    Any,
    /// Nothing matches.
    Never,
    /// The attribute is one of these.
    Exact(Attribute, Vec<Box<str>>),
    /// The attribute begins with one of these.
    Prefix(Attribute, Vec<Box<str>>),
}

/// Keys of one condition: past that, finding the filter costs more than asking it.
const KEYS_MAX: usize = 10_000;

impl Need {
    /// The attribute is one of these; none: nothing matches.
    pub fn exact(attribute: Attribute, keys: Vec<Box<str>>) -> Self {
        match keys.len() {
            0 => Need::Never,
            1..=KEYS_MAX => Need::Exact(attribute, keys),
            _ => Need::Any,
        }
    }

    /// The attribute begins with one of these; none: nothing matches.
    pub fn prefix(attribute: Attribute, keys: Vec<Box<str>>) -> Self {
        match keys.len() {
            0 => Need::Never,
            1..=KEYS_MAX if keys.iter().all(|k| !k.is_empty()) => Need::Prefix(attribute, keys),
            _ => Need::Any,
        }
    }

    /// How few events it leaves, the fewest last.
    fn rank(&self) -> (u8, std::cmp::Reverse<Attribute>) {
        match self {
            Need::Any => (0, std::cmp::Reverse(Attribute::Type)),
            Need::Prefix(attribute, _) => (1, std::cmp::Reverse(*attribute)),
            Need::Exact(attribute, _) => (2, std::cmp::Reverse(*attribute)),
            Need::Never => (3, std::cmp::Reverse(Attribute::Type)),
        }
    }

    /// Both must hold: the sharper one is kept.
    pub fn and(self, other: Need) -> Need {
        if other.rank() > self.rank() { other } else { self }
    }

    /// One must hold.
    pub fn or(self, other: Need) -> Need {
        match (self, other) {
            (Need::Never, other) | (other, Need::Never) => other,
            (Need::Exact(a, mut keys), Need::Exact(b, more)) if a == b => {
                keys.extend(more);
                Need::exact(a, keys)
            }
            // A string begins with itself.
            (Need::Exact(a, mut keys) | Need::Prefix(a, mut keys), Need::Exact(b, more) | Need::Prefix(b, more))
                if a == b =>
            {
                keys.extend(more);
                Need::prefix(a, keys)
            }
            _ => Need::Any,
        }
    }
}

type Numbers = HashMap<Box<str>, Vec<u32>>;

/// Filters by what they need.
#[derive(Debug, Default)]
pub struct Index {
    exact: [Numbers; 3],
    prefix: [(Numbers, Vec<usize>); 3],
    rest: Vec<u32>,
}

impl Index {
    /// Adds a filter under its number.
    pub fn add(&mut self, number: u32, need: Need) {
        match need {
            Need::Never => {}
            Need::Any => self.rest.push(number),
            Need::Exact(attribute, keys) => {
                if let Some(numbers) = self.exact.get_mut(attribute as usize) {
                    keys.into_iter().for_each(|key| numbers.entry(key).or_default().push(number));
                }
            }
            Need::Prefix(attribute, keys) => {
                if let Some((numbers, lengths)) = self.prefix.get_mut(attribute as usize) {
                    for key in keys {
                        if let Err(at) = lengths.binary_search(&key.len()) {
                            lengths.insert(at, key.len());
                        }
                        numbers.entry(key).or_default().push(number);
                    }
                }
            }
        }
    }

    /// The filters that the event does not rule out, in rising order.
    pub fn candidates(&self, event: &Event, out: &mut Vec<u32>) {
        out.clear();
        out.extend(&self.rest);
        for (attribute, (exact, (prefix, lengths))) in
            Attribute::ALL.into_iter().zip(self.exact.iter().zip(&self.prefix))
        {
            if exact.is_empty() && prefix.is_empty() {
                continue;
            }
            let Some(value) = attribute.of(event) else { continue };
            out.extend(exact.get(value).into_iter().flatten());
            let beginnings = lengths.iter().map_while(|length| (*length <= value.len()).then(|| value.get(..*length)));
            out.extend(beginnings.flatten().filter_map(|begin| prefix.get(begin)).flatten());
        }
        out.sort_unstable();
        // One filter may be there under several keys.
        out.dedup();
    }

    /// Filters that every event is asked of.
    #[cfg(test)]
    pub fn rest(&self) -> &[u32] {
        &self.rest
    }
}
