use router_core::filter::{Filter, Spec};
use serde_json::Value;

/// JSON5 as far as the kit uses it: comments to the end of a line, commas before a closing bracket.
fn json5(source: &str) -> Value {
    let mut json = String::new();
    let mut chars = source.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                json.push(c);
                json.extend(chars.next());
                continue;
            }
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            ']' | '}' if !in_string => {
                let kept = json.trim_end().len();
                json.truncate(kept);
                if json.ends_with(',') {
                    json.pop();
                }
            }
            _ => {}
        }
        json.push(c);
    }
    serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"))
}

#[test]
fn every_case_of_the_event_pattern_kit_holds() {
    let Some(files) = super::kit("eventbridge-patterns") else { return };
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let case = json5(&std::fs::read_to_string(file).unwrap());
        // The kit's events are EventBridge's own, with whatever members at the top.
        let answer = match Filter::parse_for_documents(Spec::Eventbridge(case["EventPattern"].clone())) {
            Ok(filter) => filter.matches_document(case["Event"].to_string().as_bytes()).unwrap().to_string(),
            Err(e) => format!("refused {e}"),
        };
        let fits = match () {
            () if name.ends_with("_EXC") => answer.starts_with("refused"),
            () if name.ends_with("_NEG") => answer == "false",
            () => answer == "true",
        };
        wrong.extend((!fits).then(|| format!("{name}: {answer}")));
    }
    println!("{} of {} cases of the event pattern kit hold", files.len() - wrong.len(), files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(files.len(), 77, "the kit has changed");
}
