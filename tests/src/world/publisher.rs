//! Publishes events until each is answered for good, through crashes and restarts of the router, and keeps
//! a journal of what was sent when and when it was acknowledged.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use crate::{
    coffee::{Coffee, Key, Mode, request},
    oracle::{Published, now},
};

/// Waits between two tries of a request.
const AGAIN: Duration = Duration::from_millis(20);
/// Waits for an answer; then it sends the same again.
const ANSWER: Duration = Duration::from_secs(10);
/// Events of one batched request.
const BATCH: usize = 16;

#[derive(Default)]
struct Journal {
    order: Vec<Key>,
    entries: HashMap<Key, Published>,
}

/// A publisher; clones share one journal.
#[derive(Clone)]
pub struct Publisher {
    url: Arc<str>,
    client: Client,
    journal: Arc<Mutex<Journal>>,
    resent: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Publisher {
    /// One that publishes to this URL.
    pub fn new(url: &str) -> Publisher {
        Publisher {
            url: url.into(),
            client: Client::new(ANSWER),
            journal: Arc::default(),
            resent: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Another address of the same router.
    #[must_use]
    pub fn at(&self, url: &str) -> Publisher {
        Publisher { url: url.into(), ..self.clone() }
    }

    /// Publishes all of them, at most `concurrency` requests at a time, in all three modes in turn;
    /// resolves when each was answered for good, or the publisher was stopped.
    pub async fn publish(
        &self,
        events: impl IntoIterator<Item = Coffee, IntoIter: Send + 'static>,
        concurrency: usize,
    ) {
        let events = Arc::new(Mutex::new((events.into_iter(), 0usize)));
        let mut workers = JoinSet::new();
        for _ in 0..concurrency.max(1) {
            let (this, events) = (self.clone(), events.clone());
            workers.spawn(async move {
                while let Some((mode, batch)) = next(&events) {
                    this.send(mode, batch).await;
                    if this.stop.is_cancelled() {
                        return;
                    }
                }
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker.expect("a publisher does not fail");
        }
    }

    /// [`Publisher::publish`] beside whatever else happens.
    pub fn spawn(
        &self,
        events: impl IntoIterator<Item = Coffee, IntoIter: Send + 'static> + Send + 'static,
        concurrency: usize,
    ) -> tokio::task::JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move { this.publish(events, concurrency).await })
    }

    /// Gives up on what is unanswered; what was sent so far stays in the journal.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The journal, in the order of first sending.
    pub fn journal(&self) -> Vec<Published> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.order.iter().filter_map(|key| journal.entries.get(key).cloned()).collect()
    }

    /// Events acknowledged so far.
    pub fn acked(&self) -> u64 {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.entries.values().filter(|p| p.acked.is_some()).count() as u64
    }

    /// Requests that were sent again.
    pub fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    async fn send(&self, mode: Mode, batch: Vec<Coffee>) {
        self.note(&batch, |_, _| ());
        let (headers, body) = request(mode, &batch);
        loop {
            let sent = self.client.send(Method::POST, &self.url, headers.clone(), body.clone());
            let answer = tokio::select! {
                () = self.stop.cancelled() => return,
                answer = sent => answer,
            };
            match answer.map(|a| a.status) {
                Ok(200..=299) => {
                    return self.note(&batch, |p, at| {
                        p.acked.get_or_insert(at);
                    });
                }
                // Refused for a passing reason, or not answered at all: the same again.
                Ok(429 | 500..) | Err(_) => {
                    self.resent.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(status) => return self.note(&batch, |p, _| p.refused = Some(status)),
            }
        }
    }

    fn note(&self, batch: &[Coffee], change: impl Fn(&mut Published, u64)) {
        let at = now();
        let journal = &mut *self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        for event in batch {
            let entry = journal.entries.entry(event.key.clone()).or_insert_with(|| {
                journal.order.push(event.key.clone());
                Published { event: Arc::new(event.clone()), first_sent: at, acked: None, refused: None, offset: None }
            });
            change(entry, at);
        }
    }
}

/// The next request: binary, structured and batched take turns.
fn next(events: &Mutex<(impl Iterator<Item = Coffee>, usize)>) -> Option<(Mode, Vec<Coffee>)> {
    let (events, turn) = &mut *events.lock().unwrap_or_else(PoisonError::into_inner);
    *turn += 1;
    let (mode, count) = match *turn % 3 {
        0 => (Mode::Batched, BATCH),
        1 => (Mode::Binary, 1),
        _ => (Mode::Structured, 1),
    };
    let batch: Vec<Coffee> = events.by_ref().take(count).collect();
    (!batch.is_empty()).then_some((mode, batch))
}
