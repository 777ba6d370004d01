use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use function_host::Kind;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::{NOON, failure, host, one, send};

/// A mail server that refuses at one stage: `(verb, reply)`; `HELLO` is its greeting, `.` the end of a mail.
/// An empty reply ends the connection.
async fn scripted(refuses: (&'static str, &'static str), auth: bool) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = mails.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, refuses, auth, kept.clone()));
        }
    });
    (port, mails)
}

async fn converse(
    stream: tokio::net::TcpStream,
    refuses: (&'static str, &'static str),
    auth: bool,
    mails: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut verb = "HELLO".to_owned();
    let mut mail: Option<String> = None;
    loop {
        let usual = match verb.as_str() {
            "HELLO" => "220 scripted",
            "EHLO" if auth => "250-scripted\r\n250 AUTH PLAIN LOGIN",
            "EHLO" => "250 scripted",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        let reply = if verb == refuses.0 { refuses.1 } else { usual };
        if reply.is_empty() {
            return None;
        }
        write.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        if verb == "DATA" && reply.starts_with('3') {
            mail = Some(String::new());
        }
        if let Some(mut text) = mail.take() {
            loop {
                let line = lines.next_line().await.ok()??;
                if line == "." {
                    break;
                }
                text += &line;
                text.push('\n');
            }
            if refuses.0 != "." {
                mails.lock().unwrap().push(text);
            }
            verb = ".".into();
            continue;
        }
        verb = lines.next_line().await.ok()??.split([' ', ':']).next()?.to_ascii_uppercase();
    }
}

fn config(smtp: Value) -> Value {
    json!({"channels": {"email": {"smtp": smtp}}, "recipients": {"Zoë": {"addresses": {"email": "Zoë M <zoe@example.com>"}}}})
}

fn plain(port: u16) -> Value {
    json!({"host": "127.0.0.1", "port": port, "tls": "none", "from": "Go Coffee <no-reply@example.com>", "timeout_ms": 2000})
}

#[tokio::test]
async fn every_refusal_of_a_mail_server_is_taken_for_what_it_says() {
    for (verb, reply, wanted) in [
        ("HELLO", "421 too busy", "later"),
        ("HELLO", "554 go away", "smtp-554"),
        ("MAIL", "451 come back", "later"),
        ("RCPT", "450 greylisted", "later"),
        ("RCPT", "550 no such mailbox", "smtp-550"),
        ("DATA", "452 no space", "later"),
        (".", "554 spam", "smtp-554"),
        (".", "451 come back", "later"),
        // It may have taken it, or not.
        (".", "", "later"),
        ("RCPT", "no smtp at all", "later"),
    ] {
        let (port, _) = scripted((verb, reply), false).await;
        let host = host(&config(plain(port)), NOON);
        let got = match host.call(send("1", "email", "Zoë")).await {
            Ok(replies) => {
                let data: Value = serde_json::from_slice(replies[0].data()).unwrap();
                data["reasons"][0]["code"].as_str().unwrap_or("taken").to_owned()
            }
            Err(failure) if failure.kind == Kind::Retry => "later".into(),
            Err(failure) => failure.to_string(),
        };
        assert_eq!(got, wanted, "{verb}: {reply}");
    }
}

#[tokio::test]
async fn a_password_that_is_refused_waits_for_the_operator() {
    let (port, mails) = scripted(("AUTH", "535 no"), true).await;
    let mut smtp = plain(port);
    (smtp["user"], smtp["password"]) = (json!("u"), json!("s3cret"));
    let late = failure(&host(&config(smtp), NOON), send("1", "email", "Zoë"), 1).await;
    assert!(late.kind == Kind::Retry && late.message.contains("535") && !late.message.contains("s3cret"), "{late}");
    assert!(mails.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_where_tls_is_wanted() {
    let (port, mails) = scripted(("STARTTLS", "454 not now"), false).await;
    let mut smtp = plain(port);
    smtp["tls"] = json!("starttls");
    let late = failure(&host(&config(smtp), NOON), send("1", "email", "Zoë"), 1).await;
    assert_eq!((late.kind, late.code.0), (Kind::Retry, "channel-later"), "{late}");
    assert!(mails.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_mail_has_one_subject_line_and_one_id() {
    let (port, mails) = scripted(("NONE", ""), false).await;
    let host = host(&config(plain(port)), NOON);
    let data =
        json!({"channel": "email", "to": "Zoë", "title": "Ready\r\nBcc: all@example.com", "text": ".\r\nLine\n."});
    let (_, data) = one(&host, super::event("1", "notification.send", &data)).await;
    assert_eq!(data["channel"], "email");
    let mail = mails.lock().unwrap()[0].clone();
    let head = mail.split_once("\n\n").unwrap().0.to_owned();
    assert!(head.contains("Subject: Ready Bcc: all@example.com") && !head.contains("\nBcc:"), "{mail}");
    assert!(head.contains("Message-ID: <") && head.contains("Date: Thu, 15 Jan 2026 11:30:00"), "{mail}");
}

/// aiosmtpd, with STARTTLS and a password, which refuses `gone@` and puts `busy@` off.
const SERVER: &str = r#"
import ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"): return "550 no such mailbox"
        if address.startswith("busy@"): return "451 come back"
        envelope.rcpt_tos.append(address); return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        open(sys.argv[3], "ab").write(envelope.content); return "250 taken as q1"
def auth(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"u", b"p4ss"), handled=False)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); tls.load_cert_chain(sys.argv[1], sys.argv[2])
c = Controller(Handler(), hostname="127.0.0.1", port=0, tls_context=tls, require_starttls=True, auth_required=True, authenticator=auth)
import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); c.port = s.getsockname()[1]; s.close()
c.start(); print(c.port, flush=True); sys.stdin.read()
"#;

struct Server(Child, u16, PathBuf);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// The real server, where this machine can have it.
fn aiosmtpd() -> Result<Server, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aiosmtpd");
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).current_dir(&folder).stdin(Stdio::null()).output();
        let done = done.map_err(|e| format!("{program}: {e}"))?;
        done.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned())
    };
    if !folder.join("lib/aiosmtpd").exists() {
        let pip =
            ["-m", "pip", "install", "-q", "--timeout", "10", "--retries", "0", "--target", "lib", "aiosmtpd==1.4.6"];
        run("python3", &pip)?;
    }
    let own = std::process::id();
    let (cert, key, mails) = (format!("{own}.crt"), format!("{own}.key"), format!("{own}.mails"));
    let request = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &key,
        "-out",
        &cert,
    ];
    run("openssl", &request)?;
    let child = Command::new("python3")
        .args(["-c", SERVER, &cert, &key, &mails])
        .current_dir(&folder)
        .env("PYTHONPATH", folder.join("lib"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut server = Server(child.map_err(|e| e.to_string())?, 0, folder.join(&mails));
    let mut line = String::new();
    let mut out = std::io::BufReader::new(server.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).map_err(|e| e.to_string())?;
    server.1 = line.trim().parse().map_err(|_| format!("it says {line:?}"))?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_of_others_takes_a_mail_over_tls_with_a_password() {
    let server = match aiosmtpd() {
        Ok(server) => server,
        Err(why) => return println!("skipped: no aiosmtpd on this machine: {why}"),
    };
    let authority = server.2.with_extension("crt");
    let smtp = |password: &str| {
        json!({"host": "localhost", "port": server.1, "from": "Go Coffee <no-reply@example.com>", "authority_file": authority,
            "user": "u", "password": password, "timeout_ms": 10_000})
    };
    let mut settings = config(smtp("p4ss"));
    for name in ["gone", "busy"] {
        settings["recipients"][name] = json!({"addresses": {"email": format!("{name}@example.com")}});
    }
    let well = host(&settings, NOON);
    let (kind, data) = one(&well, send("1", "email", "Zoë")).await;
    assert_eq!((kind.as_str(), &data["reference"]), ("notification.delivered", &json!("taken as q1")));
    let mail = fs::read_to_string(&server.2).unwrap();
    assert!(mail.contains("To: =?utf-8?b?") && mail.contains("Subject: Ready =?utf-8?"), "{mail}");
    let (kind, data) = one(&well, send("2", "email", "gone")).await;
    assert_eq!((kind.as_str(), &data["reasons"][0]["code"]), ("notification.failed", &json!("smtp-550")));
    let late = failure(&well, send("3", "email", "busy"), 1).await;
    assert!(late.kind == Kind::Retry && late.message.contains("451"), "{late}");
    let late = failure(&host(&config(smtp("wrong")), NOON), send("4", "email", "Zoë"), 1).await;
    assert!(late.kind == Kind::Retry && late.message.contains("535"), "{late}");
    // A server that the machine does not know is not trusted.
    let mut unknown = smtp("p4ss");
    unknown.as_object_mut().unwrap().remove("authority_file");
    let late = failure(&host(&config(unknown), NOON), send("5", "email", "Zoë"), 1).await;
    assert_eq!((late.kind, late.code.0), (Kind::Retry, "channel-later"), "{late}");
}
