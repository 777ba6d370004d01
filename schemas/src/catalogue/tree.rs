//! The nodes of [`crate::doc`] as the validator reads them.
//!
//! Of a member that is there twice the last one is looked up, as everywhere in the router; where all members are gone
//! through, each of them is judged.

use std::{borrow::Cow, str::FromStr};

use jsonschema::{
    JsonType,
    json::{Array, Json, JsonNumber, Node, NodeIdentity, Object},
};
use serde_json::{Number, Value};

use crate::doc::{Elements, Item, Kind, Members};

/// The form of JSON that the validator is built for.
pub(super) struct Tree;

/// One value.
#[derive(Clone)]
pub(super) enum Data<'a> {
    Item(Item<'a>),
    /// The name of a member, as `propertyNames` judges it.
    Name(&'a str),
}

impl<'a> Data<'a> {
    pub(super) fn of(item: Item<'a>) -> Self {
        Data::Item(item)
    }

    fn item(&self) -> Option<Item<'a>> {
        match self {
            Data::Item(item) => Some(*item),
            Data::Name(_) => None,
        }
    }

    fn of_kind(&self, kind: Kind) -> Option<Item<'a>> {
        self.item().filter(|item| item.kind() == kind)
    }
}

impl Json for Tree {
    type Node<'a> = Data<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();

    // A lookup goes through the members, as a pass does.
    const KEYS_PER_LOOKUP: usize = 2;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(Data<'_>) -> T) -> T {
        f(Data::Name(string))
    }
}

impl<'a> Node<'a, Tree> for Data<'a> {
    type Object = Item<'a>;
    type Array = Item<'a>;
    type Number = Digits<'a>;

    fn as_object(&self) -> Option<Item<'a>> {
        self.of_kind(Kind::Object)
    }

    fn as_array(&self) -> Option<Item<'a>> {
        self.of_kind(Kind::Array)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            Data::Item(item) => item.as_str(),
            Data::Name(name) => Some(Cow::Borrowed(name)),
        }
    }

    fn as_number(&self) -> Option<Digits<'a>> {
        self.item()?.as_number().map(Digits)
    }

    fn as_boolean(&self) -> Option<bool> {
        self.item()?.as_bool()
    }

    fn is_null(&self) -> bool {
        self.item().is_some_and(|item| item.is_null())
    }

    fn json_type(&self) -> JsonType {
        match self.item().map(|item| item.kind()) {
            Some(Kind::Null) => JsonType::Null,
            Some(Kind::Bool) => JsonType::Boolean,
            Some(Kind::Number) => JsonType::Number,
            Some(Kind::Array) => JsonType::Array,
            Some(Kind::Object) => JsonType::Object,
            Some(Kind::String) | None => JsonType::String,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.as_string(), expected) {
            (Some(text), Value::String(wanted)) => text == wanted.as_str(),
            (Some(_), _) | (None, Value::String(_)) => false,
            (None, expected) => jsonschema::json::cmp::equal(&value(self), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(value(self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        let (address, index) = self.item()?.identity();
        u32::try_from(index).ok().map(|index| NodeIdentity::tagged(address, index))
    }
}

/// Built level by level: data that is judged is at most [`DEPTH_MAX`](super::DEPTH_MAX) levels deep.
fn value(data: &Data<'_>) -> Value {
    let Data::Item(item) = data else { return data.as_string().map(Cow::into_owned).into() };
    let inner = |item| value(&Data::Item(item));
    match item.kind() {
        Kind::Null => Value::Null,
        Kind::Bool => Value::Bool(item.as_bool().unwrap_or_default()),
        Kind::Number => Number::from_str(item.raw()).map_or(Value::Null, Value::Number),
        Kind::String => Value::String(item.as_str().unwrap_or_default().into_owned()),
        Kind::Array => item.elements().map(inner).collect(),
        Kind::Object => item.members().map(|(name, item)| (name.into_owned(), inner(item))).collect(),
    }
}

/// A number by its digits.
pub(super) struct Digits<'a>(&'a str);

impl JsonNumber for Digits<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    fn as_f64(&self) -> Option<f64> {
        self.0.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.0)
    }

    fn to_number(&self) -> Cow<'_, Number> {
        // Digits that the reader took are a number.
        Cow::Owned(Number::from_str(self.0).unwrap_or_else(|_| Number::from(0)))
    }

    fn is_integer(&self) -> bool {
        // Written as one, it is one; 1.0 and 1e2 are, too.
        !self.0.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) || jsonschema_integer(&self.to_number())
    }
}

/// Whether a number that is written with a fraction or an exponent is whole.
fn jsonschema_integer(number: &Number) -> bool {
    number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

impl<'a> Object<'a, Tree> for Item<'a> {
    type Node = Data<'a>;
    type MemberName = Cow<'a, str>;
    type MembersIter = Pairs<'a>;

    fn len(&self) -> usize {
        self.member_count()
    }

    fn get(&self, key: &Box<str>) -> Option<Data<'a>> {
        Item::get(self, key).map(Data::Item)
    }

    fn members(&self) -> Pairs<'a> {
        Pairs(Item::members(self))
    }
}

pub(super) struct Pairs<'a>(Members<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Cow<'a, str>, Data<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, item)| (name, Data::Item(item)))
    }
}

impl<'a> Array<'a, Tree> for Item<'a> {
    type Node = Data<'a>;
    type ElementsIter = Nodes<'a>;

    fn len(&self) -> usize {
        Item::elements(self).count()
    }

    fn elements(&self) -> Nodes<'a> {
        Nodes(Item::elements(self))
    }
}

pub(super) struct Nodes<'a>(Elements<'a>);

impl<'a> Iterator for Nodes<'a> {
    type Item = Data<'a>;

    fn next(&mut self) -> Option<Data<'a>> {
        self.0.next().map(Data::Item)
    }
}
