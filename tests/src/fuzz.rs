//! Readers of bytes that somebody else wrote, each as a plain function of bytes: it panics when the reader does, when it
//! reads more than there is, or when what it has read is not what is written again. `tests/fuzz` makes targets of
//! `cargo fuzz` of them; the suite `fuzz` runs the corpora and mutations of them on the stable toolchain.
//!
//! A checksum keeps mutated bytes from everything behind it, so what is read from the disk is tried twice: as it is,
//! and with checksums that hold. In the first form also what comes out must be right.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use router_core::{
    clock::Timestamp,
    id::{BusName, Epoch, Offset},
    shelf::pack,
    store::{Admitted, Log, SegmentKind},
};
use router_store::disk::{self, DiskLog, Options, files::Files, sim::SimFiles};
use schemas::{Event, Form, Value};

/// A reader under trial.
pub type Target = fn(&[u8]);

/// All of them, by name: that of their corpus.
pub const TARGETS: [(&str, Target); 8] = [
    ("json", json),
    ("http", http),
    ("body", body),
    ("config", config),
    ("segment", segment),
    ("side", side),
    ("remnant", remnant),
    ("copy", copy),
];

const DIR: &str = "/data/buses/default";
const ASIDE: &str = "/data/damaged/default";
/// Records of a log, more than which no mutation of one that holds forty makes.
const RECORDS_MAX: usize = 100_000;

fn attrs(event: &Event) -> BTreeMap<String, String> {
    event.attrs().map(|(n, v)| (n.to_owned(), v.to_string())).collect()
}

fn same(one: &Event, other: &Event, how: &str) {
    assert_eq!(attrs(one), attrs(other), "{how}");
    assert_eq!(one.data(), other.data(), "{how}");
}

/// The same but for what a form cannot carry: spaces around a JSON value within JSON, and, as headers, JSON that does not
/// say that it is JSON, and the kind of spaces in an extension that is an array or an object.
fn same_as(one: &Event, other: &Event, how: &str) {
    let (mut before, mut after) = (attrs(one), attrs(other));
    if one.form() == Form::Json && one.get("datacontenttype").is_none() && how == HEADERS {
        before.insert("datacontenttype".into(), "application/json".into());
    }
    for (name, _) in one.attrs().filter(|(_, value)| matches!(value, Value::Json(_)) && how == HEADERS) {
        assert!(before.remove(name).is_some() && after.remove(name).is_some(), "{how}: {name}");
    }
    assert_eq!(before, after, "{how}");
    let spaces = |b: &u8| b" \t\r\n".contains(b);
    let trim = |data: &[u8]| match data.iter().position(|b| !spaces(b)).zip(data.iter().rposition(|b| !spaces(b))) {
        Some((from, to)) if one.form() == Form::Json => data[from..=to].to_vec(),
        _ => data.to_vec(),
    };
    assert_eq!(trim(one.data()), trim(other.data()), "{how}");
}

const HEADERS: &str = "by its headers";

/// An event that was read is read again from each form in which it goes out.
fn round(event: &Event) {
    let body = Event::from_body(event.body().clone()).expect("the body of an event");
    same(event, &body, "by its body");
    let json = schemas::json::encode(event);
    let again = schemas::json::decode(&json).unwrap_or_else(|e| panic!("{e:?}: {}", String::from_utf8_lossy(&json)));
    same_as(event, &again, "by its JSON");
    if !schemas::http::needs_structured(event) {
        let (headers, data) = schemas::http::encode_binary(event);
        let again = schemas::http::decode_binary(&headers, data).unwrap_or_else(|e| panic!("{e:?}: {headers:?}"));
        same_as(event, &again, HEADERS);
    }
}

/// CloudEvents in JSON, one or many.
pub fn json(bytes: &[u8]) {
    if let Ok(event) = schemas::json::decode(bytes) {
        round(&event);
    }
    if let Ok(events) = schemas::json::decode_batch(bytes, 1_000) {
        events.iter().flatten().for_each(round);
    }
}

/// CloudEvents in HTTP's binary mode: lines of headers, an empty line, the data.
pub fn http(bytes: &[u8]) {
    let split = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(bytes.len());
    let (head, data) = bytes.split_at(split);
    let mut headers = HeaderMap::new();
    for line in head.split(|b| *b == b'\n') {
        let Some(at) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(at);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            headers.append(name, value);
        }
    }
    if let Ok(event) = schemas::http::decode_binary(&headers, Bytes::copy_from_slice(data.get(2..).unwrap_or_default()))
    {
        round(&event);
    }
}

/// An event as it lies in the log. Its checksum was looked at before; nothing else is trusted.
pub fn body(bytes: &[u8]) {
    if let Ok(event) = Event::from_body(Bytes::copy_from_slice(bytes)) {
        let attrs = event.attrs().map(|(_, value)| value.to_string().len()).sum::<usize>();
        let facts = event.facts().map(|(_, value)| value.len()).sum::<usize>();
        assert!(event.data().len() <= bytes.len() && facts <= bytes.len() && attrs <= bytes.len() * 40);
        schemas::json::encode(&event);
        schemas::http::encode_binary(&event);
    }
}

/// The configuration, to its report.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let loaded = gocoffee::config::load("gocoffee.yaml", &text);
    let said = loaded.report.to_text(false);
    assert_eq!(loaded.config.is_none(), loaded.report.errors() > 0, "{said}");
}

// ---------------------------------------------------------------------------------- what lies on the disk

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b) as usize)
}

/// Makes the checksums of a segment or a remnant hold, as `router/store/src/disk/segment.rs` has them.
fn forge(bytes: &mut [u8]) {
    let seed = bytes.get(24..32).unwrap_or_default().to_vec();
    if let Some(head) = bytes.get(..156) {
        let crc = crc32c::crc32c(head);
        put(bytes, 156, &crc.to_le_bytes());
    }
    for at in (160..bytes.len().saturating_sub(56)).step_by(8) {
        if bytes.get(at..at + 4) != Some(b"blk1") {
            continue;
        }
        let base = crc32c::crc32c(&[&seed[..], &(at as u64).to_le_bytes()].concat());
        let payload = bytes.get(at + 56..).and_then(|rest| rest.get(..u32_at(bytes, at + 44)));
        if let Some(crc) = payload.map(|payload| crc32c::crc32c_append(base, payload)) {
            put(bytes, at + 8, &crc.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(base, bytes.get(at + 8..at + 56).unwrap_or_default());
        put(bytes, at + 4, &crc.to_le_bytes());
    }
}

/// The first byte says whether checksums are to hold; the others are the file.
fn forged(bytes: &[u8], forge: impl Fn(&mut [u8])) -> (bool, Vec<u8>) {
    let (forges, mut file) = match bytes.split_first() {
        Some((first, rest)) => (first % 2 == 1, rest.to_vec()),
        None => (false, Vec::new()),
    };
    if forges {
        forge(&mut file);
    }
    (forges, file)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime on this thread")
}

fn bus() -> BusName {
    BusName::new("default").expect("a name")
}

/// The events of [`folder`], by offset.
fn event(n: u64) -> Event {
    let data = format!("{{\"n\":{n},\"note\":\"{}\"}}", "☕".repeat(n as usize % 9));
    Event::builder(&n.to_string(), "/fuzz", "coffee.order.created").data(Form::Json, data).build().expect("valid")
}

async fn open(files: &SimFiles) -> Result<DiskLog, router_core::store::Error> {
    let options = Options::default().segment_bytes(2_048).inline();
    DiskLog::open(Arc::new(files.clone()), Path::new(DIR), &bus(), options).await
}

/// A log with a remnant, sealed segments and an unsealed one; event `n` is at offset `n`.
fn folder() -> SimFiles {
    static MADE: OnceLock<SimFiles> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        runtime().block_on(async {
            let files = SimFiles::new();
            let log = open(&files).await.expect("it opens");
            for n in 1..=40 {
                log.append(Timestamp(n), vec![Admitted { event: event(n), key: n }]).await.expect("it is taken");
            }
            let first = log.segments().first().map_or(Offset(1), |s| s.first);
            log.reduce(first, vec![Offset(2), Offset(3), Offset(5)]).await.expect("it is let go");
            log.close().await.expect("it closes");
            files
        })
    });
    made.fork()
}

/// The files of that log of one kind, in order.
fn files_of(files: &SimFiles, kind: &str) -> Vec<PathBuf> {
    let names = files.list(Path::new(DIR)).unwrap_or_default();
    let mut paths: Vec<_> = names.iter().filter(|n| n.ends_with(kind)).map(|n| Path::new(DIR).join(n)).collect();
    paths.sort();
    paths
}

/// What the log reads, to its end; what it refuses is passed over where it says what that is.
async fn read(log: &DiskLog) -> Vec<(Offset, Event)> {
    let (mut next, tail) = log.bounds();
    let mut found = Vec::new();
    while next < tail && found.len() < RECORDS_MAX {
        let Ok(chunk) = log.read(next, 4_096).await else { break };
        assert!(chunk.next > next, "a read below the tail goes on");
        for record in chunk.records().flatten() {
            found.push((record.offset, record.event));
        }
        next = chunk.next;
    }
    assert!(found.len() < RECORDS_MAX, "more is read than there is");
    log.keys(Duration::MAX, 1_000).await.ok();
    log.seek(Timestamp(20)).await.ok();
    found
}

/// Opens, looks, mends, and opens again. With `whole`, whatever comes out was there.
fn try_folder(files: &SimFiles, whole: bool) {
    runtime().block_on(async {
        let right = |found: &[(Offset, Event)]| {
            for (offset, read) in found.iter().filter(|_| whole) {
                same(read, &event(offset.0), "as it was written");
            }
        };
        if let Ok(log) = open(&files.fork()).await {
            right(&read(&log).await);
            for offset in 1..12 {
                if let Ok(Some(record)) = log.record(Offset(offset)).await {
                    right(&[(record.offset, record.event)]);
                }
            }
        }
        if disk::inspect(files, Path::new(DIR)).is_err() {
            return;
        }
        if let Ok(left) = disk::set_aside(files, Path::new(DIR), Path::new(ASIDE))
            && left.is_empty()
            && whole
        {
            let log = open(files).await.expect("what was mended opens");
            right(&read(&log).await);
        }
    });
}

fn in_place(bytes: &[u8], kind: &str, at: impl Fn(usize) -> usize, forge: impl Fn(&mut [u8])) {
    let files = folder();
    let (forged, file) = forged(bytes, forge);
    let paths = files_of(&files, kind);
    let path = paths.get(at(paths.len())).expect("there is one");
    files.replace(path, file).expect("it is there");
    try_folder(&files, !forged);
}

/// A segment: the first sealed one, and the unsealed one.
pub fn segment(bytes: &[u8]) {
    in_place(bytes, ".log", |_| 0, forge);
    in_place(bytes, ".log", |count| count - 1, forge);
}

/// A side file.
pub fn side(bytes: &[u8]) {
    let forge = |file: &mut [u8]| {
        if let Some(head) = file.get(16..96) {
            let crc = crc32c::crc32c(head);
            put(file, 12, &crc.to_le_bytes());
        }
    };
    in_place(bytes, ".idx", |_| 0, forge);
}

/// A remnant.
pub fn remnant(bytes: &[u8]) {
    in_place(bytes, ".rem", |_| 0, forge);
}

/// A copy in the archive, read as the router does it: from its end on.
pub fn copy(bytes: &[u8]) {
    let (forged, mut file) = forged(bytes, |_| ());
    if forged && let Some(end) = file.len().checked_sub(16) {
        let from = end.saturating_sub(u32_at(&file, end));
        let crc = crc32c::crc32c(file.get(from..end).unwrap_or_default());
        put(&mut file, end + 4, &crc.to_le_bytes());
    }
    pack::head(&file).ok();
    let length = file.len() as u64;
    let mut last = file.get(file.len().saturating_sub(64)..).unwrap_or_default();
    let index = loop {
        match pack::index(last, length) {
            Ok(Ok(index)) => break index,
            Ok(Err(want)) => {
                assert!(want > last.len() as u64 && want <= length, "it takes {want} of {length} bytes");
                last = file.get(file.len().saturating_sub(want as usize)..).unwrap_or_default();
            }
            Err(_) => return,
        }
    };
    for mut block in index.blocks {
        let Some(bytes) = usize::try_from(block.at).ok().and_then(|at| file.get(at..)?.get(..block.bytes as usize))
        else {
            continue;
        };
        if forged {
            block.crc = crc32c::crc32c(bytes);
        }
        let Ok(inside) = pack::inside(&block, bytes) else { continue };
        assert_eq!(inside.len(), block.inside as usize);
        let Ok(chunk) = pack::records(inside, Offset(index.next)) else { continue };
        for record in chunk.records().flatten() {
            schemas::json::encode(&record.event);
        }
    }
}

// ---------------------------------------------------------------------------------- corpora

/// What the corpora of binary formats begin with: files of this version, as they are and to be forged.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let files = folder();
    let of = |kind: &str| {
        let all = files_of(&files, kind).into_iter().filter_map(|path| files.bytes(&path));
        all.collect::<Vec<_>>()
    };
    let found = match target {
        "segment" => of(".log").into_iter().take(1).collect(),
        "side" => of(".idx").into_iter().take(1).collect(),
        "remnant" => of(".rem"),
        "body" => return (1..4).map(|n| event(n).body().to_vec()).collect(),
        "copy" => runtime().block_on(async {
            let log = open(&files).await.expect("it opens");
            let (first, tail) = log.bounds();
            let sealed = log.segments().iter().filter(|s| s.kind == SegmentKind::Sealed).count();
            assert!(sealed > 1, "{:?}", log.segments());
            let chunk = log.read(first, 1 << 20).await.expect("it is read");
            let packed = pack::pack(&bus(), Epoch(7), (first, tail), &[chunk]).expect("memory").expect("records");
            vec![packed.body.to_vec()]
        }),
        _ => Vec::new(),
    };
    found.into_iter().flat_map(|file| [0u8, 1].map(|forges| [&[forges], &file[..]].concat())).collect()
}
