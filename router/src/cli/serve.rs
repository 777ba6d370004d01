//! `gocoffee serve`: runs the router until a signal or a failed store.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

use router_core::path::StartError;
use tokio::signal::unix::{SignalKind, signal};

use super::{Done, Exit, Failure};
use crate::{
    codes,
    config::{self, Config},
    reload::{self, Reloaded},
    serve::{self, Error, Options, Running},
};

/// Runs the router.
///
/// Logs one JSON line per change of state to standard error; the line with the message "ready" names the
/// addresses. SIGTERM and SIGINT stop it in order, a second one at once. SIGHUP reads the configuration again,
/// as `gocoffee reload` does.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee serve --config gocoffee.yaml\n  gocoffee serve --config gocoffee.yaml --data /var/lib/gocoffee\n\nThe environment variable GOCOFFEE_LOG sets what is logged, e.g. `debug` or `info,router_core=debug`.\n\nExit codes: 0 stopped in order; 69 an address is taken or a secret is missing; 74 the store failed or cannot be\nopened; 78 the configuration has errors."
)]
pub struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The data folder, in place of the one of the configuration.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub async fn run(args: Args) -> Done {
    log_to_stderr();
    let config = load(&args)?;
    if matches!(config.store, config::Store::Memory(_)) {
        tracing::warn!(code = %codes::STORE_IN_MEMORY, "the store is in memory: every event is gone when this process ends");
    }
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        started = serve::serve(config, Options { data: args.data, file: Some(args.config), ..Options::default() }) => started.map_err(start_failure)?,
        () = signals.stop.next() => return Ok(Exit::Ok),
    };
    tracing::info!(
        listen = %running.listen(),
        admin = %running.admin(),
        data = %running.data().display(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    until_stopped(running, signals).await
}

async fn until_stopped(running: Running, signals: Signals) -> Done {
    let Signals { mut stop, mut hang_up } = signals;
    loop {
        tokio::select! {
            biased;
            why = running.failed() => {
                tracing::error!(code = %why.code(), error = %why, "the store failed");
                return Err(Failure::new(Exit::Store, why.code(), why.to_string()));
            }
            () = stop.next() => break,
            _ = hang_up.recv() => {
                if reload(&running, &mut stop).await? {
                    break;
                }
            }
        }
    }
    let deadline = running.stop_deadline();
    tracing::info!(deadline_s = deadline.as_secs(), "stopping");
    tokio::select! {
        stopped = running.stop(deadline) => match stopped {
            Ok(()) => {
                tracing::info!("stopped");
                Ok(Exit::Ok)
            }
            Err(why) => Err(Failure::new(Exit::Store, codes::STOP_INCOMPLETE, format!("the stop is not whole: {why}"))),
        },
        () = stop.next() => Err(at_once()),
    }
}

/// Reloads; whether a stop was asked for meanwhile. What has begun is finished and told before the stop, as long as that
/// may take: an operator has to find on `system` what the next start will show.
async fn reload(running: &Running, stop: &mut Stop) -> Result<bool, Failure> {
    let mut done = std::pin::pin!(running.reload());
    tokio::select! {
        biased;
        () = stop.next() => {}
        done = &mut done => {
            told(done);
            return Ok(false);
        }
    }
    tokio::select! {
        biased;
        () = stop.next() => Err(at_once()),
        done = tokio::time::timeout(running.stop_deadline(), done) => {
            match done {
                Ok(done) => told(done),
                Err(_) => tracing::error!(code = %codes::STOP_INCOMPLETE, "a reload took longer than a stop may; the next start reads the configuration"),
            }
            Ok(true)
        }
    }
}

fn at_once() -> Failure {
    Failure::new(Exit::No, codes::STOPPED_AT_ONCE, "stopped at once by a second signal; the next start recovers")
}

/// Tells in the log what came of a SIGHUP.
fn told(done: Result<Reloaded, reload::Error>) {
    match done {
        Ok(done) => {
            if let Some(warnings) = &done.warnings {
                tracing::warn!(code = %codes::CONFIG_WARNING, warnings, "the configuration has warnings");
            }
        }
        Err(why) => {
            tracing::error!(code = %why.code(), %why, "the configuration was not reloaded, and nothing has changed");
        }
    }
}

fn load(args: &Args) -> Result<Config, Failure> {
    let loaded =
        config::load_file(&args.config).map_err(|e| Failure::new(Exit::Config, codes::CONFIG_UNREADABLE, e))?;
    let report = &loaded.report;
    if !report.findings().is_empty() {
        let text = report.to_text(std::io::stderr().is_terminal());
        writeln!(std::io::stderr(), "{text}").unwrap_or_default();
    }
    loaded.config.ok_or_else(|| {
        Failure::new(Exit::Config, codes::CONFIG_REFUSED, "the configuration has errors; nothing was started")
    })
}

fn start_failure(e: Error) -> Failure {
    let exit = match &e {
        // Another router holds the folder: starting this one again does not help.
        Error::Store(router_store::store::Error::Lock(_)) => Exit::Unavailable,
        Error::Store(_) | Error::Path(StartError::Store(_)) => Exit::Store,
        Error::Path(_) => Exit::Config,
        _ => Exit::Unavailable,
    };
    Failure::new(exit, e.code(), e.to_string())
}

struct Signals {
    stop: Stop,
    hang_up: tokio::signal::unix::Signal,
}

struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|e| Failure::new(Exit::Unavailable, codes::PROCESS, format!("signals cannot be heard: {e}")))
        };
        let stop = Stop { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? };
        Ok(Signals { stop, hang_up: listen(SignalKind::hangup())? })
    }
}

impl Stop {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// One JSON object per line: timestamp, level, target, message and fields.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GOCOFFEE_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        // A module's path tells an operator nothing, and lines about a target have a field of that name.
        .with_target(false)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written, on a full disk e.g., is lost: to tell that on stderr, too, would panic whoever logged.
        .log_internal_errors(false)
        .init();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use router_store::memory::MemoryStore;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn failed_store_ends_the_process_with_code_74() {
        let text =
            "listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0, token: t }\nsources: { w: { http: { path: /e } } }\n";
        let config = config::load("test.yaml", text).config.unwrap();
        let store = Arc::new(MemoryStore::new());
        // The token is given, the key of the router is drawn.
        let data = tempfile::tempdir().unwrap();
        let options = Options { data: Some(data.path().into()), store: Some(store.clone()), ..Options::default() };
        let running = serve::serve(config, options).await.unwrap();
        let to = format!("http://{}/e", running.listen());
        store.poison("test");
        let ended = until_stopped(running, Signals::new().unwrap());
        // The write that finds the store failed.
        let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        let request = http::Request::post(to).header("content-type", "application/cloudevents+json");
        let client = router_http::client::Client::new().unwrap();
        let request = request.body(event.into()).unwrap();
        let publish = client.send(request, std::time::Duration::from_secs(5), 1 << 16);
        let (failure, answer) = tokio::join!(ended, publish);
        assert!(answer.is_err() || answer.is_ok_and(|a| a.status.as_u16() == 503));
        let failure = failure.unwrap_err();
        assert_eq!(failure.exit as u8, 74);
        assert!(failure.message.contains("restart the router"), "{}", failure.message);
    }
}
