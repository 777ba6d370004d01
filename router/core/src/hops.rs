//! Hops: the routers that an event has left, so that no ring of routers and clouds goes on for ever. Pure.
//!
//! An event that leaves carries the extension [`HOPS`]: entries `ROUTER.TAG` with a comma between, the oldest first.
//! ROUTER is the id of a logical router, TAG the first 8 bytes of HMAC-SHA256 in 16 small hexadecimal digits, keyed with
//! that router's key, of the event's source, a zero byte and its id as it leaves. An event that comes in with an entry
//! of this router whose tag is that of *this* source and id has been here: it is a loop, is acknowledged and not kept
//! again. Whatever else the extension says makes no loop: a new event that copied it is a new event, and nobody
//! without the key can write an entry that makes an event vanish.
//!
//! # What cannot be read
//!
//! | the extension | coming in | leaving |
//! |---|---|---|
//! | an entry of another router, or of any form of 1 to 63 visible characters without a comma | no loop | kept as it is: it may mean something to who wrote it |
//! | an entry of this router with another tag | no loop: another identity, or another key | kept: where an identity changes on each turn, it is these that count |
//! | an entry that is empty, longer, or has other characters | no loop | left out |
//! | no string | no loop | left out |
//! | more than [`HOPS_MAX`] entries | no loop | not sent: a dead letter `hops-full` |
//!
//! In the log the event stays as it came.

use std::fmt;

use ring::hmac;
use schemas::{Event, Value};
use serde::{Deserialize, Serialize};

use crate::{codes, id::is_name, transform::Failure};

/// The extension's name.
pub const HOPS: &str = "gocoffeehops";
/// Entries with which an event leaves.
pub const HOPS_MAX: usize = 16;
/// Bytes of an entry: sixteen with their commas fit the 1,024 bytes that Pub/Sub takes of an attribute.
pub const HOP_BYTES_MAX: usize = 63;
/// Bytes of a router's id.
pub const ROUTER_ID_BYTES_MAX: usize = 32;
/// Bytes of a router's key.
pub const ROUTER_KEY_BYTES_MIN: usize = 32;

/// Digits of a tag.
const TAG_DIGITS: usize = 16;
/// Digits of an id that was made of its key.
const OWN_ID_DIGITS: usize = 8;

/// The id of a logical router: 1 to 32 lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RouterId(Box<str>);

/// An id that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no id of a router: 1 to {ROUTER_ID_BYTES_MAX} lower-case letters, digits and hyphens, a letter or digit first and last"
)]
pub struct RouterIdError(pub String);

impl RouterId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`RouterIdError`] when it is none.
    pub fn new(id: &str) -> Result<Self, RouterIdError> {
        let fits = is_name(id) && id.len() <= ROUTER_ID_BYTES_MAX;
        if fits { Ok(RouterId(id.into())) } else { Err(RouterIdError(id.into())) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RouterId {
    type Error = RouterIdError;
    fn try_from(id: String) -> Result<Self, RouterIdError> {
        RouterId::new(&id)
    }
}

impl From<RouterId> for String {
    fn from(id: RouterId) -> String {
        id.0.into()
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A key that is too short to keep others from making tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has {0} bytes, and a key has {ROUTER_KEY_BYTES_MIN} or more; make one with `openssl rand -hex 32`")]
pub struct KeyTooShort(pub usize);

/// A logical router, with what it signs hops: all replicas of one have the same.
#[derive(Clone)]
pub struct Router {
    id: RouterId,
    key: hmac::Key,
}

impl fmt::Debug for Router {
    /// The key is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Router {
    /// A router with this key. Without an id it has one that is made of the key: 8 hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyTooShort`].
    pub fn new(id: Option<RouterId>, key: &[u8]) -> Result<Self, KeyTooShort> {
        if key.len() < ROUTER_KEY_BYTES_MIN {
            return Err(KeyTooShort(key.len()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let id = id.unwrap_or_else(|| {
            // No tag is made of this text: there is no zero byte in it.
            let made = hmac::sign(&key, b"the id of a router");
            RouterId(hex(made.as_ref()).take(OWN_ID_DIGITS).collect::<String>().into())
        });
        Ok(Router { id, key })
    }

    /// Its id.
    pub fn id(&self) -> &RouterId {
        &self.id
    }

    /// Whether this very event has left this router before. Nothing is hashed for an event without an entry of ours.
    pub fn knows(&self, event: &Event) -> bool {
        let mut tags = entries(event).filter_map(|entry| self.tag_of(entry)).peekable();
        if tags.peek().is_none() {
            return false;
        }
        let own = self.tag(event);
        tags.any(|tag| tag.as_bytes() == own.as_bytes())
    }

    /// The event as it leaves: with the hops of `came`, the event as it is in the log, and one of this router. What a
    /// transform made of the extension does not count.
    ///
    /// # Errors
    /// `hops-full`.
    pub fn stamp(&self, came: &Event, leaves: &Event) -> Result<Event, Failure> {
        let own = format!("{}.{}", self.id, self.tag(leaves));
        let mut list: Vec<&str> = entries(came).collect();
        if !list.contains(&own.as_str()) {
            if list.len() >= HOPS_MAX {
                return Err(full(list.len()));
            }
            list.push(&own);
        }
        let stamped = leaves.with(HOPS, list.join(",").as_str());
        stamped.map_err(|invalid| Failure { code: invalid.code, message: invalid.to_string() })
    }

    /// The tag of an entry of this router.
    fn tag_of<'e>(&self, entry: &'e str) -> Option<&'e str> {
        entry.strip_prefix(self.id.as_str())?.strip_prefix('.')
    }

    fn tag(&self, event: &Event) -> String {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(event.source().as_bytes());
        signing.update(&[0]);
        signing.update(event.id().as_bytes());
        hex(signing.sign().as_ref()).take(TAG_DIGITS).collect()
    }
}

fn full(count: usize) -> Failure {
    let message = format!(
        "the event has passed {count} routers, and {HOPS_MAX} is the most; see which routes send it round, or which function copies `{HOPS}` to the events that it makes"
    );
    Failure { code: codes::HOPS_FULL, message }
}

fn hex(bytes: &[u8]) -> impl Iterator<Item = char> {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

/// The entries of an event that can be read, the oldest first.
fn entries(event: &Event) -> impl Iterator<Item = &str> {
    let list = if let Some(Value::String(list)) = event.get(HOPS) { list } else { "" };
    list.split(',').filter(|entry| is_entry(entry))
}

fn is_entry(entry: &str) -> bool {
    (1..=HOP_BYTES_MAX).contains(&entry.len()) && entry.bytes().all(|b| b.is_ascii_graphic())
}

/// Bytes of an event that routers have put there, which no limit of its size is about. A list that no router writes
/// counts like everything else.
pub fn own_bytes(event: &Event) -> usize {
    match event.get(HOPS) {
        Some(Value::String(list)) if list.split(',').count() <= HOPS_MAX && list.split(',').all(is_entry) => {
            schemas::event::attribute_bytes(HOPS, list)
        }
        _ => 0,
    }
}

#[cfg(test)]
#[path = "hops_tests.rs"]
mod tests;
