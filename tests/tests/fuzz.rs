//! Goal: no bytes make a reader panic, read on without an end, or take memory that they do not have themselves. The
//! corpora and all regressions run, then seeded mutations of them for some seconds; `cargo fuzz` goes on from there where
//! a nightly toolchain is (`tests/fuzz/README.md`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use router_tests::fuzz::{self, TARGETS, Target};

/// What the process may have at any time: the largest input is some KiB.
const MEMORY_MAX: u64 = 512 << 20;
/// What one input may take, on a machine that is busy.
const INPUT_MAX: Duration = Duration::from_secs(10);
const INPUT_BYTES_MAX: usize = 1 << 16;

fn seconds() -> f64 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 60.0 } else { 1.5 }
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

fn inputs(folder: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(files) = fs::read_dir(root().join(folder).join(target)) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|f| f.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// The finisher of splitmix64.
struct Rng(u64);

impl Rng {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.draw() % end.max(1) as u64) as usize
    }
}

/// A stretch of an input.
fn stretch(rng: &mut Rng, bytes: &[u8]) -> std::ops::Range<usize> {
    let start = rng.below(bytes.len() + 1);
    start..start + rng.below((bytes.len() - start).min(64) + 1)
}

const WORDS: [&[u8]; 14] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"\\u0000",
    b"\\",
    b": ",
    b"\n",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"specversion",
    b"- ",
    b"&a *a",
];

fn mutate(rng: &mut Rng, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = corpus[rng.below(corpus.len())].1.clone();
    for _ in 0..=rng.below(6) {
        let range = stretch(rng, &bytes);
        match rng.below(8) {
            0 | 1 if !bytes.is_empty() => {
                let at = rng.below(bytes.len());
                bytes[at] ^= 1 << rng.below(8);
            }
            2 if !bytes.is_empty() => {
                let at = rng.below(bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'"', b' '][rng.below(8)];
            }
            3 => drop(bytes.drain(range)),
            4 => {
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, copy.repeat(1 + rng.below(4)));
            }
            5 => drop(bytes.splice(range.start..range.start, WORDS[rng.below(WORDS.len())].iter().copied())),
            6 => {
                let other = &corpus[rng.below(corpus.len())].1;
                let from = stretch(rng, other);
                drop(bytes.splice(range, other[from].iter().copied()));
            }
            _ => bytes.truncate(range.end),
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

/// The most memory that this process had.
fn memory_most() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn run_one(name: &str, target: Target, what: &str, bytes: &[u8]) {
    let start = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    let took = start.elapsed();
    if done.is_err() || took > INPUT_MAX {
        // What failed is kept, to become a regression.
        let kept = std::env::temp_dir().join(format!("gocoffee-fuzz-{name}-{:08x}", crc32c_of(bytes)));
        fs::write(&kept, bytes).unwrap();
        panic!("{name}: {what} failed or took {took:?}; the input is {}", kept.display());
    }
}

fn crc32c_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)) >> 32
}

fn run(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    let corpus = inputs("corpus", name);
    assert!(!corpus.is_empty(), "there is no corpus for {name}");
    for (path, bytes) in corpus.iter().chain(&inputs("regressions", name)) {
        run_one(name, target, path, bytes);
    }
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let (mut rng, start, mut runs) = (Rng(seed), Instant::now(), 0u64);
    while start.elapsed().as_secs_f64() < seconds() {
        let bytes = mutate(&mut rng, &corpus);
        run_one(name, target, &format!("mutation {runs} of seed {seed}"), &bytes);
        runs += 1;
    }
    let most = memory_most();
    println!("{name}: {} inputs of the corpus, {runs} mutations, {} MiB at most", corpus.len(), most >> 20);
    assert!(runs > 20 && most < MEMORY_MAX, "{runs} mutations, {most} bytes");
}

macro_rules! targets {
    ($($name:ident),*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*
    };
}

targets!(json, http, body, config, segment, side, remnant, copy);

#[test]
fn every_target_is_run_and_has_its_cargo_fuzz_file() {
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, NAMES);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in known {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in tests/fuzz/Cargo.toml");
        let file = fs::read_to_string(root().join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(file.contains(&format!("router_tests::fuzz::{name}(data)")), "{file}");
    }
}

/// A reader that is broken is found: what looks for it can fail.
#[test]
fn a_reader_that_panics_is_found() {
    let broken: Target = |bytes| assert!(!bytes.contains(&b'"'), "broken on purpose");
    let found = catch_unwind(|| run_one("broken", broken, "an input", b"{\"\"}"));
    let message = found.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    fs::remove_file(message.rsplit(' ').next().unwrap()).unwrap();
}

#[test]
#[ignore = "writes files into the checkout: what the corpora of binary formats begin with"]
fn corpora_of_this_version_are_written() {
    for (name, _) in TARGETS {
        for (n, bytes) in fuzz::seeds(name).into_iter().enumerate() {
            let folder = root().join("corpus").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("v1-{n}")), bytes).unwrap();
        }
    }
}
