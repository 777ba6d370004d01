//! The events in a target's answer on their way into the logs, before their delivery is settled.
//!
//! Each is an event of the route's bus, or of another one that the route names; what is no event that the bus takes
//! is quarantined, and the others of the answer go on. What is refused for now, because the disk is full or the
//! intake is busy, is kept here and tried again: the target is not called again for it. Only a path that stops leaves
//! it: then the delivery is made again after the next start, and what was appended is found as a duplicate.

use std::{collections::HashMap, sync::Arc, time::Duration};

use schemas::Event;

use super::{
    append::{Door, Intake},
    lane::Route,
};
use crate::{
    codes,
    id::{BusName, DeliveryId, Offset, SourceName, TargetName},
    quarantine::{self, Quarantined},
    reply,
    source::{Accepted, IntakeClosed, Kind, RawEvent, Rejection},
};

/// From one try to take replies in to the next, at most.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// An answer with events in it, whose delivery waits for them to be durable.
pub(super) struct Answered {
    pub lane: usize,
    pub offset: Offset,
    pub id: DeliveryId,
    pub route: Arc<Route>,
    pub target: TargetName,
    /// The event that was delivered, as it stands in the log.
    pub cause: Event,
    pub replies: Vec<RawEvent>,
}

/// A way to keep what is no event: see [`Quarantined`].
#[derive(Clone)]
pub struct Quarantine {
    intake: Intake,
    secret: [u8; 16],
}

impl Quarantine {
    pub(super) fn new(intake: Intake, secret: [u8; 16]) -> Self {
        Quarantine { intake, secret }
    }

    /// Keeps them; resolves when each is durable, or was before, or is refused for now, one answer for each in order:
    /// acknowledge upstream right after.
    ///
    /// # Errors
    /// [`IntakeClosed`]: nothing may be acknowledged.
    pub async fn keep(
        &self,
        from: &SourceName,
        batch: &[Quarantined],
    ) -> Result<Vec<Result<Accepted, Rejection>>, IntakeClosed> {
        self.keep_by(Door::Source, from, batch).await
    }

    async fn keep_by(
        &self,
        door: Door,
        from: &SourceName,
        batch: &[Quarantined],
    ) -> Result<Vec<Result<Accepted, Rejection>>, IntakeClosed> {
        let records = batch.iter().map(|q| RawEvent::from(q.event(&self.secret))).collect();
        let answers = self.intake.submit_by(door, from, records).await?;
        for (q, answer) in batch.iter().zip(&answers) {
            if let Ok(Accepted::Appended(offset)) = answer {
                tracing::warn!(code = %codes::QUARANTINED, reason = &*q.reason, from = &*q.from, route = q.route.as_deref(), note = &*q.note, offset = offset.0, "what came is no event that can be taken in; it is kept as a dead letter of the route quarantine");
            }
        }
        Ok(answers)
    }
}

/// The ways in for what targets answer.
#[derive(Clone, Default)]
pub(super) struct Doors {
    pub intakes: HashMap<BusName, Intake>,
    pub quarantine: Option<Quarantine>,
}

impl Doors {
    /// Makes everything in the answer durable. An error: the path stops, and not all of it is.
    pub async fn take(&self, answered: &Answered) -> Result<(), IntakeClosed> {
        let from = SourceName::new(answered.route.name.as_str()).map_err(|_| IntakeClosed)?;
        let bus = answered.route.reply.as_ref().ok_or(IntakeClosed)?;
        let intake = self.intakes.get(bus).ok_or(IntakeClosed)?;
        let quarantine = self.quarantine.as_ref().ok_or(IntakeClosed)?;
        let (mut events, mut spoiled) = answered.sort(bus);
        let mut told = false;
        loop {
            let mut wait = None;
            events = answered.append(intake, &from, bus, events, &mut spoiled, &mut wait).await?;
            spoiled = answered.quarantine(quarantine, &from, spoiled, &mut wait).await?;
            if events.is_empty() && spoiled.is_empty() {
                return Ok(());
            }
            if !std::mem::replace(&mut told, true) {
                let (count, route) = (events.len() + spoiled.len(), &answered.route.name);
                tracing::warn!(code = %codes::REPLIES_WAIT, %route, target_name = %answered.target, delivery = %answered.id, count, "replies cannot be taken in now; they are kept, and tried again");
            }
            tokio::time::sleep(wait.unwrap_or(WAIT_MAX).min(WAIT_MAX)).await;
        }
    }
}

/// A reply that can be appended, and what it came as.
struct Made {
    index: usize,
    event: Event,
    raw: RawEvent,
}

impl Answered {
    /// What the bus may take, and what it may not.
    fn sort(&self, bus: &BusName) -> (Vec<Made>, Vec<Quarantined>) {
        let (mut events, mut spoiled) = (Vec::new(), Vec::new());
        for (index, raw) in self.replies.iter().enumerate() {
            let made = raw.event.clone().and_then(|event| reply::to(&self.cause, &event));
            match made {
                Ok(event) => events.push(Made { index, event, raw: raw.clone() }),
                Err(invalid) => {
                    let (code, note) = Quarantined::why(&invalid);
                    spoiled.push(self.spoiled(index, raw, bus, code.0, note));
                }
            }
        }
        (events, spoiled)
    }

    fn spoiled(&self, index: usize, raw: &RawEvent, bus: &BusName, reason: &str, note: Box<str>) -> Quarantined {
        let as_json = || raw.event.as_ref().map(schemas::json::encode).unwrap_or_default().into();
        Quarantined {
            reason: reason.into(),
            note: format!("reply {index} of {} to {} {}: {note}", self.target, self.cause.source(), self.cause.id())
                .into(),
            bus: bus.as_str().into(),
            route: Some(self.route.name.as_str().into()),
            from: self.target.as_str().into(),
            origin: format!("{}/{index}", self.id).into(),
            content_type: raw.content_type.clone(),
            cause: Some((self.cause.id().into(), self.cause.source().into())),
            bytes: raw.raw.clone().unwrap_or_else(as_json),
        }
    }

    /// Appends; returns what must be tried again.
    async fn append(
        &self,
        intake: &Intake,
        from: &SourceName,
        bus: &BusName,
        events: Vec<Made>,
        spoiled: &mut Vec<Quarantined>,
        wait: &mut Option<Duration>,
    ) -> Result<Vec<Made>, IntakeClosed> {
        if events.is_empty() {
            return Ok(events);
        }
        let batch = events.iter().map(|made| made.event.clone().into()).collect();
        let answers = intake.submit_by(Door::Reply, from, batch).await?;
        let mut again = Vec::new();
        for (made, answer) in events.into_iter().zip(answers) {
            match answer {
                Ok(Accepted::Appended(_)) => self.route.stats.replies_appended.add(1),
                Ok(Accepted::Duplicate(_) | Accepted::Looped) => self.route.stats.replies_duplicate.add(1),
                Err(Rejection { kind: Kind::Busy { retry_after }, .. }) => {
                    *wait = Some(wait.map_or(retry_after, |w| w.min(retry_after)));
                    again.push(made);
                }
                Err(Rejection { code, place, message, .. }) => {
                    let note = format!("{place}: {message}").into();
                    spoiled.push(self.spoiled(made.index, &made.raw, bus, code.0, note));
                }
            }
        }
        Ok(again)
    }

    /// Quarantines; returns what must be tried again.
    async fn quarantine(
        &self,
        quarantine: &Quarantine,
        from: &SourceName,
        spoiled: Vec<Quarantined>,
        wait: &mut Option<Duration>,
    ) -> Result<Vec<Quarantined>, IntakeClosed> {
        if spoiled.is_empty() {
            return Ok(spoiled);
        }
        let answers = quarantine.keep_by(Door::Reply, from, &spoiled).await?;
        let mut again = Vec::new();
        for (q, answer) in spoiled.into_iter().zip(answers) {
            match answer {
                Ok(_) => self.route.stats.replies_quarantined.add(1),
                Err(Rejection { kind: Kind::Busy { retry_after }, .. }) => {
                    *wait = Some(wait.map_or(retry_after, |w| w.min(retry_after)));
                    again.push(q);
                }
                Err(other) => {
                    // Its record has no limit of its own: nothing is settled until it is kept.
                    tracing::error!(code = %codes::REPLY_LOST, route = %self.route.name, why = %other, "what is no event cannot be quarantined; its delivery stays open");
                    again.push(q);
                }
            }
        }
        Ok(again)
    }
}

/// The name of a bus or route that the router keeps to itself.
pub(super) fn reserved(name: &str) -> bool {
    quarantine::RESERVED.contains(&name)
}
