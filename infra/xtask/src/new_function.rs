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
    // Names are sorted in some of the lists.
    let formatted = crate::cargo().args(["fmt", "--all"]).current_dir(root).status();
    if !formatted.is_ok_and(|status| status.success()) {
        eprintln!("`cargo fmt --all` failed: run it before the tests");
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
            "tests/tests/functions/table.rs",
            "use ai_coordinator::AiCoordinator;\n",
            "",
            format!("use {module}::{of_type};\n"),
        ),
        list(
            "tests/tests/functions/table.rs",
            "pub fn table(",
            "    ]",
            format!("        Row::of::<{of_type}>(vec![], &[(\"answered\", &[\"{name}.answered\"])]),\n"),
        ),
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
    let (module, of_type) = (name.replace('-', "_"), type_name(name));
    let fill = |text: &str| {
        text.replace("the-function", name).replace("the_function", &module).replace("TheFunction", &of_type)
    };
    let folder = Path::new("functions").join(name);
    TEMPLATE.map(|(path, text)| (folder.join(path), fill(text))).to_vec()
}

/// A function called `the-function`, which the suite `functions` compiles and tries as it is.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../function/manifest.toml")),
    ("src/lib.rs", include_str!("../function/src/lib.rs")),
    ("src/main.rs", include_str!("../function/src/main.rs")),
    ("samples/answered.json", include_str!("../function/samples/answered.json")),
    ("tests/platforms.rs", include_str!("../function/tests/platforms.rs")),
];

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
            // How a function is built stands in no list: profiles come last.
            let lists = text(path).split("\n[profile.").next().unwrap_or_default();
            let (new, old) = (lists.matches("loyalty-keeper").count(), lists.matches("defi-scanner").count());
            assert_eq!(new, old, "{path}");
            assert_eq!(
                text(path).lines().count(),
                read(path).unwrap().lines().count() + super::lists("x").iter().filter(|l| l.path == path).count()
            );
        }
        assert!(text("tests/tests/functions.rs").contains("        row::<LoyaltyKeeper>(),\n    ]"));
        let row = "| [loyalty-keeper](../functions/loyalty-keeper/src/lib.rs) | `loyalty-keeper.asked` | `loyalty-keeper.answered` |\n";
        assert!(text("docs/functions.md").contains(row));
        assert!(text("functions/loyalty-keeper/src/main.rs").contains("main!(loyalty_keeper::LoyaltyKeeper);"));
        let row = "        Row::of::<LoyaltyKeeper>(vec![], &[(\"answered\", &[\"loyalty-keeper.answered\"])]),\n    ]";
        assert!(text("tests/tests/functions/table.rs").contains(row));
        let left =
            |text: &String| ["the-function", "the_function", "TheFunction"].iter().any(|name| text.contains(name));
        let own = files.iter().filter(|(path, _)| path.starts_with("functions/loyalty-keeper"));
        let unfilled: Vec<_> = own.filter(|(_, text)| left(text)).map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(unfilled, [""; 0]);
        let old = read("tests/tests/architecture.rs").unwrap();
        assert_eq!(counted(&old).as_deref().map(|t| t.lines().count()), Some(old.lines().count()));
    }

    /// Copies sources: what is built, and what git keeps, stays behind.
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
            match entry.file_name().to_string_lossy().as_ref() {
                "target" | ".git" => {}
                _ if kind.is_dir() => copy(&entry.path(), &to),
                _ if kind.is_file() => drop(fs::copy(entry.path(), to).unwrap()),
                _ => {}
            }
        }
    }

    /// The long form; the suite `functions` compiles and tries the template itself.
    #[test]
    fn a_new_function_is_built_and_tried_in_a_copy_of_the_workspace() {
        if std::env::var_os("GOCOFFEE_TESTS_LONG").is_none() {
            return;
        }
        let folder = std::env::temp_dir().join(format!("gocoffee-new-function-{}", std::process::id()));
        copy(&root(), &folder);
        let made = run(&folder, &Args { name: "loyalty-keeper".into() });
        assert!(made.is_ok(), "{made:?}");
        let again = run(&folder, &Args { name: "loyalty-keeper".into() }).unwrap_err();
        assert!(again.0.contains("is there already"), "{again}");
        // Beside what the workspace builds, with the features that its own crates alone ask for: kept for the next time.
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("new-function");
        let asked = |args: &[&str]| {
            let mut cargo = crate::cargo();
            cargo.args(args).args(["--offline", "--package", "loyalty-keeper", "--target-dir"]).arg(&target);
            let done = cargo.current_dir(&folder).output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{args:?}: {said}");
            said
        };
        let tested = asked(&["test"]);
        assert!(tested.contains("every_platform_gives_the_replies_of_the_sample ... ok"), "{tested}");
        asked(&["clippy", "--all-targets"]);
        fs::remove_dir_all(&folder).unwrap();
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
