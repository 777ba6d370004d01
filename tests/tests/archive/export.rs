//! Exports over the real binary.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use router_tests::world::process::Place;
use schemas::{Event, Form};

use super::{command, event, publish, run};

/// Events of all forms of data, most of which cannot stand on a line as they are.
fn events(count: usize) -> Vec<String> {
    let members = |id: usize| match id % 6 {
        0 => format!(",\"data\":{{\"a\":\\n [{id}]}}").replace("\\n", "\n"),
        1 => format!(",\"data\":{{\"total\":{id}.50}}"),
        2 => ",\"datacontenttype\":\"text/plain\",\"data\":\"one\\ntwo\\u0000\"".into(),
        3 => ",\"datacontenttype\":\"image/png\",\"data_base64\":\"AAEKDf/+\"".into(),
        4 => ",\"data\":\"line\\nbreak\"".into(),
        _ => String::new(),
    };
    (0..count).map(|id| event(id, &members(id))).collect()
}

/// What must read back: form and bytes of the data, and all attributes.
fn print(event: &Event) -> (Form, Vec<u8>, Vec<(String, String)>) {
    let attrs = event.attrs().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    (event.form(), event.data().to_vec(), attrs)
}

async fn publish_batches(place: &Place, events: &[String]) {
    let client = router_http::client::Client::new().unwrap();
    for batch in events.chunks(100) {
        let body = format!("[{}]", batch.join(","));
        let request = http::Request::post(place.url()).header("content-type", "application/cloudevents-batch+json");
        let answer = client.send(request.body(body.into()).unwrap(), Duration::from_secs(30), 1 << 20).await.unwrap();
        assert_eq!(answer.status.as_u16(), 202, "{:?}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_read_back_byte_for_byte_though_the_export_was_interrupted() {
    let place = Place::new();
    let router = place.start(&[]).await;
    let events = events(10_000);
    publish_batches(&place, &events).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ndjson");
    let name = file.to_str().unwrap();
    let (exit, out, err) = run(&place, &["archive", "export", "-o", name, "--output", "json"]).await;
    assert_eq!(exit, 0, "{err}");
    let done: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(done["events"], 10_000);
    let whole = std::fs::read(&file).unwrap();
    assert_eq!(done["bytes"].as_u64(), Some(whole.len() as u64));
    let mark = folder.path().join("all.ndjson.export");
    assert!(!mark.exists(), "a file that is whole has no mark");
    let back: BTreeMap<String, _> = whole
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| schemas::json::decode_line(line).unwrap())
        .map(|event| (event.id().to_owned(), print(&event)))
        .collect();
    assert_eq!(back.len(), 10_000);
    for (id, json) in events.iter().enumerate() {
        assert_eq!(back[&id.to_string()], print(&schemas::json::decode(json.as_bytes()).unwrap()), "{id}");
    }
    // The file as an interrupted export leaves it: a mark, and behind it what was written and not synced.
    let (exit, _, err) = run(&place, &["archive", "export", "-o", name]).await;
    assert_eq!((exit, err.contains("is there already; give another name")), (1, true), "{err}");
    let status = router.status().await;
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    let kept: usize = lines[..4_321].iter().map(|line| line.len()).sum();
    let text = serde_json::json!({
        "epoch": status.epoch, "bus": "default", "filter": null, "next": 4_322, "to": 10_001, "bytes": kept, "events": 4_321,
    });
    std::fs::write(&mark, text.to_string()).unwrap();
    std::fs::write(&file, &whole[..kept + 37]).unwrap();
    let (exit, _, err) = run(&place, &["archive", "export", "-o", name]).await;
    assert_eq!((exit, err.contains("go on with --resume")), (1, true), "{err}");
    let (exit, out, err) = run(&place, &["archive", "export", "-o", name, "--resume"]).await;
    assert_eq!((exit, out.starts_with("exported 10,000 events")), (0, true), "{out}{err}");
    assert_eq!(std::fs::read(&file).unwrap(), whole, "resumed, it is the same file");
    let (exit, _, _) = run(&place, &["archive", "export", "-o", name, "--resume"]).await;
    assert_eq!(exit, 1, "what is whole is not resumed");
    // Another store's offsets mean other events.
    std::fs::write(&mark, text.to_string().replace(&status.epoch, "00c0ffee00c0ffee")).unwrap();
    let (exit, _, err) = run(&place, &["archive", "export", "-o", name, "--resume"]).await;
    assert_eq!((exit, err.contains("another store")), (1, true), "{err}");
    // Back into the same bus: all are there. Into another router: all are new, and then they are there.
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(publish(&place, &file).await, (0, 10_000));
    let other = Place::new();
    let second = other.start(&[]).await;
    assert_eq!(publish(&other, &file).await, (10_000, 0));
    assert_eq!(publish(&other, &file).await, (0, 10_000));
    let copy = folder.path().join("copy.ndjson");
    assert_eq!(run(&other, &["archive", "export", "-o", copy.to_str().unwrap()]).await.0, 0);
    assert_eq!(std::fs::read(&copy).unwrap(), whole, "an export of what was published from an export");
    assert!(second.terminate().await.success());
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_offsets_times_and_filters_and_survives_a_kill() {
    let place = Place::new();
    let router = place.start(&[]).await;
    publish_batches(&place, &events(600)).await;
    let ids = |out: &str| -> Vec<String> {
        out.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (exit, out, err) = run(&place, &["archive", "export", "--offsets", "3..6"]).await;
    assert_eq!((exit, ids(&out)), (0, vec!["2".to_owned(), "3".into(), "4".into()]), "{err}");
    let (exit, out, _) =
        run(&place, &["archive", "export", "--from", "1h", "--filter", r#"{"exact":{"id":"77"}}"#]).await;
    assert_eq!((exit, ids(&out)), (0, vec!["77".to_owned()]));
    let (exit, out, _) = run(&place, &["archive", "export", "--to", "1h"]).await;
    assert_eq!((exit, out.as_str()), (0, ""), "an hour ago there was none");
    let (exit, _, err) = run(&place, &["archive", "export", "--bus", "nowhere"]).await;
    assert_eq!((exit, err.contains("no-such-bus")), (1, true), "{err}");
    // Killed at any moment: what is there says how to go on, or nothing is there.
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5u64 {
        let file = folder.path().join(format!("{round}.ndjson"));
        let name = file.to_str().unwrap().to_owned();
        let mut child = command(&place, &["archive", "export", "-o", &name])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(round * 15)).await;
        child.kill().await.unwrap();
        let mark = folder.path().join(format!("{round}.ndjson.export"));
        if mark.exists() {
            let (exit, _, err) = run(&place, &["archive", "export", "-o", &name, "--resume"]).await;
            assert_eq!(exit, 0, "{err}");
        }
        let length = std::fs::read_to_string(&file).map_or(0, |text| text.lines().count());
        assert!(length == 600 || (length == 0 && !mark.exists()), "{length} events");
    }
    assert!(router.terminate().await.success());
}
