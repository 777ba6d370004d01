//! A target that somebody has looked at.

use std::sync::Arc;

use super::{Now, OpenSet};
use crate::{id::TargetName, target::Target};

impl OpenSet {
    /// The target of this name.
    pub fn target_of(&self, name: &TargetName) -> Option<Arc<dyn Target>> {
        let at = self.target_named(name)?;
        self.targets.get(at).map(|goal| goal.target.clone())
    }

    /// The target was reached: where its breaker is open, the next delivery goes now. Whether that was so.
    pub fn reached(&mut self, name: &TargetName, now: Now) -> bool {
        let Some(at) = self.target_named(name) else { return false };
        let due = self.targets.get_mut(at).is_some_and(|goal| goal.breaker.probe_due(now.mono));
        if due {
            self.hot.insert(at);
        }
        due
    }
}
