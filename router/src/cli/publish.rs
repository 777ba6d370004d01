//! `gocoffee publish`: events of a file or of standard input, in batches. A batch that was not answered, or
//! that the router has no room for now, is sent again: what is in already deduplicates.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use router_http::client::{Answer, Client, Error};
use serde::Deserialize;

use super::{
    Done, Exit, Failure, Output,
    api::{client, problem_detail, unreachable_router},
    print, print_json,
    table::count,
};
use crate::codes;

/// Events of one batch.
const BATCH_COUNT: usize = 100;
/// Bytes of one batch, unless one event alone is larger.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of one line at most.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How long one batch may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait that a `Retry-After` is followed for.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Times in a row that a batch is sent again without any of its events getting in.
const RESENDS_MAX: u32 = 10;
/// The environment variable that holds the key.
const KEY_ENV: &str = "GOCOFFEE_KEY";

/// Sends CloudEvents, one JSON event on each line, in batches of 100.
///
/// Waits and sends again while the router has no room. Exit code 1 when some events were refused; each is
/// named with its line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee publish orders.ndjson\n  zcat orders.ndjson.gz | gocoffee publish -\n  GOCOFFEE_KEY=… gocoffee publish --to http://127.0.0.1:8080/events orders.ndjson\n\nA line, in full:\n  {\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/shop\",\"type\":\"coffee.order.created\"}"
)]
pub struct Args {
    /// A file of one event per line; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The URL of a source.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/events")]
    to: String,
    /// The key of the source. Others on this machine can see it on the command line; the environment variable
    /// GOCOFFEE_KEY hides it.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// How to write the counts.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub async fn run(args: Args) -> Done {
    let mut lines = Lines::open(&args.file)?;
    let mut publisher = Publisher::new(&args)?;
    let mut batch = Vec::new();
    let mut bytes = 0usize;
    let done = loop {
        match lines.next() {
            Ok(None) => break publisher.send(batch).await,
            Ok(Some(line)) => {
                let line = match as_sent(line) {
                    Ok(line) => line,
                    Err((number, invalid)) => {
                        publisher.refuse(number, &invalid.to_string());
                        continue;
                    }
                };
                if batch.len() >= BATCH_COUNT || bytes.saturating_add(line.json.len()) > BATCH_BYTES {
                    bytes = 0;
                    if let Err(failure) = publisher.send(std::mem::take(&mut batch)).await {
                        break Err(failure);
                    }
                }
                bytes = bytes.saturating_add(line.json.len());
                batch.push(line);
            }
            Err(failure) => break publisher.send(batch).await.and(Err(failure)),
        }
    };
    // What got in is told even when the rest did not.
    publisher.print(args.output)?;
    done?;
    Ok(if publisher.totals.refused > 0 { Exit::No } else { Exit::Ok })
}

/// The event of a line as it is sent. An export writes JSON data with line breaks in it as bytes: here it is JSON
/// again, so that filters see it and it is the same event as the one that was exported.
fn as_sent(line: Line) -> Result<Line, (usize, schemas::Invalid)> {
    let event = schemas::json::decode_line(&line.json).map_err(|invalid| (line.number, invalid))?;
    let base64 = line.json.windows(11).any(|name| name == b"data_base64");
    let json = if base64 { schemas::json::encode(&event) } else { line.json };
    Ok(Line { number: line.number, json })
}

/// One event.
struct Line {
    number: usize,
    json: Vec<u8>,
}

struct Lines {
    name: String,
    from: Box<dyn BufRead>,
    number: usize,
}

impl Lines {
    fn open(file: &std::path::Path) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let from: Box<dyn BufRead> = if name == "-" {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            let opened = File::open(file).map_err(|e| {
                Failure::new(Exit::No, codes::INPUT_UNREADABLE, format!("`{name}` cannot be read: {e}"))
            })?;
            Box::new(BufReader::new(opened))
        };
        Ok(Lines { name, from, number: 0 })
    }

    /// The next line that is not blank.
    fn next(&mut self) -> Result<Option<Line>, Failure> {
        loop {
            let mut json = Vec::new();
            let read = self.from.as_mut().take(LINE_BYTES_MAX).read_until(b'\n', &mut json);
            let read = read.map_err(|e| {
                Failure::new(Exit::No, codes::INPUT_UNREADABLE, format!("`{}` cannot be read on: {e}", self.name))
            })?;
            self.number += 1;
            if read == 0 {
                return Ok(None);
            }
            if json.len() as u64 == LINE_BYTES_MAX && !json.ends_with(b"\n") {
                let message =
                    format!("line {} is longer than {LINE_BYTES_MAX} bytes; is it one event per line?", self.number);
                return Err(Failure::new(Exit::No, codes::INPUT_UNREADABLE, message));
            }
            let json = json.trim_ascii();
            if !json.is_empty() {
                return Ok(Some(Line { number: self.number, json: json.to_vec() }));
            }
        }
    }
}

#[derive(Debug, Default, serde::Serialize)]
struct Totals {
    accepted: u64,
    duplicate: u64,
    refused: u64,
    /// Had been at the router before, and are not kept again.
    looped: u64,
}

/// The answer when all are in.
#[derive(Deserialize)]
struct AllIn {
    accepted: u64,
    duplicate: u64,
    #[serde(default)]
    looped: u64,
}

/// The answer when some are not.
#[derive(Deserialize)]
struct Lists {
    accepted: Vec<Taken>,
    duplicate: Vec<serde::de::IgnoredAny>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Taken {
    #[serde(default)]
    looped: bool,
}

#[derive(Deserialize)]
struct Refused {
    index: usize,
    code: String,
    place: String,
    message: String,
    retry: bool,
}

/// What becomes of a batch after an answer.
enum Next {
    /// These are to be sent again after a wait; `true` when something got in or was settled meanwhile.
    Again(Vec<Line>, Duration, bool),
    /// In two halves, at once.
    Halves(Vec<Line>),
    Done,
}

struct Publisher {
    client: Client,
    to: String,
    request: http::request::Parts,
    totals: Totals,
    answered: bool,
}

impl Publisher {
    fn new(args: &Args) -> Result<Self, Failure> {
        let uri = router_http::client::url(&args.to)
            .map_err(|e| Failure::new(Exit::Usage, codes::ARGUMENT, format!("--to: {e}")))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/cloudevents-batch+json"));
        if let Some(key) = args.key.clone().or_else(|| std::env::var(KEY_ENV).ok()).filter(|k| !k.is_empty()) {
            let value = HeaderValue::from_str(&format!("Bearer {key}"));
            let mut value = value.map_err(|_| {
                Failure::new(Exit::Usage, codes::ARGUMENT, "the key holds characters that no header can carry")
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let (request, ()) = request.into_parts();
        Ok(Publisher { client: client()?, to: args.to.clone(), request, totals: Totals::default(), answered: false })
    }

    fn refuse(&mut self, line: usize, why: &str) {
        self.totals.refused += 1;
        eprintln!("line {line}: {why}");
    }

    fn print(&self, output: Output) -> Result<(), Failure> {
        let Totals { accepted, duplicate, refused, looped } = self.totals;
        match output {
            Output::Json => print_json(&self.totals),
            Output::Table => {
                let counts = [count(accepted), count(duplicate), count(refused)];
                let [accepted, duplicate, refused] = counts;
                let looped = if looped == 0 { String::new() } else { format!(", looped {}", count(looped)) };
                print(&format!("accepted {accepted}, duplicate {duplicate}, refused {refused}{looped}\n"))
            }
        }
    }

    /// Sends a batch until every event of it is in or refused for good.
    async fn send(&mut self, batch: Vec<Line>) -> Result<(), Failure> {
        let mut open = vec![batch];
        let mut resends = 0;
        while let Some(batch) = open.pop() {
            if batch.is_empty() {
                continue;
            }
            let (batch, wait, progress) = match self.attempt(batch).await? {
                Next::Done => continue,
                Next::Halves(mut first) => {
                    let second = first.split_off(first.len() / 2);
                    open.extend([second, first]);
                    continue;
                }
                Next::Again(batch, wait, progress) => (batch, wait, progress),
            };
            resends = if progress { 0 } else { resends + 1 };
            if resends > RESENDS_MAX {
                let from = batch.first().map_or(0, |l| l.number);
                let message = format!(
                    "the router took nothing in {RESENDS_MAX} tries; line {from} and later ones are not in. See `gocoffee status`, \
                     then publish the same file again: what is in already deduplicates"
                );
                return Err(Failure::new(Exit::Unavailable, codes::NOT_TAKEN, message));
            }
            tokio::time::sleep(wait.min(WAIT_MAX)).await;
            open.push(batch);
        }
        Ok(())
    }

    async fn attempt(&mut self, batch: Vec<Line>) -> Result<Next, Failure> {
        let mut body = Vec::with_capacity(batch.iter().map(|l| l.json.len() + 1).sum::<usize>() + 1);
        for line in &batch {
            body.push(if body.is_empty() { b'[' } else { b',' });
            body.extend_from_slice(&line.json);
        }
        body.push(b']');
        let request = Request::from_parts(self.request.clone(), Bytes::from(body));
        match self.client.send(request, TIMEOUT, ANSWER_BYTES_MAX).await {
            Ok(answer) => {
                self.answered = true;
                self.judge(batch, &answer)
            }
            // A router that never answered is not there; one that did is restarting.
            Err(e @ Error::Connect { .. }) if !self.answered => Err(unreachable_router(&e, "--to")),
            Err(Error::Connect { .. } | Error::Broken { .. } | Error::Timeout { .. }) => {
                Ok(Next::Again(batch, Duration::from_secs(1), false))
            }
            Err(e) => Err(unreachable_router(&e, "--to")),
        }
    }

    fn judge(&mut self, batch: Vec<Line>, answer: &Answer) -> Result<Next, Failure> {
        let status = answer.status.as_u16();
        if status == 202 {
            let all: AllIn = self.read(answer)?;
            self.totals.accepted += all.accepted;
            self.totals.looped += all.looped;
            self.totals.duplicate += all.duplicate;
            return Ok(Next::Done);
        }
        let wait = retry_after(answer);
        if let Ok(lists) = serde_json::from_slice::<Lists>(&answer.body) {
            return Ok(self.sort(batch, lists, wait));
        }
        let detail = problem_detail(answer);
        match status {
            429 | 503 | 408 => Ok(Next::Again(batch, wait, false)),
            413 if batch.len() > 1 => Ok(Next::Halves(batch)),
            400 | 413 | 422 => {
                for line in &batch {
                    self.refuse(line.number, &detail);
                }
                Ok(Next::Done)
            }
            401 => Err(Failure::new(
                Exit::Unavailable,
                codes::KEY_REFUSED,
                format!("{}: {detail}; give the source's key by {KEY_ENV}", self.to),
            )),
            404 => Err(Failure::new(
                Exit::Unavailable,
                codes::NO_SOURCE_THERE,
                format!("{}: {detail}; --to names the URL of a source", self.to),
            )),
            _ => Err(Failure::new(
                Exit::Unavailable,
                codes::API_REFUSED,
                format!("{} answered {status}: {detail}", self.to),
            )),
        }
    }

    /// Counts what is settled, and keeps what is to be sent again.
    fn sort(&mut self, batch: Vec<Line>, lists: Lists, wait: Duration) -> Next {
        let looped = lists.accepted.iter().filter(|taken| taken.looped).count() as u64;
        self.totals.accepted += lists.accepted.len() as u64 - looped;
        self.totals.looped += looped;
        self.totals.duplicate += lists.duplicate.len() as u64;
        let (again, refused): (Vec<Refused>, Vec<Refused>) = lists.refused.into_iter().partition(|r| r.retry);
        for r in &refused {
            let line = batch.get(r.index).map_or(0, |l| l.number);
            self.refuse(line, &format!("{}: {} ({})", r.place, r.message, r.code));
        }
        let progress = again.len() < batch.len();
        let is_again = |index: usize| again.iter().any(|r| r.index == index);
        let left: Vec<Line> =
            batch.into_iter().enumerate().filter(|(i, _)| is_again(*i)).map(|(_, line)| line).collect();
        if left.is_empty() { Next::Done } else { Next::Again(left, wait, progress) }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, Failure> {
        serde_json::from_slice(&answer.body).map_err(|e| {
            let message =
                format!("{} answered as no gocoffee does: {e}; does --to name a source of a router?", self.to);
            Failure::new(Exit::Unavailable, codes::FOREIGN_ANSWER, message)
        })
    }
}

/// Seconds of `Retry-After`, a second when there is none.
fn retry_after(answer: &Answer) -> Duration {
    let header = answer.headers.get(header::RETRY_AFTER).and_then(|h| h.to_str().ok());
    Duration::from_secs(header.and_then(|h| h.trim().parse().ok()).unwrap_or(1))
}
