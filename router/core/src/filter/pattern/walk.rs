//! A combination, judged in one pass over its tree.
//!
//! Fields below an array take their values from one element. Which one is open until the first of them
//! takes a value there: a field that may be absent and comes before that must be absent in the whole array,
//! one that comes after only in that element. So the pass keeps the arrays that it is in, and how many of
//! them, from the outermost, have their element fixed.
//!
//! Where the event's own names hold dots, values of one path can stand in several places: that is left to
//! [`super::plain`].

use schemas::doc::{Item, Kind};

use super::{
    super::{
        value::{Found, Place, elements},
        view::{Names, View},
    },
    Combination, Entry, Field, has_scalar, is_present,
};

/// The event has a name with dots where it matters.
pub struct Dotted;

/// Whether the combination matches.
pub fn matches(combination: &Combination, names: Names, view: &View<'_>) -> Result<bool, Dotted> {
    if combination.mixed {
        return Err(Dotted);
    }
    let mut walk = Walk { fields: &combination.fields, names, view, arrays: Vec::new(), fixed: 0, told: Vec::new() };
    let top = view.root().map_or(At::Top, At::Object);
    walk.all(&combination.tree, top, 0)
}

struct Walk<'w, 'e> {
    fields: &'w [Field],
    names: Names,
    view: &'w View<'e>,
    /// The arrays around, outermost first, each with where the path goes on below it.
    arrays: Vec<(Item<'w>, usize)>,
    /// How many of them have their element fixed.
    fixed: usize,
    /// What [`is_present`] said of a field and an array: asked again for each element.
    told: Vec<(usize, usize, bool)>,
}

#[derive(Clone, Copy)]
enum At<'w> {
    /// The event, whose members are its attributes.
    Top,
    Object(Item<'w>),
    Nothing,
}

impl<'w> Walk<'w, '_> {
    /// `depth` is where the names of the entries stand in their paths.
    fn all(&mut self, entries: &'w [Entry], at: At<'w>, depth: usize) -> Result<bool, Dotted> {
        for entry in entries {
            let matches = match entry {
                Entry::Leaf { name, field } => {
                    let place = self.member(at, name);
                    self.leaf(*field, place)
                }
                Entry::Inner { name, entries } => self.inner(name, entries, at, depth + name.len() + 1)?,
            };
            if !matches {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn member(&self, at: At<'w>, name: &str) -> Option<Place<'w>> {
        match at {
            At::Top => self.view.member(self.names, name),
            At::Object(object) => object.get(name).map(Place::Item),
            At::Nothing => None,
        }
    }

    fn inner(&mut self, name: &str, entries: &'w [Entry], at: At<'w>, depth: usize) -> Result<bool, Dotted> {
        if let At::Object(object) = at {
            let dotted = |n: &str| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
            if object.members().any(|(n, _)| dotted(&n)) {
                return Err(Dotted);
            }
        }
        match self.member(at, name) {
            Some(Place::Item(item)) if item.kind() == Kind::Object => self.all(entries, At::Object(item), depth),
            Some(Place::Item(item)) if item.kind() == Kind::Array => self.array(entries, item, depth),
            _ => self.all(entries, At::Nothing, depth),
        }
    }

    fn array(&mut self, entries: &'w [Entry], array: Item<'w>, depth: usize) -> Result<bool, Dotted> {
        let around = self.arrays.len();
        self.arrays.push((array, depth));
        let mut objects = elements(array).filter(|e| e.kind() == Kind::Object).peekable();
        let mut matches = objects.peek().is_none() && self.all(entries, At::Nothing, depth)?;
        for object in objects {
            let fixed = self.fixed;
            if self.all(entries, At::Object(object), depth)? {
                matches = true;
                break;
            }
            self.fixed = fixed;
        }
        self.arrays.truncate(around);
        self.fixed = self.fixed.min(around);
        Ok(matches)
    }

    fn leaf(&mut self, at: usize, place: Option<Place<'w>>) -> bool {
        let Some(field) = self.fields.get(at) else { return false };
        let passes = match &place {
            None => false,
            Some(Place::Scalar(value)) => field.tests.pass(value),
            Some(Place::Item(item)) if item.kind() == Kind::Array => {
                elements(*item).filter_map(Found::scalar).any(|value| field.tests.pass(&value))
            }
            Some(Place::Item(item)) => Found::scalar(*item).is_some_and(|value| field.tests.pass(&value)),
        };
        if passes {
            self.fixed = self.arrays.len();
            return true;
        }
        let here = match place {
            None => false,
            Some(Place::Scalar(_)) => true,
            Some(Place::Item(item)) => has_scalar(item),
        };
        field.absence && !here && !self.is_elsewhere(at, &field.path)
    }

    /// Whether the field has a value in the outermost array whose element is still open.
    fn is_elsewhere(&mut self, field: usize, path: &str) -> bool {
        let Some((array, depth)) = self.arrays.get(self.fixed) else { return false };
        let which = array.raw().as_ptr() as usize;
        if let Some((.., present)) = self.told.iter().find(|(f, a, _)| *f == field && *a == which) {
            return *present;
        }
        let present = is_present(*array, path.get(*depth..).unwrap_or_default());
        self.told.push((field, which, present));
        present
    }
}
