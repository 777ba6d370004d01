//! What a route is owed is given up because an operator says so: what is below an offset, or all of it once the
//! route is not configured any more. Dead letters stay; replays end by themselves.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::{
    Path,
    dispatch::Msg,
    open::{OpenSet, SkipOver},
};
use crate::{
    clock::Timestamp,
    id::{BusName, LaneId, Offset, OrderKey, RouteName},
    quarantine,
    store::{self, Pending},
};

/// Entries that are counted at a time.
const COUNT_PAGE: usize = 1_000;

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// On which bus.
    pub bus: BusName,
    /// Below which offset.
    pub below: Offset,
    /// Deliveries that ended; or would, where nothing was changed.
    pub ended: u64,
    /// Events below the offset that were not matched yet when it was asked: what they would be owed ends too.
    pub unmatched: u64,
}

/// Why nothing was given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipError {
    /// The store's: some of it may have ended.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No route of this name is configured or owes anything.
    #[error("there is no route {0}")]
    NoSuchRoute(RouteName),
    /// It owes on several buses, and reads none of them.
    #[error("route {route} owes deliveries on several buses: {}; say which", names(.buses))]
    ManyBuses {
        /// The route.
        route: RouteName,
        /// The buses.
        buses: Vec<BusName>,
    },
    /// It neither reads that bus nor owes anything on it.
    #[error("route {0} has nothing on bus {1}")]
    NotThere(RouteName, BusName),
    /// Only what a route owes that is not configured is dropped whole.
    #[error(
        "route {0} is configured; remove it from the configuration and reload, then drop it, or skip what it is owed"
    )]
    Configured(RouteName),
}

fn names(buses: &[BusName]) -> String {
    buses.iter().map(BusName::as_str).collect::<Vec<_>>().join(", ")
}

/// Where a route reads, or owes something.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub lane: LaneId,
    pub bus: BusName,
    /// It reads this bus.
    pub reads: bool,
    pub configured: bool,
}

impl Path {
    /// The bus on which [`Path::skip`] ends what a route is owed: the named one, the one that it reads, or the only
    /// one on which it owes anything.
    ///
    /// # Errors
    /// [`SkipError`].
    pub async fn skip_on(&self, route: &RouteName, bus: Option<&BusName>) -> Result<BusName, SkipError> {
        Ok(self.placed(route, bus).await?.bus)
    }

    /// Ends what a route is owed of a bus below an offset, wherever it is: it is neither delivered nor a dead letter.
    /// Attempts under way end as they end. Resolves when all of it has ended and that is durable; with `dry_run`
    /// only counts.
    ///
    /// # Errors
    /// [`SkipError`].
    pub async fn skip(
        &self,
        route: &RouteName,
        bus: &BusName,
        below: Offset,
        dry_run: bool,
    ) -> Result<Skipped, SkipError> {
        let placed = self.placed(route, Some(bus)).await?;
        let mut skipped = self.owed_below(&placed, below).await?;
        if !dry_run {
            let lanes = vec![(placed.lane, skipped.below)];
            skipped.ended = self.give_up(lanes, false).await?.unwrap_or_default();
        }
        Ok(skipped)
    }

    /// Ends all that a route owes that is not configured any more, and forgets it: should it be configured again, it
    /// begins anew, and is not paused. Its dead letters stay. Resolves when that is durable; with `dry_run` only
    /// counts.
    ///
    /// # Errors
    /// [`SkipError`].
    pub async fn drop_route(&self, route: &RouteName, dry_run: bool) -> Result<Vec<Skipped>, SkipError> {
        let places = self.places(route).await?;
        if places.iter().any(|placed| placed.configured) {
            return Err(SkipError::Configured(route.clone()));
        }
        let mut all = Vec::with_capacity(places.len());
        for placed in &places {
            all.push(self.owed_below(placed, Offset(u64::MAX)).await?);
        }
        if dry_run {
            return Ok(all);
        }
        for (placed, skipped) in places.iter().zip(&mut all) {
            let ended = self.give_up(vec![(placed.lane, skipped.below)], true).await?;
            skipped.ended = ended.ok_or_else(|| SkipError::Configured(route.clone()))?;
        }
        self.resume(route).await?;
        Ok(all)
    }

    async fn places(&self, route: &RouteName) -> Result<Vec<Placed>, SkipError> {
        let (reply, places) = oneshot::channel();
        self.dispatcher.send(Msg::Places(route.clone(), reply)).map_err(|_| self.over())?;
        let places = places.await.map_err(|_| self.over())?;
        if places.is_empty() || route.as_str() == quarantine::BUS {
            return Err(SkipError::NoSuchRoute(route.clone()));
        }
        Ok(places)
    }

    async fn placed(&self, route: &RouteName, bus: Option<&BusName>) -> Result<Placed, SkipError> {
        let places = self.places(route).await?;
        let found = match bus {
            Some(bus) => places.iter().find(|placed| placed.bus == *bus),
            None => places.iter().find(|placed| placed.reads).or(places.first().filter(|_| places.len() == 1)),
        };
        match (found, bus) {
            (Some(placed), _) => Ok(placed.clone()),
            (None, Some(bus)) => Err(SkipError::NotThere(route.clone(), bus.clone())),
            (None, None) => {
                let buses = places.into_iter().map(|placed| placed.bus).collect();
                Err(SkipError::ManyBuses { route: route.clone(), buses })
            }
        }
    }

    /// What is owed there, as the ledger has it after a commit of all that is open.
    async fn owed_below(&self, placed: &Placed, below: Offset) -> Result<Skipped, SkipError> {
        let lane = placed.lane;
        let tail = self.logs.get(&lane.bus).map(|log| log.bounds().1).unwrap_or_default();
        let below = below.min(tail);
        self.flush().await?;
        let planned = self.ledger.planned(lane.bus).await?.unwrap_or_default();
        let unmatched = below.0.saturating_sub(planned.0);
        let count = |page: &[Pending]| page.iter().filter(|p| p.offset < below).count();
        let mut ended = 0;
        let mut from = Offset(0);
        loop {
            let page = self.ledger.ready(lane, from, COUNT_PAGE).await?;
            ended += count(&page);
            let Some(last) = page.last().filter(|last| last.offset < below) else { break };
            from = last.offset.next();
        }
        let mut from = (Timestamp(0), Offset(0));
        loop {
            let page = self.ledger.waiting(lane, from, COUNT_PAGE).await?;
            ended += count(&page);
            let Some(last) = page.last() else { break };
            from = (last.due.unwrap_or_default(), last.offset.next());
        }
        let mut from = (OrderKey(0), Offset(0));
        loop {
            let end = (OrderKey(u64::MAX), Offset(u64::MAX));
            let page = self.ledger.parked(lane, from..end, COUNT_PAGE).await?;
            ended += count(&page);
            let Some(last) = page.last() else { break };
            from = (last.key.unwrap_or_default(), last.offset.next());
        }
        let ended = u64::try_from(ended).unwrap_or(u64::MAX);
        Ok(Skipped { bus: placed.bus.clone(), below, ended, unmatched })
    }

    async fn give_up(&self, lanes: Vec<(LaneId, Offset)>, orphaned: bool) -> Result<Option<u64>, SkipError> {
        let (reply, ended) = oneshot::channel();
        self.dispatcher.send(Msg::Skip { lanes, orphaned, reply }).map_err(|_| self.over())?;
        Ok(ended.await.map_err(|_| self.over())?)
    }
}

/// Who waits for what they gave up.
#[derive(Default)]
pub(super) struct Skips {
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
}

struct Waiter {
    /// Lanes that are not through.
    lanes: usize,
    ended: u64,
    reply: oneshot::Sender<Option<u64>>,
}

impl Skips {
    /// Begins to give up.
    pub fn begin(
        &mut self,
        set: &mut OpenSet,
        lanes: Vec<(LaneId, Offset)>,
        orphaned: bool,
        reply: oneshot::Sender<Option<u64>>,
    ) {
        if orphaned && lanes.iter().any(|(lane, _)| set.is_configured(lane.route)) {
            return reply.send(None).unwrap_or_default();
        }
        self.next += 1;
        self.waiting.insert(self.next, Waiter { lanes: lanes.len(), ended: 0, reply });
        for (lane, below) in lanes {
            set.skip(lane, below, self.next);
        }
    }

    /// Those for whom all is over now, and how many ended.
    pub fn over(&mut self, over: Vec<SkipOver>) -> Vec<(oneshot::Sender<Option<u64>>, u64)> {
        let mut done = Vec::new();
        for SkipOver { tickets, ended } in over {
            for ticket in tickets {
                let Some(waiter) = self.waiting.get_mut(&ticket) else { continue };
                waiter.lanes = waiter.lanes.saturating_sub(1);
                waiter.ended += ended;
                if waiter.lanes == 0
                    && let Some(waiter) = self.waiting.remove(&ticket)
                {
                    done.push((waiter.reply, waiter.ended));
                }
            }
        }
        done
    }
}
