//! From the tree to the structs of [`super`], through serde, with every error and its place.
//!
//! serde stops at the first error. So an error in one route is noted and the next route read on ([`ITEMS`]), and
//! the whole file is read again with what was at fault left out, until nothing is found any more: what is independent of the error is read, and judged, as if
//! the error were not there. An entry that lacks only what was left out is left out in silence.

use std::{cell::RefCell, collections::HashSet, fmt, ops::Range};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};

use schemas::Code;

use super::{
    report::{FINDINGS_MAX, Finding, hint, nearest},
    yaml::{Entry, Kind, Node},
};
use crate::codes;

/// The newtype that is a mapping of independent entries: an error in one is noted, and the others are read on.
pub const ITEMS: &str = "gocoffee::Items";
/// The newtype whose value is taken as JSON text.
pub const JSON: &str = "gocoffee::Json";
/// The newtype whose bytes in the file are never shown.
pub const SECRET: &str = "gocoffee::Secret";

/// What came of reading.
pub struct Read<T> {
    /// What could be read; entries at fault are missing in it.
    pub value: Option<T>,
    /// The bytes of secrets.
    pub secrets: Vec<Range<usize>>,
}

/// Reads the tree as a `T`, all errors into `findings`.
pub fn read<T: DeserializeOwned>(root: &Node, findings: &mut Vec<Finding>) -> Read<T> {
    let notes = Notes::default();
    let mut value = None;
    while findings.len() < FINDINGS_MAX {
        let whole = T::deserialize(At { node: root, notes: &notes });
        let mut errors = notes.errors.take();
        match whole {
            Ok(read) if errors.is_empty() => {
                value = Some(read);
                break;
            }
            Ok(_) => {}
            Err(e) => errors.push(e),
        }
        let mut anew = false;
        for e in errors {
            let (span, id) = e.place.unwrap_or((root.span.clone(), root.id));
            if !e.silent {
                findings.push(Finding { help: e.help, ..Finding::error(span, e.message).code(e.code) });
            }
            anew |= id != root.id && notes.left_out.borrow_mut().insert(id);
        }
        if !anew {
            break;
        }
    }
    Read { value, secrets: notes.secrets.into_inner() }
}

#[derive(Default)]
struct Notes {
    /// Nodes that are read as if they were not there.
    left_out: RefCell<HashSet<usize>>,
    /// Errors of this reading in entries of [`ITEMS`].
    errors: RefCell<Vec<Error>>,
    secrets: RefCell<Vec<Range<usize>>>,
}

impl Notes {
    fn keeps(&self, node: &Node) -> bool {
        !self.left_out.borrow().contains(&node.id)
    }

    /// A secret stands here, or may: its text is not shown, but for where it is kept.
    fn hide(&self, node: &Node) {
        let named = |text: &str| text.starts_with("${") && text.find('}') == Some(text.len() - 1);
        match &node.kind {
            Kind::Scalar { text, .. } if named(text) => {}
            Kind::Scalar { .. } => self.secrets.borrow_mut().push(node.span.clone()),
            Kind::List(items) => items.iter().for_each(|item| self.hide(item)),
            Kind::Map(entries) => entries.iter().for_each(|entry| self.hide(&entry.value)),
        }
    }
}

/// What is wrong, and with which node.
#[derive(Debug)]
pub struct Error {
    message: String,
    help: Option<String>,
    /// Where, and which node to leave out.
    place: Option<(Range<usize>, usize)>,
    missing: Option<&'static str>,
    code: Code,
    silent: bool,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Error {
            message: message.into(),
            help: None,
            place: None,
            missing: None,
            code: codes::CONFIG_VALUE,
            silent: false,
        }
    }

    fn unknown(what: &str, name: &str, names: &'static [&'static str]) -> Self {
        let help = hint(name, names.iter().copied(), "what can stand here");
        Error { help: Some(help), code: codes::UNKNOWN_KEY, ..Error::new(format!("unknown {what} `{name}`")) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Error::unknown("key", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Error::unknown("kind", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Error { missing: Some(field), code: codes::MISSING_KEY, ..Error::new(format!("the key `{field}` is missing")) }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Map => "a mapping".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Str(s) => format!("the text `{s}`"),
            Unexpected::Other(s) => format!("`{s}`"),
            other => other.to_string(),
        };
        Error::new(format!("expected {expected}, found {found}"))
    }
}

/// A node that is to be read.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a Node,
    notes: &'a Notes,
}

impl<'a> At<'a> {
    /// Gives an error from within the place of this node, unless a deeper one was nearer.
    fn placed<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|mut e| {
            if e.place.is_none() {
                // What is missing may be what was left out, under this name or one that was meant to be it.
                let meant = |key: &str, field| key == field || nearest(key, [field]).is_some();
                let left_out = |field| {
                    self.node.entries().iter().any(|entry| !self.notes.keeps(&entry.value) && meant(&entry.key, field))
                };
                e.silent |= e.missing.is_some_and(left_out);
                e.place = Some((self.node.span.clone(), self.node.id));
            }
            e
        })
    }

    /// Reads what the seed wants. An error of a type that reads text or a number and then judges it is placed here.
    fn seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error> {
        self.placed(seed.deserialize(self))
    }

    /// A section whose entries are all commented out is an empty mapping.
    fn map<V: Visitor<'a>>(self, visitor: V, apart: bool) -> Result<V::Value, Error> {
        self.placed(match &self.node.kind {
            Kind::List(_) => Err(de::Error::invalid_type(self.unexpected(), &"a mapping")),
            Kind::Scalar { .. } if !self.node.is_null() => {
                Err(de::Error::invalid_type(self.unexpected(), &"a mapping"))
            }
            _ => visitor.visit_map(Entries { rest: self.node.entries().iter(), value: None, notes: self.notes, apart }),
        })
    }

    fn plain(self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } if !self.node.is_null() => Some(text),
            _ => None,
        }
    }

    fn unexpected(self) -> Unexpected<'a> {
        match &self.node.kind {
            _ if self.node.is_null() => Unexpected::Unit,
            Kind::Scalar { text, plain: true } => Unexpected::Other(text),
            Kind::Scalar { text, .. } => Unexpected::Str(text),
            Kind::List(_) => Unexpected::Seq,
            Kind::Map(_) => Unexpected::Map,
        }
    }

    /// A word that Rust reads as a `T`; quoted text is text and no number.
    fn word<T: std::str::FromStr>(self, expected: &str) -> Result<T, Error> {
        let error = || {
            let help = match &self.node.kind {
                Kind::Scalar { text, plain: false } if text.parse::<T>().is_ok() => Some("remove the quotes".into()),
                _ => None,
            };
            Error { help, ..de::Error::invalid_type(self.unexpected(), &expected) }
        };
        self.plain().and_then(|text| text.replace('_', "").parse().ok()).ok_or_else(error)
    }
}

macro_rules! words {
    ($($method:ident $visit:ident $expected:literal)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            self.placed(self.word($expected).and_then(|value| visitor.$visit(value)))
        })*
    };
}

impl<'a> de::Deserializer<'a> for At<'a> {
    type Error = Error;

    words! {
        deserialize_bool visit_bool "`true` or `false`"
        deserialize_i8 visit_i8 "a whole number"
        deserialize_i16 visit_i16 "a whole number"
        deserialize_i32 visit_i32 "a whole number"
        deserialize_i64 visit_i64 "a whole number"
        deserialize_u8 visit_u8 "a whole number from 0 to 255"
        deserialize_u16 visit_u16 "a whole number from 0 to 65535"
        deserialize_u32 visit_u32 "a whole number from 0 to 4294967295"
        deserialize_u64 visit_u64 "a whole number, 0 or more"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Scalar { .. } if self.node.is_null() => self.placed(visitor.visit_unit()),
            Kind::Scalar { .. } => self.deserialize_str(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_null() => visitor.visit_borrowed_str(text),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        })
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(match &self.node.kind {
            Kind::List(items) => visitor.visit_seq(Items { rest: items.iter(), notes: self.notes }),
            _ => Err(de::Error::invalid_type(self.unexpected(), &"a list")),
        })
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.map(visitor, false)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match name {
            ITEMS => self.map(visitor, true),
            JSON => self.placed(visitor.visit_string(self.node.to_json())),
            SECRET => {
                self.notes.hide(self.node);
                self.deserialize_str(visitor)
            }
            _ => self.placed(visitor.visit_newtype_struct(self)),
        }
    }

    /// One key, the kind, and what belongs to it.
    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let kinds = || variants.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(" or ");
        let expected = format!("a mapping with one key, {}", kinds());
        let Kind::Map(entries) = &self.node.kind else {
            return self.placed(Err(de::Error::invalid_type(self.unexpected(), &expected.as_str())));
        };
        let mut kept = entries.iter().filter(|e| self.notes.keeps(&e.value));
        let strange = kept.clone().find(|e| !variants.contains(&e.key.as_str()));
        if let Some(entry) = strange {
            let place = Some((entry.key_span.clone(), entry.value.id));
            self.notes.hide(&entry.value);
            return Err(Error { place, ..Error::unknown("kind", &entry.key, variants) });
        }
        match (kept.next(), kept.next()) {
            (Some(entry), None) => self.placed(visitor.visit_enum(Variant { entry, notes: self.notes })),
            (None, _) => {
                let silent = !entries.is_empty();
                self.placed(Err(Error { silent, ..Error::new(format!("expected {expected}, found none")) }))
            }
            (Some(_), Some(second)) => {
                let place = Some((second.key_span.clone(), second.value.id));
                Err(Error { place, ..Error::new(format!("only one of {} can stand here", kinds())) })
            }
        }
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'a>>
        char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any i128 u128
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }
}

struct Items<'a> {
    rest: std::slice::Iter<'a, Node>,
    notes: &'a Notes,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let notes = self.notes;
        self.rest.find(|n| notes.keeps(n)).map(|node| At { node, notes }.seed(seed)).transpose()
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, Entry>,
    value: Option<&'a Node>,
    notes: &'a Notes,
    /// Whether an error in one entry is noted here.
    apart: bool,
}

impl Entries<'_> {
    /// An error that is noted goes on as one that says nothing.
    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|e| {
            if self.apart {
                self.notes.errors.borrow_mut().push(e);
                Error { silent: true, ..Error::new("") }
            } else {
                e
            }
        })
    }
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let notes = self.notes;
        let Some(entry) = self.rest.find(|e| notes.keeps(&e.value)) else { return Ok(None) };
        self.value = Some(&entry.value);
        let read = key(entry, seed);
        if read.as_ref().is_err_and(|e| e.code == codes::UNKNOWN_KEY) {
            notes.hide(&entry.value);
        }
        self.note(read).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(node) => self.note(At { node, notes: self.notes }.seed(seed)),
            None => Err(Error::new("a value was asked for before its key")),
        }
    }
}

/// Reads a key. An error in it stands at the key and takes the whole entry away.
fn key<'a, K: DeserializeSeed<'a>>(entry: &'a Entry, seed: K) -> Result<K::Value, Error> {
    seed.deserialize(de::value::BorrowedStrDeserializer::<Error>::new(&entry.key)).map_err(|mut e| {
        e.place.get_or_insert((entry.key_span.clone(), entry.value.id));
        e
    })
}

struct Variant<'a> {
    entry: &'a Entry,
    notes: &'a Notes,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Error;
    type Variant = At<'a>;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, At<'a>), Error> {
        Ok((key(self.entry, seed)?, At { node: &self.entry.value, notes: self.notes }))
    }
}

impl<'a> VariantAccess<'a> for At<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.node.is_null() || (matches!(self.node.kind, Kind::Map(_)) && self.node.entries().is_empty()) {
            Ok(())
        } else {
            self.placed(Err(de::Error::invalid_type(self.unexpected(), &"nothing or `{}`")))
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error> {
        self.seed(seed)
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_seq(self, visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_map(self, visitor)
    }
}
