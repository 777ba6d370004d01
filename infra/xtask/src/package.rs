//! `cargo xtask package FUNCTION --cloud CLOUD`: what is uploaded to a cloud, and nothing of the others.
//!
//! | cloud | what is written | what is in it |
//! |---|---|---|
//! | `aws` | `FUNCTION-aws.zip` | `bootstrap`, for the runtime `provided.al2023` |
//! | `gcp` | folder `FUNCTION-gcp` | `Dockerfile` (distroless, not root) and `function`: a build context |
//! | `azure` | `FUNCTION-azure.zip` | `host.json`, `FUNCTION/function.json`, `handler`: a custom handler |
//!
//! The same sources give the same bytes: times and orders are fixed, and paths of this machine are left out of the
//! program. A program larger than [`PROGRAM_BYTES_MAX`], or one that asks for a newer C library than the cloud has, is
//! refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::Error;

/// What the Azure host reads.
mod azure;

/// Archives, byte for byte the same.
mod zip;

use azure::Trigger;
use zip::Entry;

/// What `--zig` builds for, when no other target is named.
const THIS_MACHINE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Bytes of a program.
pub const PROGRAM_BYTES_MAX: usize = 6_000_000;

/// What to package.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask package order-processor --cloud aws\n  cargo xtask package notification-dispatcher --cloud azure --zig --trigger queue\n  cargo xtask package defi-scanner --cloud gcp --out /tmp/packages"
)]
pub struct Args {
    /// The function, as its crate is called.
    function: String,
    /// Where it is to run.
    #[arg(long, value_enum)]
    cloud: Cloud,
    /// Where the package is written. Default: `packages` in the target folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A program that is built already, in place of building it.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The target triple to build for, e.g. aarch64-unknown-linux-gnu. Default: this machine's.
    #[arg(long, value_name = "TRIPLE", conflicts_with = "program")]
    target: Option<String>,
    /// Build against the C library that the cloud has, where this machine's is newer, by cargo-zigbuild
    /// (`pip install cargo-zigbuild ziglang`).
    #[arg(long, conflicts_with = "program")]
    zig: bool,
    /// What calls it on Azure.
    #[arg(long, value_enum, default_value_t)]
    trigger: Trigger,
}

/// A cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Cloud {
    Aws,
    Gcp,
    Azure,
}

impl Cloud {
    fn name(self) -> &'static str {
        match self {
            Cloud::Aws => "aws",
            Cloud::Gcp => "gcp",
            Cloud::Azure => "azure",
        }
    }

    /// What the program needs there.
    fn features(self) -> &'static str {
        match self {
            Cloud::Aws => "tls,lambda,state-s3",
            Cloud::Gcp => "tls,google,state-gs",
            Cloud::Azure => "tls,azure,state-az",
        }
    }

    /// The C library that is there: Amazon Linux 2023, Debian 12, and the Debian 11 that Azure's hosts may still be.
    fn glibc(self) -> (u32, u32) {
        match self {
            Cloud::Aws => (2, 34),
            Cloud::Gcp => (2, 36),
            Cloud::Azure => (2, 31),
        }
    }
}

/// Packages a function.
pub fn run(root: &Path, args: &Args) -> Result<ExitCode, Error> {
    let manifest = root.join("functions").join(&args.function).join("Cargo.toml");
    if args.function.contains(['/', '\\', '.']) || !manifest.is_file() || args.function == "host" {
        return Err(Error(format!("there is no function {}; see functions/", args.function)));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = match &args.program {
        Some(file) => file.clone(),
        None => build(root, &target, args)?,
    };
    let bytes = fs::read(&program).map_err(|e| Error(format!("{}: {e}", program.display())))?;
    check(&bytes, args.cloud)?;
    let out = args.out.clone().unwrap_or_else(|| target.join("packages"));
    let written = write(&out, args, bytes.clone())?;
    println!("{}: program {} bytes", written.display(), bytes.len());
    Ok(ExitCode::SUCCESS)
}

/// Builds the program for its cloud: small, without the other clouds, without paths of this machine.
fn build(root: &Path, target: &Path, args: &Args) -> Result<PathBuf, Error> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cargo"))
    });
    let remapped = [Some((root.to_path_buf(), ".")), home.map(|home| (home, "cargo"))];
    let flags = remapped.iter().flatten().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    // The profile says it too, but cargo forgets it for a program that has an `opt-level` of its own there.
    let flags = flags.chain(["-Cstrip=symbols".to_owned()]);
    // One path may hold a space: the separator of the encoded form is none that a path has.
    let flags = flags.collect::<Vec<_>>().join("\u{1f}");
    let (folder, profile) = (target.join("function"), "function");
    let build = if args.zig { "zigbuild" } else { "build" };
    let mut command = crate::cargo();
    command
        .current_dir(root)
        .args([build, "--locked", "--profile", profile, "--package", &args.function, "--bin", &args.function])
        .args(["--no-default-features", "--features", args.cloud.features(), "--target-dir"])
        .arg(&folder)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    let mut built = folder;
    // cargo-zigbuild reads behind the triple which C library is meant.
    let triple = args.target.as_deref().or(args.zig.then_some(THIS_MACHINE));
    if let Some(triple) = triple {
        let (major, minor) = args.cloud.glibc();
        let library = if args.zig { format!(".{major}.{minor}") } else { String::new() };
        command.args(["--target", &format!("{triple}{library}")]);
        built.push(triple);
    }
    let status = command.status().map_err(|e| Error(format!("cargo does not start: {e}")))?;
    if !status.success() {
        let help = if args.zig { "; `--zig` needs cargo-zigbuild: `pip install cargo-zigbuild ziglang`" } else { "" };
        return Err(Error(format!("{} cannot be built: {status}{help}", args.function)));
    }
    Ok(built.join(profile).join(&args.function))
}

/// Refuses what the cloud would not run, or not start quickly.
fn check(program: &[u8], cloud: Cloud) -> Result<(), Error> {
    if program.len() > PROGRAM_BYTES_MAX {
        let message = format!("the program has {} bytes, at most {PROGRAM_BYTES_MAX} are packaged", program.len());
        return Err(Error(format!("{message}; see with `cargo tree` what it does not need")));
    }
    let (there, needed) = (cloud.glibc(), glibc(program));
    if needed > Some(there) {
        let (major, minor) = needed.unwrap_or_default();
        let message = format!("the program needs glibc {major}.{minor}, {} has {}.{}", cloud.name(), there.0, there.1);
        return Err(Error(format!(
            "{message}; build with --zig, for --target x86_64-unknown-linux-musl, or on an older system"
        )));
    }
    Ok(())
}

/// The newest version of glibc that a program asks for: its symbols name them as `GLIBC_2.34`.
fn glibc(program: &[u8]) -> Option<(u32, u32)> {
    const NAME: &[u8] = b"GLIBC_";
    let versions =
        program.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).filter_map(|(at, _)| {
            let rest = program.get(at + NAME.len()..)?;
            let rest = rest.get(..8).unwrap_or(rest);
            let end = rest.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(rest.len());
            let (major, minor) = std::str::from_utf8(rest.get(..end)?).ok()?.split_once('.')?;
            // What comes after a second point is a patch, which no newer system lacks.
            let minor = minor.split('.').next().unwrap_or(minor);
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
    versions.max()
}

/// Writes the package; gives its path.
fn write(out: &Path, args: &Args, program: Vec<u8>) -> Result<PathBuf, Error> {
    let failed = |path: &Path, e: std::io::Error| Error(format!("{}: {e}", path.display()));
    fs::create_dir_all(out).map_err(|e| failed(out, e))?;
    let path = out.join(format!("{}-{}", args.function, args.cloud.name()));
    let archive = |entries: Vec<Entry>| -> Result<PathBuf, Error> {
        let path = path.with_extension("zip");
        fs::write(&path, zip::write(&entries)).map_err(|e| failed(&path, e))?;
        Ok(path)
    };
    match args.cloud {
        Cloud::Aws => archive(vec![Entry::program("bootstrap", program)]),
        Cloud::Azure => archive(azure::entries(&args.function, args.trigger, program)),
        Cloud::Gcp => {
            if path.exists() {
                fs::remove_dir_all(&path).map_err(|e| failed(&path, e))?;
            }
            fs::create_dir_all(&path).map_err(|e| failed(&path, e))?;
            for (name, bytes) in [("Dockerfile", DOCKERFILE.as_bytes()), ("function", &program)] {
                fs::write(path.join(name), bytes).map_err(|e| failed(&path, e))?;
            }
            // Who runs it here, before there is an image, may.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(path.join("function"), mode).map_err(|e| failed(&path, e))?;
            Ok(path)
        }
    }
}

/// The base has a C library, certificates and a user that is not root, and no shell.
const DOCKERFILE: &str = "\
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --chmod=0555 function /function
USER 65532:65532
EXPOSE 8080
ENTRYPOINT [\"/function\"]
";

#[cfg(test)]
mod tests {
    use super::*;

    fn args(cloud: Cloud, out: &Path) -> Args {
        Args {
            function: "order-processor".into(),
            cloud,
            out: Some(out.into()),
            program: None,
            target: None,
            zig: false,
            trigger: Trigger::default(),
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("gocoffee-package-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Every file under a path, with its bytes.
    fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
        if path.is_file() {
            return vec![(String::new(), fs::read(path).unwrap())];
        }
        let mut all: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all.iter().map(|p| (p.file_name().unwrap().to_string_lossy().into(), fs::read(p).unwrap())).collect()
    }

    #[test]
    fn the_same_program_gives_the_same_bytes_wherever_and_whenever() {
        let program = b"\x7fELF and more".repeat(1_000);
        for cloud in [Cloud::Aws, Cloud::Gcp, Cloud::Azure] {
            let packed = ["one", "two"].map(|name| {
                let folder = folder(&format!("{name}-{}", cloud.name()));
                let written = write(&folder, &args(cloud, &folder), program.clone()).unwrap();
                let files = files(&written);
                fs::remove_dir_all(folder).unwrap();
                files
            });
            assert_eq!(packed[0], packed[1], "{cloud:?}");
            assert!(packed[0].iter().all(|(_, bytes)| !bytes.is_empty()));
        }
    }

    #[test]
    fn what_a_cloud_would_not_run_is_refused() {
        assert_eq!(glibc(b"..GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_PRIVATE\0GLIBC_2.9"), Some((2, 34)));
        assert_eq!(glibc(b"static"), None);
        let said = |program: &[u8], cloud| check(program, cloud).map_err(|e| e.0);
        assert_eq!(said(b"GLIBC_2.34\0", Cloud::Aws), Ok(()));
        assert!(said(b"GLIBC_2.36\0", Cloud::Aws).unwrap_err().contains("needs glibc 2.36, aws has 2.34"));
        assert_eq!(said(&[0; PROGRAM_BYTES_MAX], Cloud::Gcp), Ok(()));
        assert!(said(&[0; PROGRAM_BYTES_MAX + 1], Cloud::Gcp).unwrap_err().contains("at most 6000000"));
    }

    #[test]
    fn the_container_runs_as_nobody() {
        assert!(DOCKERFILE.contains("\nUSER 65532:65532\n") && DOCKERFILE.contains(":nonroot\n"));
    }
}
