//! Pushes of Pub/Sub, from Google's own emulator, to the program of a function as Cloud Run starts it; its replies go
//! through a router.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use router_tests::world::{process::Place, setup::Route, sink::Sink};
use serde_json::json;

use super::{
    emulator::Emulator,
    lambda::{ids, order, program},
    state::Running,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_emulator_pushes_reaches_a_function() {
    let (Some(program), Some(emulator)) = (program(), Emulator::start().await) else { return };
    let (sink, place) = (Sink::start().await, Place::new());
    let router = place.start(&[Route::all("seen", &sink.url("seen"))]).await;
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.env_clear().env("K_SERVICE", "orders").env("PORT", port.to_string()).env("OUTPUT_URL", place.url());
    let function = Running::of(command.stdin(Stdio::null()));
    for (name, number, push) in [
        ("wrapped", 1, json!({"pushEndpoint": function.url})),
        ("bare", 2, json!({"pushEndpoint": function.url, "noWrapper": {"writeMetadata": true}})),
    ] {
        emulator.topic(name, json!({"pushConfig": push, "ackDeadlineSeconds": 30})).await;
        let event = order(number);
        let attributes = json!({"ce-specversion": "1.0", "ce-id": event["id"], "ce-source": event["source"],
            "ce-type": event["type"], "content-type": "application/json"});
        let data = STANDARD.encode(event["data"].to_string());
        let message = json!({"messages": [{"data": data, "attributes": attributes}]});
        emulator.done(Method::POST, &format!("topics/{name}:publish"), message).await;
    }
    ids(&sink, 6, &place).await;
    drop(function);
    assert!(router.terminate().await.success());
}
