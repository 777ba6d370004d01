//! Event patterns, as Amazon EventBridge has them: over the CloudEvents JSON of the event (`pattern`) or
//! over the EventBridge view of it (`eventbridge`). Sources: Amazon EventBridge User Guide, "Creating
//! Amazon EventBridge event patterns" and "Comparison operators"; what it leaves open follows event-ruler
//! (`JsonRuleCompiler`, `Event`, `ACFinder`, `NameState`).
//!
//! A pattern compiles to *combinations*, one for each way through its `$or`s; one of them has to match. A
//! combination is a list of *fields*, each a path and its alternatives, in the order of the paths. An event
//! has at a path any number of values: those of arrays count one by one. Each value knows in which element
//! of which array it stands, and the values that a combination takes must stand in the same element of
//! every array that they share. A field may be absent (`exists: false`) when no value at its path could be
//! taken together with those taken before it.
//!
//! That is event-ruler's definition, and [`plain`] is nothing but it. [`walk`] answers the same in one pass
//! over the tree, without trying combinations of elements.

mod parse;
mod plain;
pub mod test;
mod walk;

use schemas::doc::{Item, Kind};

use super::{
    index::located,
    need::Need,
    value::elements,
    view::{Names, View},
};
use test::Tests;

/// A pattern, ready to judge.
#[derive(Debug)]
pub struct Pattern {
    names: Names,
    combinations: Vec<Combination>,
}

/// Fields that must all match.
#[derive(Debug)]
pub struct Combination {
    /// In the order of the paths.
    pub fields: Vec<Field>,
    tree: Vec<Entry>,
    /// A path ends where another one goes on: only [`plain`] can judge it.
    mixed: bool,
}

/// A path, names joined by dots, and its alternatives.
#[derive(Debug)]
pub struct Field {
    pub path: Box<str>,
    pub tests: std::sync::Arc<Tests>,
    absence: bool,
}

/// The fields by the names that they share.
#[derive(Debug)]
enum Entry {
    /// A field, by its place in [`Combination::fields`].
    Leaf {
        name: Box<str>,
        field: usize,
    },
    Inner {
        name: Box<str>,
        entries: Vec<Entry>,
    },
}

impl Pattern {
    /// By the definition.
    pub fn matches_plainly(&self, view: &View<'_>) -> bool {
        self.combinations.iter().any(|c| plain::matches(c, self.names, view))
    }

    /// The same, quickly.
    pub fn matches(&self, view: &View<'_>) -> bool {
        let one = |c: &Combination| match walk::matches(c, self.names, view) {
            Ok(answer) => answer,
            Err(walk::Dotted) => plain::matches(c, self.names, view),
        };
        self.combinations.iter().any(one)
    }

    /// Each way through the pattern.
    pub fn combinations(&self) -> &[Combination] {
        &self.combinations
    }

    /// All values at a field's path, wherever they stand.
    pub fn values<'v>(&self, field: &Field, view: &'v View<'_>) -> Vec<super::value::Found<'v>> {
        plain::values(&field.path, self.names, view)
    }

    /// The names at the path before a field's last name, for suggestions.
    pub fn names(&self) -> Names {
        self.names
    }

    /// What every event that matches must have.
    pub fn need(&self) -> Need {
        self.combinations.iter().map(|c| c.need(self.names)).reduce(Need::or).unwrap_or(Need::Any)
    }
}

impl Combination {
    fn new(fields: Vec<Field>) -> Self {
        let numbered: Vec<(&str, usize)> = fields.iter().enumerate().map(|(i, f)| (&*f.path, i)).collect();
        let mut mixed = false;
        let tree = tree(&numbered, &mut mixed);
        Combination { fields, tree, mixed }
    }

    /// What every event that matches must have.
    pub fn need(&self, names: Names) -> Need {
        let of = |field: &Field| located(names, &field.path).map_or(Need::Any, |path| field.tests.need(&path));
        self.fields.iter().map(of).fold(Need::Any, Need::and)
    }
}

/// Fields in the order of their paths, by first names. Paths that begin with the same name and a dot stand
/// side by side in that order.
fn tree(fields: &[(&str, usize)], mixed: &mut bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = fields;
    while let Some(((path, field), others)) = rest.split_first() {
        let Some((name, _)) = path.split_once('.') else {
            entries.push(Entry::Leaf { name: (*path).into(), field: *field });
            rest = others;
            continue;
        };
        *mixed |= entries.iter().any(|e| matches!(e, Entry::Leaf { name: n, .. } if **n == *name));
        let inner: Vec<(&str, usize)> =
            rest.iter().map_while(|(path, i)| Some((path.strip_prefix(name)?.strip_prefix('.')?, *i))).collect();
        let after = rest.get(inner.len()..).unwrap_or_default();
        entries.push(Entry::Inner { name: name.into(), entries: tree(&inner, mixed) });
        rest = after;
    }
    entries
}

impl Field {
    /// Whether it may be absent.
    pub fn absence(&self) -> bool {
        self.absence
    }
}

/// Whether a scalar stands at a path below an item, in any element of any array, with names that are joined
/// as event-ruler joins them: a name that holds dots goes as far as it goes.
fn is_present(item: Item<'_>, path: &str) -> bool {
    let mut open = vec![(item, path)];
    while let Some((item, path)) = open.pop() {
        match item.kind() {
            Kind::Array => open.extend(elements(item).filter(|e| e.kind() == Kind::Object).map(|e| (e, path))),
            Kind::Object => {
                if item.get(path).is_some_and(has_scalar) {
                    return true;
                }
                for (at, _) in path.match_indices('.') {
                    if let (Some(name), Some(rest)) = (path.get(..at), path.get(at + 1..))
                        && let Some(below) = item.get(name)
                    {
                        open.push((below, rest));
                    }
                }
            }
            _ => {}
        }
    }
    false
}

fn has_scalar(item: Item<'_>) -> bool {
    match item.kind() {
        Kind::Array => elements(item).any(|e| e.kind() != Kind::Object),
        kind => kind != Kind::Object,
    }
}
