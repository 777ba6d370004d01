//! Routes whose target says that it is gone, to be told once each time.

use super::{super::lane::Lane, OpenSet};
use crate::{
    id::{BusId, RouteName, RunId},
    target::Facts,
};

/// A route of the live flow that has stopped.
#[derive(Debug)]
pub(in super::super) struct Stopped {
    pub bus: BusId,
    pub route: RouteName,
    /// The place of its target.
    pub target: usize,
    /// What the target said.
    pub why: Box<str>,
}

impl Stopped {
    /// Of a lane that did not send to that target any more: `None` for a replay's, which says for itself what it waits
    /// for.
    pub(super) fn of(lane: &Lane, facts: Facts) -> Option<Stopped> {
        let target = lane.target.filter(|_| lane.id.run == RunId(0))?;
        let status = facts.status.map(|status| status.to_string()).unwrap_or_default();
        let why = match facts.note.as_deref() {
            Some(note) if !status.is_empty() => format!("{status}: {note}"),
            Some(note) => note.to_owned(),
            None => status,
        };
        Some(Stopped { bus: lane.id.bus, route: lane.route.name.clone(), target, why: why.into() })
    }
}

impl OpenSet {
    /// Routes that have stopped since this was asked last.
    pub fn take_stopped(&mut self) -> Vec<Stopped> {
        std::mem::take(&mut self.stopped)
    }
}
