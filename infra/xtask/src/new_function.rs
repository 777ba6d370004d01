//! `cargo xtask new-function NAME`: a function that builds, has a test and a sample, and is in every list.
//!
//! It takes `NAME.asked` and replies with `NAME.answered`: put your own in their place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::Error;

/// Which function to make.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask new-function loyalty-keeper\n  cargo nextest run -p loyalty-keeper")]
pub struct Args {
    /// Its name: lower-case words with a dash between them.
    name: String,
}

/// Writes it.
pub fn run(root: &Path, args: &Args) -> Result<ExitCode, Error> {
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(|e| Error(format!("{path}: {e}")));
    let files = plan(&args.name, read)?;
    let folder = root.join("functions").join(&args.name);
    if folder.exists() {
        return Err(Error(format!("{} is there already", folder.display())));
    }
    for (path, text) in files {
        let path = root.join(path);
        let parent = path.parent().unwrap_or(root);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
        written.map_err(|e| Error(format!("{}: {e}", path.display())))?;
    }
    println!("functions/{0} is there, and in every list; next: cargo nextest run -p {0}", args.name);
    Ok(ExitCode::SUCCESS)
}

/// A list that a function stands in: the file, the line before which it is put, and what is put there.
struct List {
    path: &'static str,
    /// The beginning of the line.
    before: &'static str,
    /// The line is the first such one after this.
    after: &'static str,
    text: String,
}

/// All files that are new or changed, with their texts.
fn plan(name: &str, read: impl Fn(&str) -> Result<String, Error>) -> Result<BTreeMap<PathBuf, String>, Error> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    if !name.split('-').all(word) || name.len() > 40 || name == "host" {
        return Err(Error(format!("{name:?} is no name: write lower-case words with a dash between them")));
    }
    let mut files: BTreeMap<PathBuf, String> = own(name).into_iter().collect();
    for List { path, before, after, text } in lists(name) {
        let key = PathBuf::from(path);
        let old = match files.get(&key) {
            Some(changed) => changed.clone(),
            None => read(path)?,
        };
        let new = insert(&old, before, after, &text).ok_or_else(|| {
            Error(format!("{path}: no line begins with {before:?} after {after:?}; add the function there by hand"))
        })?;
        files.insert(key, new);
    }
    let key = PathBuf::from("tests/tests/architecture.rs");
    if let Some(text) = files.get_mut(&key) {
        *text = counted(text).ok_or_else(|| Error(format!("{}: ALLOWED has no count", key.display())))?;
    }
    Ok(files)
}

fn insert(text: &str, before: &str, after: &str, new: &str) -> Option<String> {
    let start = if after.is_empty() { 0 } else { text.find(after)? + after.len() };
    let (head, rest) = text.split_at(start);
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.starts_with(before) {
            let (skipped, rest) = rest.split_at(at);
            return Some(format!("{head}{skipped}{new}{rest}"));
        }
        at += line.len();
    }
    None
}

/// The test's list of members says how long it is.
fn counted(text: &str) -> Option<String> {
    const HEAD: &str = "const ALLOWED: [(&str, &[&str]); ";
    let (before, rest) = text.split_once(HEAD)?;
    let (count, rest) = rest.split_once(']')?;
    let count: usize = count.parse().ok()?;
    Some(format!("{before}{HEAD}{}]{rest}", count + 1))
}

fn type_name(name: &str) -> String {
    let upper = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    };
    name.split('-').map(upper).collect()
}

fn lists(name: &str) -> Vec<List> {
    let list = |path, after, before, text: String| List { path, before, after, text };
    let (module, of_type) = (name.replace('-', "_"), type_name(name));
    vec![
        list("Cargo.toml", "members = [", "    \"tests\",", format!("    \"functions/{name}\",\n")),
        list(
            "Cargo.toml",
            "[workspace.dependencies]",
            "\n",
            format!("{name} = {{ path = \"functions/{name}\", default-features = false }}\n"),
        ),
        list("tests/Cargo.toml", "[dependencies]\n", "", format!("{name}.workspace = true\n")),
        list(
            "tests/tests/architecture.rs",
            "const ALLOWED",
            "    (\n",
            format!("    (\"{name}\", &[\"schemas\", \"function-host\"]),\n"),
        ),
        list("tests/tests/architecture.rs", "\"router-tests\",\n", "        ],", format!("            \"{name}\",\n")),
        list(
            "tests/tests/functions.rs",
            "use ai_coordinator::AiCoordinator;\n",
            "",
            format!("use {module}::{of_type};\n"),
        ),
        list("tests/tests/functions.rs", "fn all()", "    ]", format!("        row::<{of_type}>(),\n")),
        list(
            "docs/functions.md",
            "| function | takes | replies with |\n",
            "\n",
            format!("| [{name}](../functions/{name}/src/lib.rs) | `{name}.asked` | `{name}.answered` |\n"),
        ),
        list(
            "docs/architecture.md",
            "",
            "| `router-tests`",
            format!("| `{name}` | [functions/{name}](../functions/{name}/src/lib.rs) | answers what it is asked |\n"),
        ),
    ]
}

/// The files of the function itself.
fn own(name: &str) -> Vec<(PathBuf, String)> {
    let fill = |text: &str| {
        text.replace("NAME", name).replace("MODULE", &name.replace('-', "_")).replace("TYPE", &type_name(name))
    };
    let folder = Path::new("functions").join(name);
    [
        ("Cargo.toml", MANIFEST),
        ("src/lib.rs", LIBRARY),
        ("src/main.rs", MAIN),
        ("samples/answered.json", SAMPLE),
        ("tests/platforms.rs", TEST),
    ]
    .map(|(path, text)| (folder.join(path), fill(text)))
    .to_vec()
}

const MANIFEST: &str = r#"[package]
name = "NAME"
description = "Answers what it is asked"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true

[lints]
workspace = true

[features]
# What the program is built for; an artifact for one cloud leaves the others out.
default = ["lambda", "google", "azure", "tls", "state-s3", "state-gs", "state-az"]
lambda = ["function-host/lambda"]
google = ["function-host/google"]
azure = ["function-host/azure"]
tls = ["function-host/tls"]
state-s3 = ["function-host/state-s3"]
state-gs = ["function-host/state-gs"]
state-az = ["function-host/state-az"]

[dependencies]
function-host.workspace = true
schemas.workspace = true
serde.workspace = true

[dev-dependencies]
function-host = { workspace = true, features = ["testing"] }
serde_json.workspace = true
tokio.workspace = true
"#;

const LIBRARY: &str = r#"//! Answers what it is asked.
//!
//! | it gets | it replies with |
//! |---|---|
//! | `NAME.asked` | `NAME.answered` |

use function_host::{Context, Failure, Function, Reply, SettingError, Settings, data};
use schemas::Event;
use serde::{Deserialize, Serialize};

/// The function.
pub struct TYPE {
    greeting: String,
}

/// The data of `NAME.asked`.
#[derive(Deserialize)]
struct Asked {
    /// Who asks.
    name: String,
}

/// The data of `NAME.answered`.
#[derive(Serialize)]
struct Answered {
    /// What is said.
    text: String,
}

impl Function for TYPE {
    const NAME: &'static str = "NAME";
    const CONSUMES: &'static [&'static str] = &["NAME.asked"];
    const EMITS: &'static [&'static str] = &["NAME.answered"];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        Ok(TYPE { greeting: settings.read("GREETING", "Hello".to_owned())? })
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        // A repeat of the delivery gets the same answer, without the work.
        ctx.once(ctx.key(), async {
            let asked: Asked = data(event)?;
            let answered = Answered { text: format!("{}, {}", self.greeting, asked.name) };
            Ok(vec![Reply::json("NAME.answered", &answered)?])
        })
        .await
    }
}
"#;

const MAIN: &str = r#"//! The NAME as a program: see its library.

fn main() -> std::process::ExitCode {
    function_host::run::<MODULE::TYPE>()
}
"#;

const SAMPLE: &str = r#"{
  "event": {
    "specversion": "1.0", "id": "1", "source": "/door", "type": "NAME.asked", "time": "2026-01-15T06:30:17Z",
    "datacontenttype": "application/json", "data": {"name": "Zoë"}
  },
  "replies": [{"text": "Hello, Zoë"}]
}
"#;

const TEST: &str = r#"//! Goal: the sample gives the same replies on every platform.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use MODULE::TYPE;
use function_host::testing::{Came, FORMS, send};
use serde_json::Value;

#[tokio::test]
async fn every_platform_gives_the_replies_of_the_sample() {
    let sample: Value = serde_json::from_str(include_str!("../samples/answered.json")).unwrap();
    let event = schemas::json::decode(sample["event"].to_string().as_bytes()).unwrap();
    for form in FORMS {
        let came = send::<TYPE>(form, &[], Default::default(), &event).await;
        let Came::Replies(replies) = came else { panic!("{form}: {came:?}") };
        let data: Vec<Value> = replies.iter().map(|reply| serde_json::from_slice(reply.data()).unwrap()).collect();
        assert_eq!(Value::from(data), sample["replies"], "{form}");
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        crate::root()
    }

    fn read(path: &str) -> Result<String, Error> {
        fs::read_to_string(root().join(path)).map_err(|e| Error(format!("{path}: {e}")))
    }

    #[test]
    fn a_new_function_is_in_every_list_that_the_others_are_in() {
        let files = plan("loyalty-keeper", read).unwrap();
        let text = |path: &str| files.get(Path::new(path)).unwrap_or_else(|| panic!("{path}")).as_str();
        // As often as the function that was there before, wherever that one is in a list.
        for path in ["Cargo.toml", "tests/Cargo.toml", "tests/tests/architecture.rs"] {
            let (new, old) = (text(path).matches("loyalty-keeper").count(), text(path).matches("defi-scanner").count());
            assert_eq!(new, old, "{path}");
            assert_eq!(
                text(path).lines().count(),
                read(path).unwrap().lines().count() + lists("x").iter().filter(|l| l.path == path).count()
            );
        }
        assert!(text("tests/tests/functions.rs").contains("        row::<LoyaltyKeeper>(),\n    ]"));
        let row = "| [loyalty-keeper](../functions/loyalty-keeper/src/lib.rs) | `loyalty-keeper.asked` | `loyalty-keeper.answered` |\n";
        assert!(text("docs/functions.md").contains(row));
        assert!(text("functions/loyalty-keeper/src/main.rs").contains("run::<loyalty_keeper::LoyaltyKeeper>()"));
        assert!(files.values().all(|text| !text.contains("NAME\"") && !text.contains("MODULE::")));
        let old = read("tests/tests/architecture.rs").unwrap();
        assert_eq!(counted(&old).as_deref().map(|t| t.lines().count()), Some(old.lines().count()));
    }

    #[test]
    fn what_is_no_name_and_a_list_that_is_not_there_are_told() {
        for name in ["", "Loyalty", "a--b", "a_b", "-a", "../x", "host"] {
            assert!(plan(name, read).is_err(), "{name:?}");
        }
        let lost = plan("a-b", |path| if path == "tests/Cargo.toml" { Ok(String::new()) } else { read(path) });
        assert!(lost.unwrap_err().0.starts_with("tests/Cargo.toml: "));
    }
}
