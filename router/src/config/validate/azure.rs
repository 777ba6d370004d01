//! Azure: what the adapters cannot tell by themselves, and what a schema does not carry.

use super::Cx;
use crate::config::{
    AzureEntra, AzureFunctionTarget, AzureSas, AzureTokens, EventGridNamespaceTarget, EventGridPull, EventGridSchema,
    EventGridSource, EventGridTarget, Rate, Source, value::Secret,
};

/// What shows who the router is.
struct Shown<'c> {
    key: Option<&'c Secret>,
    sas: Option<&'c AzureSas>,
    entra: Option<&'c AzureEntra>,
}

/// Errors of a topic, and secrets that are not there.
pub(super) fn topic(name: &str, target: &EventGridTarget, cx: &mut Cx<'_>) {
    let at = ["targets", name, "event_grid"];
    shown(&at, &Shown { key: target.key.as_ref(), sas: target.sas.as_ref(), entra: target.entra.as_ref() }, true, cx);
    rate(&at, target.rate.as_ref(), cx);
    if target.topic.is_some() && target.schema == EventGridSchema::CloudEvents {
        let message = "a domain takes CloudEvents by their `source`; `topic` is for Event Grid's own schema";
        cx.error(&[&at[..], &["topic"]].concat(), message, "leave it out, or write `schema: event_grid`");
    }
}

/// What Event Grid's own schema does not carry.
pub(super) fn topic_warnings(name: &str, target: &EventGridTarget, cx: &mut Cx<'_>) {
    if target.schema == EventGridSchema::EventGrid {
        let message = "Event Grid's own schema changes events: `source`, `datacontenttype`, `dataschema` and extensions are not sent, `subject` and `time` are filled in where there are none, data that is no JSON goes as a JSON string";
        let help = "a topic with `--input-schema cloudeventschemav1_0` takes CloudEvents unchanged; see docs/azure.md";
        cx.warning(&["targets", name, "event_grid", "schema"], message, help);
    }
}

/// Errors of a namespace's topic.
pub(super) fn namespace(name: &str, target: &EventGridNamespaceTarget, cx: &mut Cx<'_>) {
    let at = ["targets", name, "event_grid_namespace"];
    shown(&at, &Shown { key: target.key.as_ref(), sas: target.sas.as_ref(), entra: target.entra.as_ref() }, true, cx);
    rate(&at, target.rate.as_ref(), cx);
}

/// Errors of a function.
pub(super) fn function(name: &str, target: &AzureFunctionTarget, cx: &mut Cx<'_>) {
    let at = ["targets", name, "azure_function"];
    shown(&at, &Shown { key: target.key.as_ref(), sas: None, entra: target.entra.as_ref() }, false, cx);
    rate(&at, target.rate.as_ref(), cx);
    if target.entra.as_ref().is_some_and(|entra| entra.scope.is_none()) {
        let message = "a token for Event Grid does not open a function";
        let help = "write the `scope` of the function's app, e.g. `api://APP_ID/.default`";
        cx.error(&[&at[..], &["entra"]].concat(), message, help);
    }
}

/// Errors of a source.
pub(super) fn source(name: &str, source: &Source, cx: &mut Cx<'_>) {
    let Source::EventGrid(source) = source else { return };
    match source {
        EventGridSource::Pull(pull) => self::pull(name, pull, cx),
        EventGridSource::Webhook(webhook) => {
            tokens(&["sources", name, "event_grid", "webhook", "entra"], webhook.entra.as_ref(), cx);
        }
        EventGridSource::Publish(publish) => {
            tokens(&["sources", name, "event_grid", "publish", "entra"], publish.entra.as_ref(), cx);
        }
    }
}

fn pull(name: &str, pull: &EventGridPull, cx: &mut Cx<'_>) {
    let at = ["sources", name, "event_grid", "pull"];
    shown(&at, &Shown { key: pull.key.as_ref(), sas: pull.sas.as_ref(), entra: pull.entra.as_ref() }, true, cx);
}

fn tokens(at: &[&str], given: Option<&AzureTokens>, cx: &mut Cx<'_>) {
    let Some(given) = given else { return };
    if given.audiences.is_empty() || given.applications.is_empty() {
        let message = "without an audience or an application no token opens this source";
        cx.error(at, message, "write `audiences`, and leave `applications` out for Event Grid itself");
    }
}

fn shown(at: &[&str], given: &Shown<'_>, required: bool, cx: &mut Cx<'_>) {
    let count = [given.key.is_some(), given.sas.is_some(), given.entra.is_some()].into_iter().filter(|is| *is).count();
    if count > 1 {
        cx.error(at, "`key`, `sas` and `entra` all show who the router is", "keep one of them");
    }
    if count == 0 && required {
        cx.error(at, "nothing shows who the router is", "give `key`, `sas` or `entra`");
    }
    if let Some(key) = given.key {
        cx.secret(&[at, &["key"]].concat(), key);
    }
    if let Some(sas) = given.sas {
        cx.secret(&[at, &["sas", "key"]].concat(), &sas.key);
    }
    let Some(entra) = given.entra else { return };
    let here = [at, &["entra"]].concat();
    if let Some(secret) = &entra.client_secret {
        cx.secret(&[at, &["entra", "client_secret"]].concat(), secret);
    }
    let proven = entra.client_secret.is_some() || entra.token_file.is_some();
    if proven && (entra.tenant.is_none() || entra.client_id.is_none()) {
        cx.error(
            &here,
            "a secret or a file belongs to an application of a tenant",
            "give `tenant` and `client_id`, too",
        );
    }
    if !proven && entra.tenant.is_some() {
        let help = "give `client_secret` or `token_file`; for the machine's own identity leave `tenant` out";
        cx.error(&here, "nothing shows that the router is this application", help);
    }
    if entra.client_secret.is_some() && entra.token_file.is_some() {
        cx.error(&here, "`client_secret` and `token_file` both show who asks", "keep one of the two");
    }
}

fn rate(at: &[&str], rate: Option<&Rate>, cx: &mut Cx<'_>) {
    if rate.is_some_and(|rate| rate.events_per_second_max == 0 || rate.burst == Some(0)) {
        cx.error(&[at, &["rate"]].concat(), "with a rate or a burst of 0 nothing is ever sent", "write 1 or more");
    }
}
