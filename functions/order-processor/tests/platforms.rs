//! Goal: the samples give the same replies on every platform, in the host and in the real program; all of
//! them are what the schemas say.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use function_host::{
    server,
    testing::{Came, FORMS, send},
};
use http::{Request, Response};
use order_processor::OrderProcessor;
use schemas::{Event, json};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// A sample: an event, and the replies to it.
struct Sample {
    name: String,
    event: Event,
    replies: Vec<Event>,
}

fn samples() -> Vec<Sample> {
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")).unwrap().collect();
    files.sort_by_key(|file| file.as_ref().unwrap().path());
    let read = |value: &Value| json::decode(value.to_string().as_bytes()).unwrap();
    let sample = |file: std::io::Result<fs::DirEntry>| {
        let path = file.unwrap().path();
        let sample: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let replies = sample["replies"].as_array().unwrap().iter().map(read).collect();
        Sample { name: path.file_name().unwrap().to_string_lossy().into(), event: read(&sample["event"]), replies }
    };
    files.into_iter().map(sample).collect()
}

/// Replies as JSON, so that a difference can be read.
fn text(events: &[Event]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_slice(&json::encode(event)).unwrap()).collect()
}

#[tokio::test]
async fn every_platform_gives_the_replies_of_the_samples() {
    let now = "2026-01-15T06:31:00Z".parse().unwrap();
    let samples = samples();
    assert!(samples.len() >= 5, "{} samples", samples.len());
    for Sample { name, event, replies } in &samples {
        for form in FORMS {
            match send::<OrderProcessor>(form, &[], now, event).await {
                Came::Replies(came) => assert_eq!(text(&came), text(replies), "{name} by {form}"),
                Came::Failed(said) => panic!("{name} by {form}: {said}"),
            }
        }
    }
}

#[test]
fn samples_are_what_the_schemas_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/payloads");
    for Sample { name, event, replies } in samples() {
        for event in [event].into_iter().chain(replies) {
            let path = folder.join(format!("{}.schema.json", event.kind()));
            let schema = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let data = serde_json::from_slice(event.data()).unwrap();
            if let Err(e) = jsonschema::draft202012::new(&schema).unwrap().validate(&data) {
                panic!("{name}: {}: {e}", event.kind());
            }
        }
    }
}

/// The program, ended with the test.
struct Program {
    child: Child,
    address: Option<SocketAddr>,
}

impl Program {
    fn start(env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-processor"));
        command.env_clear().envs(env.iter().copied()).stdin(Stdio::null()).stderr(Stdio::piped());
        Program { child: command.spawn().unwrap(), address: None }
    }

    /// Where it says that it listens.
    fn listening(mut self) -> Self {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("listening on http://")).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let mut address: SocketAddr = line["message"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        // Read on, so that the program can go on writing.
        std::thread::spawn(move || lines.for_each(drop));
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        self.address = Some(address);
        self
    }

    /// Sends a request; gives the status and the body.
    fn ask(&self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect_timeout(&self.address.unwrap(), PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(stream, "{head}Host: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[at + 4..].to_vec())
    }

    /// Tells it to stop; gives its exit code.
    fn stop(mut self) -> Option<i32> {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const STRUCTURED: &str = "POST / HTTP/1.1\r\nContent-Type: application/cloudevents+json\r\n";
const JSON: &str = "POST /order-processor HTTP/1.1\r\nContent-Type: application/json\r\n";

#[test]
fn the_program_serves_the_port_of_its_platform_and_stops_when_told() {
    let Sample { event, replies, .. } = samples().swap_remove(0);
    let structured = json::encode(&event);
    let invocation = format!(
        r#"{{"Data":{{"req":{{"Method":"POST","Headers":{{"Content-Type":["application/cloudevents+json"]}},"Body":{}}}}},"Metadata":{{}}}}"#,
        Value::from(String::from_utf8(structured.clone()).unwrap())
    );
    for (env, head, body) in [
        (&[("LISTEN", "127.0.0.1:0")][..], STRUCTURED, structured.as_slice()),
        (&[("K_SERVICE", "f"), ("PORT", "0")], STRUCTURED, &structured),
        (&[("FUNCTIONS_CUSTOMHANDLER_PORT", "0")], JSON, invocation.as_bytes()),
    ] {
        let program = Program::start(env).listening();
        assert_eq!(program.ask("GET / HTTP/1.1\r\n", b"").0, 200, "{env:?}: ready");
        let (status, answer) = program.ask(head, body);
        assert_eq!(status, 200, "{env:?}: {}", String::from_utf8_lossy(&answer));
        let answer = match serde_json::from_slice::<Value>(&answer).unwrap() {
            Value::Object(of_azure) => {
                serde_json::from_str(of_azure["Outputs"]["res"]["body"].as_str().unwrap()).unwrap()
            }
            answer => answer,
        };
        assert_eq!(answer, Value::from(text(&replies)), "{env:?}");
        assert_eq!(program.ask(STRUCTURED, b"{").0, 422, "{env:?}: not JSON");
        assert_eq!(program.ask(STRUCTURED, &vec![b' '; (6 << 20) + 1]).0, 413, "{env:?}: too large");
        assert_eq!(program.ask(head, body).0, 200, "{env:?}: still there");
        assert_eq!(program.stop(), Some(0), "{env:?}");
    }
}

#[test]
fn the_program_handles_one_event_from_standard_input() {
    let Sample { event, replies, .. } = samples().swap_remove(0);
    let refused = event.rebuild().set("type", "tea.order.created").build().unwrap();
    for (input, code, replies) in [
        (json::encode(&event), 0, text(&replies)),
        (json::encode(&refused), 2, Vec::new()),
        (b"{".to_vec(), 2, Vec::new()),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-processor"));
        command.env_clear().arg("--stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let came: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(came, replies);
    }
}

#[test]
fn a_setting_that_is_wrong_ends_the_program_with_its_name() {
    for (name, value) in [("MENU", "{"), ("OUTPUT_URL", "ftp://x"), ("LISTEN", "here"), ("ORDERS_UNKNOWN", "perhaps")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-processor"));
        let output = command.env_clear().env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(name), "{name}: {said}");
    }
}

/// Lambda's runtime API, as far as a function uses it: hands payloads out, one after the other, and hears
/// what comes of each.
async fn runtime_api(payloads: Vec<String>, heard: mpsc::UnboundedSender<(String, String)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new((tokio::sync::Mutex::new(payloads.into_iter().enumerate()), heard));
    let answer = move |request: Request<Bytes>| {
        let state = state.clone();
        async move {
            let path = request.uri().path().to_owned();
            if path == "/2018-06-01/runtime/invocation/next" {
                let next = state.0.lock().await.next();
                // With nothing left to do Lambda lets it wait.
                let Some((id, payload)) = next else { return std::future::pending().await };
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
                return Response::builder()
                    .header("lambda-runtime-aws-request-id", id.to_string())
                    .header("lambda-runtime-deadline-ms", (now + 30_000).to_string())
                    .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:f")
                    .header("content-type", "application/json")
                    .body(payload.into())
                    .unwrap();
            }
            let said = String::from_utf8_lossy(request.body()).into_owned();
            state.1.send((path, said)).unwrap();
            Response::builder().status(202).body(Bytes::new()).unwrap()
        }
    };
    tokio::spawn(server::serve(listener, answer, std::future::pending()));
    address
}

#[tokio::test]
async fn the_program_speaks_to_the_runtime_api_of_lambda() {
    let Sample { event, replies, .. } = samples().swap_remove(0);
    let structured = String::from_utf8(json::encode(&event)).unwrap();
    let refused = structured.replace("coffee.order.created", "tea.order.created");
    let (send, mut heard) = mpsc::unbounded_channel();
    let api = runtime_api(vec![structured.clone(), refused, r#"{"x":1}"#.into(), structured], send).await.to_string();
    let _program = Program::start(&[
        ("AWS_LAMBDA_RUNTIME_API", api.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ]);
    let mut next = async || tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    let (path, said) = next().await;
    assert_eq!(path, "/2018-06-01/runtime/invocation/0/response", "{said}");
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), Value::from(text(&replies)));
    for (id, code) in [(1, "Refused.type-unexpected"), (2, "Refused.payload-unknown")] {
        let (path, said) = next().await;
        assert_eq!(path, format!("/2018-06-01/runtime/invocation/{id}/error"), "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["errorType"], code, "{said}");
    }
    assert_eq!(next().await.0, "/2018-06-01/runtime/invocation/3/response", "it goes on");
}
