//! Lists of events that are posted to a custom topic of the played Event Grid. There is no SDK that publishes to Event Grid
//! in Rust; the bare loop is the pipeline of `azure_core`, under all of Azure's SDKs, and writes its events as JSON as they
//! do: here from members that are JSON already.

use std::{collections::BTreeMap, sync::Arc};

use azure_core::http::{ClientOptions, Context, Method, Pipeline, Request, Url};
use router_azure::{
    auth::Auth,
    target::{EventGridConfig, EventGridTarget, To},
    wire::{self, Schema},
};
use router_core::id::TargetName;
use router_http::{Secret, client};
use serde_json::value::RawValue;

use crate::{
    deliver, each,
    grid::{Grid, KEY, Play},
    owed, turns,
};

/// Events of a request.
const REQUEST: usize = 500;

pub async fn run(events: usize, rounds: usize) {
    // The pipeline takes the process's; the first to choose it has chosen.
    drop(rustls::crypto::ring::default_provider().install_default());
    let grid = Grid::start(Play::default()).await;
    let to = To::Topic { endpoint: grid.url("/api/events"), schema: Schema::CloudEvents, topic: None, channel: None };
    let made = EventGridConfig::new(TargetName::new("t").unwrap(), to, Auth::Key(Secret::new(KEY)));
    let client = client::Client::with(&made.client()).unwrap();
    let target = Arc::new(EventGridTarget::new(made, client).unwrap());
    let batches = owed(events, REQUEST);
    let list = |batch: &Vec<_>| {
        let events = batch.iter().map(|delivery: &router_core::target::Delivery| (&delivery.event, delivery.appended));
        let written = wire::encode(Schema::CloudEvents, None, events);
        Arc::new(serde_json::from_slice::<Vec<BTreeMap<String, Box<RawValue>>>>(&written).unwrap())
    };
    let lists: Vec<_> = batches.iter().map(list).collect();
    let url: Url = grid.url("/api/events?api-version=2018-01-01").parse().unwrap();
    let pipeline = Pipeline::new(None, None, ClientOptions::default(), Vec::new(), Vec::new(), None);
    let bare = async || {
        let (pipeline, url) = (pipeline.clone(), url.clone());
        each(lists.clone(), move |list| {
            let (pipeline, mut request) = (pipeline.clone(), Request::new(url.clone(), Method::Post));
            request.insert_header("aeg-sas-key", KEY);
            request.insert_header("content-type", Schema::CloudEvents.media_type());
            request.set_body(serde_json::to_vec(&*list).unwrap());
            async move {
                // An answer that is no success is an error here.
                pipeline.send(&Context::new(), &mut request, None).await.unwrap();
            }
        })
        .await
    };
    let ours = async || deliver(target.clone(), batches.clone()).await;
    turns("Event Grid, 500 events a request", events, rounds, ours, bare).await;
}
