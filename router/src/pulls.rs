//! Sources that pull: each runs until the router stops, and is run again when it ends by itself.

use std::{sync::Arc, time::Duration};

use router_core::source::{Inlet, Source};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::codes;

/// From the end of a source to its next run, the first time and at most; it doubles with each that follows.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A source that ran for so long has begun anew when it ends.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// The sources that run. Dropping it ends them at once.
#[derive(Default)]
pub struct Pulls {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Pulls {
    /// Starts a source into the bus that it feeds.
    pub fn start(&mut self, source: Arc<dyn Source>, inlet: Arc<dyn Inlet>) {
        self.tasks.spawn(run(source, inlet, self.stop.clone()));
    }

    /// Lets them end what they have begun.
    pub async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn run(source: Arc<dyn Source>, inlet: Arc<dyn Inlet>, stop: CancellationToken) {
    let mut wait = WAIT.0;
    while !stop.is_cancelled() {
        let started = Instant::now();
        // In a task of its own, so that a panic ends the source and not whoever runs it again.
        let mut one = JoinSet::new();
        one.spawn(source.clone().run(inlet.clone(), stop.clone()));
        let why = match one.join_next().await {
            Some(Ok(Ok(()))) | None if stop.is_cancelled() => return,
            Some(Ok(Ok(()))) | None => "it ended by itself".to_owned(),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(error)) => error.to_string(),
        };
        if started.elapsed() >= GOOD_RUN {
            wait = WAIT.0;
        }
        tracing::error!(code = %codes::SOURCE_ENDED, source = %source.name(), why, again_after = ?wait, "a source ended; it is started again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(WAIT.1);
    }
}
