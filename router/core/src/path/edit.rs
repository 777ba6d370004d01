//! A dead letter that is taken in again after an edit: a new event, which names the one that it stands for, on the bus
//! that the old one came from or was meant for. It goes to every route that wants it.
//!
//! In this order: the new event is durable, then the dead letter ends. After a crash between the two the same edit finds
//! its own event, and ends the dead letter.

use std::hash::Hasher;

use schemas::{Event, Invalid};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::{Path, dispatch::Letters};
use crate::{
    id::{BusId, BusName, DeliveryId, Offset, SourceName},
    quarantine::Quarantined,
    reply,
    source::{Accepted, IntakeClosed, Rejection},
    store::{self, Page, Selection},
    system,
};

/// Why dead letters were ended whose event came in again after an edit, as it is counted.
const EDITED: &str = "edited";
/// What logs call the source of edited events.
const FROM: &str = "dead-letters";

/// What became of an edited event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The bus that took it.
    pub bus: BusName,
    /// Where.
    pub offset: Offset,
    /// The event as it was taken in.
    pub event: Event,
}

/// Why an edited event was not taken in: the dead letter is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such dead letter.
    #[error("there is no open dead letter {0}; it may have been redriven meanwhile")]
    NoLetter(DeliveryId),
    /// Nothing is kept of its event.
    #[error(
        "the event of {0} is no longer kept, so that nothing can be said to be an edit of it; publish the new event instead"
    )]
    NoEvent(DeliveryId),
    /// Its bus is not there.
    #[error("there is no bus {0}, which would take the event; configure it")]
    NoBus(Box<str>),
    /// It would be something that the router never told.
    #[error("what the router tells of itself cannot be edited; redrive it as it is")]
    OwnFact,
    /// It has the identity of the event that it stands for.
    #[error(
        "the edited event has the id and the source of the one that it stands for; a new event needs its own: change one of the two, or ask for a new id"
    )]
    SameIdentity,
    /// Its identity is taken.
    #[error("another event has this id and source already, at offset {0}; change one of the two, or ask for a new id")]
    Taken(Offset),
    /// It cannot be what it is to be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The bus does not take it.
    #[error(transparent)]
    Refused(Rejection),
    /// The path stops.
    #[error(transparent)]
    Closed(#[from] IntakeClosed),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What an edited event stands for.
struct Origin {
    bus: BusName,
    /// Id and source.
    cause: Option<(Box<str>, Box<str>)>,
}

impl Path {
    /// Takes an event in that stands for a dead letter, and ends that; resolves when both are durable. With `new_id` it
    /// gets an id from the dead letter and itself, the same whenever it is asked for again.
    ///
    /// # Errors
    /// [`EditError`].
    pub async fn redrive_edited(&self, id: &DeliveryId, edited: &Event, new_id: bool) -> Result<Edited, EditError> {
        let _one = self.changing.lock().await;
        self.flush().await?;
        let which = Selection { ids: Some(vec![*id]), ..Selection::default() };
        let found = self.ledger.dead_letters(&which, Page { after: None, count_max: 1 }).await?;
        if found.is_empty() {
            return Err(EditError::NoLetter(*id));
        }
        let Origin { bus, cause } = self.origin(id).await?;
        let fresh =
            if new_id { edited.rebuild().set("id", &*self::new_id(id, edited)).build()? } else { edited.clone() };
        let event = match &cause {
            Some((id, source)) if (&**id, &**source) == (fresh.id(), fresh.source()) => {
                return Err(EditError::SameIdentity);
            }
            // Somebody has looked at it: that ends whatever chain there was.
            Some((id, source)) => reply::caused(&fresh, (id, source), 1)?,
            None => fresh,
        };
        let offset = self.admit_edited(&bus, &event).await?;
        self.ask(found, Letters::End(EDITED)).await?;
        tracing::info!(%id, %bus, offset = offset.0, event_id = event.id(), source = event.source(), "a dead letter was edited and taken in as a new event");
        Ok(Edited { bus, offset, event })
    }

    /// The bus of what is edited, and what the edit names as its cause.
    async fn origin(&self, id: &DeliveryId) -> Result<Origin, EditError> {
        let record = self.record(id).await?.ok_or(EditError::NoEvent(*id))?;
        if let Some(q) = Quarantined::read(&record.event) {
            let bus = BusName::new(&q.bus).map_err(|_| EditError::NoBus(q.bus.clone()))?;
            return Ok(Origin { bus, cause: q.cause });
        }
        let state = self.ledger.state().await?;
        let name = |bus: BusId| state.buses.iter().find(|(_, id)| *id == bus).map(|(name, _)| name.clone());
        let bus = name(id.lane.bus).ok_or_else(|| EditError::NoBus(id.lane.bus.to_string().into()))?;
        Ok(Origin { bus, cause: Some((record.event.id().into(), record.event.source().into())) })
    }

    async fn admit_edited(&self, bus: &BusName, event: &Event) -> Result<Offset, EditError> {
        if bus.as_str() == system::BUS {
            return Err(EditError::OwnFact);
        }
        let intake = self.intakes.get(bus).ok_or_else(|| EditError::NoBus(bus.as_str().into()))?;
        let from = SourceName::new(FROM).map_err(|_| IntakeClosed)?;
        let answer = intake.submit(&from, vec![event.clone().into()]).await?.pop().ok_or(IntakeClosed)?;
        match answer.map_err(EditError::Refused)? {
            Accepted::Appended(offset) => Ok(offset),
            Accepted::Duplicate(offset) if self.holds(bus, offset, event).await? => Ok(offset),
            Accepted::Duplicate(offset) => Err(EditError::Taken(offset)),
            Accepted::Looped => Err(EditError::SameIdentity),
        }
    }

    /// Whether the record at this offset is this very event: the same edit was begun before.
    async fn holds(&self, bus: &BusName, offset: Offset, event: &Event) -> Result<bool, store::Error> {
        let state = self.ledger.state().await?;
        let id = state.buses.iter().find(|(name, _)| name == bus).map(|(_, id)| *id);
        let Some(log) = id.and_then(|id| self.logs.get(&id)) else { return Ok(false) };
        Ok(log.record(offset).await?.is_some_and(|record| record.event.body() == event.body()))
    }
}

/// An id for an edit: 32 hexadecimal digits.
fn new_id(letter: &DeliveryId, edited: &Event) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(letter.to_string().as_bytes());
    hasher.write(edited.body());
    format!("{:032x}", hasher.finish128().as_u128())
}
