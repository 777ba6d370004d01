//! Clients that others wrote, for the suite `clients`: the CloudEvents SDKs for Python and JavaScript, in the versions
//! that tests/clients locks, installed under target/clients. What is there in these versions is used again. Where they
//! cannot be installed (no network, no Python, no Node) one line says so, and the suite skips.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where the suite finds them.
pub const CLIENTS: &str = "GOCOFFEE_CLIENTS";
/// The files that lock the versions.
const LOCKS: [&str; 3] = ["requirements.txt", "package.json", "package-lock.json"];

/// Installs them, or says why not; the folder of what there is.
pub fn provide(root: &Path) -> Option<PathBuf> {
    // TARGET/debug/xtask
    let folder = std::env::current_exe().ok()?.ancestors().nth(2)?.join("clients");
    let locked = root.join("tests/clients");
    match install(&locked, &folder) {
        Ok(()) => Some(folder),
        Err(why) => {
            println!("the CloudEvents SDKs of other languages cannot be installed, the suite `clients` skips: {why}");
            None
        }
    }
}

fn install(locked: &Path, folder: &Path) -> Result<(), String> {
    let mut versions = String::new();
    for name in LOCKS {
        versions += &fs::read_to_string(locked.join(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    let stamp = folder.join("versions");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == versions) {
        return Ok(());
    }
    println!("== clients: installing the CloudEvents SDKs for Python and JavaScript under {}", folder.display());
    let (py, js) = (folder.join("py"), folder.join("js"));
    fs::create_dir_all(&js).map_err(|e| e.to_string())?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&py))?;
    let mut pip = Command::new(py.join("bin/python"));
    // A registry that does not answer is given up soon: the suite skips then.
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]);
    pip.args(["--only-binary", ":all:", "-r"]);
    run(pip.arg(locked.join("requirements.txt")))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(locked.join(name), js.join(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--fetch-retries=1"]);
    run(npm.arg("--fetch-timeout=15000").current_dir(&js))?;
    fs::write(&stamp, versions).map_err(|e| e.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{program} does not start: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let err = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program}: {}", err.lines().last().unwrap_or("it failed without a word")))
        }
    }
}
