//! Google Cloud: what the adapters cannot tell by themselves.

use super::Cx;
use crate::config::{GoogleCredentials, PubSubTarget, Rate};

/// Errors of a topic, and files that are not there.
pub(super) fn pubsub(name: &str, target: &PubSubTarget, cx: &mut Cx<'_>) {
    let at = ["targets", name, "pubsub"];
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
