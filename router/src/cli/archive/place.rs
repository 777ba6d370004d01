//! `gocoffee archive ls|export|verify --from-store`: an archive in object storage, read without any router. What is left
//! when a machine is lost is of use by this alone.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use router_core::{
    clock::Timestamp,
    filter::{Filter, Spec},
    id::{BusName, Offset},
    shelf::{self, Copied, Shelf, Verified},
    store::Error as StoreError,
};
use router_objects::{Bucket, Place};
use serde_json::{Value, json};

use super::super::{
    Done, Exit, Failure, Output, print, print_json,
    table::{count, table},
};
use crate::{admin::view::time_text, codes, connect};

/// Where an archive is, read without a router.
#[derive(Debug, clap::Args)]
pub struct From {
    /// Read the archive at this place, without any router: s3://BUCKET/PREFIX, gs://…, az://… or a folder. Credentials
    /// are those of the environment.
    #[arg(long, value_name = "URL")]
    from_store: Option<Place>,
    /// An option of that store, as in `archive.options`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = option, requires = "from_store")]
    store_option: Vec<(String, String)>,
}

fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no NAME=VALUE"))?;
    Ok((name.into(), value.into()))
}

fn unreachable(e: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, router_core::codes::ARCHIVE_UNREACHABLE, e.to_string())
}

impl From {
    /// The archive, listed; `None` when none was asked for.
    pub async fn open(&self) -> Result<Option<Shelf>, Failure> {
        let Some(place) = &self.from_store else { return Ok(None) };
        if let Place::Folder(folder) = place
            && !folder.is_dir()
        {
            return Err(unreachable(&format!("there is no folder {}", folder.display())));
        }
        let options: BTreeMap<String, String> = self.store_option.iter().cloned().collect();
        let bucket = Bucket::open(place, &options, &connect::environment).map_err(|e| unreachable(&e))?;
        let shelf = Shelf::new(Arc::new(bucket));
        if shelf.marker().await.map_err(|e| unreachable(&e))?.is_none() {
            let why = format!("{place} holds no archive: it has no {}; see `archive.to` of its router", shelf::MARKER);
            return Err(Failure::new(Exit::No, router_core::codes::ARCHIVE_UNREACHABLE, why));
        }
        shelf.load().await.map_err(|e| unreachable(&e))?;
        Ok(Some(shelf))
    }
}

/// Those of the buses that were asked for.
fn buses(shelf: &Shelf, only: Option<&str>) -> Vec<BusName> {
    shelf.buses().into_iter().filter(|bus| only.is_none_or(|name| name == bus.as_str())).collect()
}

/// Lists copies, those that follow each other as one.
pub fn ls(shelf: &Shelf, only: Option<&str>, output: Output) -> Done {
    let mut stretches: Vec<(BusName, Copied, u64)> = Vec::new();
    for bus in buses(shelf, only) {
        for copy in shelf.copies(&bus) {
            match stretches.last_mut().filter(|(of, last, _)| *of == bus && last.next == copy.first) {
                Some((_, last, n)) => {
                    (last.next, last.newest, last.bytes, *n) =
                        (copy.next, copy.newest, last.bytes + copy.bytes, *n + 1);
                }
                None => stretches.push((bus.clone(), copy, 1)),
            }
        }
    }
    let exit = if stretches.is_empty() { Exit::No } else { Exit::Ok };
    if output == Output::Json {
        let shown = |(bus, copy, copies): &(BusName, Copied, u64)| {
            json!({
                "bus": bus.as_str(),
                "first": copy.first.0,
                "next": copy.next.0,
                "oldest": time_text(copy.oldest),
                "newest": time_text(copy.newest),
                "copies": copies,
                "bytes": copy.bytes,
            })
        };
        print_json(&json!({ "place": shelf.place(), "stretches": stretches.iter().map(shown).collect::<Vec<_>>() }))?;
        return Ok(exit);
    }
    let rows: Vec<Vec<String>> = stretches
        .iter()
        .map(|(bus, copy, copies)| {
            let offsets = format!("{} to below {}", copy.first, copy.next);
            let (oldest, newest) = (time_text(copy.oldest), time_text(copy.newest));
            vec![bus.to_string(), offsets, oldest, newest, count(*copies), count(copy.bytes)]
        })
        .collect();
    match rows.is_empty() {
        true => print("nothing is copied there\n")?,
        false => print(&table(&["BUS", "OFFSETS", "OLDEST", "NEWEST", "#COPIES", "#BYTES"], &rows))?,
    }
    Ok(exit)
}

/// Reads every copy whole.
pub async fn verify(shelf: &Shelf, output: Output) -> Done {
    let mut all: Vec<(BusName, Verified)> = Vec::new();
    for bus in shelf.buses() {
        let verified = shelf.verify(&bus).await.map_err(|e| unreachable(&e))?;
        all.push((bus, verified));
    }
    let wrong = |v: &Verified| v.damages.len() + v.gaps.len() + v.overlaps.len();
    let findings: usize = all.iter().map(|(_, v)| wrong(v)).sum();
    match output {
        Output::Json => {
            print_json(&json!({ "place": shelf.place(), "buses": all.iter().map(report).collect::<Vec<_>>() }))?
        }
        Output::Table => print(&shown(&all, findings))?,
    }
    Ok(if findings == 0 { Exit::Ok } else { Exit::No })
}

fn report((bus, verified): &(BusName, Verified)) -> Value {
    let range = |(first, next): &(Offset, Offset)| json!({ "first": first.0, "next": next.0 });
    let damage = |d: &shelf::Damage| json!({ "object": d.place, "first": d.first.0, "next": d.next.0, "what": d.what });
    json!({
        "bus": bus.as_str(),
        "copies": verified.copies,
        "events": verified.events,
        "bytes": verified.bytes,
        "damages": verified.damages.iter().map(damage).collect::<Vec<_>>(),
        "gaps": verified.gaps.iter().map(range).collect::<Vec<_>>(),
        "overlaps": verified.overlaps.iter().map(range).collect::<Vec<_>>(),
    })
}

fn shown(all: &[(BusName, Verified)], findings: usize) -> String {
    let mut out = String::new();
    for (bus, v) in all {
        out +=
            &format!("bus {bus}: {} copies, {} events, {} bytes\n", count(v.copies), count(v.events), count(v.bytes));
    }
    out += &match findings {
        0 => "nothing is wrong\n".to_owned(),
        1 => "1 finding:\n".to_owned(),
        n => format!("{n} findings:\n"),
    };
    for (bus, v) in all {
        for d in &v.damages {
            out += &format!(
                "bus {bus}: offsets {} to below {}: {}: {} (restore the object)\n",
                d.first, d.next, d.place, d.what
            );
        }
        for (from, to) in &v.gaps {
            out += &format!(
                "bus {bus}: offsets {from} to below {to} have no copy (they went before they were copied, or their object was removed)\n"
            );
        }
        for (from, to) in &v.overlaps {
            out += &format!("bus {bus}: offsets {from} to below {to} have two copies (two data folders wrote here)\n");
        }
    }
    out
}

/// What is to be written, and where.
pub struct Asked<'a> {
    /// The bus.
    pub bus: &'a str,
    /// Where it begins.
    pub from: Option<&'a str>,
    /// Where it ends.
    pub to: Option<&'a str>,
    /// What is wanted.
    pub filter: Option<Value>,
    /// The file, or `-`.
    pub out: &'a Path,
}

/// Writes events to a file, one CloudEvent on each line.
pub async fn export(shelf: &Shelf, asked: Asked<'_>, output: Output) -> Done {
    let refused = |code, what: String| Failure::new(Exit::No, code, what);
    let none = || refused(codes::NO_SUCH_BUS, format!("{} holds nothing of a bus `{}`", shelf.place(), asked.bus));
    let bus = BusName::new(asked.bus).map_err(|_| none())?;
    let (first, end) = shelf.bounds(&bus).ok_or_else(none)?;
    let filter = match asked.filter {
        None => Filter::all(),
        Some(written) => {
            let invalid = |e: &dyn std::fmt::Display| Failure::new(Exit::Usage, codes::FILTER_INVALID, e.to_string());
            let spec: Spec = serde_json::from_value(written).map_err(|e| invalid(&e))?;
            Filter::parse(spec).map_err(|e| invalid(&e))?
        }
    };
    let mut at = place(shelf, &bus, asked.from.unwrap_or("earliest"), (first, end)).await?.max(first);
    let to = place(shelf, &bus, asked.to.unwrap_or("latest"), (first, end)).await?.min(end);
    let to_file = asked.out.as_os_str() != "-";
    let unwritable =
        |e: &io::Error| refused(codes::EXPORT_FILE, format!("`{}` cannot be written: {e}", asked.out.display()));
    let file = match to_file {
        true => Some(OpenOptions::new().write(true).create_new(true).open(asked.out).map_err(|e| unwritable(&e))?),
        false => None,
    };
    let mut out: BufWriter<Box<dyn Write + Send>> = BufWriter::new(match &file {
        Some(file) => Box::new(file.try_clone().map_err(|e| unwritable(&e))?),
        None => Box::new(io::stdout()),
    });
    let (mut events, mut bytes, mut lost) = (0u64, 0u64, 0u64);
    while at < to {
        let covered = shelf.next_copied(&bus, at).unwrap_or(to).min(to);
        if covered > at {
            lost += missing(at, covered, "they have no copy");
            at = covered;
            continue;
        }
        let chunk = match shelf.read(&bus, at, to).await {
            Ok(chunk) => chunk,
            Err(StoreError::Lost { to: behind, place, what, .. }) => {
                let behind = behind.min(to);
                lost += missing(at, behind, &format!("{place}: {what}"));
                at = behind;
                continue;
            }
            Err(e) => return Err(Failure::new(Exit::Unavailable, e.code(), e.to_string())),
        };
        let mut text = Vec::new();
        for record in chunk.records() {
            let record = record.map_err(|e| refused(e.code(), e.to_string()))?;
            if record.offset < to && filter.matches(&record.event) {
                schemas::json::encode_line_into(&record.event, &mut text);
                text.push(b'\n');
                events += 1;
            }
        }
        out.write_all(&text).map_err(|e| unwritable(&e))?;
        bytes += text.len() as u64;
        at = chunk.next;
    }
    out.flush().map_err(|e| unwritable(&e))?;
    if let Some(file) = &file {
        file.sync_all().map_err(|e| unwritable(&e))?;
    }
    let whole = format!("exported {} events of bus {bus}, {} bytes\n", count(events), count(bytes));
    match (to_file, output) {
        (false, _) => eprint!("{whole}"),
        (true, Output::Json) => print_json(&json!({ "bus": bus.as_str(), "events": events, "bytes": bytes }))?,
        (true, Output::Table) => print(&whole)?,
    }
    if lost > 0 {
        let what = format!("{} offsets of bus {bus} are not in it", count(lost));
        return Err(refused(router_core::codes::COPY_LOST, what));
    }
    Ok(Exit::Ok)
}

fn missing(from: Offset, to: Offset, why: &str) -> u64 {
    eprintln!("offsets {from} to below {to} are not there: {why}");
    to.0.saturating_sub(from.0)
}

/// `earliest`, `latest`, an offset, or a time.
async fn place(shelf: &Shelf, bus: &BusName, text: &str, (first, end): (Offset, Offset)) -> Result<Offset, Failure> {
    match text {
        "earliest" => return Ok(first),
        "latest" => return Ok(end),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(Offset(offset));
    }
    let invalid = || Failure::new(Exit::Usage, codes::ARGUMENT, format!("`{text}` is no place in a log"));
    let at: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
    let at = Timestamp(u64::try_from(at.as_microsecond()).unwrap_or(0));
    let found = shelf.seek(bus, at).await.map_err(|e| unreachable(&e))?;
    Ok(found.unwrap_or(end))
}
