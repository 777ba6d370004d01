//! Goal: the dependency direction of docs/architecture.md holds, whatever else changes.
//!
//! `schemas → router-core → router-store → gocoffee` and `router-core → router-http → router-aws → gocoffee → router-tests`;
//! `schemas → function-host → order-processor` and the other functions, which the tests use, too: a crate may use what lies before it on its way, directly or not, and no other member.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Each member, and the members that it may use, for building and for testing alike.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("schemas", &[]),
    ("router-core", &["schemas"]),
    ("router-store", &["schemas", "router-core"]),
    ("router-http", &["schemas", "router-core"]),
    ("router-aws", &["schemas", "router-core", "router-http"]),
    ("router-azure", &["schemas", "router-core", "router-http"]),
    ("router-gcp", &["schemas", "router-core", "router-http"]),
    ("router-objects", &["schemas", "router-core", "router-http"]),
    (
        "gocoffee",
        &[
            "schemas",
            "router-core",
            "router-store",
            "router-http",
            "router-aws",
            "router-azure",
            "router-gcp",
            "router-objects",
        ],
    ),
    ("function-host", &["schemas"]),
    ("order-processor", &["schemas", "function-host"]),
    ("inventory-optimizer", &["schemas", "function-host"]),
    ("defi-scanner", &["schemas", "function-host"]),
    ("ai-coordinator", &["schemas", "function-host"]),
    ("notification-dispatcher", &["schemas", "function-host"]),
    (
        "router-tests",
        &[
            "schemas",
            "router-core",
            "router-store",
            "router-http",
            "router-aws",
            "router-azure",
            "router-gcp",
            "router-objects",
            "gocoffee",
            "function-host",
            "order-processor",
            "inventory-optimizer",
            "defi-scanner",
            "ai-coordinator",
            "notification-dispatcher",
        ],
    ),
    ("xtask", &[]),
];

/// What the domain must never see: servers, clients, databases, the clouds. Names or beginnings of names.
const OUTSIDE: [&str; 12] = [
    "hyper",
    "axum",
    "reqwest",
    "rustls",
    "native-tls",
    "fjall",
    "lsm-tree",
    "aws-",
    "google-cloud-",
    "azure_",
    "async-nats",
    "object_store",
];

/// What only one crate may name among its own dependencies: the beginnings of names, and the crate.
const OF_ONE: [(&str, &str); 3] = [("aws-", "router-aws"), ("azure_", "router-azure"), ("google-cloud-", "router-gcp")];

struct Metadata {
    /// Package id to name.
    names: BTreeMap<String, String>,
    members: BTreeSet<String>,
    /// Package id to the ids it uses, with the kinds of use: `normal`, `dev`, `build`.
    edges: BTreeMap<String, Vec<(String, BTreeSet<String>)>>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let version = Command::new(env!("CARGO")).arg("-vV").output().expect("cargo starts");
    let version = String::from_utf8(version.stdout).expect("cargo prints text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    // Packages of other platforms are not there, and need not be.
    let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", host];
    let output = Command::new(env!("CARGO")).args(args).args(["--manifest-path", manifest]).output();
    let output = output.expect("cargo starts");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let kinds = |dep: &Value| -> BTreeSet<String> {
        array(&dep["dep_kinds"]).iter().map(|k| k["kind"].as_str().unwrap_or("normal").to_owned()).collect()
    };
    let edges = |node: &Value| array(&node["deps"]).iter().map(|dep| (text(&dep["pkg"]), kinds(dep))).collect();
    Metadata {
        names: array(&all["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect(),
        members: array(&all["workspace_members"]).iter().map(text).collect(),
        edges: array(&all["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), edges(node))).collect(),
    }
}

/// Edges among members that are not allowed, as `from -> to`.
fn forbidden(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for member in &metadata.members {
        let name = &metadata.names[member];
        let allowed = ALLOWED.iter().find(|(n, _)| n == name).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            found.push(format!("{name} is a member that this test does not know: give it its place in ALLOWED"));
            continue;
        };
        for (to, _) in metadata.edges[member].iter().filter(|(to, _)| metadata.members.contains(to)) {
            let to = &metadata.names[to];
            // A crate that names itself for its tests (to switch a feature on) adds no direction.
            if to != name && !allowed.contains(&to.as_str()) {
                found.push(format!("{name} -> {to}"));
            }
        }
    }
    found
}

/// Names of all packages that are built into the package of that name.
fn built_into(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let mut open: Vec<&String> = metadata.names.iter().filter(|(_, n)| *n == name).map(|(id, _)| id).collect();
    let mut seen: BTreeSet<&String> = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(metadata.edges[id].iter().filter(|(_, kinds)| kinds.contains("normal")).map(|(to, _)| to));
        }
    }
    seen.into_iter().map(|id| metadata.names[id].clone()).collect()
}

#[test]
fn members_use_each_other_only_in_the_drawn_direction() {
    let found = forbidden(&metadata());
    assert!(found.is_empty(), "these edges are not drawn in docs/architecture.md: {found:#?}");
}

#[test]
fn an_edge_against_the_direction_is_found() {
    let mut metadata = metadata();
    let id = |name: &str| metadata.names.iter().find(|(_, n)| *n == name).map(|(id, _)| id.clone()).unwrap();
    let (core, store) = (id("router-core"), id("router-store"));
    metadata.edges.get_mut(&core).unwrap().push((store, BTreeSet::from(["dev".to_owned()])));
    assert_eq!(forbidden(&metadata), ["router-core -> router-store"]);
}

#[test]
fn the_domain_knows_no_server_no_database_and_no_cloud() {
    let metadata = metadata();
    let outside = |name: &String| OUTSIDE.iter().any(|o| name.starts_with(o));
    let found: Vec<String> = built_into(&metadata, "router-core").into_iter().filter(outside).collect();
    assert!(found.is_empty(), "router-core is built with {found:?}: this belongs in an adapter's crate");
    // The list is right: the crate that speaks HTTP is found by it.
    assert!(built_into(&metadata, "router-http").iter().any(outside));
}

#[test]
fn a_clouds_sdk_is_known_to_its_own_crate_alone() {
    let metadata = metadata();
    let mut of_aws = 0;
    for member in &metadata.members {
        let name = &metadata.names[member];
        for (to, kinds) in &metadata.edges[member] {
            let to = &metadata.names[to];
            let Some((_, owner)) = OF_ONE.iter().find(|(sdk, _)| to.starts_with(sdk)) else { continue };
            // The bare loops of `cargo xtask bench clouds`: docs/decisions/0032.
            if name == "router-tests" && kinds.iter().all(|kind| kind == "dev") {
                continue;
            }
            assert_eq!(name, owner, "{name} -> {to}: the SDKs of a cloud belong into {owner}");
            of_aws += 1;
        }
    }
    assert!(of_aws > 0, "the list is right: the crate that speaks to AWS is found by it");
}
