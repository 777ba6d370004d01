//! Lists of events that are posted to a custom topic of the played Event Grid. There is no SDK that publishes to Event Grid
//! in Rust; the bare loop is a plain HTTP client that keeps its connections.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use router_azure::{
    auth::Auth,
    target::{EventGridConfig, EventGridTarget, To},
    wire::{self, Schema},
};
use router_core::id::TargetName;
use router_http::{Secret, client};
use router_tests::world::client::Client;

use crate::{
    deliver, each,
    grid::{Grid, KEY, Play},
    owed, turns,
};

/// Events of a request.
const REQUEST: usize = 500;

pub async fn run(events: usize, rounds: usize) {
    let grid = Grid::start(Play::default()).await;
    let to = To::Topic { endpoint: grid.url("/api/events"), schema: Schema::CloudEvents, topic: None, channel: None };
    let made = EventGridConfig::new(TargetName::new("t").unwrap(), to, Auth::Key(Secret::new(KEY)));
    let client = client::Client::with(&made.client()).unwrap();
    let target = Arc::new(EventGridTarget::new(made, client).unwrap());
    let batches = owed(events, REQUEST);
    let body = |batch: &Vec<_>| {
        let events = batch.iter().map(|delivery: &router_core::target::Delivery| (&delivery.event, delivery.appended));
        Bytes::from(wire::encode(Schema::CloudEvents, None, events))
    };
    let bodies: Vec<Bytes> = batches.iter().map(body).collect();
    let url = grid.url("/api/events?api-version=2018-01-01");
    let client = Client::new(Duration::from_secs(60));
    let bare = async || {
        let (client, url) = (client.clone(), url.clone());
        each(bodies.clone(), move |body| {
            let (client, url) = (client.clone(), url.clone());
            let headers: HeaderMap = [("aeg-sas-key", KEY), ("content-type", Schema::CloudEvents.media_type())]
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .into_iter()
                .collect();
            async move {
                let answer = client.send(Method::POST, &url, headers, body).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        })
        .await
    };
    let ours = async || deliver(target.clone(), batches.clone()).await;
    turns("Event Grid, 500 events a request", events, rounds, ours, bare).await;
}
