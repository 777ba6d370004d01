//! Replies: events in a target's answer, which the router takes in as it takes in any other. Pure.
//!
//! A reply names the event that it answers: `causeid`, `causesource`, and `causedepth`, one more than the cause's
//! own. Past [`CAUSE_DEPTH_MAX`] it is refused, so that functions which answer each other for ever come to an end.
//! A reply without an id gets one from what it answers, the route and its place in the answer ([`ReplyTo`]): a
//! function that is called again for the same delivery gives the same replies, and they are found as duplicates.

use std::{fmt, hash::Hasher};

use schemas::{Event, Invalid, Place, Value};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::{
    admit, codes,
    id::{BusName, RouteName},
};

/// Replies that follow from each other, the last of which is taken in.
pub const CAUSE_DEPTH_MAX: u32 = 16;
/// Events of one answer.
pub const REPLIES_COUNT_MAX: usize = 1_000;
/// Bytes of one answer.
pub const REPLIES_BYTES_MAX: usize = 4 << 20;

/// What a route does with the events in its target's answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplySpec {
    /// The bus that takes them; `None`: the route's own.
    pub bus: Option<BusName>,
}

/// What an answer is a reply to: makes the ids of events that come without one.
#[derive(Clone)]
pub struct ReplyTo(SipHasher13);

impl ReplyTo {
    /// For the answer of a route's target to this event; keyed with the secret of the store, so that nobody else
    /// can tell what ids there will be.
    pub fn new(cause: &Event, route: &RouteName, secret: &[u8; 16]) -> Self {
        let mut hasher = SipHasher13::new_with_key(secret);
        for part in [cause.source(), cause.id(), route.as_str()] {
            hasher.write(&part.len().to_le_bytes());
            hasher.write(part.as_bytes());
        }
        ReplyTo(hasher)
    }

    /// The id of the event at this place in the answer, counted from 0: 32 hexadecimal digits.
    pub fn id(&self, index: usize) -> String {
        let mut hasher = self.0;
        hasher.write(&index.to_le_bytes());
        format!("{:032x}", hasher.finish128().as_u128())
    }
}

impl fmt::Debug for ReplyTo {
    /// What it was made of is not told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo")
    }
}

/// How many causes an event has behind it, as far as it says.
pub fn depth(event: &Event) -> u32 {
    match event.get("causedepth") {
        Some(Value::Integer(depth)) => u32::try_from(depth).unwrap_or(0),
        Some(Value::String(depth)) => depth.parse().unwrap_or(0),
        _ => 0,
    }
}

/// An event of an answer as a reply to its cause: it names it, in place of whatever it said of causes before.
///
/// # Errors
/// `reply-same-identity`, `loop-depth`, or what no longer fits an event.
pub fn to(cause: &Event, event: &Event) -> Result<Event, Invalid> {
    if admit::same_identity(cause, event) {
        let message =
            "the reply has the id and the source of the event that it answers; give it an id of its own, or none";
        return Err(Invalid::new(codes::REPLY_SAME_IDENTITY, Place::attribute("id"), message));
    }
    let depth = depth(cause).saturating_add(1);
    if depth > CAUSE_DEPTH_MAX {
        let message = format!(
            "{CAUSE_DEPTH_MAX} replies follow from each other already, which is a loop; see which routes take the replies of which functions"
        );
        return Err(Invalid::new(codes::LOOP_DEPTH, Place::attribute("causedepth"), message));
    }
    caused(event, (cause.id(), cause.source()), depth)
}

/// An event that names its cause.
///
/// # Errors
/// What no longer fits an event.
pub fn caused(event: &Event, (id, source): (&str, &str), depth: u32) -> Result<Event, Invalid> {
    let depth = i32::try_from(depth).unwrap_or(i32::MAX);
    event.rebuild().set("causeid", id).set("causesource", source).set("causedepth", depth).build()
}

#[cfg(test)]
mod tests {
    use schemas::Form;

    use super::*;

    fn event(id: &str) -> Event {
        Event::builder(id, "/s", "t").data(Form::Json, r#"{"n": 1.50}"#).build().unwrap()
    }

    #[test]
    fn a_reply_names_its_cause_and_keeps_everything_else() {
        let cause = event("1").rebuild().attr("causedepth", "3").build().unwrap();
        let said = event("2").rebuild().attr("causeid", "a lie").attr("subject", "x").build().unwrap();
        let reply = to(&cause, &said).unwrap();
        let told: Vec<String> = reply.attrs().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told, ["id=2", "source=/s", "type=t", "causeid=1", "subject=x", "causesource=/s", "causedepth=4"]);
        assert_eq!(reply.data(), said.data());
    }

    #[test]
    fn its_causes_own_identity_and_a_chain_too_deep_are_refused() {
        let refused = to(&event("1"), &event("1")).unwrap_err();
        assert_eq!(refused.code, codes::REPLY_SAME_IDENTITY);
        let at = |depth: i32| event("1").rebuild().attr("causedepth", depth).build().unwrap();
        assert!(to(&at(15), &event("2")).is_ok());
        assert_eq!(to(&at(16), &event("2")).unwrap_err().code, codes::LOOP_DEPTH);
        assert_eq!(to(&at(i32::MAX), &event("2")).unwrap_err().code, codes::LOOP_DEPTH);
        assert!(to(&at(-5), &event("2")).is_ok(), "what is no depth counts as none");
    }

    #[test]
    fn ids_hang_on_the_cause_the_route_and_the_place() {
        let id = |cause: &str, route: &str, index| {
            ReplyTo::new(&event(cause), &RouteName::new(route).unwrap(), &[7; 16]).id(index)
        };
        assert_eq!(id("1", "a", 0), id("1", "a", 0));
        let different = [id("1", "a", 0), id("1", "a", 1), id("2", "a", 0), id("1", "b", 0)];
        assert_eq!(different.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{different:?}");
        assert_eq!(different[0].len(), 32);
    }
}
