//! What a scripted target answers with: for each event always the same, so that a target which is called again says
//! again what it said before.

use bytes::Bytes;
use router_core::{source::RawEvent, target::Delivery};
use schemas::{Event, Invalid, Place};

use super::publish::event;
use crate::coffee::{Coffee, Key, coffee, hash};

/// What an answer holds.
#[derive(Clone, Debug)]
pub enum Said {
    /// An event with an id of its own.
    Own(Coffee),
    /// An event whose id is the router's.
    Given(Coffee),
    /// No event.
    Nonsense,
    /// An event with the identity of the one that was delivered.
    Same,
}

/// What is said to a delivery; nothing where nobody asks, and to most replies.
pub fn said(delivery: &Delivery) -> Option<Said> {
    let to = delivery.reply.as_ref()?;
    let cause = delivery.event.id();
    let n = hash(cause.as_bytes());
    if delivery.event.get("causeid").is_some() && !n.is_multiple_of(3) {
        return None;
    }
    let reply = coffee(&format!("re.{cause}"), n % 1_000);
    Some(match n / 1_000 % 12 {
        0..2 => Said::Own(reply),
        2..4 => Said::Given(Coffee { key: Key { id: to.id(0).into(), ..reply.key.clone() }, ..reply }),
        4 => Said::Nonsense,
        5 => Said::Same,
        _ => return None,
    })
}

/// The same as the adapter of a target hands it on.
pub fn raw(said: &Said, delivery: &Delivery) -> RawEvent {
    match said {
        Said::Own(reply) | Said::Given(reply) => event(reply).into(),
        Said::Same => {
            // Only what no attempt has otherwise: one may be late where another was not.
            let event = &delivery.event;
            Event::builder(event.id(), event.source(), event.kind()).build().expect("a valid event").into()
        }
        Said::Nonsense => {
            let why = Invalid::new(schemas::codes::JSON_SYNTAX, Place::Byte(0), "this is no JSON");
            RawEvent { raw: Some(Bytes::from(format!("nonsense of {}", delivery.id))), ..RawEvent::from(Err(why)) }
        }
    }
}
