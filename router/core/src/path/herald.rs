//! Tells the router's facts on the bus `system`: those that wait, once a second; those of an operator's act at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{
    Parts,
    append::{Door, Intake},
};
use crate::{
    clock::Clock,
    codes,
    id::{Offset, RouteName, RunId, SourceName},
    quarantine,
    source::RawEvent,
    stats::Stats,
    store::Error,
    system::{self, FOLD_EVERY, Fact, Teller},
};

/// Where facts go in.
#[derive(Clone)]
pub(super) struct Herald {
    intake: Intake,
    from: SourceName,
    teller: Arc<Mutex<Teller>>,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
}

impl Herald {
    /// Whoever tells the facts is the only one who gets this intake. `tail`: where the log of the bus ends.
    pub fn new(intake: Intake, parts: &Parts, tail: Offset) -> Self {
        // The bus's name is one of a source, too.
        let from = SourceName::new(system::BUS).unwrap_or_else(|_| unreachable!());
        let teller = Arc::new(Mutex::new(Teller::new(parts.state.epoch, tail)));
        let (stats, clock) = (parts.stats.clone(), parts.clock.clone());
        stats.facts.begin();
        Herald { intake, from, teller, stats, clock }
    }

    /// Tells a fact at once. Resolves when it is durable, or counted as lost.
    pub async fn announce(&self, fact: &Fact) {
        let event = self.teller.lock().unwrap_or_else(PoisonError::into_inner).one(fact, self.clock.wall());
        match event {
            Ok(event) => self.submit(vec![(event, 1)]).await,
            Err(_) => self.stats.facts.lost.add(1),
        }
    }

    /// Tells what waits, until it is stopped.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.stats.facts.waiting() => {}
            }
            self.flush().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(FOLD_EVERY) => {}
            }
        }
    }

    /// Tells what waits now.
    pub async fn flush(&self) {
        let events = {
            let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
            self.stats.facts.take(&mut teller)
        };
        if !events.is_empty() {
            self.submit(events).await;
        }
    }

    async fn submit(&self, events: Vec<(schemas::Event, u64)>) {
        let counts: Vec<u64> = events.iter().map(|(_, count)| *count).collect();
        let batch = events.into_iter().map(|(event, _)| RawEvent::from(event)).collect();
        let facts = &self.stats.facts;
        let (mut lost, mut why) = (0, None);
        match self.intake.submit_by(Door::Fact, &self.from, batch).await {
            Ok(answers) => {
                for (answer, count) in answers.into_iter().zip(&counts) {
                    match answer {
                        Ok(_) => facts.told.add(1),
                        Err(rejection) => (lost, why) = (lost + count, Some(rejection.to_string())),
                    }
                }
            }
            Err(closed) => (lost, why) = (counts.iter().sum(), Some(closed.to_string())),
        }
        if let Some(why) = why {
            facts.lost.add(lost);
            tracing::warn!(code = %codes::FACTS_LOST, lost, %why, "facts of the router could not be told on the bus system");
        }
    }
}

/// Routes that are not configured any more and hold a log: told once, at the start.
pub(super) fn orphans(parts: &Parts) {
    for lane in &parts.state.lanes {
        let route = parts.state.routes.iter().find(|(_, id)| *id == lane.lane.route).map(|(name, _)| name);
        let bus = parts.state.buses.iter().find(|(_, id)| *id == lane.lane.bus).map(|(name, _)| name);
        let bus = bus.filter(|bus| bus.as_str() != system::BUS);
        let configured = |name: &RouteName| parts.topology.routes.iter().any(|spec| spec.name == *name);
        let (Some(route), Some(bus)) = (route.filter(|name| !configured(name)), bus) else { continue };
        let waiting = lane.ready + lane.waiting;
        if lane.lane.run == RunId(0) && waiting > 0 && route.as_str() != quarantine::BUS {
            let (route, bus) = (route.clone(), bus.clone());
            parts.stats.facts.tell(Fact::Orphaned { route, bus, waiting }, parts.clock.wall());
        }
    }
}
