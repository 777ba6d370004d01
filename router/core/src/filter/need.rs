//! What an event must have for a filter to match at all. A need is necessary, never sufficient: the filter
//! itself decides. The index asks only the filters whose need an event meets.

use std::net::IpAddr;

/// A condition over what an event has.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// None is known.
    Any,
    /// Nothing matches.
    Never,
    /// Some value at a path is so.
    Key(Key),
    /// All of them.
    Every(Vec<Need>),
    /// One of them.
    One(Vec<Need>),
}

/// A place of an event, and what a value there must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub path: Path,
    pub wanted: Wanted,
    /// Numbers and booleans count as the strings and numbers that CESQL and the dialects cast them to.
    pub cast: bool,
}

/// A place of an event: names joined by dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    Attribute(Box<str>),
    /// Below the data; `None`: the data itself.
    Data(Option<Box<str>>),
}

impl Path {
    /// Whether every value there is a string.
    pub fn is_text(&self) -> bool {
        matches!(self, Path::Attribute(name) if ["type", "source", "subject", "id"].contains(&&**name))
    }
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// There is one.
    Present,
    Null,
    Bool(bool),
    Text(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    /// The text stands somewhere in it.
    Inside(Box<str>),
    /// Lower-case forms are equal.
    Folded(Box<str>),
    FoldedPrefix(Box<str>),
    FoldedSuffix(Box<str>),
    /// Equal as the nearest double; numbers that are equal are equal there.
    Number(f64),
    /// Within these, as doubles, bounds included.
    Range(f64, f64),
    Address(IpAddr),
    Block(IpAddr, IpAddr),
}

/// Bytes by which the texts inside values are found.
pub const GRAM_BYTES: usize = 3;

impl Wanted {
    /// How likely a value is so: a guess, which decides only how fast filters are found.
    fn chance(&self) -> f64 {
        let text = |at_one: f64, text: &str| at_one / (1 + text.len()) as f64;
        match self {
            Wanted::Present => 1.0,
            Wanted::Bool(_) => 0.5,
            Wanted::Range(low, high) if low.is_finite() && high.is_finite() => 0.1,
            Wanted::Range(..) => 0.5,
            Wanted::Null | Wanted::Block(..) => 0.1,
            Wanted::Prefix(s) | Wanted::Suffix(s) | Wanted::FoldedPrefix(s) | Wanted::FoldedSuffix(s) => text(0.5, s),
            Wanted::Inside(s) => text(1.0, s),
            Wanted::Text(_) | Wanted::Folded(_) | Wanted::Number(_) | Wanted::Address(_) => 0.01,
        }
    }
}

impl Need {
    pub fn key(path: Path, wanted: Wanted) -> Self {
        Need::Key(Key { path, wanted: sharpen(wanted), cast: false })
    }

    /// For languages that cast; `None` where the cast could make another value equal.
    pub fn cast(path: Path, wanted: Wanted) -> Self {
        let wanted = sharpen(wanted);
        let safe = path.is_text()
            || match &wanted {
                Wanted::Text(s) => is_canonical(s) && !is_container(s),
                Wanted::Prefix(s) => !s.starts_with(['[', '{']),
                Wanted::Suffix(s) => !s.ends_with([']', '}']),
                // A list or an object is its JSON text, which may hold anything.
                Wanted::Inside(_) | Wanted::Present => false,
                _ => true,
            };
        if safe { Need::Key(Key { path, wanted, cast: true }) } else { Need::Any }
    }

    pub fn and(self, other: Need) -> Need {
        match (self, other) {
            (Need::Never, _) | (_, Need::Never) => Need::Never,
            (Need::Any, other) | (other, Need::Any) => other,
            (Need::Every(mut a), other) => {
                a.push(other);
                Need::Every(a)
            }
            (a, b) => Need::Every(vec![a, b]),
        }
    }

    pub fn or(self, other: Need) -> Need {
        match (self, other) {
            (Need::Any, _) | (_, Need::Any) => Need::Any,
            (Need::Never, other) | (other, Need::Never) => other,
            (Need::One(mut a), other) => {
                a.push(other);
                Need::One(a)
            }
            (a, b) => Need::One(vec![a, b]),
        }
    }

    /// The keys of which every event that matches has at least one, as rare as they can be had; `None`: none
    /// are known. `shared` tells what part of all filters name a key.
    pub fn rarest(self, shared: &impl Fn(&Key) -> f64) -> Option<(f64, Vec<Key>)> {
        match self {
            Need::Any => None,
            Need::Never => Some((0.0, Vec::new())),
            Need::Key(key) => {
                // Attributes are at hand; data has to be read.
                let place = if matches!(key.path, Path::Attribute(_)) { 0.9 } else { 1.0 };
                Some(((key.wanted.chance() + shared(&key)) * place, vec![key]))
            }
            Need::Every(all) => {
                all.into_iter().filter_map(|need| need.rarest(shared)).min_by(|a, b| a.0.total_cmp(&b.0))
            }
            Need::One(any) => {
                let mut sum = (0.0, Vec::new());
                for need in any {
                    let (chance, keys) = need.rarest(shared)?;
                    sum.0 += chance;
                    sum.1.extend(keys);
                }
                Some(sum)
            }
        }
    }

    /// Every key in it.
    pub fn each(&self, to: &mut impl FnMut(&Key)) {
        match self {
            Need::Any | Need::Never => {}
            Need::Key(key) => to(key),
            Need::Every(needs) | Need::One(needs) => needs.iter().for_each(|need| need.each(to)),
        }
    }
}

/// Texts that say nothing, or too little to be found by.
fn sharpen(wanted: Wanted) -> Wanted {
    match wanted {
        Wanted::Prefix(s) | Wanted::Suffix(s) | Wanted::FoldedPrefix(s) | Wanted::FoldedSuffix(s) if s.is_empty() => {
            Wanted::Present
        }
        Wanted::Inside(s) if s.len() < GRAM_BYTES => Wanted::Present,
        other => other,
    }
}

/// Whether only its own text casts to it: `+5` casts to the Integer of `5`, `TRUE` to that of `true`.
fn is_canonical(text: &str) -> bool {
    match text.parse::<i32>() {
        Ok(integer) => integer.to_string() == text,
        Err(_) => {
            let is_bool = |b: &str| text.eq_ignore_ascii_case(b) && text != b;
            !is_bool("true") && !is_bool("false")
        }
    }
}

fn is_container(text: &str) -> bool {
    text.starts_with(['[', '{'])
}
