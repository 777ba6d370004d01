//! The paths that filters name below the data, by the names that they share. A path's end has a *leaf*, the
//! number of what stands there; attributes have leaves, too.

use super::values::Map;

/// What stands at a path, by number.
pub type Leaf = u32;

/// The place of the data itself.
pub const ROOT: u32 = 0;

/// A place in the data that a path leads to or through.
#[derive(Debug, Default)]
pub struct Place {
    pub leaf: Option<Leaf>,
    children: Vec<(Box<[u8]>, u32)>,
    /// The same, for where there are many.
    by_name: Map<Box<[u8]>, u32>,
    /// The lower six bits of the names' first bytes, a bit for each: most names that nobody asks for fail here.
    first: u64,
}

/// Children that are compared one by one.
const FEW: usize = 6;

impl Place {
    /// Whether paths go on here.
    pub fn goes_on(&self) -> bool {
        !self.children.is_empty()
    }

    /// The place of the child of that name.
    #[inline]
    pub fn child(&self, name: &[u8]) -> Option<u32> {
        if !self.may_begin(name) {
            return None;
        }
        if self.children.len() > FEW {
            return self.by_name.get(name).copied();
        }
        self.children.iter().find(|(child, _)| **child == *name).map(|(_, at)| *at)
    }

    /// Whether a child's name may begin as this one does.
    #[inline]
    pub fn may_begin(&self, name: &[u8]) -> bool {
        self.first >> (name.first().copied().unwrap_or(0) & 63) & 1 == 1
    }
}

/// All places.
#[derive(Debug)]
pub struct Tree(Vec<Place>);

impl Default for Tree {
    fn default() -> Self {
        Tree(vec![Place::default()])
    }
}

impl Tree {
    /// How many places there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub fn get(&self, at: u32) -> Option<&Place> {
        self.0.get(at as usize)
    }

    /// The place that names joined by dots lead to.
    pub fn follow(&self, from: u32, path: &str) -> Option<u32> {
        path.split('.').try_fold(from, |at, name| self.get(at)?.child(name.as_bytes()))
    }

    /// The leaf at the end of a path, the given one where there was none.
    pub fn leaf(&mut self, path: Option<&str>, new: Leaf) -> Leaf {
        let mut at = ROOT;
        for name in path.into_iter().flat_map(|path| path.split('.')) {
            at = self.step(at, name.as_bytes());
        }
        self.0.get_mut(at as usize).map_or(new, |place| *place.leaf.get_or_insert(new))
    }

    fn step(&mut self, from: u32, name: &[u8]) -> u32 {
        if let Some(at) = self.get(from).and_then(|place| place.child(name)) {
            return at;
        }
        let at = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(Place::default());
        if let Some(place) = self.0.get_mut(from as usize) {
            place.by_name.insert(name.into(), at);
            place.children.push((name.into(), at));
            // A name with dots may begin with an empty one, and so with a dot.
            let dotted = if name.is_empty() { 1 << (b'.' & 63) } else { 0 };
            place.first |= dotted | 1 << (name.first().copied().unwrap_or(0) & 63);
        }
        at
    }
}
