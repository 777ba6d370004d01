//! A combination, judged by the definition: all values of its fields with their places in arrays, and a
//! search for values that go together.

use schemas::doc::{Item, Kind};

use super::{
    super::{
        value::{Found, Place},
        view::{Names, View},
    },
    Combination,
};

/// Values that are tried at most. Array consistency over many arrays is a search; event-ruler has no end to
/// it, we have one, past which nothing matches. [`super::walk`] needs no search.
const TRIES_MAX: usize = 1_000_000;

/// In which element of which array a value stands.
type Membership = Vec<(usize, usize)>;

struct Values<'v>(Vec<(Found<'v>, Membership)>);

/// Whether the combination matches.
pub fn matches(combination: &Combination, names: Names, view: &View<'_>) -> bool {
    let values: Vec<Values<'_>> = combination.fields.iter().map(|f| gather(&f.path, names, view)).collect();
    let mut tries = 0;
    search(combination, &values, 0, &Vec::new(), &mut tries)
}

/// All values at a path.
pub fn values<'v>(path: &str, names: Names, view: &'v View<'_>) -> Vec<Found<'v>> {
    gather(path, names, view).0.into_iter().map(|(value, _)| value).collect()
}

fn search(c: &Combination, values: &[Values<'_>], at: usize, so_far: &Membership, tries: &mut usize) -> bool {
    let (Some(field), Some(Values(found))) = (c.fields.get(at), values.get(at)) else { return true };
    let mut absent = field.absence;
    for (value, membership) in found {
        *tries += 1;
        if *tries > TRIES_MAX {
            return false;
        }
        let Some(together) = join(so_far, membership) else { continue };
        absent = false;
        if field.tests.pass(value) && search(c, values, at + 1, &together, tries) {
            return true;
        }
    }
    absent && search(c, values, at + 1, so_far, tries)
}

fn join(a: &Membership, b: &Membership) -> Option<Membership> {
    let mut joined = a.clone();
    for (array, element) in b {
        match a.iter().find(|(other, _)| other == array) {
            Some((_, other)) if other != element => return None,
            Some(_) => {}
            None => joined.push((*array, *element)),
        }
    }
    Some(joined)
}

fn gather<'v>(path: &str, names: Names, view: &'v View<'_>) -> Values<'v> {
    let mut found = Vec::new();
    if let Some(root) = view.root() {
        below(root, Some(path), &Vec::new(), &mut found);
        return Values(found);
    }
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    match view.member(names, name) {
        Some(Place::Scalar(value)) if rest.is_none() => found.push((value, Vec::new())),
        Some(Place::Item(item)) => below(item, rest, &Vec::new(), &mut found),
        _ => {}
    }
    Values(found)
}

/// `rest` is the path that remains; `None`: the value itself.
fn below<'v>(item: Item<'v>, rest: Option<&str>, membership: &Membership, out: &mut Vec<(Found<'v>, Membership)>) {
    let mut open = vec![(item, rest, membership.clone())];
    while let Some((item, rest, membership)) = open.pop() {
        match (item.kind(), rest) {
            (Kind::Object, None) => {}
            (Kind::Object, Some(path)) => {
                open.extend(item.get(path).map(|value| (value, None, membership.clone())));
                for (at, _) in path.match_indices('.') {
                    let value = path.get(..at).and_then(|name| item.get(name));
                    open.extend(value.map(|value| (value, path.get(at + 1..), membership.clone())));
                }
            }
            (Kind::Array, rest) => {
                let array = item.raw().as_ptr() as usize;
                for (i, element) in item.elements().enumerate() {
                    let mut inside = membership.clone();
                    // A scalar stands in no element: event-ruler counts objects and arrays in arrays only.
                    if matches!(element.kind(), Kind::Object | Kind::Array) {
                        inside.push((array, i));
                    }
                    open.push((element, rest, inside));
                }
            }
            (_, None) => out.extend(Found::scalar(item).map(|value| (value, membership))),
            (_, Some(_)) => {}
        }
    }
}
