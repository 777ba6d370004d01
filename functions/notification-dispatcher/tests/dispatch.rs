//! Goal: everybody is told once, by a channel that takes it, at an hour that suits them; what no channel takes
//! is said; and what may work later is never given up.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use function_host::{Call, Failure, Host};
use notification_dispatcher::NotificationDispatcher;
use schemas::{Event, Form};
use serde_json::{Value, json};

/// A mail server of others, and one that refuses at every stage.
#[path = "dispatch/mail.rs"]
mod mail;

/// Slack, webhooks, SMS.
#[path = "dispatch/web.rs"]
mod web;

/// Wishes, rates, duplicates, groups of alerts.
#[path = "dispatch/wishes.rs"]
mod wishes;

/// The samples.
#[path = "dispatch/samples.rs"]
mod samples;

const NOON: &str = "2026-01-15T11:30:00Z";

fn host(config: &Value, now: &str) -> Host<NotificationDispatcher> {
    let settings = [("NOTIFY", config.to_string())].into_iter().collect();
    Host::for_tests(settings, now.parse().unwrap()).unwrap()
}

fn event(id: &str, kind: &str, data: &Value) -> Event {
    Event::builder(id, "/tests", kind).data(Form::Json, data.to_string()).build().unwrap()
}

fn send(id: &str, channel: &str, to: &str) -> Event {
    event(id, "notification.send", &json!({"channel": channel, "to": to, "title": "Ready ☕", "text": "Your coffee"}))
}

/// The one reply: its type and its data.
async fn one(host: &Host<NotificationDispatcher>, event: Event) -> (String, Value) {
    let replies = host.call(event).await.unwrap();
    let [reply] = &replies[..] else { panic!("{replies:?}") };
    (reply.kind().to_owned(), serde_json::from_slice(reply.data()).unwrap())
}

async fn failure(host: &Host<NotificationDispatcher>, event: Event, attempt: u32) -> Failure {
    host.call(Call { attempt, ..event.into() }).await.unwrap_err()
}
