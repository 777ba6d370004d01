//! Who stands for the clouds in the tests: moto and ministack for AWS, Microsoft's own client for Event Grid, Google's
//! for Pub/Sub and its Functions Framework, cargo-lambda, in a virtual environment of Python under the target folder, and
//! Azurite for Azure's storage beside them. They are installed once, while the workspace is built, and kept until other
//! versions are wanted. Without Python, or without a network, the suites that need them say that they are skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

/// What is installed.
const WANTED: [&str; 5] = [
    "moto[server]==5.2.5",
    "ministack==1.5.33",
    "azure-eventgrid==4.22.1",
    "google-cloud-pubsub==2.44.0",
    "functions-framework==3.10.2",
];
/// Lambda's runtime API for functions that cargo starts. It is large: it brings a compiler of C along.
const LAMBDA: &str = "cargo-lambda==1.9.2";
/// What names it, in the same folder.
const LAMBDA_MARK: &str = "installed-lambda";
/// Azure's storage, for the archive and for queues: it runs on Node.
const AZURITE: &str = "azurite@3.35.0";
/// What names, in the folder, what it holds.
const MARK: &str = "installed";

/// Begins to provide the peers, beside whatever else is done.
pub fn provide() -> JoinHandle<()> {
    thread::spawn(|| {
        let Some(folder) = folder() else { return };
        if let Err(why) = install(&folder) {
            eprintln!(
                "moto and ministack cannot be installed, so the suites that need them skip where they are not on the PATH: {why}"
            );
        }
        if let Err(why) = pip(&folder, &[LAMBDA], LAMBDA_MARK) {
            eprintln!(
                "cargo-lambda cannot be installed, so the test of functions under it is skipped where it is not on the PATH: {why}"
            );
        }
        if let Err(why) = azurite(&folder.join("azurite")) {
            eprintln!(
                "Azurite cannot be installed, so the tests of az:// and of queues are skipped where it is not on the PATH: {why}"
            );
        }
    })
}

/// TARGET/peers; this program is TARGET/debug/xtask.
pub fn folder() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.ancestors().nth(2)?.join("peers"))
}

fn install(folder: &Path) -> Result<(), String> {
    if !is_there(folder, &WANTED, MARK) {
        let python =
            ["python3", "python"].into_iter().find(|python| run(Command::new(python).arg("--version")).is_ok());
        let python = python.ok_or("there is no Python 3")?;
        run(Command::new(python).args(["-m", "venv"]).arg(folder))?;
    }
    pip(folder, &WANTED, MARK)
}

/// Whether the mark names these.
fn is_there(folder: &Path, wanted: &[&str], mark: &str) -> bool {
    fs::read_to_string(folder.join(mark)).is_ok_and(|there| there == wanted.join("\n"))
}

/// Installs packages, once, and leaves the mark.
fn pip(folder: &Path, wanted: &[&str], mark: &str) -> Result<(), String> {
    if is_there(folder, wanted, mark) {
        return Ok(());
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(folder.join("bin/python")).args(pip).args(wanted))?;
    fs::write(folder.join(mark), wanted.join("\n")).map_err(|e| e.to_string())
}

fn azurite(folder: &Path) -> Result<(), String> {
    let mark = folder.join(MARK);
    if fs::read_to_string(&mark).is_ok_and(|there| there == AZURITE) {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    let npm = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--fetch-retries=1"];
    run(Command::new("npm").args(npm).args(["--fetch-timeout=15000", "--prefix"]).arg(folder).arg(AZURITE))?;
    fs::write(&mark, AZURITE).map_err(|e| e.to_string())
}

/// Runs a command; an error is the last line of what it said.
pub fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it says nothing");
    Err(format!("{name}: {last}"))
}
