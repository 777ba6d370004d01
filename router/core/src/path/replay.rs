//! Replays, as an operator handles them: started, looked at, paused, resumed, ended.
//!
//! The dispatcher owns the runs. What an operator asks for is durable when the call returns.

use std::{collections::BTreeMap, num::NonZeroU32, ops::Range};

use tokio::sync::oneshot;

use super::{Path, dispatch::Msg, open::RunAct};
use crate::{
    clock::Timestamp,
    codes,
    filter::{self, Filter},
    id::{BusId, BusName, Offset, RouteName, RunId},
    plan::filter_text,
    replay::{
        self, RUN_ROUTES_MAX, RUNS_OPEN_MAX, RangeError, Read, Replies, Run, RunCounts, RunEnd, RunRoute, RunState,
        Selector, Span,
    },
    shelf::Reach,
    stats::RunStatus,
    store::{self, Error, State},
};

/// Bytes of records that a run reads at a time.
const READ_BYTES: usize = 256 << 10;

/// An end of a range, as an operator says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This offset.
    Offset(Offset),
    /// The first event that was appended then or later.
    Time(Timestamp),
}

/// A replay that is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The bus.
    pub bus: BusName,
    /// Where its range begins.
    pub from: Place,
    /// Where it ends, that not included; `None`: at the tail of this moment.
    pub to: Option<Place>,
    /// What it wants of the events, on top of what its routes want.
    pub filter: Option<filter::Spec>,
    /// The routes.
    pub routes: Vec<RouteName>,
    /// Events a second at most; `None`: as fast as they drain.
    pub rate: Option<NonZeroU32>,
    /// What becomes of replies.
    pub replies: Replies,
}

/// A replay that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its number.
    pub id: RunId,
    /// Its range.
    pub span: Span,
}

/// What a replay would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Its first offset.
    pub from: Offset,
    /// The offset behind its last one.
    pub to: Offset,
    /// As in [`Span::clamped`].
    pub clamped: bool,
    /// Events of the range.
    pub read: u64,
    /// Those that none of the routes wants.
    pub skipped: u64,
    /// Offsets that cannot be read: their copy in the archive is missing or damaged, or there is none.
    pub lost: u64,
    /// How many each route would get.
    pub routes: Vec<(RouteName, u64)>,
}

/// Why a replay is not started or changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is no such bus.
    #[error("there is no bus {bus}; there are: {}", names(.known))]
    Bus {
        /// What was asked for.
        bus: BusName,
        /// What there is.
        known: Vec<BusName>,
    },
    /// A route does not read the bus.
    #[error("route {route} is not configured on bus {bus}; routes of it: {}", names(.known))]
    Route {
        /// What was asked for.
        route: RouteName,
        /// On this bus.
        bus: BusName,
        /// What there is.
        known: Vec<RouteName>,
    },
    /// No route was named, one twice, or too many.
    #[error("name 1 to {RUN_ROUTES_MAX} routes, each once")]
    Routes,
    /// A filter cannot be read.
    #[error("the replay's filter: {0}")]
    Filter(filter::Error),
    /// The range is none.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// As many go on as may.
    #[error("{} replays go on already; wait for one to end, or cancel one", RUNS_OPEN_MAX)]
    TooMany,
    /// There is no such replay.
    #[error("there is no replay {0}")]
    Unknown(RunId),
    /// It is in no state for that.
    #[error("replay {id} is {}", .state.as_str())]
    State {
        /// Which.
        id: RunId,
        /// Where it is.
        state: RunState,
    },
}

impl Refused {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            Refused::Store(e) => e.code(),
            Refused::Bus { .. } => codes::REPLAY_BUS,
            Refused::Route { .. } | Refused::Routes => codes::REPLAY_ROUTE,
            Refused::Filter(_) => codes::REPLAY_FILTER,
            Refused::Range(_) => codes::REPLAY_RANGE,
            Refused::TooMany => codes::REPLAY_LIMIT,
            Refused::Unknown(_) => codes::NO_SUCH_REPLAY,
            Refused::State { .. } => codes::REPLAY_STATE,
        }
    }
}

fn names<T: std::fmt::Display>(names: &[T]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Path {
    /// Starts a replay; resolves when it is durable.
    ///
    /// # Errors
    /// [`Refused`]: nothing was started.
    pub async fn replay(&self, asked: &Asked) -> Result<Started, Refused> {
        // What its range holds must not be let go before the ledger says that it is held.
        let _no_trim = self.trimming.lock().await;
        let (run, span) = self.plan_replay(asked).await?;
        let routes: Vec<&str> = run.routes.iter().map(|r| r.name.as_str()).collect();
        let (routes, bus) = (routes.join(","), &asked.bus);
        let (reply, id) = oneshot::channel();
        self.dispatcher.send(Msg::StartRun(Box::new(run), reply)).map_err(|_| self.over())?;
        let id = id.await.map_err(|_| self.over())?;
        let id = u32::try_from(id).ok().filter(|id| *id > 0).map(RunId).ok_or(Refused::TooMany)?;
        tracing::info!(replay = id.0, %bus, from = span.from.0, to = span.to.0, routes, "replay started");
        Ok(Started { id, span })
    }

    /// Counts what a replay would deliver, exactly, and starts nothing. Reads the whole range.
    ///
    /// # Errors
    /// [`Refused`], as a start would be; or the range was let go while it was read.
    pub async fn replay_dry(&self, asked: &Asked) -> Result<Reading, Refused> {
        let (run, span) = self.plan_replay(asked).await?;
        let selector = selector(&run)?;
        let Span { from, to, clamped } = span;
        let mut counted: BTreeMap<_, u64> = run.routes.iter().map(|r| (r.route, 0)).collect();
        let mut reading = Reading { from, to, clamped, ..Reading::default() };
        let Some(reach) = self.reaches.get(&run.bus) else { return Err(self.over().into()) };
        let mut next = from;
        while next < to {
            let read = read(reach, &selector, next..to, usize::MAX).await?;
            let hits = u64::try_from(read.hits.len()).unwrap_or(u64::MAX);
            next = read.next;
            reading.read += read.read;
            reading.lost += read.lost.map_or(0, |(offsets, _)| offsets);
            reading.skipped += read.read.saturating_sub(hits);
            for route in read.hits.into_iter().flat_map(|(_, routes)| routes) {
                *counted.entry(route).or_default() += 1;
            }
            tokio::task::yield_now().await;
        }
        let count = |r: &RunRoute| (r.name.clone(), counted.get(&r.route).copied().unwrap_or_default());
        reading.routes = run.routes.iter().map(count).collect();
        Ok(reading)
    }

    /// All replays, by id: those that are over too, as long as they are kept.
    ///
    /// # Errors
    /// The store's, when it has failed or the path was stopped.
    pub async fn replays(&self) -> Result<Vec<RunStatus>, store::Error> {
        Ok(self.status().await?.replays)
    }

    /// Pauses a replay: it sends nothing until it is resumed, and holds its range.
    ///
    /// # Errors
    /// [`Refused`]: it is unknown, or in no state for that.
    pub async fn pause_replay(&self, id: RunId) -> Result<(), Refused> {
        self.act_on_replay(id, RunAct::Pause).await
    }

    /// Lets a replay go on.
    ///
    /// # Errors
    /// [`Refused`]: it is unknown, or in no state for that.
    pub async fn resume_replay(&self, id: RunId) -> Result<(), Refused> {
        self.act_on_replay(id, RunAct::Resume).await
    }

    /// Ends a replay: what is open of it ends, and its range is let go.
    ///
    /// # Errors
    /// [`Refused`]: it is unknown, or in no state for that.
    pub async fn cancel_replay(&self, id: RunId) -> Result<(), Refused> {
        self.act_on_replay(id, RunAct::End(RunEnd::Cancelled)).await
    }

    async fn act_on_replay(&self, id: RunId, act: RunAct) -> Result<(), Refused> {
        let (reply, done) = oneshot::channel();
        self.dispatcher.send(Msg::ActOnRun(id, act, reply)).map_err(|_| self.over())?;
        if done.await.map_err(|_| self.over())? > 0 {
            tracing::info!(replay = id.0, ?act, "replay changed by an operator");
            return Ok(());
        }
        let found = self.replays().await?.into_iter().find(|r| r.run.id == id);
        Err(found.map_or(Refused::Unknown(id), |r| Refused::State { id, state: r.run.state }))
    }

    /// The run that is asked for: its range and its filters fixed.
    async fn plan_replay(&self, asked: &Asked) -> Result<(Run, Span), Refused> {
        let state = self.ledger.state().await?;
        let (bus, reach) = self.bus_of(&state, &asked.bus)?;
        let routes = routes(&state, bus, asked)?;
        if let Some(spec) = &asked.filter {
            Filter::parse(spec.clone()).map_err(Refused::Filter)?;
        }
        let from = seek(reach, asked.from).await?;
        let to = match asked.to {
            Some(to) => Some(seek(reach, to).await?),
            None => None,
        };
        let span = replay::span(from, to, reach.bounds())?;
        let run = Run {
            id: RunId(0),
            bus,
            from: span.from,
            to: span.to,
            next: span.from,
            routes,
            filter: asked.filter.as_ref().map(|spec| filter_text(Some(spec))),
            rate: asked.rate,
            replies: asked.replies,
            state: RunState::Running,
            note: None,
            started: Timestamp::default(),
            opened_ms: 0,
            ended: None,
            read: 0,
            skipped: 0,
            lost: 0,
        };
        selector(&run)?;
        Ok((run, span))
    }

    fn bus_of(&self, state: &State, name: &BusName) -> Result<(BusId, &Reach), Refused> {
        let found = state.buses.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
        let found = found.and_then(|id| Some((id, self.reaches.get(&id)?)));
        let known = || state.buses.iter().map(|(name, _)| name.clone()).collect();
        found.ok_or_else(|| Refused::Bus { bus: name.clone(), known: known() })
    }
}

/// The routes that are asked for, each with the filter that it has now.
fn routes(state: &State, bus: BusId, asked: &Asked) -> Result<Vec<RunRoute>, Refused> {
    let mut latest: BTreeMap<&RouteName, &store::RouteVersion> = BTreeMap::new();
    for version in state.versions.iter().filter(|v| v.bus == bus) {
        let newest = latest.entry(&version.name).or_insert(version);
        if version.from >= newest.from {
            *newest = version;
        }
    }
    let known = || latest.iter().filter(|(_, v)| v.filter.is_some()).map(|(name, _)| (*name).clone()).collect();
    let mut routes: Vec<RunRoute> = Vec::with_capacity(asked.routes.len());
    for name in &asked.routes {
        let filter = latest.get(name).and_then(|v| Some((v.route, v.filter.clone()?)));
        let Some((route, filter)) = filter else {
            return Err(Refused::Route { route: name.clone(), bus: asked.bus.clone(), known: known() });
        };
        if routes.iter().any(|r| r.route == route) {
            return Err(Refused::Routes);
        }
        routes.push(RunRoute { route, name: name.clone(), filter, counts: RunCounts::default() });
    }
    if routes.is_empty() || routes.len() > RUN_ROUTES_MAX { Err(Refused::Routes) } else { Ok(routes) }
}

fn selector(run: &Run) -> Result<Selector, Refused> {
    Selector::new(&run.routes, run.filter.as_deref()).map_err(|(_, error)| Refused::Filter(error))
}

async fn seek(reach: &Reach, place: Place) -> Result<replay::Place, Error> {
    Ok(match place {
        Place::Offset(offset) => {
            reach.known(offset)?;
            replay::Place::Offset(offset)
        }
        Place::Time(at) => replay::Place::Time { at, found: reach.seek(at).await? },
    })
}

/// Reads on in a run's range, and judges what it reads. What is missing in the archive is passed over.
pub(super) async fn read(
    reach: &Reach,
    selector: &Selector,
    range: Range<Offset>,
    hits_max: usize,
) -> Result<Read, Error> {
    match reach.read(range.start, READ_BYTES).await {
        // The end of a copy, behind its last event.
        Ok(chunk) if chunk.records.is_empty() && chunk.next > range.start => {
            Ok(Read { next: chunk.next.min(range.end), ..Read::default() })
        }
        Ok(chunk) => replay::select(selector, &chunk, range.end, hits_max),
        Err(Error::Lost { to, place, what, .. }) => {
            let next = to.min(range.end);
            let lost = Some((next.0.saturating_sub(range.start.0), format!("{place}: {what}").into()));
            Ok(Read { next, lost, ..Read::default() })
        }
        Err(e) => Err(e),
    }
}
