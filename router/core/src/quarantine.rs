//! What came in and is no event that a bus could take: kept byte for byte, with where it is from and why, so that
//! whoever gave it is done with it and nothing is lost. Pure.
//!
//! It is a record of the internal bus [`BUS`]: an event of the type [`KIND`] whose data are the bytes, and whose
//! facts, which are never delivered, say the rest. The internal route of the same name wants every such record,
//! and what it is owed is a dead letter at once: so the log, its trimming, its repair and the planner carry it like
//! any other, and a crash between the record and its dead letter leaves a record that is planned again.

use std::hash::Hasher;

use bytes::Bytes;
use schemas::{Code, Event, Form, Invalid};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::{
    id::{BusId, BusName, DeliveryId, LaneId, RouteId, RouteName, RunId, TargetName},
    store::{Attempts, DeadLetter, Epochs, Record},
};

/// The name of the internal bus, and of its route.
pub const BUS: &str = "quarantine";
/// The `type` of its records.
pub const KIND: &str = "gocoffee.quarantined";
/// The `source` of its records.
pub const SOURCE: &str = "/gocoffee/quarantine";
/// Names of buses that the router keeps to itself.
pub const RESERVED: [&str; 2] = [BUS, "system"];
/// Bytes of [`Quarantined::note`].
const NOTE_BYTES_MAX: usize = 1 << 10;

/// The name of the internal bus.
pub fn bus() -> BusName {
    // The text is a name; were it none, the first test of a reply would say so.
    BusName::new(BUS).unwrap_or_else(|_| unreachable!())
}

/// The name of the internal route.
pub fn route() -> RouteName {
    RouteName::new(BUS).unwrap_or_else(|_| unreachable!())
}

/// Bytes that are no event, and what is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Why, for programs.
    pub reason: Box<str>,
    /// Why, for people, with the place.
    pub note: Box<str>,
    /// The bus that they were meant for.
    pub bus: Box<str>,
    /// The route whose target answered with them; `None`: a source read them.
    pub route: Option<Box<str>>,
    /// The target that answered, or the source.
    pub from: Box<str>,
    /// Tells this from all others of the same origin: the delivery and the place in its answer, or what the source
    /// calls its message.
    pub origin: Box<str>,
    /// The media type of the bytes, where it is known.
    pub content_type: Option<Box<str>>,
    /// Id and source of the event that they answer.
    pub cause: Option<(Box<str>, Box<str>)>,
    /// The bytes as they came.
    pub bytes: Bytes,
}

impl Quarantined {
    /// Why it is no event, from what a codec or the intake said.
    pub fn why(invalid: &Invalid) -> (Code, Box<str>) {
        (invalid.code, format!("{}: {}", invalid.place, invalid.message).into())
    }

    /// As the record of the bus. The same bytes of the same origin have the same id, so that they are kept once.
    ///
    /// # Errors
    /// None that the fields of [`Quarantined`] can cause below 4 GiB.
    pub fn event(&self, secret: &[u8; 16]) -> Result<Event, Invalid> {
        let mut hasher = SipHasher13::new_with_key(secret);
        for part in [self.from.as_bytes(), self.origin.as_bytes(), &self.bytes] {
            hasher.write(&part.len().to_le_bytes());
            hasher.write(part);
        }
        let id = format!("{:032x}", hasher.finish128().as_u128());
        let note = self.note.get(..self.note.floor_char_boundary(NOTE_BYTES_MAX)).unwrap_or_default();
        let mut event = Event::builder(&id, SOURCE, KIND)
            .fact("reason", &self.reason)
            .fact("note", note)
            .fact("bus", &self.bus)
            .fact("from", &self.from)
            .fact("origin", &self.origin);
        let more = [("route", &self.route), ("contenttype", &self.content_type)];
        for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            event = event.fact(name, value);
        }
        if let Some((id, source)) = &self.cause {
            event = event.fact("causeid", id).fact("causesource", source);
        }
        event.data(Form::Binary, self.bytes.clone()).build()
    }

    /// Reads a record of the bus; `None` when it is none.
    pub fn read(event: &Event) -> Option<Quarantined> {
        let fact = |name: &str| event.facts().find(|(n, _)| *n == name).map(|(_, value)| Box::<str>::from(value));
        if event.kind() != KIND || event.source() != SOURCE {
            return None;
        }
        Some(Quarantined {
            reason: fact("reason")?,
            note: fact("note")?,
            bus: fact("bus")?,
            route: fact("route"),
            from: fact("from")?,
            origin: fact("origin")?,
            content_type: fact("contenttype"),
            cause: fact("causeid").zip(fact("causesource")),
            bytes: event.data_bytes(),
        })
    }
}

/// The dead letter of a record of the internal bus: the same however often it is planned.
pub fn dead_letter(record: &Record, bus: BusId, internal: RouteId, epochs: &Epochs) -> DeadLetter {
    let found = Quarantined::read(&record.event);
    let unknown = || (Box::from("record-damaged"), Box::from("the record says nothing of where it is from"));
    let from = found.as_ref().and_then(|q| TargetName::new(&q.from).ok());
    let (reason, note) = found.map_or_else(unknown, |q| (q.reason, q.note));
    let lane = LaneId { bus, route: internal, run: RunId(0) };
    DeadLetter {
        id: DeliveryId { epoch: epochs.of(bus, record.offset), lane, offset: record.offset },
        route: route(),
        target: from.or_else(|| TargetName::new(BUS).ok()).unwrap_or_else(|| unreachable!()),
        reason,
        note,
        at: record.appended,
        bytes: u32::try_from(record.event.body().len()).unwrap_or(u32::MAX),
        order: None,
        attempts: Attempts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        id::{Epoch, Offset},
    };

    fn found() -> Quarantined {
        Quarantined {
            reason: "loop-depth".into(),
            note: "attribute causedepth: too deep\u{1}".into(),
            bus: "default".into(),
            route: Some("pricing".into()),
            from: "pricer".into(),
            origin: "0000000000c0ffee-0-1-2-0/0".into(),
            content_type: Some("application/cloudevents+json".into()),
            cause: Some(("1".into(), "/s".into())),
            bytes: Bytes::from_static(b"\x00\xff no event"),
        }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let mut kept = found();
        assert_eq!(Quarantined::read(&kept.event(&[1; 16]).unwrap()), Some(kept.clone()));
        (kept.route, kept.content_type, kept.cause) = (None, None, None);
        let event = kept.event(&[1; 16]).unwrap();
        assert_eq!(Quarantined::read(&event), Some(kept));
        let other = Event::builder("1", "/s", KIND).build().unwrap();
        assert_eq!(Quarantined::read(&other), None);
    }

    #[test]
    fn the_same_bytes_of_the_same_origin_are_kept_once() {
        let id = |q: &Quarantined| q.event(&[1; 16]).unwrap().id().to_owned();
        let again = Quarantined { note: "said otherwise".into(), ..found() };
        assert_eq!(id(&found()), id(&again));
        assert_ne!(id(&found()), id(&Quarantined { origin: "another".into(), ..found() }));
        assert_ne!(id(&found()), id(&Quarantined { bytes: Bytes::from_static(b"other"), ..found() }));
    }

    #[test]
    fn its_dead_letter_hangs_on_the_record_alone() {
        let event = found().event(&[1; 16]).unwrap();
        let record = Record { offset: Offset(7), appended: Timestamp(99), event };
        let letter = dead_letter(&record, BusId(3), RouteId(9), &Epochs::from(Epoch(0xC0FFEE)));
        assert_eq!(letter.id.to_string(), "0000000000c0ffee-3-7-9-0");
        assert_eq!((&*letter.reason, letter.target.as_str(), letter.at), ("loop-depth", "pricer", Timestamp(99)));
    }
}
