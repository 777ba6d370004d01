//! `gocoffee archive export`: events of a bus, one structured CloudEvent on each line.
//!
//! Beside the file stands `FILE.export` until it is whole: how many bytes of it are synced, and which offset
//! follows. `--resume` cuts the file there and goes on, so that no event is in it twice and none is missing,
//! whatever ended the export.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::super::{
    Admin, Done, Exit, Failure, Output,
    api::Api,
    print, print_json,
    progress::Progress,
    stream::{Stream, position, read_filter},
    table::count,
};
use crate::{
    admin::{
        Operation,
        reading::{Begin, Line, PassedOver},
    },
    codes,
};

/// From one mark beside the file to the next.
const MARK_EVERY: Duration = Duration::from_secs(2);
/// Times in a row that a stream that broke off is taken up again without anything having come.
const RETRIES_MAX: u32 = 5;
/// How long is waited before that.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Writes the events of a bus to a file, one CloudEvent on each line.
///
/// The end is fixed when it begins: events that come later are not in it. Data that is not text, or JSON with line
/// breaks in it, stands there as `data_base64`; every event reads back byte for byte, and `gocoffee publish` takes the
/// file into another bus or router. What ends an export leaves the file and, beside it, FILE.export: run the same
/// command with --resume.
///
/// Exit code 0 when the file is whole; 1 when it is not, e.g. because a stretch is no longer kept; 69 when the router
/// is not reached.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee archive export -o all.ndjson\n  gocoffee archive export --from 2h --to 1h --filter filter.json -o orders.ndjson\n  gocoffee archive export --offsets 100..200 | jq .id\n  gocoffee archive export -o all.ndjson --resume\n  gocoffee archive export --from-store s3://coffee-archive/router-1 -o all.ndjson"
)]
pub struct Args {
    /// The bus.
    #[arg(long, value_name = "NAME", default_value = "default")]
    bus: String,
    /// Where to begin: `earliest`, an offset, an age, e.g. 2h, or a time.
    #[arg(long, value_name = "WHERE", value_parser = position)]
    from: Option<String>,
    /// Where to end, before this: `latest`, an offset, an age or a time.
    #[arg(long, value_name = "WHERE", value_parser = position)]
    to: Option<String>,
    /// The offsets FIRST..END, without END.
    #[arg(long, value_name = "FIRST..END", value_parser = offsets, conflicts_with_all = ["from", "to"])]
    offsets: Option<(u64, u64)>,
    /// Only events that this filter matches: a file of JSON or YAML, or JSON.
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// The file; it must not be there yet. `-` is standard output.
    #[arg(short = 'o', long = "out", value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Go on with a file whose export was interrupted; what to export is taken from FILE.export.
    #[arg(long, conflicts_with_all = ["from", "to", "offsets", "filter"])]
    resume: bool,
    #[command(flatten)]
    store: super::place::From,
    #[command(flatten)]
    admin: Admin,
}

fn offsets(text: &str) -> Result<(u64, u64), String> {
    let range = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    range.filter(|(a, b)| a <= b).ok_or_else(|| format!("`{text}` is no range of offsets, e.g. 100..200"))
}

/// What stands beside a file that is not whole yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// The store's epoch.
    epoch: String,
    bus: String,
    filter: Option<String>,
    /// The offset that follows what the file holds.
    next: u64,
    /// The offset at which it ends.
    to: u64,
    /// Bytes of the file that are synced.
    bytes: u64,
    /// Events in them.
    events: u64,
}

#[derive(Serialize)]
struct Exported<'a> {
    bus: &'a str,
    events: u64,
    bytes: u64,
}

pub async fn run(args: Args) -> Done {
    let filter = args.filter.as_deref().map(|given| read_filter("--where", given)).transpose()?;
    if let Some(shelf) = args.store.open().await? {
        return offline(&args, filter, &shelf).await;
    }
    let api = Api::new(&args.admin)?;
    let filter = filter.map(|filter| filter.to_string());
    let to_file = args.out.as_os_str() != "-";
    if args.resume && !to_file {
        return Err(Failure::new(Exit::Usage, codes::ARGUMENT, "--resume needs the file: give it by -o FILE"));
    }
    let mut sink = Sink::open(&args, to_file)?;
    let asked = match (&sink.mark, args.offsets) {
        (Some(mark), _) => (mark.next.to_string(), Some(mark.to.to_string())),
        (None, Some((first, end))) => (first.to_string(), Some(end.to_string())),
        (None, None) => (args.from.clone().unwrap_or_else(|| "earliest".into()), args.to.clone()),
    };
    let (bus, filter) = match &sink.mark {
        Some(mark) => (mark.bus.clone(), mark.filter.clone()),
        None => (args.bus.clone(), filter),
    };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let done = tokio::select! {
        biased;
        _ = &mut interrupted => Err(Failure::new(Exit::No, codes::EXPORT_INTERRUPTED, "interrupted")),
        done = transfer(&api, &bus, filter, asked, &mut sink) => done,
    };
    sink.close(done)?;
    let exported = Exported { bus: &bus, events: sink.events, bytes: sink.bytes };
    let whole = format!("exported {} events of bus {bus}, {} bytes\n", count(sink.events), count(sink.bytes));
    match (to_file, args.admin.output) {
        (false, _) => eprint!("{whole}"),
        (true, Output::Json) => print_json(&exported)?,
        (true, Output::Table) => print(&whole)?,
    }
    if sink.lost > 0 {
        let what = format!(
            "{} offsets of bus {bus} are not in it: their copy in the archive is missing or damaged, or they went before they were copied; `gocoffee archive verify --from-store` names each",
            count(sink.lost)
        );
        return Err(Failure::new(Exit::No, router_core::codes::COPY_LOST, what));
    }
    Ok(Exit::Ok)
}

/// Out of an archive in object storage, without a router.
async fn offline(args: &Args, filter: Option<serde_json::Value>, shelf: &router_core::shelf::Shelf) -> Done {
    if args.resume {
        let what = "an export --from-store does not resume; remove the file, or begin at an offset with --from";
        return Err(Failure::new(Exit::Usage, codes::ARGUMENT, what));
    }
    let offsets = args.offsets.map(|(first, end)| (first.to_string(), end.to_string()));
    let (from, to) = match &offsets {
        Some((first, end)) => (Some(first.as_str()), Some(end.as_str())),
        None => (args.from.as_deref(), args.to.as_deref()),
    };
    let asked = super::place::Asked { bus: &args.bus, from, to, filter, out: &args.out };
    super::place::export(shelf, asked, args.admin.output).await
}

/// Reads until the end, and takes a stream that breaks off up again.
async fn transfer(
    api: &Api,
    bus: &str,
    filter: Option<String>,
    (mut from, mut to): (String, Option<String>),
    sink: &mut Sink,
) -> Result<(), Failure> {
    let mut retries = 0;
    loop {
        let mut query = vec![("bus", bus.to_owned()), ("from", from.clone())];
        query.extend(to.clone().map(|to| ("to", to)));
        query.extend(filter.clone().map(|filter| ("where", filter)));
        let before = sink.next;
        let done = match Stream::open(api, Operation::ExportArchive, &query).await {
            Ok(mut stream) => sink.take(&mut stream, &filter).await,
            Err(failure) => Err(failure),
        };
        retries = if sink.next > before { 0 } else { retries + 1 };
        match done {
            Ok(()) => return Ok(()),
            // One that was never reached is not there; one that was is starting again, perhaps.
            Err(failure) if failure.exit != Exit::Unavailable || sink.next == 0 || retries > RETRIES_MAX => {
                return Err(failure);
            }
            Err(_) => tokio::time::sleep(RETRY_WAIT).await,
        }
        (from, to) = (sink.next.to_string(), Some(sink.to.to_string()));
    }
}

/// Where the events go.
struct Sink {
    out: BufWriter<Box<dyn Write>>,
    /// The file, and where its mark is.
    file: Option<(File, PathBuf)>,
    /// Of the file that is gone on with.
    mark: Option<Mark>,
    epoch: String,
    bus: String,
    filter: Option<String>,
    from: u64,
    /// The offset that is read next; 0 before the first line came.
    next: u64,
    to: u64,
    bytes: u64,
    events: u64,
    /// Offsets whose copy in the archive is missing or damaged.
    lost: u64,
    marked: Instant,
    progress: Option<Progress>,
}

impl Sink {
    fn open(args: &Args, to_file: bool) -> Result<Self, Failure> {
        let mut sink = Sink {
            out: BufWriter::new(Box::new(io::stdout())),
            file: None,
            mark: None,
            epoch: String::new(),
            bus: String::new(),
            filter: None,
            from: 0,
            next: 0,
            to: 0,
            bytes: 0,
            events: 0,
            lost: 0,
            marked: Instant::now(),
            progress: None,
        };
        if !to_file {
            return Ok(sink);
        }
        let path = &args.out;
        let beside = mark_path(path);
        let failed = |e: io::Error| unwritable(path, &e);
        let file = if args.resume {
            let mark = read_mark(&beside)?;
            let mut file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            if length < mark.bytes {
                let what = format!(
                    "`{}` has {length} bytes, but {} says that {} were written: it was changed; remove both and export anew",
                    path.display(),
                    beside.display(),
                    mark.bytes
                );
                return Err(Failure::new(Exit::No, codes::EXPORT_FILE, what));
            }
            file.set_len(mark.bytes).and_then(|()| file.seek(io::SeekFrom::End(0)).map(drop)).map_err(failed)?;
            (sink.next, sink.to, sink.bytes, sink.events) = (mark.next, mark.to, mark.bytes, mark.events);
            (sink.from, sink.epoch) = (mark.next, mark.epoch.clone());
            sink.mark = Some(mark);
            file
        } else {
            OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => {
                    let how = if beside.exists() {
                        "its export was interrupted: go on with --resume"
                    } else {
                        "give another name"
                    };
                    Failure::new(Exit::No, codes::EXPORT_FILE, format!("`{}` is there already; {how}", path.display()))
                }
                _ => failed(e),
            })?
        };
        sink.out = BufWriter::new(Box::new(file.try_clone().map_err(failed)?));
        sink.file = Some((file, path.clone()));
        Ok(sink)
    }

    /// Takes what a stream shows, until its end.
    async fn take(&mut self, stream: &mut Stream, filter: &Option<String>) -> Result<(), Failure> {
        while let Some((_, line)) = stream.next().await? {
            if let Some(begin) = &line.begin {
                self.begin(begin, filter)?;
            }
            match line.end.as_deref() {
                Some("done") => return Ok(()),
                Some(_) => return Err(Failure::new(Exit::Unavailable, codes::STREAM_BROKE, "the router is stopping")),
                None => self.line(&line)?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, begin: &Begin, filter: &Option<String>) -> Result<(), Failure> {
        if !self.epoch.is_empty() && self.epoch != begin.epoch {
            let what = format!(
                "this is another store now (epoch {}, it was {}), its offsets mean other events; export anew",
                begin.epoch, self.epoch
            );
            return Err(Failure::new(Exit::No, codes::EXPORT_FILE, what));
        }
        if self.progress.is_none() {
            (self.from, self.to) = (begin.from, begin.to.unwrap_or(begin.from));
            (self.epoch, self.bus, self.filter) = (begin.epoch.clone(), begin.bus.clone(), filter.clone());
            self.next = self.next.max(begin.from);
            self.progress = Some(Progress::new("exporting", "offsets", self.to.saturating_sub(self.from)));
            self.put_mark()?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) -> Result<(), Failure> {
        if let (Some(offset), Some(event)) = (line.offset, &line.event) {
            let text = event.get().as_bytes();
            self.out.write_all(text).and_then(|()| self.out.write_all(b"\n")).map_err(|e| self.failed(&e))?;
            self.bytes += text.len() as u64 + 1;
            self.events += 1;
            self.next = offset.saturating_add(1);
        }
        if let Some(PassedOver { from, to, events, .. }) = &line.passed_over {
            eprintln!("offsets {from} to below {to} cannot be read: {} offsets are not in the export", count(*events));
            self.lost += events;
        }
        self.next = self.next.max(line.next.unwrap_or_default());
        if self.marked.elapsed() >= MARK_EVERY {
            self.put_mark()?;
        }
        if let Some(progress) = &mut self.progress {
            progress.at(self.next.saturating_sub(self.from), &format!("{} events", count(self.events)));
        }
        Ok(())
    }

    /// Syncs the file, then says beside it how far it is.
    fn put_mark(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|e| self.failed(&e))?;
        let Some((file, path)) = &self.file else { return Ok(()) };
        let mark = Mark {
            epoch: self.epoch.clone(),
            bus: self.bus.clone(),
            filter: self.filter.clone(),
            next: self.next,
            to: self.to,
            bytes: self.bytes,
            events: self.events,
        };
        let put = || {
            file.sync_data()?;
            let beside = mark_path(path);
            let new = beside.with_extension("export.new");
            let mut out = File::create(&new)?;
            out.write_all(&serde_json::to_vec(&mark)?)?;
            out.sync_data()?;
            fs::rename(&new, &beside)
        };
        put().map_err(|e| unwritable(path, &e))?;
        self.marked = Instant::now();
        Ok(())
    }

    /// The file is whole, or says beside it how far it is.
    fn close(&mut self, done: Result<(), Failure>) -> Result<(), Failure> {
        if let Some(progress) = &self.progress {
            progress.end();
        }
        let Err(failure) = done else {
            self.out.flush().map_err(|e| self.failed(&e))?;
            let Some((file, path)) = &self.file else { return Ok(()) };
            let beside = mark_path(path);
            let finished = file.sync_all().and_then(|()| fs::remove_file(&beside));
            return finished.map_err(|e| unwritable(path, &e));
        };
        let Some((_, path)) = &self.file else { return Err(failure) };
        let path = path.clone();
        if self.progress.is_none() && self.mark.is_none() {
            // Nothing was asked for yet: what it made is empty.
            fs::remove_file(&path).map_err(|e| unwritable(&path, &e))?;
            return Err(failure);
        }
        if self.progress.is_some() {
            self.put_mark()?;
        }
        let Failure { exit, code, message } = failure;
        let message = format!("{message}; {} events are in `{}`, --resume goes on", count(self.events), path.display());
        Err(Failure { exit, code, message })
    }

    fn failed(&self, e: &io::Error) -> Failure {
        match &self.file {
            Some((_, path)) => unwritable(path, e),
            None => Failure::new(Exit::No, codes::OUTPUT, format!("standard output cannot be written: {e}")),
        }
    }
}

fn mark_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".export");
    name.into()
}

fn read_mark(beside: &Path) -> Result<Mark, Failure> {
    let read = fs::read(beside).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other));
    read.map_err(|e| {
        let what = format!("`{}` cannot be read: {e}; without it an export is whole, or begins anew", beside.display());
        Failure::new(Exit::No, codes::EXPORT_FILE, what)
    })
}

fn unwritable(path: &Path, e: &io::Error) -> Failure {
    Failure::new(Exit::No, codes::EXPORT_FILE, format!("`{}` cannot be written: {e}", path.display()))
}
