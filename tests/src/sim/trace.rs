//! What happened, as a hash: the same seed must give the same one.

use std::sync::{Mutex, PoisonError};

use crate::coffee::hash;

/// Everything that a simulation did, folded into one number; every line of it, if asked for.
#[derive(Default)]
pub struct Trace {
    state: Mutex<(u64, u64)>,
    printed: bool,
}

impl Trace {
    /// An empty one, whose lines are printed if asked for.
    pub fn new(printed: bool) -> Trace {
        Trace { state: Mutex::default(), printed }
    }

    /// One thing happened.
    pub fn note(&self, what: &str, of: &[&str]) {
        let line = format!("{what} {}", of.join(" "));
        let (sum, count) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = sum.rotate_left(5) ^ hash(line.as_bytes());
        *count += 1;
        if self.printed {
            println!("{count:>7} {line}");
        }
    }

    /// The number.
    pub fn hash(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}
