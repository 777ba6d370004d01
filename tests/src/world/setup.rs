//! Routes as a test writes them down: once, for the router (as a pattern) and for the oracle (as a plain
//! predicate), and what the routes wanted over time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use router_core::{order::Order, settle::RetryPolicy};
use serde_json::{Value, json};

use crate::{
    coffee::Coffee,
    oracle::{Moment, RouteHistory, Version, Wants},
};

/// A route and its target.
#[derive(Clone)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Its target's name, when it shares that with other routes; else it has a target of its own name.
    pub to: Option<String>,
    /// Where its target is.
    pub url: String,
    /// What the router is told; `None` wants everything.
    pub pattern: Option<Value>,
    /// What that means.
    pub wants: Arc<dyn Fn(&Coffee) -> bool + Send + Sync>,
    /// Whether events go as one JSON document.
    pub structured: bool,
    /// Events of one request, where they go several at a time.
    pub batch_count_max: Option<u16>,
    /// Requests at a time.
    pub in_flight_max: u16,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often and how long it is tried.
    pub retry: RetryPolicy,
    /// What it keeps in order.
    pub order: Option<Order>,
}

impl Route {
    /// A route that wants everything, with short delays.
    pub fn all(name: &str, url: &str) -> Route {
        let (delay_min, delay_max) = (Duration::from_millis(20), Duration::from_millis(500));
        Route {
            name: name.into(),
            to: None,
            url: url.into(),
            pattern: None,
            wants: Arc::new(|_| true),
            structured: false,
            batch_count_max: None,
            in_flight_max: 16,
            timeout: Duration::from_secs(10),
            retry: RetryPolicy { delay_min, delay_max, ..RetryPolicy::default() },
            order: None,
        }
    }

    /// The name of its target.
    pub fn target(&self) -> &str {
        self.to.as_deref().unwrap_or(&self.name)
    }

    /// With a target that other routes use too.
    #[must_use]
    pub fn to(self, target: &str) -> Route {
        Route { to: Some(target.into()), ..self }
    }

    /// With this pattern, which means this predicate.
    #[must_use]
    pub fn wanting(self, pattern: Value, wants: impl Fn(&Coffee) -> bool + Send + Sync + 'static) -> Route {
        Route { pattern: Some(pattern), wants: Arc::new(wants), ..self }
    }

    /// Only events of this type.
    #[must_use]
    pub fn kind(self, kind: &'static str) -> Route {
        self.wanting(json!({"type": [kind]}), move |e| &*e.kind == kind)
    }

    /// Only events whose total is at least this.
    #[must_use]
    pub fn total_min(self, total: u64) -> Route {
        self.wanting(json!({"data": {"total": [{"numeric": [">=", total]}]}}), move |e| e.total >= total)
    }

    /// Sends structured events.
    #[must_use]
    pub fn structured(self) -> Route {
        Route { structured: true, ..self }
    }

    /// Sends up to so many events in one request.
    #[must_use]
    pub fn batches(self, count_max: u16) -> Route {
        Route { batch_count_max: Some(count_max), ..self }
    }

    /// With so many requests at a time.
    #[must_use]
    pub fn in_flight_max(self, in_flight_max: u16) -> Route {
        Route { in_flight_max, ..self }
    }

    /// With this time for an attempt.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Route {
        Route { timeout, ..self }
    }

    /// With these bounds of the delay between two attempts.
    #[must_use]
    pub fn delays(self, delay_min: Duration, delay_max: Duration) -> Route {
        Route { retry: RetryPolicy { delay_min, delay_max, ..self.retry }, ..self }
    }

    /// With so many failed attempts at most.
    #[must_use]
    pub fn attempts_max(self, attempts_max: u32) -> Route {
        Route { retry: RetryPolicy { attempts_max, ..self.retry }, ..self }
    }
}

/// What the routes wanted over time, for the oracle.
#[derive(Clone, Default)]
pub struct Chronicle {
    /// By name: the versions, and the pattern that holds now; `None` for a route that is gone.
    routes: BTreeMap<String, (Vec<Version>, Option<Option<Value>>)>,
}

impl Chronicle {
    /// From a moment between these two on, exactly these routes are there.
    pub fn change(&mut self, routes: &[Route], requested: Moment, confirmed: Moment) {
        let open = self.routes.values_mut().flat_map(|(versions, _)| versions).filter(|v| v.confirmed == Moment::MAX);
        // Whatever came of what was tried before, it is over now.
        open.for_each(|v| v.confirmed = confirmed);
        self.push(routes, requested, confirmed);
    }

    /// Exactly these routes may be there from this moment on: it was tried, and nobody knows what came of it.
    pub fn tried(&mut self, routes: &[Route], requested: Moment) {
        self.push(routes, requested, Moment::MAX);
    }

    fn push(&mut self, routes: &[Route], requested: Moment, confirmed: Moment) {
        let version = |wants: Wants| Version { requested, confirmed, wants };
        let now: BTreeMap<&str, &Route> = routes.iter().map(|r| (r.name.as_str(), r)).collect();
        for (name, (versions, pattern)) in &mut self.routes {
            if !now.contains_key(name.as_str()) && pattern.take().is_some() {
                versions.push(version(None));
            }
        }
        for (name, route) in now {
            let (versions, pattern) = self.routes.entry(name.to_owned()).or_default();
            // The same filter again, or only another target, is no new version.
            if pattern.as_ref() != Some(&route.pattern) {
                versions.push(version(Some(route.wants.clone())));
                *pattern = Some(route.pattern.clone());
            }
        }
    }

    /// The histories.
    pub fn histories(&self) -> Vec<RouteHistory> {
        let history = |(name, (versions, _)): (&String, &(Vec<Version>, _))| RouteHistory {
            name: name.clone(),
            versions: versions.clone(),
        };
        self.routes.iter().map(history).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_filter_or_a_coming_or_going_is_a_new_version() {
        let mut chronicle = Chronicle::default();
        let a = Route::all("a", "http://x/a").kind("t");
        chronicle.change(&[a.clone(), Route::all("b", "http://x/b")], 1, 2);
        chronicle.change(&[Route { url: "http://y/a".into(), ..a.clone() }], 3, 4);
        chronicle.change(&[a.total_min(7), Route::all("b", "http://x/b")], 5, 6);
        let versions: Vec<Vec<(Moment, bool)>> = chronicle
            .histories()
            .iter()
            .map(|h| h.versions.iter().map(|v| (v.requested, v.wants.is_some())).collect())
            .collect();
        assert_eq!(versions, [vec![(1, true), (5, true)], vec![(1, true), (3, false), (5, true)]]);
    }
}
