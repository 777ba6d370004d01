//! One pass over an event's data that takes out what stands at the paths that filters name, and steps over
//! everything else by its brackets.
//!
//! What is rare is left to [`careful`], which builds the whole document: repeated members of which the last
//! one counts, names with escapes, and names with dots, which stand for paths.

use std::{borrow::Cow, collections::BTreeMap};

use schemas::doc::{self, Item, Kind};

use super::{
    super::value::Found,
    blocks::Blocks,
    tree::{Leaf, ROOT, Tree},
};

/// No record, no frame.
pub const NONE: u32 = u32::MAX;

/// A scalar of the event at a path that a filter names.
#[derive(Debug)]
pub struct Record<'e> {
    pub value: Found<'e>,
    pub leaf: Leaf,
    /// The one taken out before it at the same leaf, or [`NONE`].
    pub next: u32,
    /// In which element of which arrays it stands.
    pub frame: u32,
}

/// An element of an array, within those around it. A scalar stands in no element: event-ruler counts objects
/// and arrays in arrays only.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    around: u32,
    depth: u32,
    array: u32,
}

/// What was taken out of an event, in memory that is used again.
#[derive(Debug, Default)]
pub struct Taken<'e> {
    pub records: Vec<Record<'e>>,
    frames: Vec<Frame>,
    arrays: u32,
    levels: Vec<Level>,
    /// By leaf: in which round it was written, and its last record.
    heads: Vec<(u32, u32)>,
    round: u32,
    /// By place: the last object that had a member there.
    members: Vec<u32>,
    /// Objects that were read, over all events.
    objects: u32,
}

/// An object or array around the place at hand.
#[derive(Clone, Copy, Debug)]
struct Level {
    place: u32,
    /// The element that it stands in.
    frame: u32,
    what: Inside,
}

#[derive(Clone, Copy, Debug)]
enum Inside {
    Object(u32),
    Array(u32),
}

/// The data has something that the quick way does not judge.
#[derive(Debug)]
pub struct Odd;

/// Memory for another event.
fn again<'e>(records: Vec<Record<'_>>) -> Vec<Record<'e>> {
    // Nothing is copied: the vector is empty, and keeps its allocation.
    let mut records = records;
    records.clear();
    records.into_iter().map(|r| Record { value: Found::Null, ..r }).collect()
}

impl Taken<'static> {
    /// Room for an event whose paths have that many leaves.
    pub fn room<'e>(self, leaves: usize, places: usize) -> Taken<'e> {
        let Taken { records, mut frames, levels, mut heads, round, mut members, mut objects, .. } = self;
        if members.len() < places {
            members.resize(places, 0);
        }
        // Far more than one event has.
        if objects > u32::MAX / 2 {
            members.fill(0);
            objects = 0;
        }
        frames.clear();
        if heads.len() < leaves {
            heads.resize(leaves, (0, NONE));
        }
        let round = if round == u32::MAX {
            heads.fill((0, NONE));
            1
        } else {
            round + 1
        };
        Taken { records: again(records), frames, arrays: 0, levels, heads, round, members, objects }
    }
}

impl<'e> Taken<'e> {
    /// The memory, for the next event.
    pub fn given_back(self) -> Taken<'static> {
        let Taken { records, frames, arrays, levels, heads, round, members, objects } = self;
        Taken { records: again(records), frames, arrays, levels, heads, round, members, objects }
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, leaf: Leaf, frame: u32, value: Found<'e>) {
        let number = u32::try_from(self.records.len()).unwrap_or(NONE);
        let Some((round, last)) = self.heads.get_mut(leaf as usize) else { return };
        let next = if *round == self.round { *last } else { NONE };
        (*round, *last) = (self.round, number);
        self.records.push(Record { value, leaf, next, frame });
    }

    /// The values at a leaf.
    #[inline]
    pub fn at(&self, leaf: Leaf) -> impl Iterator<Item = &Record<'e>> {
        let first = self.heads.get(leaf as usize).filter(|(round, _)| *round == self.round).map_or(NONE, |(_, at)| *at);
        std::iter::successors(self.records.get(first as usize), |r| self.records.get(r.next as usize))
    }

    /// Whether two values may be taken together: in every array that they share they stand in one element.
    pub fn together(&self, a: u32, b: u32) -> bool {
        let (mut a, mut b) = (a, b);
        loop {
            if a == b {
                return true;
            }
            let (Some(x), Some(y)) = (self.frames.get(a as usize), self.frames.get(b as usize)) else { return true };
            if x.depth > y.depth {
                a = x.around;
            } else if y.depth > x.depth {
                b = y.around;
            } else if x.around == y.around {
                return x.array != y.array;
            } else {
                (a, b) = (x.around, y.around);
            }
        }
    }

    fn frame(&mut self, around: u32, array: u32) -> u32 {
        let depth = self.frames.get(around as usize).map_or(0, |f| f.depth + 1);
        let number = u32::try_from(self.frames.len()).unwrap_or(NONE);
        self.frames.push(Frame { around, depth, array });
        number
    }

    fn new_array(&mut self) -> u32 {
        self.arrays += 1;
        self.arrays
    }

    /// Takes out of JSON data, which is known to be valid.
    pub fn take(&mut self, tree: &Tree, json: &'e [u8]) {
        let (records, frames) = (self.records.len(), self.frames.len());
        if self.quickly(tree, json).is_err() {
            for record in self.records.drain(records..) {
                if let Some(head) = self.heads.get_mut(record.leaf as usize) {
                    *head = (0, NONE);
                }
            }
            self.frames.truncate(frames);
            self.carefully(tree, json);
        }
    }

    fn quickly(&mut self, tree: &Tree, json: &'e [u8]) -> Result<(), Odd> {
        let mut blocks = Blocks::new(json);
        self.levels.clear();
        let mut at = blocks.solid(0);
        let (mut place, mut frame) = (ROOT, NONE);
        loop {
            let here = tree.get(place).ok_or(Odd)?;
            let first = blocks.byte(at);
            let opens = match first {
                b'{' if here.goes_on() => {
                    self.objects += 1;
                    Some(Inside::Object(self.objects))
                }
                b'[' => Some(Inside::Array(self.new_array())),
                _ => None,
            };
            if let Some(what) = opens {
                self.levels.push(Level { place, frame, what });
                at = blocks.solid(at + 1);
                if matches!(blocks.byte(at), b'}' | b']') {
                    self.levels.pop();
                    at += 1;
                } else {
                    let found = self.inside(tree, &mut blocks, at)?;
                    match found {
                        Ok(next) => {
                            (place, frame, at) = next;
                            continue;
                        }
                        Err(behind) => at = behind,
                    }
                }
            } else if first == b'{' {
                at = blocks.skip(at).ok_or(Odd)?;
            } else {
                at = self.scalar(&mut blocks, at, here.leaf, frame)?;
            }
            match self.after(tree, &mut blocks, at)? {
                Some(next) => (place, frame, at) = next,
                None => return Ok(()),
            }
        }
    }

    /// Behind a value: the next one that somebody asks for; `None` at the end of the data.
    #[inline]
    fn after(&mut self, tree: &Tree, blocks: &mut Blocks<'e>, at: usize) -> Result<Option<(u32, u32, usize)>, Odd> {
        let mut at = at;
        while !self.levels.is_empty() {
            at = blocks.comma_or_close(at).ok_or(Odd)?;
            if blocks.byte(at) == b',' {
                at = blocks.solid(at + 1);
                match self.inside(tree, blocks, at)? {
                    Ok(next) => return Ok(Some(next)),
                    Err(behind) => at = behind,
                }
            } else {
                self.levels.pop();
                at += 1;
            }
        }
        Ok(None)
    }

    /// At a member or an element: the value, if somebody asks for it, or else the next one that somebody
    /// asks for. `Err`: none; the object is closed, and this is behind it.
    #[inline]
    fn inside(
        &mut self,
        tree: &Tree,
        blocks: &mut Blocks<'e>,
        at: usize,
    ) -> Result<Result<(u32, u32, usize), usize>, Odd> {
        let level = *self.levels.last().ok_or(Odd)?;
        let object = match level.what {
            Inside::Object(object) => object,
            Inside::Array(array) => {
                let holds = matches!(blocks.byte(at), b'{' | b'[');
                let frame = if holds { self.frame(level.frame, array) } else { level.frame };
                return Ok(Ok((level.place, frame, at)));
            }
        };
        let place = tree.get(level.place).ok_or(Odd)?;
        let mut at = at;
        loop {
            let end = blocks.quote(at + 1).ok_or(Odd)?;
            let name = blocks.slice(at + 1, end);
            let colon = blocks.solid(end + 1);
            at = blocks.solid(colon + 1);
            if blocks.backslashes && name.contains(&b'\\') {
                return Err(Odd);
            }
            if let Some(child) = place.child(name) {
                let last = self.members.get_mut(child as usize).ok_or(Odd)?;
                if std::mem::replace(last, object) == object {
                    return Err(Odd);
                }
                return Ok(Ok((child, level.frame, at)));
            }
            if place.may_begin(name) && name.contains(&b'.') {
                return Err(Odd);
            }
            at = match blocks.byte(at) {
                b'{' | b'[' => blocks.skip(at).ok_or(Odd)?,
                b'"' => blocks.quote(at + 1).ok_or(Odd)? + 1,
                _ => at,
            };
            at = blocks.comma_or_close(at).ok_or(Odd)?;
            if blocks.byte(at) != b',' {
                self.levels.pop();
                return Ok(Err(at + 1));
            }
            at = blocks.solid(at + 1);
        }
    }

    /// Takes a scalar out where somebody asks for it; where it ends.
    #[inline]
    fn scalar(&mut self, blocks: &mut Blocks<'e>, at: usize, leaf: Option<Leaf>, frame: u32) -> Result<usize, Odd> {
        let text = |from, to| std::str::from_utf8(blocks.slice(from, to)).map_err(|_| Odd);
        let first = blocks.byte(at);
        if first == b'"' {
            let end = blocks.quote(at + 1).ok_or(Odd)?;
            if let Some(leaf) = leaf {
                let content = std::str::from_utf8(blocks.slice(at + 1, end)).map_err(|_| Odd)?;
                let value = if blocks.backslashes && content.contains('\\') {
                    let quoted = std::str::from_utf8(blocks.slice(at, end + 1)).map_err(|_| Odd)?;
                    let doc = doc::Doc::parse(quoted.as_bytes()).map_err(|_| Odd)?;
                    Cow::Owned(doc.root().as_str().ok_or(Odd)?.into_owned())
                } else {
                    Cow::Borrowed(content)
                };
                self.add(leaf, frame, Found::String(value));
            }
            return Ok(end + 1);
        }
        let Some(leaf) = leaf else { return Ok(at) };
        let mut end = at;
        while !matches!(blocks.byte(end), b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' | 0) {
            end += 1;
        }
        let value = match first {
            b't' => Found::Bool(true),
            b'f' => Found::Bool(false),
            b'n' => Found::Null,
            _ => Found::Number(Cow::Borrowed(text(at, end)?)),
        };
        self.add(leaf, frame, value);
        Ok(end)
    }

    /// The same by way of the whole document. What cannot be read holds nothing.
    #[cold]
    fn carefully(&mut self, tree: &Tree, json: &[u8]) {
        if let Ok(document) = doc::Doc::parse(json) {
            self.careful(tree, document.root(), ROOT);
        }
    }

    /// Takes out of a value that stands at a place.
    pub fn careful(&mut self, tree: &Tree, root: Item<'_>, place: u32) {
        let mut open = vec![(root, place, NONE)];
        while let Some((item, at, frame)) = open.pop() {
            let Some(place) = tree.get(at) else { continue };
            match item.kind() {
                Kind::Object => {
                    let mut last = BTreeMap::new();
                    for (name, value) in item.members() {
                        if let Some(below) = tree.follow(at, &name) {
                            last.insert(name, (value, below));
                        }
                    }
                    open.extend(last.into_values().map(|(value, below)| (value, below, frame)));
                }
                Kind::Array => {
                    let array = self.new_array();
                    for element in item.elements() {
                        let holds = matches!(element.kind(), Kind::Object | Kind::Array);
                        let inside = if holds { self.frame(frame, array) } else { frame };
                        open.push((element, at, inside));
                    }
                }
                _ => {
                    if let (Some(leaf), Some(value)) = (place.leaf, owned(item)) {
                        self.add(leaf, frame, value);
                    }
                }
            }
        }
    }
}

/// A scalar that does not need its document any more.
pub fn owned<'e>(item: Item<'_>) -> Option<Found<'e>> {
    Some(match Found::scalar(item)? {
        Found::Null => Found::Null,
        Found::Bool(b) => Found::Bool(b),
        Found::Number(n) => Found::Number(Cow::Owned(n.into_owned())),
        Found::String(s) => Found::String(Cow::Owned(s.into_owned())),
    })
}
