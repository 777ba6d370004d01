//! Goal: before a configuration is put to work, `check` says what it would do to what is owed, and whether its
//! targets can be reached; neither changes or sends anything.

use std::time::Duration;

use gocoffee::{config, serve};
use tokio::io::AsyncReadExt;

use crate::world::{Sink, order, run};

fn config_text(sink: &str, routes: &str) -> String {
    format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nsources: {{ web: {{ http: {{ path: /events }} }} }}\n\
         targets:\n  sink: {{ http: {{ url: '{sink}' }} }}\n  other: {{ http: {{ url: '{sink}' }} }}\nroutes:\n{routes}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_routes_is_told_beside_what_is_owed() {
    let (sink, dir) = (Sink::start().await, tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    sink.answer(503);
    let before = "  gone: { to: sink }\n  kept: { to: sink }\n  moved: { to: sink }\n  spare: { to: other }\n";
    let loaded = config::load("before.yaml", &config_text(&sink.url, before));
    let options = serve::Options { data: Some(data.clone()), ..Default::default() };
    let running = serve::serve(loaded.config.unwrap(), options).await.unwrap();
    let to = format!("http://{}/events", running.listen());
    let (exit, _, err) = run(&["publish", "-", "--to", &to], &format!("{}{}", order("1"), order("2"))).await;
    assert_eq!(exit, 0, "{err}");

    let after = "  fresh: { to: sink }\n  kept: { to: sink }\n  moved: { to: other, filter: { exact: { type: t } } }\n  \
                 spare: { to: other, filter: { exact: { type: t } } }\n";
    let file = dir.path().join("after.yaml");
    std::fs::write(&file, config_text(&sink.url, after)).unwrap();
    let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
    let admin = format!("http://{}", running.admin());
    let mut args = vec!["check", file, "--against", data, "--admin", &admin];
    let owed = "- gone: removed; 2 deliveries that it owes are orphaned, 0 dead letters stay as they are";
    // What was published is matched a moment later.
    let mut said = String::new();
    for _ in 0..750 {
        said = run(&args, "").await.1;
        if said.contains(owed) && said.matches("2 deliveries").count() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for line in [
        "+ fresh: new; it takes events from the next one on\n",
        owed,
        "~ moved: a new filter from the next event on; 2 deliveries that are owed stay as they are; it goes to `other` \
         instead of `sink`, and so do 2 deliveries that are owed already\n",
        "warning[R0039]: - gone: removed",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("kept") && said.ends_with("ok, 1 warning\n"), "{said}");
    args.push("--deny-warnings");
    assert_eq!(run(&args, "").await.0, 1);
    running.stop(Duration::from_secs(15)).await.unwrap();

    // The router is stopped: the ledger is read, as often as one likes.
    for _ in 0..2 {
        let (exit, out, err) = run(&["check", file, "--against", data, "--output", "json"], "").await;
        assert_eq!(exit, 0, "{err}");
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let change = |i: usize| {
            let change = &report["changes"][i];
            (change["route"].as_str().unwrap(), change["change"].as_str().unwrap(), change["waiting"].as_u64().unwrap())
        };
        assert_eq!(
            [change(0), change(1), change(2), change(3)],
            [("fresh", "new", 0), ("gone", "removed", 2), ("moved", "filter", 2), ("spare", "filter", 2)]
        );
    }
    let (exit, _, err) = run(&["check", file, "--against", dir.path().to_str().unwrap()], "").await;
    assert!(exit == 1 && err.starts_with("error[R0035]: ") && err.contains("it holds no ledger"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_reached_without_an_event() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, dir) = (format!("http://{}/", listener.local_addr().unwrap()), tempfile::tempdir().unwrap());
    // All that comes over the connection until it is closed.
    let got = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.map(|_| bytes).unwrap_or_default()
    });
    let file = dir.path().join("gocoffee.yaml");
    let text = config_text(&url, "  a: { to: sink }\n  b: { to: other }\n").replacen(
        &format!("other: {{ http: {{ url: '{url}'"),
        "other: { http: { url: 'http://127.0.0.1:1/'",
        1,
    );
    std::fs::write(&file, text).unwrap();
    let (exit, out, err) = run(&["check", file.to_str().unwrap(), "--connect"], "").await;
    assert!(exit == 1 && out.contains("error[R0034]: the target `other` cannot be reached"), "{out}{err}");
    assert!(out.contains(":6:") && !out.contains("`sink`"), "{out}");
    let got = tokio::time::timeout(Duration::from_secs(15), got).await.unwrap().unwrap();
    assert!(got.is_empty(), "{}", String::from_utf8_lossy(&got));
}
