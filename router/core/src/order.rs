//! Order by key: how a route says by which attribute its deliveries are ordered. Pure.

use std::hash::Hasher;

use schemas::Event;
use siphasher::sip::SipHasher13;

use crate::id::OrderKey;

/// What a delivery carries that was redriven after later ones of its key were delivered.
pub const LATE: &str = "gocoffeelate";

/// Keys of a route that may be stuck at a time, unless it says otherwise.
pub const STUCK_KEYS_MAX: usize = 10_000;

/// What a key does after one of its deliveries became a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeadLetter {
    /// It goes on with the next.
    #[default]
    Continue,
    /// It waits until the dead letter is redriven or purged.
    Hold,
}

/// How a route orders its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The context attribute whose value is the key.
    pub attribute: Box<str>,
    /// What follows a dead letter.
    pub on_dead_letter: OnDeadLetter,
    /// Keys that may be stuck at a time; past it the one that is stuck longest is dead-lettered whole.
    pub stuck_keys_max: usize,
}

/// An order, and the secret with which a store hashes its keys.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    pub order: Order,
    pub secret: [u8; 16],
}

impl Keyed {
    /// The key of an event; `None` for one without the attribute.
    pub fn key(&self, event: &Event) -> Option<OrderKey> {
        let value = event.get(&self.order.attribute)?.to_string();
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write(value.as_bytes());
        Some(OrderKey(hasher.finish()))
    }

    /// Whether a key waits for its dead letters.
    pub fn holds(&self) -> bool {
        self.order.on_dead_letter == OnDeadLetter::Hold
    }
}

/// The event as a late delivery carries it.
pub(crate) fn late(event: &Event) -> Event {
    // The event was built before: with one attribute more it is still one.
    event.rebuild().set(LATE, true).build().unwrap_or_else(|_| event.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_of_the_attribute_alone_and_of_the_store() {
        let event = |id: &str, key: &str| Event::builder(id, "/s", "t").attr("partitionkey", key).build().unwrap();
        let order = |secret| Keyed {
            order: Order { attribute: "partitionkey".into(), on_dead_letter: OnDeadLetter::Hold, stuck_keys_max: 1 },
            secret: [secret; 16],
        };
        let key = order(1).key(&event("1", "a"));
        assert!(key.is_some() && key == order(1).key(&event("2", "a")));
        assert_ne!(key, order(1).key(&event("1", "b")));
        assert_ne!(key, order(2).key(&event("1", "a")), "a sender cannot aim at the hash");
        assert_eq!(order(1).key(&Event::builder("1", "/s", "t").build().unwrap()), None);
    }

    #[test]
    fn late_event_is_the_event_with_a_mark() {
        let event = Event::builder("1", "/s", "t").data(schemas::Form::Text, "x").build().unwrap();
        let marked = late(&event);
        assert_eq!(marked.get(LATE).map(|v| v.to_string()).as_deref(), Some("true"));
        assert_eq!((marked.id(), marked.data()), (event.id(), event.data()));
    }
}
