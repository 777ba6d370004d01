//! Entries of `PutEvents`, ten in a call, at moto, and messages of a queue that are received and deleted, at ministack: in
//! moto each call takes as long as its queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use router_aws::{
    Accounts, EventBridge, EventBridgeConfig, EventBridgeSource, EventBridgeSourceConfig,
    wire::{COUNT_MAX, Mapping, entry},
};
use router_core::id::{SourceName, TargetName};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{deliver, each, event, owed, peers, pull, turns};

const BUS: &str = "bench";
/// Receivers, of both.
const RECEIVERS: usize = 4;

pub async fn run(events: usize, rounds: usize) {
    if let Some(peer) = peers::Peer::start(peers::Kind::Moto).await {
        peer.call("AWSEvents.CreateEventBus", json!({"Name": BUS})).await;
        publish(&peer, &sdk(&peer.url).await, events, rounds).await;
    }
    if let Some(peer) = peers::Peer::start(peers::Kind::Ministack).await {
        receive(&peer, &sdk(&peer.url).await, events, rounds).await;
    }
}

/// What a program of AWS's own makes its clients of.
async fn sdk(url: &str) -> SdkConfig {
    let keys = Credentials::new("test", "test", None, None, "bench");
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .credentials_provider(keys)
        .endpoint_url(url)
        .load()
        .await
}

async fn publish(peer: &peers::Peer, config: &SdkConfig, events: usize, rounds: usize) {
    let name = TargetName::new("t").unwrap();
    let made = EventBridgeConfig { settings: peers::settings(&peer.url), ..EventBridgeConfig::new(name, BUS) };
    let target = Arc::new(EventBridge::new(made, &Accounts::default()).unwrap());
    let client = aws_sdk_eventbridge::Client::new(config);
    let batches = owed(events, COUNT_MAX);
    let written = |delivery| entry(delivery, Mapping::Structured, BUS).unwrap().entry;
    let entries: Vec<Arc<[PutEventsRequestEntry]>> =
        batches.iter().map(|batch| batch.iter().map(written).collect()).collect();
    let bare = async || {
        let client = client.clone();
        each(entries.clone(), move |entries| {
            let client = client.clone();
            async move {
                let put = client.put_events().set_entries(Some(entries.to_vec())).send().await.unwrap();
                assert_eq!(put.failed_entry_count(), 0);
            }
        })
        .await
    };
    turns(
        "PutEvents, 10 entries a call",
        events,
        rounds,
        async || deliver(target.clone(), batches.clone()).await,
        bare,
    )
    .await;
}

/// A queue with that many messages.
async fn filled(peer: &peers::Peer, events: usize) -> String {
    static QUEUES: AtomicUsize = AtomicUsize::new(0);
    let queue = peer.queue(&format!("bench-{}", QUEUES.fetch_add(1, Ordering::Relaxed)), json!({})).await;
    for first in (0..events).step_by(COUNT_MAX) {
        let message = |n: usize| {
            let body = String::from_utf8(schemas::json::encode(&event(n))).unwrap();
            json!({"Id": n.to_string(), "MessageBody": body})
        };
        let entries: Vec<Value> = (first..events.min(first + COUNT_MAX)).map(message).collect();
        peer.call("AmazonSQS.SendMessageBatch", json!({"QueueUrl": queue, "Entries": entries})).await;
    }
    queue
}

async fn receive(peer: &peers::Peer, config: &SdkConfig, events: usize, rounds: usize) {
    let client = aws_sdk_sqs::Client::new(config);
    let ours = async || {
        let queue = filled(peer, events).await;
        let made = EventBridgeSourceConfig {
            settings: peers::settings(&peer.url),
            receivers: RECEIVERS,
            ..EventBridgeSourceConfig::new(SourceName::new("s").unwrap(), queue)
        };
        pull(Arc::new(EventBridgeSource::new(made, &Accounts::default()).unwrap()), events).await
    };
    let bare = async || bare(&client, &filled(peer, events).await, events).await;
    turns("receive and delete, 4 receivers", events, rounds, ours, bare).await;
}

/// Receives and deletes until so many came.
async fn bare(client: &aws_sdk_sqs::Client, queue: &str, events: usize) -> Duration {
    let (start, stop, came) = (Instant::now(), CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let mut receivers = JoinSet::new();
    for _ in 0..RECEIVERS {
        let (client, queue, stop, came) = (client.clone(), queue.to_owned(), stop.clone(), came.clone());
        receivers.spawn(async move {
            loop {
                let asked = client.receive_message().queue_url(&queue).max_number_of_messages(10);
                let answer = tokio::select! {
                    () = stop.cancelled() => return,
                    answer = asked.wait_time_seconds(20).visibility_timeout(60).send() => answer.unwrap(),
                };
                let messages = answer.messages.unwrap_or_default();
                let entry = |(n, message): (usize, &aws_sdk_sqs::types::Message)| {
                    let handle = message.receipt_handle().unwrap();
                    DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(handle).build().unwrap()
                };
                let entries: Vec<_> = messages.iter().enumerate().map(entry).collect();
                if entries.is_empty() {
                    continue;
                }
                client.delete_message_batch().queue_url(&queue).set_entries(Some(entries)).send().await.unwrap();
                if came.fetch_add(messages.len(), Ordering::SeqCst) + messages.len() >= events {
                    stop.cancel();
                }
            }
        });
    }
    while let Some(receiver) = receivers.join_next().await {
        receiver.unwrap();
    }
    start.elapsed()
}
