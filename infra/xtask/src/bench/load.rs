//! The processes of the load, and what they tell: JSON lines. Each ends when its handle is dropped, and with its
//! standard input, and so with this process.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::world::{World, end, failed};
use crate::Error;

/// What a line of a process may take.
pub const LINE_MAX: Duration = Duration::from_secs(60);
/// From one look at the sinks to the next.
const LOOK: Duration = Duration::from_millis(20);

/// A process of the load, which says JSON lines.
pub struct Helper {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
}

impl Helper {
    pub fn start(program: &Path, args: &[String]) -> Result<Helper, Error> {
        let mut command = Command::new(program);
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed("the load does not start", e))?;
        let (tx, lines) = mpsc::channel();
        let stdout = child.stdout.take();
        thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|out| BufReader::new(out).lines());
            for line in lines.map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if tx.send(value).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Helper { child, stdin, lines })
    }

    /// Its next line.
    pub fn line(&mut self, wait: Duration) -> Result<Value, Error> {
        self.lines.recv_timeout(wait).map_err(|e| failed("the load does not answer", e))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stdin.take();
        end(&mut self.child);
    }
}

/// The sinks.
pub struct Sinks {
    helper: Helper,
    addresses: Value,
}

/// What the sinks took.
pub struct Counts {
    /// Different events that every sink has.
    pub events: u64,
    /// Deliveries above that, over all sinks.
    pub again: u64,
    /// Deliveries, over all sinks, and when the last one came, in microseconds of UNIX time.
    pub arrived: u64,
    pub arrived_us: u64,
    /// When each sink got its last new event, in microseconds of UNIX time.
    pub last_us: Vec<u64>,
    /// Connections that the silent target accepted.
    pub silent: u64,
}

impl Sinks {
    /// Of a process that has said where they are.
    pub fn new(helper: Helper, addresses: Value) -> Sinks {
        Sinks { helper, addresses }
    }

    /// Where one of them takes events: `/sinks/0`, `/silent` or `/refusing`.
    pub fn url(&self, which: &str) -> String {
        format!("http://{}/", self.address(which))
    }

    /// The same without a scheme.
    pub fn address(&self, which: &str) -> &str {
        self.addresses.pointer(which).and_then(Value::as_str).unwrap_or_default()
    }

    fn ask(&mut self, line: &[u8]) -> Result<Value, Error> {
        let asked = self.helper.stdin.as_mut().map(|stdin| stdin.write_all(line));
        asked.transpose().map_err(|e| failed("the sinks are gone", e))?;
        self.helper.line(LINE_MAX)
    }

    /// How long events were under way to the first sink, from when they were to be sent: median and slowest
    /// hundredth, in milliseconds.
    pub fn took_ms(&mut self) -> Result<(f64, f64), Error> {
        let took = self.ask(b"took\n")?;
        let ms =
            |name: &str| took.pointer(&format!("/sinks/0/{name}")).and_then(Value::as_f64).unwrap_or_default() / 1e3;
        Ok((ms("p50_us"), ms("p99_us")))
    }

    /// Waits until so many deliveries came.
    pub fn arrived(
        &mut self,
        count: u64,
        stuck: Duration,
        mut go_on: impl FnMut() -> Result<(), Error>,
    ) -> Result<Counts, Error> {
        let (mut came, mut moved) = (0, Instant::now());
        loop {
            go_on()?;
            let counts = self.counts()?;
            if counts.arrived >= count {
                return Ok(counts);
            }
            if counts.arrived > came {
                (came, moved) = (counts.arrived, Instant::now());
            } else if moved.elapsed() > stuck {
                return Err(Error(format!("{came} of {count} deliveries came, and no more arrive")));
            }
            thread::sleep(LOOK);
        }
    }

    /// What came so far.
    pub fn counts(&mut self) -> Result<Counts, Error> {
        let counts = self.ask(b"counts\n")?;
        let sinks = counts.get("sinks").and_then(Value::as_array).cloned().unwrap_or_default();
        let each = |name: &str| sinks.iter().map(|s| unsigned(s, name)).collect::<Vec<u64>>();
        let (arrived, events) = (each("arrived").iter().sum::<u64>(), each("events"));
        Ok(Counts {
            again: arrived.saturating_sub(events.iter().sum()),
            events: events.into_iter().min().unwrap_or_default(),
            arrived,
            arrived_us: each("arrived_us").into_iter().max().unwrap_or_default(),
            last_us: each("last_us"),
            silent: unsigned(&counts, "silent"),
        })
    }
}

fn unsigned(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// A publisher that is at work.
pub struct Publisher {
    helper: Helper,
    acked: u64,
    sent: Option<Sent>,
}

/// What a publisher did.
#[derive(Clone, Debug)]
pub struct Sent {
    /// How long it took.
    pub seconds: f64,
    /// Latency of a request, median, in milliseconds.
    pub p50_ms: f64,
    /// The same of the slowest hundredth.
    pub p99_ms: f64,
    /// Requests sent again.
    pub again: u64,
}

impl Publisher {
    /// Of a process that publishes.
    pub fn new(helper: Helper) -> Publisher {
        Publisher { helper, acked: 0, sent: None }
    }

    /// Events acknowledged so far.
    pub fn acked(&mut self) -> Result<u64, Error> {
        while let Ok(line) = self.helper.lines.try_recv() {
            self.hear(&line)?;
        }
        Ok(self.acked)
    }

    /// What it did; waits for its end.
    pub fn sent(&mut self, world: &World, wait: Duration) -> Result<Sent, Error> {
        let end = Instant::now() + wait;
        loop {
            if let Some(sent) = self.sent.clone() {
                return Ok(sent);
            }
            world.go_on()?;
            if Instant::now() > end {
                return Err(Error(format!("the publisher has {} acknowledged after {wait:?}", self.acked)));
            }
            match self.helper.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => self.hear(&line)?,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(e) => return Err(failed("the publisher ended", e)),
            }
        }
    }

    fn hear(&mut self, line: &Value) -> Result<(), Error> {
        self.acked = unsigned(line, "acked");
        let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or_default();
        if line.get("seconds").is_some() {
            let refused = unsigned(line, "refused");
            if refused > 0 {
                return Err(Error(format!("the router refused {refused} events for good")));
            }
            let (p50_ms, p99_ms) = (number("p50_us") / 1e3, number("p99_us") / 1e3);
            self.sent = Some(Sent { seconds: number("seconds"), p50_ms, p99_ms, again: unsigned(line, "again") });
        }
        Ok(())
    }
}
