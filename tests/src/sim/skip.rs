//! What routes are owed is given up at random, and what the oracle is told of it.

use std::time::Duration;

use router_core::{
    id::{Offset, RouteName},
    path::{Path, SkipError},
    store::{Page, Selection},
};

use super::life::{Life, bus};
use crate::oracle::GivenUp;

/// What a skip may take: attempts under way at a target that never answers end by their deadline.
const WAIT: Duration = Duration::from_secs(90);
/// Dead letters of a route.
const LETTERS_MAX: usize = 100_000;

impl Life {
    /// An operator gives up what a route is owed below some offset.
    pub(super) async fn skip_something(&mut self, path: &Path) {
        let Ok(status) = path.status().await else { return };
        let Some(log) = status.buses.iter().find(|b| b.name == bus() && b.first < b.tail) else { return };
        let below = self.rng.between(log.first.0, log.tail.0);
        let route = RouteName::new(super::ROUTES[self.rng.below(5) as usize]).expect("a name");
        let asked = self.publishers.tick();
        let given = GivenUp { route: route.to_string(), below, asked, answered: None };
        let skipped = tokio::time::timeout(WAIT, path.skip(&route, &bus(), Offset(below), false)).await;
        self.trace.note("skip", &[route.as_str(), &format!("{below} {skipped:?}")]);
        let Ok(Ok(skipped)) = skipped else {
            // Nobody knows what came of it, unless there was nothing to give up.
            if !matches!(skipped, Ok(Err(SkipError::NoSuchRoute(_) | SkipError::NotThere(..)))) {
                self.given_up.push(given);
            }
            return;
        };
        self.totals.add("skips", 1);
        self.totals.add("deliveries given up", skipped.ended);
        // Dead letters stay, and may be redriven.
        let which = Selection { route: Some(route), ..Selection::default() };
        let letters = path.dead_letters(&which, Page { after: None, count_max: LETTERS_MAX }).await;
        let arrived = self.targets.journal().len() as u64;
        let answered = letters.ok().map(|letters| (arrived, letters.iter().map(|l| l.id.offset.0).collect()));
        self.given_up.push(GivenUp { answered, ..given });
    }
}
