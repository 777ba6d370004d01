//! YAML as a tree in which every key and value knows its bytes in the file, so that a finding can point at it.
//!
//! Taken is what a configuration needs: one document of mappings, lists and scalars. Aliases and tags are
//! refused by name rather than read in one of several ways, and a repeated key is a finding, never a choice.

use std::{
    collections::{HashMap, hash_map},
    ops::Range,
};

use granit_parser::{Event, Parser, ScalarStyle};

use super::report::{FINDINGS_MAX, Finding};
use crate::codes;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its number in the file: tells nodes apart that take no space.
    pub id: usize,
    /// Its bytes in the file.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Text; `plain` when it stands without quotes and may mean a number, a boolean or nothing.
    Scalar {
        /// The text after quotes and escapes.
        text: String,
        /// Without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file, without repeated keys.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The key's bytes in the file.
    pub key_span: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Whether nothing was written: an empty value, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of that key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// The bytes to point at for the value at `keys`: the deepest part of the way that is written.
    pub fn place(&self, keys: &[&str]) -> Range<usize> {
        let mut node = self;
        let mut span = self.span.clone();
        for key in keys {
            match node.entry(key) {
                Some(entry) => {
                    node = &entry.value;
                    // A mapping or a list begins on a later line: its key says more.
                    let pointed = matches!(node.kind, Kind::Scalar { .. }) && !node.span.is_empty();
                    span = if pointed { node.span.clone() } else { entry.key_span.clone() };
                }
                None => break,
            }
        }
        span
    }

    /// The value at `keys`.
    pub fn get(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.entry(key).map(|e| &e.value))
    }

    /// The bytes of the place that a filter's error names, e.g. `pattern.data.total[0].numeric`: the
    /// deepest part of it that is written. Keys may hold dots themselves, so the longest that fits is taken.
    pub fn place_of_path(&self, path: &str) -> Option<Range<usize>> {
        let rest = path.strip_prefix('.').unwrap_or(path);
        match &self.kind {
            Kind::Map(entries) => {
                let fits = |e: &&Entry| {
                    rest.strip_prefix(e.key.as_str()).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']))
                };
                let entry = entries.iter().filter(fits).max_by_key(|e| e.key.len())?;
                let deeper = rest.get(entry.key.len()..).and_then(|r| entry.value.place_of_path(r));
                let own = matches!(entry.value.kind, Kind::Scalar { .. }) && entry.key.len() == rest.len();
                deeper.or_else(|| Some(if own { entry.value.span.clone() } else { entry.key_span.clone() }))
            }
            Kind::List(items) => {
                let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                item.place_of_path(rest).or_else(|| Some(item.span.clone()))
            }
            Kind::Scalar { .. } => None,
        }
    }

    /// The value as JSON text, numbers digit by digit as they were written.
    pub fn to_json(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match &self.kind {
            Kind::Scalar { text, .. } if self.is_null() && text != "null" => "null".into(),
            Kind::Scalar { text, plain: true } if is_json_word(text) => text.clone(),
            Kind::Scalar { text, .. } => quoted(text),
            Kind::List(items) => format!("[{}]", join(items.iter().map(Node::to_json))),
            Kind::Map(entries) => {
                format!("{{{}}}", join(entries.iter().map(|e| format!("{}:{}", quoted(&e.key), e.value.to_json()))))
            }
        }
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// Whether plain text is a JSON number, boolean or null. What only YAML reads as a number (`0x1F`, `.5`,
/// `.inf`) stays text: a filter compares with what JSON can carry.
fn is_json_word(text: &str) -> bool {
    matches!(text, "true" | "false" | "null") || text.parse::<serde_json::Number>().is_ok()
}

/// Reads a document. What is wrong goes to `findings`; `None` when there is no tree to go on with. What
/// stands in no tree, and may be a secret under a repeated key, goes to `hidden`.
pub fn read(source: &str, findings: &mut Vec<Finding>, hidden: &mut Vec<Range<usize>>) -> Option<Node> {
    let mut builder = Builder { source, findings, hidden, open: Vec::new(), root: None, ids: 0, documents: 0 };
    for next in Parser::new_from_str(source) {
        match next {
            Ok((event, span)) => {
                let bytes = span.byte_range().unwrap_or(source.len()..source.len());
                if !builder.take(event, bytes) {
                    return None;
                }
            }
            Err(e) => {
                let at = e.marker().byte_offset().unwrap_or(source.len()).min(source.len());
                builder
                    .findings
                    .push(Finding::error(at..at, format!("this is not YAML: {}", e.info())).code(codes::CONFIG_SYNTAX));
                return None;
            }
        }
    }
    let end = source.len();
    let ids = builder.ids;
    let empty = || Node { id: ids, span: 0..end, kind: Kind::Map(Vec::new()) };
    Some(builder.root.unwrap_or_else(empty))
}

struct Open {
    id: usize,
    start: usize,
    /// The key that waits for its value.
    key: Option<(String, Range<usize>)>,
    /// The value goes nowhere: its key was there already or is none.
    drop_next: bool,
    /// The keys so far: a search through the entries would make a long mapping quadratic.
    keys: HashMap<String, usize>,
    kind: Kind,
}

struct Builder<'a> {
    source: &'a str,
    findings: &'a mut Vec<Finding>,
    hidden: &'a mut Vec<Range<usize>>,
    open: Vec<Open>,
    root: Option<Node>,
    ids: usize,
    documents: usize,
}

impl Builder<'_> {
    /// Takes one event; false ends the reading.
    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> bool {
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => (*anchor, tag.is_some()),
            Event::Alias(_) => (1, false),
            _ => (0, false),
        };
        if anchor != 0 || tag {
            let what = if tag { "tags (`!name`)" } else { "anchors and aliases (`&name`, `*name`)" };
            self.findings.push(
                Finding::error(span.clone(), format!("YAML {what} are not read here"))
                    .code(codes::CONFIG_SYNTAX)
                    .help("write the value out"),
            );
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here; a configuration is one document";
                    self.findings.push(
                        Finding::error(span, message)
                            .code(codes::CONFIG_SYNTAX)
                            .help("remove the line `---` or what follows it"),
                    );
                    return false;
                }
            }
            Event::Scalar(text, style, ..) => {
                let kind = Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                let node = Node { id: self.number(), span, kind };
                self.put(node);
            }
            Event::Alias(_) => {
                let node = Node { id: self.number(), span, kind: Kind::Scalar { text: String::new(), plain: true } };
                self.put(node);
            }
            Event::SequenceStart(..) => self.begin(span.start, Kind::List(Vec::new())),
            Event::MappingStart(..) => self.begin(span.start, Kind::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let span = open.start..span.end.max(open.start);
                    self.put(Node { id: open.id, span, kind: open.kind });
                }
            }
            _ => {}
        }
        true
    }

    fn number(&mut self) -> usize {
        self.ids += 1;
        self.ids
    }

    fn begin(&mut self, start: usize, kind: Kind) {
        let id = self.number();
        self.open.push(Open { id, start, key: None, drop_next: false, keys: HashMap::new(), kind });
    }

    /// Hands a finished node to what is open: as a key, a value, an item, or the root.
    fn put(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        let entries = match &mut open.kind {
            Kind::List(items) => return items.push(node),
            Kind::Scalar { .. } => return,
            Kind::Map(entries) => entries,
        };
        if std::mem::take(&mut open.drop_next) {
            return self.hidden.push(node.span);
        }
        if let Some((key, key_span)) = open.key.take() {
            return entries.push(Entry { key, key_span, value: node });
        }
        let Kind::Scalar { text, .. } = node.kind else {
            self.findings.push(
                Finding::error(node.span, "a key is one word, not a list or a mapping").code(codes::CONFIG_SYNTAX),
            );
            open.drop_next = true;
            return;
        };
        let first = match open.keys.entry(text.clone()) {
            hash_map::Entry::Occupied(first) => Some(*first.get()),
            hash_map::Entry::Vacant(free) => {
                free.insert(node.span.start);
                None
            }
        };
        // Beyond what a report holds nobody is told the line, and a flood costs no second look at the file.
        let known = self.findings.len() < FINDINGS_MAX;
        if let Some(first) = first {
            let line = self.source.get(..first).filter(|_| known).map_or(0, |before| before.matches('\n').count() + 1);
            let message = format!("the key `{text}` is here a second time, the first is in line {line}");
            self.findings.push(Finding::error(node.span, message).code(codes::TWICE).help("keep one of the two"));
            open.drop_next = true;
        } else {
            open.key = Some((text, node.span));
        }
    }
}
