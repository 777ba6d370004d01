//! Goal: no code that the program can print is without its page. `gocoffee::explain` holds the pages to the lists
//! `ALL`; here the lists are held to the sources: codes are made in them and nowhere else, each is used, and
//! each line of the log that warns names one.

use std::{fs, path::PathBuf};

use super::root;

/// Sources of what runs in a router, without their tests: path and text.
fn sources() -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> = [
        "schemas/src",
        "router/src",
        "router/core/src",
        "router/store/src",
        "router/http/src",
        "router/aws/src",
        "router/azure/src",
    ]
    .map(|f| root().join(f))
    .into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.contains("test") {
                let text = fs::read_to_string(&path).unwrap();
                // Unit tests stand at the end of a file.
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }
    assert!(found.len() > 100, "{} sources", found.len());
    found
}

#[test]
fn codes_are_made_in_their_lists_and_nowhere_else() {
    let mut lists = 0;
    for (path, text) in sources() {
        let is_list = path.ends_with("/codes.rs");
        lists += usize::from(is_list);
        let makes = text.matches("Code::new(").count();
        // The macro itself and what it expands to.
        let allowed = usize::from(path.ends_with("schemas/src/invalid.rs"));
        assert_eq!(makes, allowed, "{path} makes a code; add it to the crate's codes.rs");
        assert!(is_list || !text.contains("codes! {"), "{path}");
    }
    assert_eq!(lists, 7);
}

#[test]
fn every_code_of_the_lists_is_used() {
    let sources = sources();
    for (path, list) in sources.iter().filter(|(path, _)| path.ends_with("/codes.rs")) {
        for line in list.lines().filter(|line| line.starts_with("    ")) {
            let name = line.trim().split(" = ").next().unwrap();
            let used = sources.iter().filter(|(at, _)| at != path).any(|(_, text)| {
                text.match_indices(name).any(|(at, _)| {
                    let bytes = text.as_bytes();
                    let word = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
                    !word(bytes.get(at + name.len())) && text[..at].ends_with("codes::")
                })
            });
            assert!(used, "{name} of {path} is made by nobody");
        }
    }
}

#[test]
fn every_warning_and_error_of_the_log_names_its_code() {
    let mut count = 0;
    for (path, text) in sources() {
        for kind in ["tracing::warn!(", "tracing::error!("] {
            for call in text.split(kind).skip(1) {
                assert!(call.trim_start().starts_with("code ="), "{path}: {kind}{}", call.lines().next().unwrap());
                count += 1;
            }
        }
    }
    assert!(count >= 15, "{count} lines");
}
