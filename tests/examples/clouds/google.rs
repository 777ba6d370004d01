//! Messages of Pub/Sub that are published, a thousand in a request, and pulled by a stream, both at Google's emulator.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    client::{Publisher, Subscriber},
    model::Message,
};
use http::Method;
use router_core::{
    id::{SourceName, TargetName},
    target::Delivery,
};
use router_gcp::{
    Accounts, Credentials, PubSub, PubSubConfig, Settings,
    source::{Pull, PullConfig},
    wire::{self, Mode},
};
use router_http::target::trace::traceparent;
use serde_json::{Value, json};

use crate::{
    deliver, each,
    emulator::{Emulator, PROJECT},
    event, owed, pull, turns,
};

/// Messages of a request.
const REQUEST: usize = 1_000;
/// The subscription that is pulled.
const PULLED: &str = "pulled";
/// Messages under way, of both.
const UNDER_WAY: u32 = 1_000;

pub async fn run(events: usize, rounds: usize) {
    let Some(emulator) = Emulator::start().await else { return };
    publish(&emulator, events, rounds).await;
    drop(emulator);
    receive(events / 2, rounds).await;
}

fn settings(emulator: &Emulator) -> Settings {
    Settings { endpoint: Some(emulator.url.clone()), credentials: Credentials::Anonymous, impersonate: None }
}

async fn publish(emulator: &Emulator, events: usize, rounds: usize) {
    // Without a subscription, so that nothing piles up.
    let topic = format!("projects/{PROJECT}/topics/bench");
    emulator.done(Method::PUT, "topics/bench", json!({})).await;
    let made =
        PubSubConfig { settings: settings(emulator), ..PubSubConfig::new(TargetName::new("t").unwrap(), &topic) };
    let target = Arc::new(PubSub::new(made, &Accounts::default()).unwrap());
    let publisher =
        Publisher::builder(&topic).with_endpoint(&emulator.url).with_credentials(anonymous::Builder::new().build());
    let publisher = publisher
        .set_message_count_threshold(REQUEST as u32)
        .set_byte_threshold(10_000_000)
        .set_delay_threshold(Duration::from_millis(10));
    let publisher = publisher.build().await.unwrap();
    let batches = owed(events, REQUEST);
    // What the target sends, attributes of the delivery included.
    let message = |delivery: &Delivery| {
        let mut written = wire::encode(&delivery.event, Mode::Binary);
        written.attributes.insert("idempotency-key".to_owned(), delivery.id.to_string());
        written.attributes.insert("traceparent".to_owned(), traceparent(delivery));
        Message::new().set_data(written.data).set_attributes(written.attributes)
    };
    let messages: Vec<Message> = batches.iter().flatten().map(message).collect();
    let requests: Vec<Arc<[Message]>> = messages.chunks(REQUEST).map(Arc::from).collect();
    let bare = async || {
        let publisher = publisher.clone();
        each(requests.clone(), move |messages| {
            let published: Vec<_> = messages.iter().map(|message| publisher.publish(message.clone())).collect();
            async move {
                for one in published {
                    one.await.unwrap();
                }
            }
        })
        .await
    };
    let ours = async || deliver(target.clone(), batches.clone()).await;
    turns("Publish, 1,000 messages a request", events, rounds, ours, bare).await;
}

/// A subscription with that many messages, in an emulator of its own: it keeps what was acknowledged, in a small heap.
async fn filled(events: usize) -> Emulator {
    let emulator = Emulator::start().await.expect("it was there before");
    emulator.topic(PULLED, json!({"ackDeadlineSeconds": 60})).await;
    for first in (0..events).step_by(REQUEST) {
        let message = |n: usize| {
            let written = wire::encode(&event(n), Mode::Binary);
            json!({"data": STANDARD.encode(&written.data), "attributes": written.attributes})
        };
        let messages: Vec<Value> = (first..events.min(first + REQUEST)).map(message).collect();
        emulator.done(Method::POST, &format!("topics/{PULLED}:publish"), json!({ "messages": messages })).await;
    }
    emulator
}

async fn receive(events: usize, rounds: usize) {
    let name = format!("projects/{PROJECT}/subscriptions/{PULLED}");
    let ours = async || {
        let emulator = filled(events).await;
        let made = PullConfig {
            settings: settings(&emulator),
            messages_max: UNDER_WAY,
            ..PullConfig::new(SourceName::new("s").unwrap(), &*name)
        };
        pull(Arc::new(Pull::new(made, &Accounts::default()).unwrap()), events).await
    };
    let bare = async || {
        let emulator = filled(events).await;
        let start = Instant::now();
        let builder = Subscriber::builder().with_endpoint(&emulator.url);
        let client = builder.with_credentials(anonymous::Builder::new().build()).build().await.unwrap();
        let mut stream = client.subscribe(&*name).set_max_outstanding_messages(i64::from(UNDER_WAY)).build();
        for _ in 0..events {
            let (_, handler) = stream.next().await.unwrap().unwrap();
            handler.ack();
        }
        // What was acknowledged is sent.
        stream.shutdown_token().shutdown().await;
        start.elapsed()
    };
    turns("StreamingPull, 1,000 messages under way", events, rounds, ours, bare).await;
}
