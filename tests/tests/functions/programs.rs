//! The programs of all functions on a plain machine and as Google's container runtime starts them: events by HTTP, with
//! the replies in the answers.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use http::Method;
use router_tests::world::client::Client;
use serde_json::Value;

use super::{
    state::Running,
    table::{Others, Row, plain, table},
};

/// What a platform sets.
const PLATFORMS: [&[(&str, &str)]; 2] = [&[("LISTEN", "127.0.0.1:0")], &[("K_SERVICE", "f"), ("PORT", "0")]];

#[tokio::test(flavor = "multi_thread")]
async fn programs_answer_on_a_plain_machine_and_as_google_starts_them() {
    let (others, client) = (Others::start().await, Client::new(Duration::from_secs(60)));
    for row in table(&others).into_iter().map(Row::at_once) {
        let Some(program) = row.program() else { return };
        for platform in PLATFORMS {
            let mut command = Command::new(&program);
            command.env_clear().envs(row.settings()).envs(platform.iter().copied()).stdin(Stdio::null());
            let function = Running::of(&mut command);
            for (event, wanted) in row.events.iter().zip(row.wanted().await) {
                let (headers, body) = schemas::http::encode_binary(event);
                let answer = client.send(Method::POST, &function.url, headers, body).await.unwrap();
                let replies = match answer.status {
                    204 => Vec::new(),
                    200 => match answer.json() {
                        Value::Array(replies) => replies,
                        reply => vec![reply],
                    },
                    _ => panic!("{} on {platform:?}: {}", row.name, answer.text()),
                };
                assert_eq!(plain(replies), wanted, "{} on {platform:?}", row.name);
            }
        }
    }
}
