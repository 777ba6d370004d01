//! The binary as a process: help, exit codes, signals, log lines.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::ChildStderr,
};

use crate::world::{order, run};

const CONFIG: &str = "listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0, token: '${env:GOCOFFEE_TEST_TOKEN}' }\n\
                      sources: { web: { http: { path: /events } } }\n";

/// The line that says that the router is ready. A store that was stopped in order needs no repair before it.
pub async fn ready(lines: &mut Lines<BufReader<ChildStderr>>) -> serde_json::Value {
    loop {
        let line = lines.next_line().await.unwrap().expect("it starts");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(!line.to_string().contains("not clean"), "{line}");
        if line["message"] == "ready" {
            return line;
        }
    }
}

/// The words of every command, those that only lead to others too.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, words: &[String], all: &mut Vec<Vec<String>>) {
        all.push(words.to_vec());
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            walk(sub, &[words, &[sub.get_name().to_owned()]].concat(), all);
        }
    }
    let mut all = Vec::new();
    walk(&<gocoffee::cli::Cli as clap::CommandFactory>::command(), &[], &mut all);
    assert!(all.len() > 20, "{all:?}");
    all
}

#[tokio::test]
async fn help_of_every_command_has_examples_and_stays_as_it_is() {
    let mut all = String::new();
    for command in commands() {
        let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let (exit, out, _) = run(&args, "").await;
        assert_eq!(exit, 0);
        assert!(out.contains("Examples:"), "{out}");
        all.push_str(&format!("$ gocoffee {} --help\n{out}\n", command.join(" ")));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_command_and_exit_code_is_on_the_page() {
    let page = include_str!("../../../docs/commands.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|l| l.starts_with("| "))
        .map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let head = &rows[0];
    assert_eq!(head[1..], ["0", "1", "2", "69", "74", "78"], "the codes of `Exit`");
    let all = commands();
    let leads = |words: &Vec<String>| all.iter().any(|other| other.len() > words.len() && other.starts_with(words));
    let named: Vec<String> =
        all.iter().filter(|words| !leads(words)).map(|words| format!("`{}`", words.join(" "))).collect();
    let listed: Vec<String> =
        rows[1..].iter().filter(|row| row.len() == head.len()).map(|row| row[0].to_owned()).collect();
    let (mut want, mut have) = (named, listed);
    want.sort();
    have.sort();
    assert_eq!(have, want);
}

#[tokio::test]
async fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (exit, out, _) = run(&["completions", shell], "").await;
        assert_eq!((exit, out.contains("dead-letters"), out.contains("until-latest")), (0, true, true), "{shell}");
    }
    assert_eq!(run(&["completions", "command.com"], "").await.0, 2);
}

#[tokio::test]
async fn check_ends_with_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.yaml", CONFIG);
    let (exit, out, _) = run(&["check", &good], "").await;
    assert_eq!(exit, 0);
    assert!(out.ends_with("ok, 1 warning\n"), "{out}");
    assert_eq!(run(&["check", &good, "--deny-warnings"], "").await.0, 1);
    let bad = file("bad.yaml", "rutes: {}\n");
    let (exit, out, _) = run(&["check", &bad, "--output", "json"], "").await;
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, report["findings"][0]["help"].as_str()), (1, Some("did you mean `routes`?")));
    assert_eq!(run(&["check"], "").await.0, 2);
    assert_eq!(run(&["chek", &good], "").await.0, 2);
    assert_eq!(run(&["check", "/nonexistent.yaml"], "").await.0, 1);
    assert_eq!(run(&["serve", "--config", &bad], "").await.0, 78);
    // The secret that `check` warns about is what `serve` cannot do without.
    let (exit, _, err) = run(&["serve", "--config", &good, "--data", dir.path().to_str().unwrap()], "").await;
    assert_eq!(exit, 69);
    assert!(err.contains("admin.token: the environment variable `GOCOFFEE_TEST_TOKEN`"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_is_ready_with_its_addresses_keeps_events_and_stops_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gocoffee.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    let data = dir.path().join("data");
    for (round, expected) in [(1, "accepted 1, duplicate 0, refused 0\n"), (2, "accepted 0, duplicate 1, refused 0\n")]
    {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--data")
            .arg(&data)
            .env("GOCOFFEE_TEST_TOKEN", "s3cr3t-t0ken")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = ready(&mut lines).await;
        let to = format!("http://{}/events", ready["listen"].as_str().unwrap());
        let (_, out, _) = run(&["publish", "-", "--to", &to], &order("1")).await;
        assert_eq!(out, expected, "round {round}");
        // A second router on the same folder is told to stay away.
        let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"))
            .args(["serve", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()])
            .env("GOCOFFEE_TEST_TOKEN", "x")
            .output()
            .await
            .unwrap();
        assert_eq!(second.status.code(), Some(69));
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let killed = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().await.unwrap().code(), Some(0), "round {round}");
        let mut rest = String::new();
        lines.into_inner().read_to_string(&mut rest).await.unwrap();
        assert!(rest.contains("\"stopped\""), "{rest}");
        assert!(!rest.contains("s3cr3t"));
    }
}

/// Goal: what stands in brackets behind an error is what `explain` takes, whether it is the program's own or
/// what a router answered.
#[tokio::test]
async fn errors_name_the_page_that_explains_them() {
    let (exit, _, err) = run(&["check", "/nonexistent.yaml"], "").await;
    assert_eq!(exit, 1);
    assert!(err.starts_with("error[R0001]: ") && err.ends_with("\nhelp: gocoffee explain R0001\n"), "{err}");
    let (exit, out, _) = run(&["explain", "r0001"], "").await;
    assert_eq!(exit, 0);
    insta::assert_snapshot!(out);
    let (_, out, _) = run(&["explain", "no-space", "--output", "json"], "").await;
    let page: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(["title", "cause", "check", "fix"].iter().all(|part| page[part].is_string()), "{page}");
    let (exit, _, err) = run(&["explain", "no-spice"], "").await;
    assert!(exit == 1 && err.contains("did you mean `no-space`?"), "{err}");
    let (_, out, _) = run(&["explain"], "").await;
    assert!(out.lines().count() > 100 && out.contains("\nkey-source "), "{out}");
}

/// Goal: the real listener over TLS: what a key may not claim is refused by name, what it may is taken,
/// and whoever has none gets nothing in.
#[tokio::test(flavor = "multi_thread")]
async fn tls_listener_takes_what_a_key_may_claim() {
    let dir = tempfile::tempdir().unwrap();
    let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/http/tests/tls");
    let config = dir.path().join("gocoffee.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nstore: {{ memory: {{}} }}\n\
         tls: {{ cert: '{tls}/cert.pem', key: '{tls}/key.pem' }}\n\
         keys:\n  - {{ name: shop, secret: '${{env:SHOP_KEY}}', types: ['coffee.order.*'] }}\n  \
         - {{ name: prices, secret: prices-key, types: ['defi.*'] }}\n\
         sources: {{ web: {{ http: {{ path: /events }} }} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"))
        .args(["serve", "--config", config.to_str().unwrap(), "--data", dir.path().join("data").to_str().unwrap()])
        .env("SHOP_KEY", "shop-key")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = ready(&mut lines).await;
    let to = format!("https://{}/events", ready["listen"].as_str().unwrap());
    let publish = async |key: Option<&str>, root: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"));
        command.args(["publish", "-", "--to", &to]).env("SSL_CERT_FILE", root).env_remove("GOCOFFEE_KEY");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        if let Some(key) = key {
            command.env("GOCOFFEE_KEY", key);
        }
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(order("1").as_bytes()).await.unwrap();
        drop(stdin);
        let out = child.wait_with_output().await.unwrap();
        let said = [out.stdout, out.stderr].map(|b| String::from_utf8(b).unwrap()).concat();
        (out.status.code(), said)
    };
    let ca = format!("{tls}/ca.pem");
    let (exit, said) = publish(Some("prices-key"), &ca).await;
    assert!(exit == Some(1) && said.contains("key-type") && said.contains("prices"), "{exit:?} {said}");
    for wrong in [None, Some("guessed")] {
        let (exit, said) = publish(wrong, &ca).await;
        assert!(exit == Some(69) && said.contains("GOCOFFEE_KEY"), "{exit:?} {said}");
    }
    let (exit, said) = publish(Some("shop-key"), &format!("{tls}/other-ca.pem")).await;
    assert!(exit != Some(0) && said.contains("certificate"), "{exit:?} {said}");
    let (exit, said) = publish(Some("shop-key"), &ca).await;
    assert_eq!((exit, said.as_str()), (Some(0), "accepted 1, duplicate 0, refused 0\n"));
}
