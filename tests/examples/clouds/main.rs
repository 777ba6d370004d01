//! What the router's targets and sources at the clouds cost: each beside a bare loop over the same cloud's SDK, against the
//! same peer, in turn. moto and ministack stand for AWS, Google's emulator for Pub/Sub; Event Grid is played, in this process.
//!
//! ```text
//! cargo run --release -p router-tests --example clouds -- EVENTS ROUNDS [aws|google|azure]
//! ```
//!
//! One JSON object a line: what was done, and the events/s of the router and of the bare loop in one round. A bare loop
//! copies messages that were made before it began, leaves their form on the wire to the SDK, looks at nothing that comes, and
//! keeps nothing. `cargo xtask bench clouds` runs it and judges. AWS gets a tenth of the events: its peers are slow.

// What goes wrong in here ends the benchmark, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// As the router has it, for both.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Who stands for AWS.
#[path = "../../tests/aws/peers.rs"]
#[allow(dead_code)]
mod peers;

/// Google's emulator.
#[path = "../../tests/gcp/emulator.rs"]
#[allow(dead_code)]
mod emulator;

/// Event Grid, played.
#[path = "../../../router/azure/tests/azure/grid.rs"]
#[allow(dead_code)]
mod grid;

/// EventBridge and SQS.
mod aws;

/// Pub/Sub.
mod google;

/// Event Grid.
mod azure;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId, SourceName},
    source::{Fate, Inlet, IntakeClosed, OnInvalid, Pulled, Source},
    target::{Delivery, Outcome, Target},
};
use schemas::{Event, Form};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Bytes of an event's data.
const DATA_BYTES: usize = 1024;
/// Calls at a time, of both.
pub const CALLS: usize = 8;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = args.iter().take(2).filter_map(|text| text.parse().ok()).collect();
    let cloud = args.get(2).map(String::as_str);
    let ([events, rounds], None | Some("aws" | "google" | "azure")) = (&numbers[..], cloud) else {
        eprintln!("error: usage: clouds EVENTS ROUNDS [aws|google|azure]");
        std::process::exit(2);
    };
    let (events, rounds) = (*events, *rounds);
    assert!(events >= 1_000, "less than 1,000 events say nothing");
    let wanted = |name| cloud.is_none_or(|cloud| cloud == name);
    if wanted("aws") {
        aws::run(events / 10, rounds).await;
    }
    if wanted("google") {
        google::run(events, rounds).await;
    }
    if wanted("azure") {
        azure::run(events, rounds).await;
    }
}

/// Both in turn, and each first in turn, so that a machine that gets busier favours neither.
pub async fn turns(
    what: &str,
    events: usize,
    rounds: usize,
    ours: impl AsyncFn() -> Duration,
    bare: impl AsyncFn() -> Duration,
) {
    // Once for nothing: connections, and what the peers compile while they run.
    ours().await;
    bare().await;
    for round in 0..rounds {
        let (ours, bare) = if round % 2 == 0 {
            let ours = ours().await;
            (ours, bare().await)
        } else {
            let bare = bare().await;
            (ours().await, bare)
        };
        let rate = |took: Duration| events as f64 / took.as_secs_f64();
        println!("{}", json!({"what": what, "ours": rate(ours), "bare": rate(bare)}));
    }
}

/// An event of 1 KiB.
pub fn event(n: usize) -> Event {
    let data = format!(r#"{{"shop": 7, "total": {n}.50, "note": "{:<DATA_BYTES$}"}}"#, "coffee");
    let event = Event::builder("", "/shops/7", "coffee.order.created").attr("subject", "orders");
    let id = n.to_string();
    event.attr("datacontenttype", "application/json").data(Form::Json, data).set("id", id.as_str()).build().unwrap()
}

/// Events as they are owed, in batches of so many.
pub fn owed(events: usize, batch: usize) -> Vec<Vec<Delivery>> {
    let lane = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
    let route = RouteName::new("r").unwrap();
    let delivery = |n: usize| Delivery {
        id: DeliveryId { epoch: Epoch(1), lane, offset: Offset(n as u64) },
        attempt: 1,
        route: route.clone(),
        appended: Timestamp(1_768_460_400_000_000),
        event: event(n),
        reply: None,
    };
    let all: Vec<Delivery> = (0..events).map(delivery).collect();
    all.chunks(batch).map(<[Delivery]>::to_vec).collect()
}

/// Does all of the work, [`CALLS`] pieces at a time.
pub async fn each<T: Send + 'static, F: Future<Output = ()> + Send>(
    work: Vec<T>,
    done: impl Fn(T) -> F + Clone + Send + 'static,
) -> Duration {
    let (work, start) = (Arc::new(Mutex::new(work.into_iter())), Instant::now());
    let mut workers = JoinSet::new();
    for _ in 0..CALLS {
        let (work, done) = (work.clone(), done.clone());
        workers.spawn(async move {
            loop {
                let next = work.lock().unwrap().next();
                let Some(next) = next else { return };
                done(next).await;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    start.elapsed()
}

/// Delivers batches by a target of the router's.
pub async fn deliver(target: Arc<impl Target>, batches: Vec<Vec<Delivery>>) -> Duration {
    each(batches, move |batch| {
        let target = target.clone();
        async move {
            let outcomes = target.deliver(&batch).await;
            let bad = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Delivered { .. }));
            assert!(bad.is_none(), "{bad:?}");
        }
    })
    .await
}

/// A way into a bus that takes all, and ends the source when so many came.
struct Counter {
    left: AtomicUsize,
    stop: CancellationToken,
}

impl Counter {
    fn count(&self, came: usize) {
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(came)));
        if before.is_ok_and(|left| left <= came) {
            self.stop.cancel();
        }
    }
}

#[async_trait]
impl Inlet for Counter {
    async fn offer(&self, _: &SourceName, _: OnInvalid, batch: &[Pulled]) -> Result<Vec<Fate>, IntakeClosed> {
        assert!(batch.iter().all(|pulled| pulled.raw.event.is_ok()), "what is pulled are events");
        self.count(batch.len());
        Ok(vec![Fate::Taken; batch.len()])
    }
}

/// Pulls so many by a source of the router's, until what came is acknowledged.
pub async fn pull(source: Arc<impl Source>, events: usize) -> Duration {
    let (start, stop) = (Instant::now(), CancellationToken::new());
    let counter = Counter { left: AtomicUsize::new(events), stop: stop.clone() };
    source.run(Arc::new(counter), stop).await.unwrap();
    start.elapsed()
}
