//! Targets at AWS: what the adapter cannot tell by itself, and what a mapping changes.

use std::collections::BTreeSet;

use super::Cx;
use crate::config::{
    ApiDestinationSource, AwsCredentials, AwsSource, EventBridgeMapping, EventBridgeTarget, EventBridgeV2Target,
    LambdaTarget, PutEventsSource, Rate, Source, SqsTarget,
};

/// Errors of a source.
pub(super) fn source(name: &str, source: &Source, cx: &mut Cx<'_>) {
    match source {
        Source::EventBridge(queue) => {
            credentials(&["sources", name, "eventbridge", "credentials"], &queue.credentials, cx);
        }
        Source::Aws(AwsSource::PutEvents(put)) => access_keys(name, put, cx),
        Source::Aws(AwsSource::ApiDestination(sent)) => api_destination(name, sent, cx),
        Source::Http(_)
        | Source::EventGrid(_)
        | Source::PubSub(_)
        | Source::PubSubPush(_)
        | Source::PubSubPublish(_) => {}
    }
}

fn access_keys(name: &str, put: &PutEventsSource, cx: &mut Cx<'_>) {
    let at = ["sources", name, "aws", "put_events", "access_keys"];
    let mut ids = BTreeSet::new();
    for key in &put.access_keys {
        cx.secret(&at, &key.secret);
        if key.id.is_empty() || key.id.contains(['/', ',', ' ']) {
            let message = format!("`{}` is no id of an access key", key.id);
            cx.error(&at, message, "write letters and digits, as AWS's are: `AKIDCOFFEE`");
        } else if !ids.insert(&key.id) {
            cx.error(&at, format!("two access keys have the id `{}`", key.id), "give each its own");
        }
    }
}

fn api_destination(name: &str, sent: &ApiDestinationSource, cx: &mut Cx<'_>) {
    let at = ["sources", name, "aws", "api_destination"];
    let ways = [("api_key", sent.api_key.is_some()), ("basic", sent.basic.is_some()), ("oauth", sent.oauth.is_some())];
    let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(way, _)| *way).collect();
    if let [_, second, ..] = given[..] {
        let message =
            format!("a connection of EventBridge has one kind of credentials, and here are {}", given.join(" and "));
        cx.error(&[&at[..], &[second]].concat(), message, "keep the one that the connection has");
    }
    let api_keys = sent.api_key.as_ref().map(|given| ("api_key", "keys", &given.keys));
    let passwords = sent.basic.as_ref().map(|given| ("basic", "passwords", &given.passwords));
    for (way, list, secrets) in api_keys.into_iter().chain(passwords) {
        let key = [&at[..], &[way, list]].concat();
        if secrets.is_empty() {
            cx.error(&key, "without one nobody is let in", "write what the connection of EventBridge sends");
        }
        secrets.iter().for_each(|secret| cx.secret(&key, secret));
    }
    if let Some(given) = sent.api_key.as_ref().filter(|given| http::HeaderName::try_from(&given.header).is_err()) {
        let message = format!("`{}` is no name of a header", given.header);
        cx.error(
            &[&at[..], &["api_key", "header"]].concat(),
            message,
            "write the connection's API key name: `x-api-key`",
        );
    }
    if sent.oauth.as_ref().is_some_and(|given| given.issuers.is_empty() || given.audiences.is_empty()) {
        let message = "without an issuer and an audience no token opens this source";
        let help = "write what the authorization server puts into `iss` and `aud`";
        cx.error(&[&at[..], &["oauth"]].concat(), message, help);
    }
}

/// Errors, and secrets that are not there.
pub(super) fn eventbridge(name: &str, target: &EventBridgeTarget, cx: &mut Cx<'_>) {
    credentials(&["targets", name, "eventbridge", "credentials"], &target.credentials, cx);
    rate(&["targets", name, "eventbridge", "rate"], target.rate.as_ref(), cx);
}

/// The same for a custom event bus.
pub(super) fn eventbridge_v2(name: &str, target: &EventBridgeV2Target, cx: &mut Cx<'_>) {
    credentials(&["targets", name, "eventbridge_v2", "credentials"], &target.credentials, cx);
    rate(&["targets", name, "eventbridge_v2", "rate"], target.rate.as_ref(), cx);
}

/// The same for a queue.
pub(super) fn sqs(name: &str, target: &SqsTarget, cx: &mut Cx<'_>) {
    credentials(&["targets", name, "sqs", "credentials"], &target.credentials, cx);
    rate(&["targets", name, "sqs", "rate"], target.rate.as_ref(), cx);
}

/// The same for a function.
pub(super) fn lambda(name: &str, target: &LambdaTarget, cx: &mut Cx<'_>) {
    credentials(&["targets", name, "lambda", "credentials"], &target.credentials, cx);
    rate(&["targets", name, "lambda", "rate"], target.rate.as_ref(), cx);
}

/// What a mapping does not carry.
pub(super) fn eventbridge_warnings(name: &str, target: &EventBridgeTarget, cx: &mut Cx<'_>) {
    let at = ["targets", name, "eventbridge", "mapping"];
    match target.mapping {
        None => {
            let message = "EventBridge may write numbers and spaces of the data anew: equal as JSON, not byte for byte";
            cx.warning(
                &at,
                message,
                "write `mapping: structured` where that is enough, `mapping: opaque` to keep each byte",
            );
        }
        Some(EventBridgeMapping::Data) => {
            let message = "only `source`, `type`, `time` to the second and the data go: no id, no subject, no other attribute; events whose data is no JSON object become dead letters";
            cx.warning(&at, message, "`mapping: structured` carries all of it");
        }
        Some(EventBridgeMapping::Structured | EventBridgeMapping::Opaque) => {}
    }
}

fn credentials(at: &[&str], given: &AwsCredentials, cx: &mut Cx<'_>) {
    let key = |key| [at, &[key]].concat();
    if given.access_key_id.is_some() != given.secret_access_key.is_some() {
        let message = "the id of an access key and its secret belong together";
        cx.error(at, message, "give `access_key_id` and `secret_access_key`, or neither");
    }
    for (name, secret) in [("secret_access_key", &given.secret_access_key), ("session_token", &given.session_token)] {
        if let Some(secret) = secret {
            cx.secret(&key(name), secret);
        }
    }
    if given.session_token.is_some() && given.access_key_id.is_none() {
        cx.error(&key("session_token"), "a session token belongs to an access key", "give `access_key_id`, too");
    }
    let of_role = [("external_id", &given.external_id), ("session_name", &given.session_name)];
    for (name, _) in of_role.iter().filter(|(_, value)| value.is_some() && given.role_arn.is_none()) {
        cx.error(&key(name), format!("`{name}` is for a role, and there is none"), "give `role_arn`, too");
    }
}

fn rate(at: &[&str], rate: Option<&Rate>, cx: &mut Cx<'_>) {
    if rate.is_some_and(|rate| rate.events_per_second_max == 0 || rate.burst == Some(0)) {
        cx.error(at, "with a rate or a burst of 0 nothing is ever sent", "write 1 or more");
    }
}
