//! Sources that pull: each runs until the router stops, and is started again when it ends by itself.

use std::time::Duration;

use router_core::{
    id::SourceName,
    source::{Intake, Source},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{codes, connect};

/// From the end of a source to its next start.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Makes a source, as often as it has to be started.
pub type Make = Box<dyn Fn() -> Result<Box<dyn Source>, connect::Error> + Send + Sync>;

/// The sources that run. Dropping it ends them at once.
#[derive(Default)]
pub struct Pulls {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Pulls {
    /// Starts a source into the bus that it feeds.
    pub fn start(&mut self, name: SourceName, make: Make, intake: Intake) {
        self.tasks.spawn(run(name, make, intake, self.stop.clone()));
    }

    /// Lets them end what they have begun.
    pub async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn run(name: SourceName, make: Make, intake: Intake, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let why = match make() {
            Err(error) => error.to_string(),
            Ok(source) => {
                // In a task of its own, so that a panic ends the source and not whoever starts it again.
                let mut one = JoinSet::new();
                one.spawn(source.run(intake.clone(), stop.clone()));
                match one.join_next().await {
                    Some(Ok(Ok(()))) | None if stop.is_cancelled() => return,
                    Some(Ok(Ok(()))) | None => "it ended by itself".to_owned(),
                    Some(Ok(Err(error))) => error.to_string(),
                    Some(Err(error)) => error.to_string(),
                }
            }
        };
        tracing::error!(code = %codes::SOURCE_ENDED, source = %name, why, again_after = ?AGAIN_AFTER, "a source ended; it is started again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN_AFTER) => {}
        }
    }
}
