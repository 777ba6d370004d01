use std::process::Command;

use router_core::{
    clock::Timestamp,
    transform::{Context, Spec, Transform},
};
use router_tests::world::process::binary;
use schemas::Event;
use serde_json::Value;

use super::page::blocks;

const CONTEXT: Context<'static> = Context { route: "new-orders", appended: Timestamp(0), event_bytes_max: 1 << 20 };

/// Of a transform's text: what it makes of the event, or the code of its failure; or that it is refused.
fn made(text: &str, event: &Event) -> Result<Result<String, String>, String> {
    let spec: Spec = serde_json::from_str(text).map_err(|e| format!("{e}: {text}"))?;
    let transform = Transform::parse(&spec).map_err(|e| e.to_string())?;
    let made = transform.apply(event, &CONTEXT);
    Ok(made.map(|e| String::from_utf8(e.data().to_vec()).unwrap()).map_err(|e| e.code.0.to_owned()))
}

#[test]
fn the_examples_of_the_page_on_transforms_do_what_it_says() {
    let mut event: Option<Event> = None;
    let mut last = String::new();
    let mut held = 0;
    for (kind, text) in blocks("docs/transforms.md") {
        let subject = || event.as_ref().expect("an event comes first");
        match kind.split_once(' ').unwrap_or((&kind, "")) {
            ("event", _) => event = Some(schemas::json::decode(text.as_bytes()).unwrap()),
            ("transform", _) => last = text,
            ("data", _) => assert_eq!(made(&last, subject()), Ok(Ok(text))),
            ("fails", code) => assert_eq!(made(&text, subject()), Ok(Err(code.to_owned()))),
            ("refused", _) => {
                for one in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                    let one = one.unwrap().to_string();
                    assert!(made(&one, subject()).is_err(), "{one}");
                }
            }
            (other, _) => panic!("a block says `{other}`"),
        }
        held += 1;
    }
    assert!(held > 12, "{held} blocks");
}

#[test]
fn a_transform_is_tried_on_the_command_line() {
    let desk = tempfile::TempDir::new().unwrap();
    let put = |name: &str, text: &str| std::fs::write(desk.path().join(name), text).unwrap();
    put("event.json", r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1.50}}"#);
    put("yes.yaml", "set:\n  attributes: { subject: 'a <$.data.a>' }\n");
    put("no.json", r#"{"input_path":"$.detail.b"}"#);
    put("bad.json", r#"{"input_path":"detail"}"#);
    let run = |name: &str| {
        let arguments = ["transform", "test", "--transform", name, "--event", "event.json"];
        let output = Command::new(binary()).current_dir(desk.path()).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = run("yes.yaml");
    let made: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &made["subject"], made["data"]["a"].to_string()), (0, &Value::from("a 1.50"), "1.50".into()));
    let (code, out, err) = run("no.json");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("error[transform-nothing]: the event has nothing at `$.detail.b`"), "{err}");
    let (code, _, err) = run("bad.json");
    assert_eq!(code, 2);
    assert!(err.contains("`detail` is no path"), "{err}");
}
