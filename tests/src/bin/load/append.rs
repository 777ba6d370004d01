//! The router's log alone, in this process: batches of 256 events, each with a sync, in turn with [`Segments`].

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use router_core::{
    admit,
    clock::{Clock, SystemClock},
    id::BusName,
    own_thread,
    store::{Admitted, Log},
};
use router_store::disk::{DiskLog, Options, files::RealFiles};
use serde_json::json;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinSet};

use crate::{publish::Load, say, segments::Segments};

/// Events of a batch.
const BATCH: u64 = 256;

pub fn append(runtime: &Runtime, dir: &Path, events: u64, rounds: u64) {
    for round in 0..rounds {
        let bodies: Vec<Bytes> = bodies(round, events);
        let admitted: Vec<Admitted> = bodies.iter().map(admitted).collect();
        let (mut log, mut bare) = (Duration::ZERO, Duration::ZERO);
        // Which one begins changes, so that a machine that gets busier favours neither.
        for turn in [round % 2, 1 - round % 2] {
            let place = dir.join(format!("{round}-{turn}"));
            if turn == 0 {
                log = runtime.block_on(ours(&place, admitted.clone()));
            } else {
                bare = theirs(&place, &bodies);
            }
            std::fs::remove_dir_all(&place).expect("the folder goes");
        }
        let rate = |took: Duration| events as f64 / took.as_secs_f64();
        say(&json!({"round": round, "ours": rate(log), "bare": rate(bare)}));
    }
}

fn bodies(round: u64, events: u64) -> Vec<Bytes> {
    let load = Load::new("http://none/", events, 1, None, &format!("append-{round}")).expect("a load");
    (0..events).map(|n| load.request(n, 1).1).collect()
}

fn admitted(body: &Bytes) -> Admitted {
    let event = schemas::json::decode(body).expect("an event");
    Admitted { key: admit::key(&event, &[7; 16]), event }
}

/// On a thread of its own, as the path appends.
async fn ours(dir: &Path, events: Vec<Admitted>) -> Duration {
    let (mut set, (tell, told), dir) = (JoinSet::new(), oneshot::channel(), dir.to_owned());
    own_thread::spawn(
        &mut set,
        "append",
        async move { tell.send(appended(&dir, &events).await).expect("it is awaited") },
    );
    told.await.expect("it was appended")
}

async fn appended(dir: &Path, events: &[Admitted]) -> Duration {
    let clock = SystemClock::new();
    let bus = BusName::new("default").expect("a name");
    std::fs::create_dir_all(dir).expect("a folder");
    let log = DiskLog::open(Arc::new(RealFiles), dir, &bus, Options::default()).await.expect("a log");
    let started = Instant::now();
    for batch in events.chunks(BATCH as usize) {
        log.append(clock.wall(), batch.to_vec()).await.expect("an append");
    }
    let took = started.elapsed();
    log.close().await.expect("it closes");
    took
}

fn theirs(dir: &Path, bodies: &[Bytes]) -> Duration {
    let mut segments = Segments::new(dir);
    let started = Instant::now();
    for batch in bodies.chunks(BATCH as usize) {
        segments.append(batch.iter());
    }
    started.elapsed()
}
