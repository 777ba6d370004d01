//! The one JSON reader of the router: a strict validator, and a document over borrowed bytes.
//!
//! Both are the same loop, without recursion: how deep an input nests costs a bit per level, never
//! stack. What is read is RFC 8259 in UTF-8, without a byte order mark, within [`DEPTH_MAX`] and
//! [`MEMBERS_MAX`]. Nothing is ever rewritten: numbers keep their digits, strings their escapes, objects
//! their order and their repeated members.
//!
//! ```
//! use schemas::doc::Doc;
//! let doc = Doc::parse(br#"{"total": 4.50, "items": ["latte", "caf\u00e9"]}"#)?;
//! let root = doc.root();
//! assert_eq!(root.get("total").map(|v| v.raw()), Some("4.50"));
//! let items: Vec<_> = root.get("items").into_iter().flat_map(|v| v.elements()).filter_map(|v| v.as_str()).collect();
//! assert_eq!(items, ["latte", "café"]);
//! # Ok::<(), schemas::Invalid>(())
//! ```

mod read;

use std::borrow::Cow;

use crate::invalid::Invalid;
pub(crate) use read::{Ignore, Reader, Sink, Span, is_limit, plain_bytes, string_content, unescape};

/// Levels of arrays and objects inside each other; `[]` has one.
pub const DEPTH_MAX: usize = 1_000;
/// Members of all objects in one text together.
pub const MEMBERS_MAX: usize = 10_000;
/// Bytes of one text: positions are kept in 32 bits.
pub const TEXT_BYTES_MAX: usize = u32::MAX as usize;

/// Whether the bytes are one JSON text within the limits.
///
/// # Errors
/// `json-syntax`, `json-too-deep`, `json-too-many-members` or `json-too-long`, each with the byte where
/// reading stopped.
pub fn validate(json: &[u8]) -> Result<(), Invalid> {
    let mut reader = Reader::new(json)?;
    reader.value(&mut Ignore)?;
    reader.end()
}

/// Reads a JSON text into `nodes`, whose former content is dropped and whose allocation is used again.
///
/// # Errors
/// As [`validate`].
pub fn parse_into<'a>(json: &'a [u8], nodes: &'a mut Vec<Node>) -> Result<Item<'a>, Invalid> {
    nodes.clear();
    let mut reader = Reader::new(json)?;
    reader.value(&mut Collect::of(nodes))?;
    reader.end()?;
    Ok(Item { text: reader.text, nodes, at: 0 })
}

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number; its digits are kept as they came.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// One value, or the name of a member, in a document: flat, in the order of the text. Opaque; it is
/// public so that a caller can keep a `Vec<Node>` for [`parse_into`].
#[derive(Clone, Copy, Debug)]
pub struct Node {
    start: u32,
    end: u32,
    /// The index after this node and all within it. While a container is open: the one around it.
    next: u32,
    kind: Kind,
    /// A string with at least one `\`.
    escaped: bool,
}

const NO_NODE: u32 = u32::MAX;
/// Nodes that there is room for before any is read.
const NODES_AT_FIRST_MAX: usize = 1_024;

/// A JSON text, read.
#[derive(Clone, Debug)]
pub struct Doc<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    levels: usize,
}

impl<'a> Doc<'a> {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// As [`validate`].
    pub fn parse(json: &'a [u8]) -> Result<Self, Invalid> {
        // About as many as there are in the text of an event; more are made room for.
        let mut nodes = Vec::with_capacity((json.len() / 8).min(NODES_AT_FIRST_MAX));
        let mut reader = Reader::new(json)?;
        let mut collect = Collect::of(&mut nodes);
        reader.value(&mut collect)?;
        let levels = collect.levels;
        reader.end()?;
        Ok(Doc { text: reader.text, nodes, levels })
    }

    /// Levels of arrays and objects inside each other; `[]` has one.
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// The value that the whole text is.
    pub fn root(&self) -> Item<'_> {
        Item { text: self.text, nodes: &self.nodes, at: 0 }
    }
}

/// A value in a document. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    text: &'a str,
    nodes: &'a [Node],
    at: usize,
}

impl std::fmt::Debug for Item<'_> {
    /// Where and what; the value itself may be a payload and is never printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("kind", &self.kind()).field("span", &self.span()).finish()
    }
}

impl<'a> Item<'a> {
    /// What the value is.
    pub fn kind(&self) -> Kind {
        self.node().map_or(Kind::Null, |n| n.kind)
    }

    /// Its bytes in the text.
    pub fn span(&self) -> std::ops::Range<usize> {
        self.node().map_or(0..0, |n| n.start as usize..n.end as usize)
    }

    /// Its JSON text as it came.
    pub fn raw(&self) -> &'a str {
        self.text.get(self.span()).unwrap_or_default()
    }

    /// The content of a string. An escaped surrogate without its other half becomes U+FFFD.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        self.node().filter(|n| n.kind == Kind::String).map(|n| n.text(self.text))
    }

    /// A boolean's value.
    pub fn as_bool(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.raw() == "true")
    }

    /// A number's digits as they came.
    pub fn as_number(&self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then(|| self.raw())
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// The elements of an array; none of anything else.
    pub fn elements(&self) -> Elements<'a> {
        Elements(self.inside(Kind::Array))
    }

    /// The members of an object in the order they came, repeated ones too; none of anything else.
    pub fn members(&self) -> Members<'a> {
        Members(self.inside(Kind::Object))
    }

    /// The member of that name, the last one where it is repeated.
    pub fn get(&self, name: &str) -> Option<Item<'a>> {
        let (mut inside, mut found) = (self.inside(Kind::Object), None);
        while let Some((key, value)) = inside.pair() {
            if key.is_text(self.text, name) {
                found = Some(value);
            }
        }
        found
    }

    /// How many members an object has, repeated ones too; their names are not read.
    #[cfg(feature = "catalogue")]
    pub(crate) fn member_count(&self) -> usize {
        let (mut inside, mut count) = (self.inside(Kind::Object), 0);
        while inside.pair().is_some() {
            count += 1;
        }
        count
    }

    /// What tells this value from all others of its document, while that is there.
    #[cfg(feature = "catalogue")]
    pub(crate) fn identity(&self) -> (usize, usize) {
        (self.nodes.as_ptr() as usize, self.at)
    }

    fn node(&self) -> Option<&'a Node> {
        self.nodes.get(self.at)
    }

    /// What lies in it. What lies in that lies there, too, so that the nodes behind are not looked at.
    fn inside(&self, kind: Kind) -> Inside<'a> {
        let end = self.node().filter(|n| n.kind == kind).map_or(0, |n| n.next as usize);
        Inside { text: self.text, nodes: self.nodes.get(..end).unwrap_or_default(), at: self.at + 1 }
    }
}

impl Node {
    /// The content of a string.
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let content = self.content(text);
        if self.escaped { Cow::Owned(unescape(content).0) } else { Cow::Borrowed(content) }
    }

    /// The same with its escapes.
    fn content<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start as usize + 1..(self.end as usize).saturating_sub(1)).unwrap_or_default()
    }

    /// Whether it is the string of this content. Most are told apart by their length.
    fn is_text(&self, text: &str, content: &str) -> bool {
        match self.escaped {
            true => self.text(text) == content,
            false => (self.end - self.start) as usize == content.len() + 2 && self.content(text) == content,
        }
    }
}

struct Inside<'a> {
    text: &'a str,
    /// Up to the end of what is gone through.
    nodes: &'a [Node],
    at: usize,
}

impl<'a> Inside<'a> {
    /// The next element.
    fn step(&mut self) -> Option<Item<'a>> {
        let node = self.nodes.get(self.at)?;
        let item = Item { text: self.text, nodes: self.nodes, at: self.at };
        self.at = node.next as usize;
        Some(item)
    }

    /// The next member: its name and its value.
    fn pair(&mut self) -> Option<(&'a Node, Item<'a>)> {
        let (name, value) = (self.nodes.get(self.at)?, self.nodes.get(self.at + 1)?);
        let item = Item { text: self.text, nodes: self.nodes, at: self.at + 1 };
        self.at = value.next as usize;
        Some((name, item))
    }
}

/// Of [`Item::elements`].
pub struct Elements<'a>(Inside<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        self.0.step()
    }
}

/// Of [`Item::members`].
pub struct Members<'a>(Inside<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.pair()?;
        Some((name.text(self.0.text), value))
    }
}

struct Collect<'n> {
    nodes: &'n mut Vec<Node>,
    open: u32,
    depth: usize,
    /// The most that were open at once.
    levels: usize,
}

impl<'n> Collect<'n> {
    fn of(nodes: &'n mut Vec<Node>) -> Self {
        Collect { nodes, open: NO_NODE, depth: 0, levels: 0 }
    }
}

/// Positions fit: [`Reader::new`] refuses longer texts, and a text has no more nodes than bytes.
#[expect(clippy::cast_possible_truncation, reason = "texts are at most TEXT_BYTES_MAX long")]
fn position(at: usize) -> u32 {
    at as u32
}

impl Sink for Collect<'_> {
    fn scalar(&mut self, Span { kind, start, end, escaped }: Span) {
        let next = position(self.nodes.len() + 1);
        self.nodes.push(Node { start: position(start), end: position(end), next, kind, escaped });
    }

    fn open(&mut self, kind: Kind, start: usize) {
        let start = position(start);
        let around = std::mem::replace(&mut self.open, position(self.nodes.len()));
        self.nodes.push(Node { start, end: start, next: around, kind, escaped: false });
        self.depth += 1;
        self.levels = self.levels.max(self.depth);
    }

    fn close(&mut self, end: usize) {
        let next = position(self.nodes.len());
        if let Some(node) = self.nodes.get_mut(self.open as usize) {
            self.open = node.next;
            node.next = next;
            node.end = position(end);
        }
        self.depth = self.depth.saturating_sub(1);
    }
}
#[cfg(test)]
mod tests;
