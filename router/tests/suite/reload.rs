//! Goal: the real process takes another file while events come over one connection, which is never dropped, and a
//! stop answers each request that it meets: what was answered with 202 is delivered in the end.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr},
};

use crate::{
    process::ready,
    world::{Sink, run},
};

fn text(url: &str, more: &str) -> String {
    format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nsources: {{ web: {{ http: {{ path: /events }} }} }}\n\
         targets: {{ sink: {{ http: {{ url: '{url}' }} }} }}\nroutes: {{ orders: {{ to: sink }} }}\n{more}"
    )
}

fn start(config: &Path, data: &Path) -> Child {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"))
        .args(["serve", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
}

/// Waits for a line of the log.
async fn line(lines: &mut Lines<BufReader<ChildStderr>>, words: &[&str]) -> String {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it runs");
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap_or_else(|_| panic!("never: {words:?}"))
}

/// What a sender over one connection saw.
struct Sent {
    acked: BTreeSet<String>,
    /// The status that was not 202, if one came.
    last: Option<u16>,
    /// The connection was closed under a request that had no answer.
    cut: bool,
}

/// Sends events one after the other over one connection, until it is told to stop or gets another answer.
async fn send(to: String, first: usize, stop: Arc<AtomicBool>) -> Sent {
    let mut stream = BufReader::new(TcpStream::connect(&to).await.unwrap());
    let mut sent = Sent { acked: BTreeSet::new(), last: None, cut: false };
    let mut n = first;
    while !stop.load(Ordering::SeqCst) {
        let request = format!(
            "POST /events HTTP/1.1\r\nhost: {to}\r\nce-specversion: 1.0\r\nce-id: {n}\r\nce-source: /s\r\nce-type: t\r\n\
             content-length: 0\r\n\r\n"
        );
        let written = stream.write_all(request.as_bytes()).await;
        match (written, answer(&mut stream).await) {
            (Ok(()), Some((202, closes))) => {
                sent.acked.insert(n.to_string());
                if closes {
                    return sent;
                }
            }
            (_, Some((status, _))) => {
                sent.last = Some(status);
                return sent;
            }
            (_, None) => {
                sent.cut = true;
                return sent;
            }
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sent
}

/// The status, and whether the connection closes after it.
async fn answer(stream: &mut BufReader<TcpStream>) -> Option<(u16, bool)> {
    let (mut status, mut length, mut closes) = (None, 0, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest.get(..3).and_then(|s| s.parse().ok());
        } else if let Some(rest) = line.strip_prefix("content-length: ") {
            length = rest.parse().unwrap();
        } else if line == "connection: close" {
            closes = true;
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((status?, closes))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn process_takes_another_file_without_dropping_a_connection() {
    let (here, there) = (Sink::start().await, Sink::start().await);
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = (dir.path().join("gocoffee.yaml"), dir.path().join("data"));
    std::fs::write(&config, text(&here.url, "")).unwrap();
    let mut child = start(&config, &data);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let addresses = ready(&mut lines).await;
    let to = addresses["listen"].as_str().unwrap().to_owned();
    let admin = format!("http://{}", addresses["admin"].as_str().unwrap());
    let cli = async |args: &[&str]| {
        let own = ["--admin", &admin, "--data", data.to_str().unwrap()];
        let (exit, out, err) = run(&[args, &own].concat(), "").await;
        (exit, out + &err)
    };
    let stop = Arc::new(AtomicBool::new(false));
    let sender = tokio::spawn(send(to.clone(), 0, stop.clone()));
    until("delivery", || here.taken().len() > 20).await;

    // Another target, by a signal.
    std::fs::write(&config, text(&there.url, "")).unwrap();
    signal(&child, "-HUP");
    let said = line(&mut lines, &["configuration reloaded"]).await;
    assert!(said.contains("~ target sink: changed") && said.contains("signal"), "{said}");
    until("delivery to the other", || there.taken().len() > 20).await;

    // Two at once: one makes the change, the other finds it made.
    std::fs::write(&config, text(&there.url, "dead_letters: { age_max: 3d }\n")).unwrap();
    let ((first, one), (second, other)) = tokio::join!(cli(&["reload"]), cli(&["reload"]));
    let mut both = [one, other];
    both.sort();
    assert_eq!(
        (first, second, both),
        (0, 0, ["nothing changes\nreloaded\n", "~ dead_letters\nreloaded\n"].map(str::to_owned))
    );
    std::fs::write(&config, text(&there.url, "")).unwrap();
    assert_eq!(cli(&["reload"]).await, (0, "~ dead_letters\nreloaded\n".into()));

    // A file with an error changes nothing, by a signal or a command.
    std::fs::write(&config, text(&here.url, "rutes: {}\n")).unwrap();
    signal(&child, "-HUP");
    let said = line(&mut lines, &["was not reloaded"]).await;
    assert!(said.contains("reload-refused") && said.contains("did you mean `routes`?"), "{said}");
    let (exit, said) = cli(&["reload"]).await;
    assert!(exit == 1 && said.contains("gocoffee.yaml:6:1") && said.contains("error[reload-refused]"), "{said}");
    std::fs::write(&config, text(&here.url, "limits: { requests_max: 7 }\n")).unwrap();
    let (exit, said) = cli(&["reload"]).await;
    assert!(exit == 1 && said.contains("error[needs-restart]") && said.contains("limits"), "{said}");
    let (exit, said) = cli(&["reload", "--dry-run"]).await;
    assert!(
        exit == 1 && said.contains("~ target sink: changed") && said.contains("! limits: needs a restart"),
        "{said}"
    );
    // What was under way at the former target may still have come there, and nothing after it.
    let mut seen = (usize::MAX, 0);
    until("twenty deliveries to the other and none to the former", || {
        let now = (here.taken().len(), there.taken().len());
        if now.0 != seen.0 {
            seen = now;
        }
        now.1 > seen.1 + 20
    })
    .await;

    // Held back, let go, looked at.
    let (exit, said) = cli(&["routes", "pause", "orders"]).await;
    assert!(exit == 0 && said.starts_with("paused: orders"), "{said}");
    assert_eq!(cli(&["routes", "pause", "nowhere"]).await.0, 1);
    let (_, said) = cli(&["routes", "ls"]).await;
    assert!(said.contains("paused"), "{said}");
    let (exit, said) = cli(&["routes", "resume", "orders"]).await;
    assert!(exit == 0 && said.starts_with("resumed: orders"), "{said}");
    let (exit, said) = cli(&["targets", "ls"]).await;
    assert!(exit == 0 && said.contains("sink") && said.contains("closed"), "{said}");
    assert_eq!(cli(&["targets", "probe", "sink"]).await, (0, "reached: sink\n".into()));
    assert_eq!(cli(&["targets", "probe", "nowhere"]).await.0, 1);
    let (exit, said) = cli(&["routes", "skip", "orders", "--to", "end", "--dry-run"]).await;
    assert!(exit == 0 && said.contains("would be skipped: "), "{said}");
    assert_eq!(cli(&["routes", "skip", "orders", "--to", "nowhere"]).await.0, 2);
    let (exit, said) = cli(&["routes", "drop", "orders", "--yes"]).await;
    assert!(exit == 1 && said.contains("error[route-configured]"), "{said}");
    std::fs::write(&config, text(&there.url, "")).unwrap();
    let (exit, said) = cli(&["reload"]).await;
    assert_eq!((exit, said.as_str()), (0, "nothing changes\nreloaded\n"));

    // One connection took all of it.
    stop.store(true, Ordering::SeqCst);
    let sent = sender.await.unwrap();
    assert!(sent.last.is_none() && !sent.cut, "{:?} after {} events", sent.last, sent.acked.len());
    until("delivery of all", || {
        let taken: BTreeSet<String> = here.taken().into_iter().chain(there.taken()).collect();
        taken.is_superset(&sent.acked)
    })
    .await;

    // A stop under load.
    let sender = tokio::spawn(send(to, 1_000_000, Arc::default()));
    let now = there.taken().len();
    until("delivery", || there.taken().len() > now + 20).await;
    signal(&child, "-TERM");
    let sent = tokio::time::timeout(Duration::from_secs(30), sender).await.unwrap().unwrap();
    assert!(!sent.cut, "a request was cut after {} events", sent.acked.len());
    assert!(matches!(sent.last, None | Some(503)), "{:?}", sent.last);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let mut child = start(&config, &data);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    ready(&mut lines).await;
    until("delivery of all that was acknowledged", || {
        let taken: BTreeSet<String> = there.taken().into_iter().collect();
        taken.is_superset(&sent.acked)
    })
    .await;
}

/// A router that reads its file while a test holds it back.
#[tokio::test(flavor = "multi_thread")]
async fn reload_that_a_stop_overtakes_is_told_before_the_end() {
    let sink = Sink::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = (dir.path().join("gocoffee.yaml"), dir.path().join("data"));
    std::fs::write(&config, text(&sink.url, "")).unwrap();
    let mut child = start(&config, &data);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    ready(&mut lines).await;
    // In place of the file stands a pipe: who reads it waits for who writes it.
    std::fs::remove_file(&config).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&config).status().unwrap().success());
    signal(&child, "-HUP");
    let pipe = config.clone();
    let opened = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe));
    let mut pipe = tokio::time::timeout(Duration::from_secs(30), opened).await.unwrap().unwrap().unwrap();
    // It is being read. The stop most likely comes before there is anything to read; either way the reload is told.
    signal(&child, "-TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let changed = text(&sink.url, "").replace("orders:", "others:");
    std::io::Write::write_all(&mut pipe, changed.as_bytes()).unwrap();
    drop(pipe);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    std::fs::remove_file(&config).unwrap();
    std::fs::write(&config, &changed).unwrap();
    let mut child = start(&config, &data);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let addresses = ready(&mut lines).await;
    let admin = format!("http://{}", addresses["admin"].as_str().unwrap());
    let args = ["archive", "export", "--bus", "system", "--admin", &admin, "--data", data.to_str().unwrap()];
    let (exit, out, err) = run(&args, "").await;
    assert_eq!(exit, 0, "{err}");
    let reloaded = |line: &&str| line.contains("configuration reloaded") && line.contains("+ others: new");
    assert_eq!(out.lines().filter(reloaded).count(), 1, "{out}");
}
