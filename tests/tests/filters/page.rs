use router_core::filter::{Filter, Spec};
use schemas::Event;
use serde_json::Value;

/// Blocks of a page: what stands behind ```` ```json ````, and the text.
pub fn blocks(name: &str) -> Vec<(String, String)> {
    let page = std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```json ") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((kind.to_owned(), text.join("\n")));
        }
    }
    blocks
}

fn filter(text: &str) -> Result<Filter, String> {
    let spec: Spec = serde_json::from_str(text).map_err(|e| format!("{e}: {text}"))?;
    Filter::parse(spec).map_err(|e| e.to_string())
}

/// One filter a line; each is a JSON object of its own.
fn filters(text: &str) -> Vec<String> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.map(|value| value.unwrap_or_else(|e| panic!("{e}: {text}")).to_string()).collect()
}

#[test]
fn the_examples_of_the_page_do_what_it_says() {
    let mut event: Option<Event> = None;
    let mut held = 0;
    for (kind, text) in blocks("docs/filters.md") {
        if kind == "event" {
            event = Some(schemas::json::decode(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}")));
            continue;
        }
        let event = event.as_ref().expect("an event comes first");
        for one in filters(&text) {
            match kind.as_str() {
                "match" => assert!(filter(&one).unwrap().matches(event), "{one}"),
                "no match" => assert!(!filter(&one).unwrap().matches(event), "{one}"),
                "refused" => assert!(filter(&one).is_err(), "{one}"),
                other => panic!("a block says `{other}`"),
            }
            held += 1;
        }
    }
    assert!(held > 60, "{held} examples");
}
