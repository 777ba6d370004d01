//! Goal: over the real binary and real HTTP, a function's answer is an event of the bus, and what is no event is a dead
//! letter that can be edited.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::world::{order, run};

type Seen = Arc<Mutex<Vec<HeaderMap>>>;

/// A function that answers orders with an event, the order 2 with nonsense, and remembers what is priced.
async fn function(seen: Seen) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let price = async |headers: HeaderMap| match headers["ce-id"].to_str() {
        Ok("2") => (StatusCode::OK, "nonsense").into_response(),
        _ => {
            let event =
                r#"{"specversion":"1.0","source":"/pricer","type":"coffee.order.priced","data":{"cents": 450}}"#;
            ([(header::CONTENT_TYPE, "application/cloudevents+json")], event).into_response()
        }
    };
    let priced = async move |headers: HeaderMap| seen.lock().unwrap().push(headers);
    let app = axum::Router::new().route("/price", axum::routing::post(price));
    let app = app.route("/priced", axum::routing::post(priced));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn until(what: &str, seen: &Seen, count: usize) {
    for _ in 0..1_500 {
        if seen.lock().unwrap().len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}; {:?}", seen.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_answers_with_events_over_the_real_binary() {
    let (dir, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let url = function(seen.clone()).await;
    let config = dir.path().join("gocoffee.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0, token: s3cr3t-t0ken }}\n\
         sources: {{ web: {{ http: {{ path: /events }} }} }}\n\
         targets: {{ price: {{ http: {{ url: '{url}/price' }} }}, priced: {{ http: {{ url: '{url}/priced' }} }} }}\n\
         routes:\n  price: {{ to: price, reply: true, filter: {{ pattern: {{ type: [coffee.order.created] }} }} }}\n  \
         priced: {{ to: priced, filter: {{ pattern: {{ type: [coffee.order.priced] }} }} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let data = dir.path().join("data");
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"))
        .args(["serve", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready: serde_json::Value = loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        if line["message"] == "ready" {
            break line;
        }
    };
    tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
    let to = format!("http://{}/events", ready["listen"].as_str().unwrap());
    let admin = format!("http://{}", ready["admin"].as_str().unwrap());
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cr3t-t0ken").unwrap();
    let letters = async |args: &[&str], input: &str| {
        let own = ["--admin", &admin, "--token-file", token.to_str().unwrap()];
        run(&[&["dead-letters"], args, &own].concat(), input).await
    };
    let (_, out, _) = run(&["publish", "-", "--to", &to], &format!("{}{}", order("1"), order("2"))).await;
    assert_eq!(out, "accepted 2, duplicate 0, refused 0\n");
    until("the reply", &seen, 1).await;
    let header = |n: usize, name: &str| seen.lock().unwrap()[n][name].to_str().unwrap().to_owned();
    assert_eq!(["ce-causeid", "ce-causesource", "ce-causedepth"].map(|n| header(0, n)), ["1", "/shop", "1"]);
    assert_eq!(header(0, "ce-id").len(), 32);
    let mut listed = serde_json::Value::Null;
    for _ in 0..500 {
        let (_, out, _) = letters(&["ls", "--route", "quarantine", "--output", "json"], "").await;
        listed = serde_json::from_str(&out).unwrap();
        if listed["dead_letters"].as_array().unwrap().len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let letter = &listed["dead_letters"][0];
    assert_eq!((&letter["reason"], &letter["target"]), (&"not-a-cloudevent".into(), &"price".into()), "{listed}");
    let id = letter["id"].as_str().unwrap();
    assert_eq!(letters(&["show", id, "--event"], "").await.1, "nonsense\n");
    assert!(letters(&["show", id], "").await.1.contains("answers   /shop 2"));
    let (exit, out, _) = letters(&["redrive", id], "").await;
    assert!(exit == 1 && out.contains("because they are no events yet: 1"), "{exit} {out}");
    let event = r#"{"specversion":"1.0","source":"/pricer","type":"coffee.order.priced","data":{"cents": 1}}"#;
    let (exit, out, said) = letters(&["redrive", id, "--edit", "-", "--new-id"], event).await;
    assert!(exit == 0 && out.starts_with("taken in as /pricer "), "{exit} {out}{said}");
    until("the edited reply", &seen, 2).await;
    assert_eq!(header(1, "ce-causeid"), "2");
    assert_eq!(letters(&["ls"], "").await.1, "no dead letters\n");
    child.kill().await.unwrap();
}
