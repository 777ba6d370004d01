use std::process::Command;

use router_tests::world::process::binary;
use tempfile::TempDir;

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"coffee.order.created","subject":"Latte","data":{"total":4.5}}"#;

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Desk(TempDir::new().unwrap());
        desk.put("event.json", EVENT);
        desk
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(binary()).current_dir(self.0.path()).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn a_test_ends_with_its_answer() {
    let desk = Desk::new();
    desk.put("yes.json", r#"{"pattern":{"data":{"total":[{"numeric":[">",0]}]}}}"#);
    desk.put("no.yaml", "all:\n  - prefix: { type: coffee. }\n  - exact: { subject: latte }\n");
    desk.put("bad.json", r#"{"pattern":{"data":{"total":[{"numeric":[">","0"]}]}}}"#);
    desk.put("strange.json", r#"{"telepathy":{}}"#);
    desk.put("raw.json", r#"{"Total":5}"#);
    desk.put("rawfilter.json", r#"{"pattern":{"Total":[5]}}"#);
    let test = |filter, event| ["filter", "test", "--filter", filter, "--event", event];
    assert_eq!(desk.run(&test("yes.json", "event.json")), (0, "match\n".into(), String::new()));
    let (code, out, _) = desk.run(&[test("no.yaml", "event.json").as_slice(), &["--explain"]].concat());
    assert_eq!(code, 1);
    assert_eq!(out, "no match\n  clause   all[1].exact.subject\n  wanted   \"latte\"\n  found    \"Latte\"\n");
    let (code, out, err) = desk.run(&test("bad.json", "event.json"));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("pattern.data.total[0].numeric[1]: Value of > must be numeric"), "{err}");
    let (code, _, err) = desk.run(&test("strange.json", "event.json"));
    assert_eq!(code, 2);
    assert!(err.contains("unknown variant `telepathy`, expected one of `pattern`"), "{err}");
    assert_eq!(desk.run(&test("yes.json", "raw.json")).0, 2, "no CloudEvent");
    assert_eq!(desk.run(&[test("rawfilter.json", "raw.json").as_slice(), &["--raw"]].concat()).0, 0);
    assert_eq!(desk.run(&test("nothing.json", "event.json")).0, 2);
}

#[test]
fn an_evaluation_prints_value_and_errors() {
    let desk = Desk::new();
    let eval = |sql| desk.run(&["filter", "eval", "--sql", sql, "--event", "event.json"]);
    assert_eq!(eval("LENGTH(subject) * 2"), (0, "{\"value\":10,\"errors\":[]}\n".into(), String::new()));
    assert_eq!(eval("-INT(subject)").1, "{\"value\":0,\"errors\":[\"cast\"]}\n");
    let (code, out, err) = eval("type =");
    assert_eq!((code, out.as_str()), (2, "{\"value\":false,\"errors\":[\"parse\"]}\n"));
    assert!(err.contains("at character 7"), "{err}");
    assert_eq!(eval("MAX(1)").1, "{\"value\":false,\"errors\":[\"missingFunction\"]}\n");
    let strict = desk.run(&["filter", "eval", "--strict", "--sql", "data.total = 1", "--event", "event.json"]);
    assert_eq!(strict.0, 2);
}
