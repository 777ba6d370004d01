//! Step 2, admit: what is taken in, and what was there already. Pure: no I/O, no clock.
//!
//! An event is valid by construction, so what is left to ask here is whether it went through this router before
//! ([`crate::hops`]), its size, its schema where its source asks for one, and its identity. The
//! identity (source, id) is hashed with a secret of the store, so that nobody who picks ids can aim at
//! a place of the [`Window`]. The hash only finds candidates: the appender reads the record at the
//! candidate's offset and compares source and id themselves, so that two different events are never
//! taken for one, however the hash falls.

mod schema;
mod window;

use std::{hash::Hasher, sync::Arc};

use schemas::{Event, Place};
use siphasher::sip::SipHasher13;

pub use self::{
    schema::{Demand, Judge, Judged, MARK, Schemas},
    window::Window,
};
use crate::{
    codes, hops,
    source::{Kind, RawEvent, Rejection},
    store::Admitted,
};

/// What [`admit`] asks of every event.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Bytes of an event's body: attributes, facts and data together, but for its hops.
    pub event_bytes_max: usize,
    /// The store's secret: see [`crate::store::State::secret`].
    pub secret: [u8; 16],
    /// Who this router is to others; `None`: no loop is seen.
    pub router: Option<Arc<hops::Router>>,
}

/// Whether an event went through this router before: nothing else is asked of it then, since it was taken once.
pub fn is_loop(raw: &RawEvent, rules: &Rules) -> bool {
    let (Ok(event), Some(router)) = (&raw.event, &rules.router) else { return false };
    router.knows(event)
}

/// Takes an event in, or says why not.
///
/// # Errors
/// What the source found invalid, or `event-too-large`.
pub fn admit(raw: RawEvent, rules: &Rules) -> Result<Admitted, Rejection> {
    let event = raw.event?;
    let bytes = event.body().len().saturating_sub(hops::own_bytes(&event));
    if bytes > rules.event_bytes_max {
        let message = format!(
            "the event has {bytes} bytes, at most {} are taken; put the data elsewhere and send a dataref, or raise event_bytes_max",
            rules.event_bytes_max
        );
        return Err(Rejection {
            code: codes::EVENT_TOO_LARGE,
            place: Place::Event,
            message: message.into(),
            kind: Kind::TooLarge,
        });
    }
    Ok(Admitted { key: key(&event, &rules.secret), event })
}

/// The hash of an event's identity: SipHash-1-3 of the source's length, the source and the id.
pub fn key(event: &Event, secret: &[u8; 16]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(secret);
    hasher.write(&event.source().len().to_le_bytes());
    hasher.write(event.source().as_bytes());
    hasher.write(event.id().as_bytes());
    hasher.finish()
}

/// Whether two events have one identity.
pub fn same_identity(a: &Event, b: &Event) -> bool {
    a.id() == b.id() && a.source() == b.source()
}

#[cfg(test)]
mod tests {
    use schemas::{Form, Invalid};

    use super::*;

    const RULES: Rules = Rules { event_bytes_max: 200, secret: [7; 16], router: None };

    fn event(id: &str, source: &str, data: &str) -> Event {
        Event::builder(id, source, "t").data(Form::Text, data.to_string()).build().unwrap()
    }

    #[test]
    fn identity_alone_makes_the_key() {
        let of = |e: Event| admit(e.into(), &RULES).unwrap().key;
        assert_eq!(of(event("1", "/a", "x")), of(event("1", "/a", "y")));
        assert_ne!(of(event("1", "/a", "x")), of(event("2", "/a", "x")));
        assert_ne!(of(event("bc", "/a", "")), of(event("c", "/ab", "")));
        assert_ne!(key(&event("1", "/a", ""), &[1; 16]), key(&event("1", "/a", ""), &[2; 16]));
    }

    #[test]
    fn too_large_an_event_is_refused_with_both_figures() {
        let refused = admit(event("1", "/a", &"x".repeat(300)).into(), &RULES).unwrap_err();
        assert_eq!((refused.code.0, refused.kind), ("event-too-large", Kind::TooLarge));
        assert!(refused.message.contains("at most 200"), "{refused}");
    }

    #[test]
    fn hops_do_not_make_an_event_too_large() {
        let router = hops::Router::new(None, &[7; 32]).unwrap();
        let event = event("1", "/a", &"x".repeat(200 - event("1", "/a", "").body().len()));
        let stamped = router.stamp(&event, &event).unwrap();
        assert!(stamped.body().len() > RULES.event_bytes_max);
        assert_eq!(admit(stamped.into(), &RULES).map(|a| a.event.data().len()).unwrap(), event.data().len());
        let long = event.with(hops::HOPS, "x".repeat(64).as_str()).unwrap();
        assert_eq!(admit(long.into(), &RULES).unwrap_err().kind, Kind::TooLarge, "what no router writes counts");
    }

    #[test]
    fn what_the_source_found_invalid_keeps_its_place() {
        let invalid = Invalid::new(schemas::codes::MISSING_ATTRIBUTE, Place::Header("ce-id".into()), "no id");
        let refused = admit(Err(invalid).into(), &RULES).unwrap_err();
        assert_eq!(refused.place, Place::Header("ce-id".into()));
        assert_eq!(refused.kind, Kind::Invalid);
    }
}
