use std::collections::BTreeSet;

use serde_json::Value;

use super::{document, files, text};

/// The folder.
const HERE: &str = ".github/workflows";

fn workflows() -> Vec<(String, Value)> {
    files(HERE).into_iter().map(|file| (file.clone(), document(&file))).collect()
}

fn jobs(workflow: &Value) -> Vec<(&String, &Value)> {
    workflow["jobs"].as_object().expect("jobs").iter().collect()
}

#[test]
fn what_others_wrote_is_pinned_by_its_commit() {
    let mut seen = 0;
    for file in files(HERE) {
        for line in text(&file).lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: ")) {
            let (action, version) =
                line.split_once(" # v").unwrap_or_else(|| panic!("{file}: {line} does not say its version"));
            let (_, commit) = action.split_once('@').unwrap_or_else(|| panic!("{file}: {line}"));
            assert!(
                commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()),
                "{file}: {line} is not pinned"
            );
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{file}: {line}");
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen} actions");
}

#[test]
fn each_job_has_the_least_rights_and_an_end() {
    let writes = BTreeSet::from(["contents", "packages", "id-token", "attestations"]);
    for (file, workflow) in workflows() {
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{file}: nothing unless a job asks");
        for (name, job) in jobs(&workflow) {
            let rights = job["permissions"].as_object().unwrap_or_else(|| panic!("{file}: {name} asks for no rights"));
            for (right, level) in rights {
                let release = file.ends_with("/release.yml") && writes.contains(right.as_str());
                assert!(level == "read" || release, "{file}: {name} may write {right}");
            }
            assert!(job["timeout-minutes"].is_number(), "{file}: {name} has no end");
            for step in job["steps"].as_array().unwrap_or_else(|| panic!("{file}: {name}")) {
                // What somebody else wrote in a title or a branch's name must not become a command.
                let script = step["run"].as_str().unwrap_or_default();
                assert!(!script.contains("${{"), "{file}: {name}: give it by `env`: {script}");
                let checkout = step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/checkout@"));
                assert!(!checkout || step["with"]["persist-credentials"] == false, "{file}: {name} keeps its token");
            }
        }
        assert!(workflow["on"].get("pull_request_target").is_none(), "{file}");
    }
}

#[test]
fn commands_of_the_workflows_are_there() {
    let all: String = files(HERE).iter().map(text).collect();
    for file in [".ci/run", "infra/checkov.yaml", "infra/kubernetes/Dockerfile"] {
        assert!(all.contains(file), "{file}");
        assert!(!text(file).is_empty());
    }
    // Each thing that is not asked for says why.
    for line in text("infra/checkov.yaml").lines().filter(|line| line.trim_start().starts_with("- CKV")) {
        assert!(line.split_once(" # ").is_some_and(|(_, why)| why.len() > 20), "{line}");
    }
    let rust = text("Cargo.toml")
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"').map(str::to_owned));
    let rust = rust.expect("a version of Rust");
    assert!(all.matches("rustup toolchain install ").count() >= 3);
    for rest in all.split("rustup toolchain install ").skip(1) {
        assert!(
            rest.starts_with(&rust),
            "the workflows use {}, the project needs {rust}",
            rest.split(' ').next().unwrap()
        );
    }
    assert!(text("infra/kubernetes/Dockerfile").contains(&format!("rust:{rust}")));
}
