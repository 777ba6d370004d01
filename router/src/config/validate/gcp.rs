//! Google Cloud: what the adapters cannot tell by themselves.

use super::Cx;
use crate::config::{CloudRunTarget, GoogleCredentials, PubSubTarget, Rate, Source};

/// Errors of a source.
pub(super) fn source(name: &str, source: &Source, cx: &mut Cx<'_>) {
    let push = match source {
        Source::PubSubPush(push) => push,
        Source::PubSub(pull) => {
            let at = ["sources", name, "pubsub"];
            credentials(&[&at[..], &["credentials"]].concat(), &pull.credentials, cx);
            return topic(&at, pull.topic.as_ref(), cx);
        }
        Source::PubSubPublish(publish) => {
            let at = ["sources", name, "pubsub_publish", "topics"];
            return publish.topics.iter().for_each(|given| named(&at, given, cx));
        }
        _ => return,
    };
    let at = ["sources", name, "pubsub_push"];
    if push.tokens.as_ref().is_some_and(|tokens| tokens.audiences.is_empty() || tokens.accounts.is_empty()) {
        let message = "without an audience or an account no token opens this source";
        let help = "write the `audiences` and the service account of the subscription's push configuration";
        cx.error(&[&at[..], &["tokens"]].concat(), message, help);
    }
    topic(&at, push.topic.as_ref(), cx);
}

fn topic(at: &[&str], topic: Option<&String>, cx: &mut Cx<'_>) {
    if let Some(topic) = topic {
        named(&[at, &["topic"]].concat(), topic, cx);
    }
}

fn named(at: &[&str], topic: &str, cx: &mut Cx<'_>) {
    if !is_topic(topic) {
        let message = format!("`{topic}` is no topic");
        cx.error(at, message, "write it whole, e.g. `projects/go-coffee/topics/coffee`");
    }
}

/// Whether a text is a topic's whole name.
fn is_topic(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    matches!(parts[..], ["projects", project, "topics", topic] if !project.is_empty() && !topic.is_empty())
}

/// Errors of a topic, and files that are not there.
pub(super) fn pubsub(name: &str, target: &PubSubTarget, cx: &mut Cx<'_>) {
    let at = ["targets", name, "pubsub"];
    credentials(&[&at[..], &["credentials"]].concat(), &target.credentials, cx);
    rate(&at, target.rate.as_ref(), cx);
}

/// Errors of a service, and files that are not there.
pub(super) fn cloud_run(name: &str, target: &CloudRunTarget, cx: &mut Cx<'_>) {
    let at = ["targets", name, "cloud_run"];
    credentials(&[&at[..], &["credentials"]].concat(), &target.credentials, cx);
    rate(&at, target.rate.as_ref(), cx);
}

fn credentials(at: &[&str], given: &GoogleCredentials, cx: &mut Cx<'_>) {
    let Some(file) = &given.file else { return };
    let key = [at, &["file"]].concat();
    if given.anonymous {
        cx.error(&key, "`file` and `anonymous` both say who the router is", "keep one of the two");
    }
    if let Err(e) = std::fs::File::open(file) {
        cx.unreadable(&key, format!("the file `{}` cannot be read: {e}", file.display()));
    }
}

fn rate(at: &[&str], rate: Option<&Rate>, cx: &mut Cx<'_>) {
    if rate.is_some_and(|rate| rate.events_per_second_max == 0 || rate.burst == Some(0)) {
        cx.error(&[at, &["rate"]].concat(), "with a rate or a burst of 0 nothing is ever sent", "write 1 or more");
    }
}
