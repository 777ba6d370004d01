//! The event: one buffer that holds its attributes, the facts that came beside it, and its data.
//!
//! # Byte format of a body (version 1, all numbers little-endian)
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | form of the data: 0 none, 1 JSON, 2 text, 3 binary |
//! | 2 | 2 | number of attributes |
//! | 4 | 4 | A, length of the attribute block |
//! | 8 | 4 | F, length of the fact block |
//! | 12 | A | attributes: kind (1 byte), name length (1), value length (4), name, value |
//! | 12 + A | F | facts, in the same form |
//! | 12 + A + F | rest | data |
//!
//! The first three attributes are always `id`, `source` and `type`; `specversion` is 1.0 and not
//! written. Values are UTF-8 text: a boolean is `true` or `false`, an integer its decimal digits, any
//! other JSON value of a structured event's extension its JSON text as it came.
//!
//! Invariant: a body that an `Event` holds has this form throughout; accessors never fail.

mod rules;
mod with;
mod written;

use std::fmt;

use bytes::Bytes;

use crate::codes;
use crate::invalid::{Invalid, Place};
use rules::check_attr;
pub(crate) use rules::{integer, is_allowed};
pub use written::Written;

/// Attributes that one event may have, `specversion` not counted.
pub const ATTRIBUTES_MAX: usize = 100;
/// Attributes that routers add on an event's way. They do not count for [`ATTRIBUTES_MAX`]: an event that one router
/// took must not be too much for the next.
pub const ROUTER_ATTRIBUTES: [&str; 2] = ["gocoffeehops", "gocoffeelate"];
/// Bytes of an attribute's name.
pub const NAME_BYTES_MAX: usize = 255;

const VERSION: u8 = 1;
const HEAD: usize = 12;
const ENTRY_HEAD: usize = 6;

/// What the data bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The event has no data.
    None,
    /// A JSON text, byte for byte as it came.
    Json,
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl Form {
    fn tag(self) -> u8 {
        match self {
            Form::None => 0,
            Form::Json => 1,
            Form::Text => 2,
            Form::Binary => 3,
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            0 => Form::None,
            1 => Form::Json,
            2 => Form::Text,
            3 => Form::Binary,
            _ => return None,
        })
    }
}

/// The value of an attribute, as far as its JSON type tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A string, and everything that is written as one: URIs, timestamps, base64.
    String(&'a str),
    /// A boolean.
    Boolean(bool),
    /// A CloudEvents Integer: 32 bits, signed.
    Integer(i32),
    /// Any other JSON value of an extension, as its JSON text: outside the type system of
    /// CloudEvents 1.0, passed on unchanged.
    Json(&'a str),
}

impl fmt::Display for Value<'_> {
    /// The canonical string of CloudEvents: what the value is in an HTTP header before encoding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(s) | Value::Json(s) => f.write_str(s),
            Value::Boolean(b) => write!(f, "{b}"),
            Value::Integer(i) => write!(f, "{i}"),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(s: &'a str) -> Self {
        Value::String(s)
    }
}

impl From<bool> for Value<'_> {
    fn from(b: bool) -> Self {
        Value::Boolean(b)
    }
}

impl From<i32> for Value<'_> {
    fn from(i: i32) -> Self {
        Value::Integer(i)
    }
}

/// A CloudEvents 1.0 event. Clones share one buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    body: Bytes,
    facts_at: usize,
    data_at: usize,
}

/// Bytes that are no event body: damage, or a version from the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Written by a version that this one cannot read.
    #[error("event body has version {0}, this program reads version 1; use a newer gocoffee")]
    Version(u8),
    /// Not what [`Event::body`] writes.
    #[error("event body is malformed at byte {0}")]
    Malformed(usize),
}

impl Event {
    /// Starts an event with the three attributes that every event has.
    pub fn builder<'a>(id: &'a str, source: &'a str, kind: &'a str) -> Builder<'a> {
        Builder {
            attrs: vec![("id", id.into()), ("source", source.into()), ("type", kind.into())],
            facts: Vec::new(),
            form: Form::None,
            data: Data::Slice(&[]),
        }
    }

    /// Reads a body that [`Event::body`] gave earlier, sharing its bytes.
    ///
    /// # Errors
    /// [`BodyError`] when the bytes are not in the form of this module's first page.
    pub fn from_body(body: Bytes) -> Result<Self, BodyError> {
        let head = body.first_chunk::<HEAD>().ok_or(BodyError::Malformed(body.len()))?;
        let [version, form, c0, c1, a0, a1, a2, a3, f0, f1, f2, f3] = *head;
        if version != VERSION {
            return Err(BodyError::Version(version));
        }
        let form = Form::from_tag(form).ok_or(BodyError::Malformed(1))?;
        let count = usize::from(u16::from_le_bytes([c0, c1]));
        let facts_at = HEAD.saturating_add(u32::from_le_bytes([a0, a1, a2, a3]) as usize);
        let data_at = facts_at.saturating_add(u32::from_le_bytes([f0, f1, f2, f3]) as usize);
        let block = |from: usize, to: usize| body.get(from..to).ok_or(BodyError::Malformed(from));
        let attrs = check_block(block(HEAD, facts_at)?, HEAD)?;
        check_block(block(facts_at, data_at)?, facts_at)?;
        if form == Form::None && body.len() > data_at {
            return Err(BodyError::Malformed(data_at));
        }
        let event = Event { facts_at, data_at, body };
        let first_three = event.attr_entries().take(3).map(|e| e.name);
        if attrs != count || !first_three.eq([b"id".as_slice(), b"source", b"type"]) {
            return Err(BodyError::Malformed(HEAD));
        }
        Ok(event)
    }

    /// The whole event as one buffer, in the form of this module's first page.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// `id`: with [`Event::source`], the identity of the event.
    pub fn id(&self) -> &str {
        self.nth(0)
    }

    /// `source`: a URI reference.
    pub fn source(&self) -> &str {
        self.nth(1)
    }

    /// `type`.
    pub fn kind(&self) -> &str {
        self.nth(2)
    }

    /// The attribute of that name. `specversion` is always "1.0".
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        if name == "specversion" {
            return Some(Value::String("1.0"));
        }
        self.attr_entries().find(|e| e.name == name.as_bytes())?.value()
    }

    /// All attributes but `specversion`: `id`, `source`, `type`, then the others in the order they came.
    pub fn attrs(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.attr_entries().filter_map(|e| e.read())
    }

    fn attr_entries(&self) -> Entries<'_> {
        Entries { rest: self.body.get(HEAD..self.facts_at).unwrap_or_default() }
    }

    /// What came beside the event and is not part of it, e.g. the publish time at a queue. Never delivered.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        Entries { rest: self.body.get(self.facts_at..self.data_at).unwrap_or_default() }
            .filter_map(|e| Some((std::str::from_utf8(e.name).ok()?, std::str::from_utf8(e.value).ok()?)))
    }

    /// What [`Event::data`] is.
    pub fn form(&self) -> Form {
        self.body.get(1).and_then(|t| Form::from_tag(*t)).unwrap_or(Form::None)
    }

    /// The data bytes; empty for [`Form::None`].
    pub fn data(&self) -> &[u8] {
        self.body.get(self.data_at..).unwrap_or_default()
    }

    /// The data bytes as a shared slice of the event's buffer.
    pub fn data_bytes(&self) -> Bytes {
        self.body.slice(self.data_at..)
    }

    /// Whether two are the same event, whatever came beside them.
    pub fn same_but_facts(&self, other: &Event) -> bool {
        let head = |event: &Event| (event.form(), event.body.get(2..4).map(<[u8]>::to_vec));
        let attrs = |event: &Event| event.body.slice(HEAD.min(event.facts_at)..event.facts_at);
        head(self) == head(other) && attrs(self) == attrs(other) && self.data() == other.data()
    }

    /// The same event in a buffer of its own, so that a large buffer it was read from can be freed.
    pub fn detached(&self) -> Event {
        Event { body: Bytes::copy_from_slice(&self.body), ..*self }
    }

    /// A builder that starts as this event: attributes, facts and data.
    pub fn rebuild(&self) -> Builder<'_> {
        Builder {
            attrs: self.attrs().collect(),
            facts: self.facts().collect(),
            form: self.form(),
            data: Data::Slice(self.data()),
        }
    }

    fn nth(&self, n: usize) -> &str {
        self.attr_entries().nth(n).and_then(|e| std::str::from_utf8(e.value).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Event {
    /// Identity and size; the payload is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("source", &self.source())
            .field("type", &self.kind())
            .field("form", &self.form())
            .field("data_bytes", &self.data().len())
            .finish()
    }
}

/// An event in the making; [`Builder::build`] is the only way to an [`Event`] besides reading one.
#[derive(Clone, Debug)]
pub struct Builder<'a> {
    attrs: Vec<(&'a str, Value<'a>)>,
    facts: Vec<(&'a str, &'a str)>,
    form: Form,
    data: Data<'a>,
}

/// Data on its way into a body: shared, a slice of what a codec reads, or written here.
#[derive(Clone, Debug)]
enum Data<'a> {
    Shared(Bytes),
    Slice(&'a [u8]),
    Written(Written),
}

impl Data<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Data::Shared(bytes) => bytes,
            Data::Slice(slice) => slice,
            Data::Written(written) => written.bytes(),
        }
    }
}

impl<'a> Builder<'a> {
    /// For codecs: the attributes as they came, not checked yet, where the builder puts the first three.
    pub(crate) fn from_attrs(attrs: Vec<(&'a str, Value<'a>)>) -> Self {
        Builder { attrs, facts: Vec::new(), form: Form::None, data: Data::Slice(&[]) }
    }

    /// For codecs: [`Builder::data`] without a copy before the one into the body.
    pub(crate) fn data_slice(mut self, form: Form, data: &'a [u8]) -> Self {
        self.form = form;
        self.data = Data::Slice(data);
        self
    }

    /// Adds an attribute; a name that is there already is refused by [`Builder::build`].
    #[must_use]
    pub fn attr(mut self, name: &'a str, value: impl Into<Value<'a>>) -> Self {
        self.attrs.push((name, value.into()));
        self
    }

    /// Sets an attribute, in place of one of that name.
    #[must_use]
    pub fn set(mut self, name: &'a str, value: impl Into<Value<'a>>) -> Self {
        match self.attrs.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value.into(),
            None => self.attrs.push((name, value.into())),
        }
        self
    }

    /// Adds a fact that is kept beside the event and never delivered.
    #[must_use]
    pub fn fact(mut self, name: &'a str, value: &'a str) -> Self {
        self.facts.push((name, value));
        self
    }

    /// Sets the data.
    #[must_use]
    pub fn data(mut self, form: Form, data: impl Into<Bytes>) -> Self {
        self.form = form;
        self.data = Data::Shared(data.into());
        self
    }

    /// Checks everything and writes the body.
    ///
    /// # Errors
    /// The first thing that CloudEvents 1.0 or a limit of the router does not allow, with its place.
    pub fn build(self) -> Result<Event, Invalid> {
        let data = self.data.bytes();
        match self.form {
            Form::Json if matches!(&self.data, Data::Written(written) if written.is_within_limits()) => {}
            Form::Json => crate::doc::validate(data).map_err(in_data)?,
            Form::Text => {
                std::str::from_utf8(data).map_err(|e| {
                    let message = format!("text data is not UTF-8 at byte {} of the data", e.valid_up_to());
                    Invalid::new(codes::DATA_NOT_TEXT, Place::Data, message)
                })?;
            }
            Form::None if !data.is_empty() => {
                return Err(Invalid::new(codes::DATA_WITHOUT_FORM, Place::Data, "there are data bytes but no form"));
            }
            Form::None | Form::Binary => {}
        }
        self.build_with_valid_data()
    }

    /// [`Builder::build`] for a codec that has validated the data while it read it.
    pub(crate) fn build_with_valid_data(mut self) -> Result<Event, Invalid> {
        // The order that the accessors rely on; `set` and codecs may have put them elsewhere.
        for (to, name) in ["id", "source", "type"].into_iter().enumerate() {
            let missing =
                || Invalid::new(codes::MISSING_ATTRIBUTE, Place::attribute(name), "every event has this attribute");
            let from = self.attrs.iter().position(|(n, _)| *n == name).ok_or_else(missing)?;
            if let Some(stretch) = self.attrs.get_mut(to..=from) {
                stretch.rotate_right(1);
            }
        }
        self.check()?;
        self.write()
    }

    fn check(&self) -> Result<(), Invalid> {
        check_count(self.attrs.iter().map(|(name, _)| *name))?;
        for (i, (name, value)) in self.attrs.iter().enumerate() {
            if self.attrs.iter().take(i).any(|(earlier, _)| earlier == name) {
                let place = Place::attribute(name);
                return Err(Invalid::new(codes::REPEATED_ATTRIBUTE, place, "the attribute is there twice"));
            }
            check_attr(name, value)?;
        }
        Ok(())
    }

    fn write(self) -> Result<Event, Invalid> {
        let block = |entries: usize| entries * ENTRY_HEAD;
        let text: usize = self.attrs.iter().map(|(n, v)| n.len() + value_len(v)).sum();
        let facts: usize = self.facts.iter().map(|(n, v)| n.len() + v.len()).sum();
        let capacity = HEAD + block(self.attrs.len() + self.facts.len()) + text + facts + self.data.bytes().len();
        let mut body = Vec::with_capacity(capacity);
        body.extend([VERSION, self.form.tag()]);
        body.extend(u16::try_from(self.attrs.len()).unwrap_or(u16::MAX).to_le_bytes());
        body.extend([0; 8]);
        for (name, value) in &self.attrs {
            push_entry(&mut body, name, value)?;
        }
        let facts_at = body.len();
        for (name, value) in &self.facts {
            push_entry(&mut body, name, &Value::String(value))?;
        }
        let data_at = body.len();
        body.extend_from_slice(self.data.bytes());
        let lengths = [len32(facts_at - HEAD)?, len32(data_at - facts_at)?];
        for (slot, byte) in body.iter_mut().skip(4).zip(lengths.into_iter().flat_map(u32::to_le_bytes)) {
            *slot = byte;
        }
        Ok(Event { body: body.into(), facts_at, data_at })
    }
}

/// Whether so many attributes are taken.
fn check_count<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Invalid> {
    let count = names.filter(|name| !ROUTER_ATTRIBUTES.contains(name)).count();
    if count > ATTRIBUTES_MAX {
        let message = format!("{count} attributes, at most {ATTRIBUTES_MAX} are taken");
        return Err(Invalid::new(codes::TOO_MANY_ATTRIBUTES, Place::Event, message));
    }
    Ok(())
}

/// Bytes that a string attribute takes of a body.
pub fn attribute_bytes(name: &str, value: &str) -> usize {
    ENTRY_HEAD + name.len() + value.len()
}

fn len32(length: usize) -> Result<u32, Invalid> {
    let too_long = |_| Invalid::new(codes::TOO_LONG, Place::Event, "attributes are at most 4 GiB together");
    u32::try_from(length).map_err(too_long)
}

/// What the reader says of data bytes, told of the event: they are not a text of their own to the sender.
pub(crate) fn in_data(invalid: Invalid) -> Invalid {
    let code = if crate::doc::is_limit(&invalid) { invalid.code } else { codes::DATA_NOT_JSON };
    Invalid::new(code, Place::Data, format!("{} ({} of the data)", invalid.message, invalid.place))
}

fn value_len(value: &Value<'_>) -> usize {
    match value {
        Value::String(s) | Value::Json(s) => s.len(),
        Value::Boolean(_) => 5,
        Value::Integer(_) => 11,
    }
}

fn push_entry(body: &mut Vec<u8>, name: &str, value: &Value<'_>) -> Result<(), Invalid> {
    let too_long =
        |what: &str| Invalid::new(codes::TOO_LONG, Place::attribute(name), format!("its {what} is too long"));
    let kind = match value {
        Value::String(_) => 0u8,
        Value::Boolean(_) => 1,
        Value::Integer(_) => 2,
        Value::Json(_) => 3,
    };
    let text;
    let value = match value {
        Value::String(s) | Value::Json(s) => s,
        other => {
            text = other.to_string();
            text.as_str()
        }
    };
    let value_bytes = u32::try_from(value.len()).map_err(|_| too_long("value"))?;
    body.push(kind);
    body.push(u8::try_from(name.len()).map_err(|_| too_long("name"))?);
    body.extend(value_bytes.to_le_bytes());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(value.as_bytes());
    Ok(())
}

/// Counts the entries of a block that is to be well-formed throughout.
fn check_block(block: &[u8], at: usize) -> Result<usize, BodyError> {
    let mut entries = Entries { rest: block };
    let mut count = 0;
    while !entries.rest.is_empty() {
        let here = at + (block.len() - entries.rest.len());
        entries.next().and_then(|e| e.read()).ok_or(BodyError::Malformed(here))?;
        count += 1;
    }
    Ok(count)
}

/// Walks a block by its lengths; nothing is read that is not asked for.
struct Entries<'a> {
    rest: &'a [u8],
}

struct Entry<'a> {
    kind: u8,
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<ENTRY_HEAD>()?;
        let [kind, name_bytes, v0, v1, v2, v3] = *head;
        let (name, rest) = rest.split_at_checked(usize::from(name_bytes))?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes([v0, v1, v2, v3]) as usize)?;
        self.rest = rest;
        Some(Entry { kind, name, value })
    }
}

impl<'a> Entry<'a> {
    fn read(&self) -> Option<(&'a str, Value<'a>)> {
        Some((std::str::from_utf8(self.name).ok()?, self.value()?))
    }

    fn value(&self) -> Option<Value<'a>> {
        let value = std::str::from_utf8(self.value).ok()?;
        Some(match self.kind {
            0 => Value::String(value),
            1 => Value::Boolean(value.parse().ok()?),
            2 => Value::Integer(value.parse().ok()?),
            3 => Value::Json(value),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
