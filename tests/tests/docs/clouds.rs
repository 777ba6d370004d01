//! Goal: docs/clouds.md is what the mappings do. It is written by this test, which sends telling events through each of
//! them and reads them again as the router's own sources do; it fails where the page says something else. `check` warns of
//! what a mapping changes, and of nothing else.
//!
//! `GOCOFFEE_RENEW=1 cargo test -p router-tests --test docs clouds` writes the page anew.

/// The ways that events go, there and back.
#[path = "clouds/ways.rs"]
mod ways;

/// What of an event became of it.
#[path = "clouds/changes.rs"]
mod changes;

/// Events that no target of a kind takes.
#[path = "clouds/limits.rs"]
mod limits;

/// What comes from clouds, and what it becomes.
#[path = "clouds/coming.rs"]
mod coming;

use std::fmt::Write;

use gocoffee::config;

use super::{page, root};
use changes::COLUMNS;
use ways::{Way, ways};

const PAGE: &str = "docs/clouds.md";
const RENEW: &str = "GOCOFFEE_RENEW";

const HEAD: &str = "\
# What each mapping keeps

What becomes of an event on its way through a cloud, said of each target in each of its mappings, and of each source. This
page is written by [a test](../tests/tests/docs/clouds.rs), which sends events through all of them; where something changes,
`GOCOFFEE_RENEW=1 cargo test -p router-tests --test docs clouds` writes it anew.

How it is set up stands on the pages of [AWS](aws.md), [Google Cloud](gcp.md), [Azure](azure.md) and [HTTP](http.md); how
three routers pass each other everything, in [the ring](ring.md).

## There and back

What an event is after it went out by a target and came in by the source that reads what that target sends. `kept` is the
same attribute, or the same bytes. What a cloud itself does in between is in it as far as it is known: EventBridge writes
JSON anew, knows times to the second, and adds an account and a region; a custom event bus (`eventbridge_v2`) passes on what
it got. `gocoffeehops` ([loops](loops.md)) is not counted.

";

const EVENTS: &str = "
The events of the columns:

| column | event |
|---|---|
| JSON | data `{\"a\":1.10,\"b\":1e2,\"c\":\"é\"}`, of `application/json; charset=utf-8` |
| no object | data `[1.10]` |
| text | data `Grüße, <7>`, of `text/plain; charset=utf-8` |
| bytes | data of the 256 bytes, of `application/octet-stream` |
| none | no data |
| identity | `id`, `source`, `type` |
| `time` | `2026-01-15T06:30:00.123456789+01:00`, and an event without |
| `datacontenttype` | as of JSON, and JSON without |
| `dataschema` | a URI |
| extensions | a text, an integer, a boolean |
| long | a `subject` of 2,000 characters with `%`, quotes and letters outside ASCII; 80 extensions more |

* `as text`: the value is the same, and what was a number or a boolean is a string, as in all headers.
* `as bytes`: the same bytes, which a structured delivery writes as `data_base64`.
* With `mapping: data` the router reads `id` and `source` out of `Resources`; who does not look there finds an id of
  EventBridge's own.
* What Event Grid does with spaces and digits of JSON is not known here: nothing of it runs outside of Azure.
";

/// The page as it has to be.
async fn written() -> String {
    let mut text = String::from(HEAD);
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let rule = "|---".repeat(names.len() + 2);
    write!(text, "| target | mapping | {} |\n{rule}|\n", names.join(" | ")).unwrap();
    for Way { target, mapping, go, .. } in ways() {
        let cells: Vec<String> = COLUMNS.iter().map(|(_, cell)| cell(go)).collect();
        writeln!(text, "| {target} | {mapping} | {} |", cells.join(" | ")).unwrap();
    }
    text.push_str(EVENTS);
    text.push_str(&limits::section().await);
    text.push_str(&coming::section());
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_what_the_mappings_do() {
    let (written, path) = (written().await, root().join(PAGE));
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let differ = there.lines().zip(written.lines()).find(|(there, written)| there != written);
    assert!(
        there == written,
        "{PAGE} is not what the mappings do; `{RENEW}=1 cargo test -p router-tests --test docs clouds` writes it anew\n{differ:#?}"
    );
}

/// What `check` says of a target; `None`: nothing.
fn noted(target: &str) -> Option<String> {
    let text = format!(
        "targets: {{ t: {target} }}\nroutes: {{ r: {{ to: t }} }}\nsources: {{ w: {{ http: {{ path: /e }} }} }}\n"
    );
    let report = config::load("gocoffee.yaml", &text).report;
    assert_eq!(report.errors(), 0, "{}", report.to_text(false));
    let said = report.to_text(false);
    (!said.trim().is_empty() && said.contains("warning")).then_some(said)
}

#[test]
fn check_warns_of_what_a_mapping_changes_and_of_nothing_else() {
    // The columns, as `check` names what they are about.
    let named = |column: &str| match column {
        "JSON" | "no object" | "text" | "bytes" | "none" => "data".to_owned(),
        "identity" => "source".to_owned(),
        other => other.trim_matches('`').to_owned(),
    };
    let mut warned = 0;
    for Way { target, config, go, .. } in ways() {
        let changed: Vec<&str> = COLUMNS
            .iter()
            .filter(|(_, cell)| {
                ["lost", "equal as JSON", "refused", "JSON string", "`2026"].iter().any(|c| cell(go).contains(c))
            })
            .map(|(name, _)| *name)
            .collect();
        let said = noted(config);
        assert_eq!(said.is_some(), !changed.is_empty(), "{target} {config}: {changed:?}, and check says {said:?}");
        let Some(said) = said else { continue };
        for column in changed.into_iter().filter(|column| *column != "long") {
            let covered = said.contains("no other attribute") || said.contains(&named(column));
            assert!(covered, "{target}: {column} changes, and check says {said}");
        }
        warned += 1;
    }
    assert!(warned >= 3, "{warned} mappings are warned of");
    assert!(page(PAGE).contains("refused"));
}
