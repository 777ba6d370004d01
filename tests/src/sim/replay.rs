//! Replays of a simulation: started, paused, resumed and cancelled at random, and what the oracle is told of them.

use std::{num::NonZeroU32, sync::Arc};

use router_core::{
    filter,
    id::{Offset, RouteName, RunId},
    path::{Asked, Path, Place, Refused},
    replay::{RunEnd, RunState},
    stats::{RunStatus, Status},
    store::Error,
};
use serde_json::json;

use super::{
    Totals,
    life::{Life, bus},
};
use crate::{
    coffee::{Coffee, KINDS},
    oracle::{Replayed, Wanted},
    world::setup::Route,
};

/// Replays through all lives.
#[derive(Clone, Default)]
pub struct Replays {
    known: Vec<Replayed>,
    /// One whose start was never answered: it may have been kept.
    maybe: Option<Vec<(String, Wanted)>>,
}

impl Replays {
    /// A router has started: it knows of a replay whose start was never answered, or there is none.
    pub fn restarted(&mut self, there: &[RunStatus]) {
        let maybe = self.maybe.take();
        let unknown = there.iter().find(|r| self.known.iter().all(|k| k.run != r.run.id.0));
        if let (Some(routes), Some(r)) = (maybe, unknown) {
            let (run, from, to) = (r.run.id.0, r.run.from.0, r.run.to.0);
            self.known.push(Replayed { run, from, to, routes, done: false });
        }
    }

    /// All is over; `missing`: something of the archive was not there for a while.
    pub fn over(&mut self, there: &[RunStatus], missing: bool, totals: &mut Totals) -> Result<(), String> {
        for r in there {
            let known = self.known.iter_mut().find(|k| k.run == r.run.id.0);
            let known = known.ok_or_else(|| format!("nobody started replay {}", r.run.id))?;
            known.done = r.run.state == RunState::Ended(RunEnd::Done);
            totals.add("replays done", known.done.into());
            totals.add("replays that passed over what was not there", u64::from(r.run.lost > 0));
            if r.run.lost > 0 && !missing {
                return Err(format!("replay {} lost something, and nothing was missing: {r:#?}", r.run.id));
            }
            for c in r.run.routes.iter().map(|route| route.counts) {
                if c.matched != c.delivered + c.dead_lettered + c.ended {
                    return Err(format!("replay {} does not add up: {r:#?}", r.run.id));
                }
            }
        }
        Ok(())
    }

    /// For the oracle.
    pub fn all(&self) -> Vec<Replayed> {
        self.known.clone()
    }
}

/// Whether every replay is over, and nothing is owed of what was redriven after its end.
pub fn over(status: &Status) -> bool {
    status.replays.iter().all(|r| r.run.state.is_over() && r.lanes.iter().all(|lane| lane.waiting == 0))
}

impl Life {
    /// An operator starts a replay, or changes one.
    pub(super) async fn replay_something(&mut self, path: &Path) {
        let Ok(status) = path.status().await else { return };
        let open: Vec<&RunStatus> = status.replays.iter().filter(|r| r.run.state.is_open()).collect();
        if open.is_empty() || (open.len() < 3 && self.rng.chance(40)) {
            return self.start_replay(path, &status).await;
        }
        let id = self.rng.pick(&open).run.id;
        let (word, done) = match self.rng.below(10) {
            0..4 => ("replays paused", path.pause_replay(id).await),
            4..8 => ("replays resumed", path.resume_replay(id).await),
            _ => ("replays cancelled", path.cancel_replay(id).await),
        };
        self.trace.note(word, &[&id.to_string(), &format!("{:?}", done.is_ok())]);
        self.totals.add(word, done.is_ok().into());
    }

    async fn start_replay(&mut self, path: &Path, status: &Status) {
        let Some(log) = status.buses.first().filter(|b| b.first < b.tail) else { return };
        let reach = path.archive(&bus()).map_or(log.first, |archive| archive.bounds().0);
        // What is in copies alone, more often than it would be.
        let far = reach < log.first && self.rng.chance(60);
        let from = if far {
            self.rng.between(reach.0, log.first.0 - 1)
        } else {
            self.rng.between(log.first.0, log.tail.0 - 1)
        };
        let to = if self.rng.chance(50) { None } else { Some((from + 1 + self.rng.below(900)).min(log.tail.0)) };
        let mut chosen: Vec<Route> = vec![self.rng.pick(&self.routes).clone()];
        let other = self.rng.pick(&self.routes).clone();
        if other.name != chosen[0].name {
            chosen.push(other);
        }
        let kind = self.rng.chance(25).then(|| *self.rng.pick(&KINDS));
        let rate = if self.rng.chance(30) { NonZeroU32::new(self.rng.between(20, 400) as u32) } else { None };
        let wanted = |route: &Route| {
            let wants = route.wants.clone();
            let both: Wanted = Arc::new(move |e: &Coffee| wants(e) && kind.is_none_or(|kind| &*e.kind == kind));
            (route.name.clone(), both)
        };
        let routes: Vec<(String, Wanted)> = chosen.iter().map(wanted).collect();
        let asked = Asked {
            bus: bus(),
            from: Place::Offset(Offset(from)),
            to: to.map(|to| Place::Offset(Offset(to))),
            filter: kind.map(|kind| filter::Spec::Pattern(json!({ "type": [kind] }))),
            routes: chosen.iter().map(|r| RouteName::new(&r.name).expect("a name")).collect(),
            rate,
            replies: Default::default(),
        };
        match path.replay(&asked).await {
            Ok(started) => {
                let (RunId(run), from, to) = (started.id, started.span.from.0, started.span.to.0);
                self.trace.note("replay", &[&run.to_string(), &format!("{from}..{to}")]);
                self.totals.add("replays started", 1);
                self.totals.add("replays out of copies", far.into());
                self.replays.known.push(Replayed { run, from, to, routes, done: false });
            }
            // The copies are not listed yet: it was not begun.
            Err(Refused::Store(Error::Unreachable(why))) => self.trace.note("no replay yet", &[&*why]),
            // The store has failed, and may have kept it all the same.
            Err(Refused::Store(_)) => self.replays.maybe = Some(routes),
            Err(e) => self.trace.note("no replay", &[&e.to_string()]),
        }
    }
}
