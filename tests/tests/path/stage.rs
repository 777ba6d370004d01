//! One test's world: a store, a router over it, a publisher, a sink, and what the routes wanted.

use std::{sync::Arc, time::Duration};

use router_core::store::Store;
use router_store::memory::MemoryStore;
use router_tests::{
    coffee::{Coffee, coffee},
    oracle::{Verdict, now},
    world::{
        ending,
        inside::{Inside, Wrap},
        publisher::Publisher,
        setup::{Chronicle, Route},
        sink::Sink,
    },
};

/// What a test waits for at most.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that a publisher has under way.
pub const CONCURRENCY: usize = 16;

pub struct Stage {
    pub sink: Sink,
    pub publisher: Publisher,
    chronicle: Chronicle,
}

impl Stage {
    pub async fn new() -> Stage {
        Stage { sink: Sink::start().await, publisher: Publisher::new("unused"), chronicle: Chronicle::default() }
    }

    /// A route to the sink's path of the same name.
    pub fn route(&self, name: &str) -> Route {
        Route::all(name, &self.sink.url(name))
    }

    /// Starts the router with these routes.
    pub async fn start(&mut self, store: Arc<dyn Store>, routes: &[Route]) -> Inside {
        self.start_with(store, routes, &|target| target).await
    }

    pub async fn start_with(&mut self, store: Arc<dyn Store>, routes: &[Route], wrap: Wrap<'_>) -> Inside {
        let requested = now();
        let router = Inside::start_with(super::EDGE, store, routes, wrap).await;
        self.chronicle.change(routes, requested, now());
        router
    }

    /// Publishes events of the series, with the numbers of the range.
    pub async fn publish(&self, router: &Inside, series: &'static str, numbers: std::ops::Range<u64>) {
        self.publish_all(router, numbers.map(move |n| coffee(series, n))).await;
    }

    pub async fn publish_all(
        &self,
        router: &Inside,
        events: impl IntoIterator<Item = Coffee, IntoIter: Send + 'static>,
    ) {
        self.publisher.at(&router.url()).publish(events, CONCURRENCY).await;
    }

    /// Waits until nothing is owed, and judges.
    pub async fn judge(&self, router: &Inside) -> Verdict {
        router.settled(PATIENCE).await;
        self.judge_now(router, &[&self.sink]).await
    }

    pub async fn judge_now(&self, router: &Inside, sinks: &[&Sink]) -> Verdict {
        ending::judge(&self.publisher, &self.chronicle, sinks, router.parked().await)
    }
}

pub fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}
