//! Tails over the real binary.

use std::{process::Stdio, time::Duration};

use router_tests::world::process::Place;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout},
};

use super::{COMMAND, command, event, publish, run};

struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(place: &Place, args: &[&str]) -> Tail {
        let mut child =
            command(place, &[&["tail"], args].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Tail { child, lines }
    }

    async fn next(&mut self) -> Option<String> {
        tokio::time::timeout(COMMAND, self.lines.next_line()).await.expect("a line comes").unwrap()
    }

    async fn end(mut self) -> (i32, String) {
        let status = tokio::time::timeout(COMMAND, self.child.wait()).await.expect("the tail ends").unwrap();
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        (status.code().unwrap(), err)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_shows_what_its_filter_matches_and_ends_with_the_router() {
    let place = Place::new();
    let router = place.start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.ndjson");
    // The first one is there before, so that it is known when the tail has begun.
    std::fs::write(&file, event(0, ",\"data\":{\"total\":10}")).unwrap();
    publish(&place, &file).await;
    let filter = r#"{"pattern":{"data":{"total":[{"numeric":[">",5]}]}}}"#;
    let mut tail = Tail::start(&place, &["--from", "earliest", "--where", filter, "--output", "json"]);
    assert!(tail.next().await.unwrap().starts_with(r#"{"offset":1,"#));
    let orders: String = (1..=10).map(|id| event(id, &format!(",\"data\":{{\"total\":{id}}}"))).collect();
    std::fs::write(&file, orders).unwrap();
    assert_eq!(publish(&place, &file).await, (10, 0));
    for id in 6..=10 {
        let line: serde_json::Value = serde_json::from_str(&tail.next().await.unwrap()).unwrap();
        assert_eq!(
            (line["offset"].as_u64(), line["event"]["id"].as_str()),
            (Some(id + 1), Some(id.to_string().as_str()))
        );
    }
    let mut interrupted = Tail::start(&place, &["--from", "1"]);
    assert!(interrupted.next().await.unwrap().contains("coffee.order.created  /archive  0"));
    let pid = rustix::process::Pid::from_raw(interrupted.child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(interrupted.end().await.0, 0, "Ctrl-C is no error");
    assert!(router.terminate().await.success());
    assert_eq!(tail.next().await, None);
    assert_eq!(tail.end().await, (0, "the router is stopping\n".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_is_told_what_it_missed_and_holds_up_nobody() {
    let place = Place::new();
    let router = place.start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.ndjson");
    std::fs::write(&file, event(0, "")).unwrap();
    publish(&place, &file).await;
    // It asks, and reads nothing for now.
    let token = std::fs::read_to_string(place.data().join("admin.token")).unwrap();
    let host = place.admin_url().strip_prefix("http://").unwrap().to_owned();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut slow: TcpStream = socket.connect(host.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /api/tail?from=earliest HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    let before = router.memory_bytes();
    // 24 MiB in 24,000 events: more than the sockets hold, and more than a tail may be behind.
    let filler = format!(",\"data\":{{\"filler\":\"{}\"}}", "x".repeat(1_000));
    let orders: String = (1..=24_000).map(|id| event(id, &filler)).collect();
    std::fs::write(&file, orders).unwrap();
    assert_eq!(publish(&place, &file).await, (24_000, 0));
    let (exit, out, err) = run(&place, &["tail", "--from", "24001", "--until-latest", "--output", "json"]).await;
    assert_eq!((exit, out.lines().count()), (0, 1), "another tail is served: {err}");
    let grown = router.memory_bytes().saturating_sub(before);
    assert!(grown < 160 << 20, "the router has grown by {grown} bytes");
    let read = async {
        let (mut text, mut lines) = (String::new(), BufReader::new(slow).lines());
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("passed_over") {
                text.clone_from(&line);
            }
            if line.contains(r#""id":"24000""#) {
                return text;
            }
        }
        panic!("the stream ended before the newest event");
    };
    let passed = tokio::time::timeout(Duration::from_secs(60), read).await.expect("it goes on where the flow is");
    assert!(passed.contains(r#""why":"behind""#), "{passed}");
    assert!(router.terminate().await.success());
}
