//! Other routes and targets, while deliveries are open.
//!
//! A target is known by its name. One that is the very same goes on as it is, its breaker too; a changed one
//! begins anew, with its breaker closed, and its lanes' deliveries go there from now on, those of a lane that
//! was stopped too. Calls under way end at the former one, whose place stays until they have.

use std::{collections::HashMap, sync::Arc};

use super::{Goal, OpenSet, Route};
use crate::{
    id::{RouteId, RunId, TargetName},
    target::Target,
};

/// Routes by number, each with its target; `None`: it is not configured.
pub(in super::super) type Routes = HashMap<RouteId, (Arc<Route>, Option<TargetName>)>;

impl OpenSet {
    /// The place of a target.
    pub(super) fn target_named(&self, name: &TargetName) -> Option<usize> {
        self.targets.iter().position(|g| !g.retired && g.target.name() == name)
    }

    /// Whether a route is configured.
    pub fn is_configured(&self, route: RouteId) -> bool {
        self.routes.get(&route).is_some_and(|(_, target)| target.is_some())
    }

    /// From now on these routes deliver to these targets, and no others. Gives the former routes back, to be freed
    /// beside the flow.
    pub fn revise(&mut self, targets: Vec<Arc<dyn Target>>, routes: Routes) -> Routes {
        let before: Vec<usize> = (0..).zip(&self.targets).filter(|(_, g)| !g.retired).map(|(at, _)| at).collect();
        let mut kept = Vec::new();
        for target in targets {
            kept.push(self.put_target(target));
        }
        for at in before.into_iter().filter(|at| !kept.contains(at)) {
            self.retire(at);
        }
        let former = std::mem::replace(&mut self.routes, routes);
        for (id, (route, target)) in &mut self.routes {
            // What a removed route is still owed keeps its order until the route comes back, and what its target
            // answers to attempts under way is taken in.
            let was = former.get(id).filter(|_| target.is_none()).map(|(was, _)| was);
            if let Some(was) = was.filter(|was| was.order.is_some() || was.reply.is_some()) {
                let (order, reply) = (was.order.clone(), was.reply.clone());
                *route = Arc::new(Route { order, reply, ..(**route).clone() });
            }
        }
        for at in 0..self.lanes.len() {
            self.revise_lane(at);
        }
        former
    }

    /// The place of a target, which is a new one unless it is the very same as before.
    fn put_target(&mut self, target: Arc<dyn Target>) -> usize {
        let place = self.target_named(target.name());
        let known = place.and_then(|at| Some((at, self.targets.get(at)?)));
        let mut goal = Goal::new(target);
        if let Some((at, former)) = known {
            if std::ptr::addr_eq(Arc::as_ptr(&former.target), Arc::as_ptr(&goal.target)) {
                return at;
            }
            // Failures count once another delivery succeeded after them: that count goes on.
            (goal.successes, goal.later.successes) = (former.successes, former.later.successes);
        }
        match self.targets.iter_mut().position(|g| g.retired && g.in_flight == 0 && g.later.in_flight == 0) {
            Some(free) => {
                if let Some(place) = self.targets.get_mut(free) {
                    *place = goal;
                }
                free
            }
            None => {
                self.targets.push(goal);
                self.targets.len() - 1
            }
        }
    }

    fn retire(&mut self, at: usize) {
        let Some(goal) = self.targets.get_mut(at) else { return };
        goal.retired = true;
        goal.lanes.clear();
        goal.later.lanes.clear();
        for lane in goal.queue.drain(..).chain(goal.later.queue.drain(..)) {
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.queued = false;
            }
        }
        for waiting in [&mut self.hot, &mut self.broken, &mut self.paced, &mut self.runs.broken] {
            waiting.remove(&at);
        }
    }

    fn revise_lane(&mut self, at: usize) {
        let Some(id) = self.lanes.get(at).map(|l| l.id) else { return };
        let Some((route, target)) = self.routes.get(&id.route).cloned() else { return };
        let target = target.and_then(|name| self.target_named(&name));
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.route = if id.run == RunId(0) { route } else { Arc::new(route.for_run()) };
        let goes_on = target.is_some() && !lane.holds();
        self.rekey(at);
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let former = std::mem::replace(&mut lane.target, target);
        if former != target {
            // Who said that it is gone is not asked any more.
            (lane.stopped, lane.linger, lane.queued) = (None, None, false);
            if let Some(goal) = former.and_then(|at| self.targets.get_mut(at)) {
                for lanes in [&mut goal.lanes, &mut goal.later.lanes] {
                    lanes.retain(|l| *l != at);
                }
                for queue in [&mut goal.queue, &mut goal.later.queue] {
                    queue.retain(|l| *l != at);
                }
            }
            if let Some(goal) = target.and_then(|at| self.targets.get_mut(at)) {
                let lanes = if id.run == RunId(0) { &mut goal.lanes } else { &mut goal.later.lanes };
                lanes.push(at);
            }
        }
        if goes_on {
            self.hold_no_more(at);
        }
        self.let_go(at);
        self.weigh_anew(at);
        self.thirsty.insert(at);
        self.queue(at);
    }
}
