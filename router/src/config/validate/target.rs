//! What an HTTP target can be told beyond where it is.

use std::path::Path;

use router_http::{
    address::{is_localhost, written_out},
    target::Statuses,
};

use super::{Cx, check_url};
use crate::config::{HttpTarget, Mode};

/// Errors, and secrets and files that are not there.
pub(super) fn errors(name: &str, target: &HttpTarget, cx: &mut Cx<'_>) {
    let at = |key| ["targets", name, "http", key];
    if let Some(rate) = &target.rate
        && (rate.events_per_second_max == 0 || rate.burst == Some(0))
    {
        cx.error(&at("rate"), "with a rate or a burst of 0 nothing is ever sent", "write 1 or more");
    }
    for (status, verdict) in &target.retry.statuses {
        if let Err(e) = Statuses::default().set(status, verdict) {
            let keys = ["targets", name, "http", "retry", "statuses", status];
            cx.error(&keys, e.to_string(), "e.g. `409: delivered`");
        }
    }
    for secret in &target.webhook_secrets {
        cx.secret(&at("webhook_secrets"), secret);
    }
    if let Some(oauth) = &target.oauth {
        let at = |key| ["targets", name, "http", "oauth", key];
        if let Err(why) = check_url(&oauth.token_url) {
            cx.error(&at("token_url"), "no token can be had from this URL", why);
        }
        cx.secret(&at("client_secret"), &oauth.client_secret);
        if target.bearer.is_some() || target.basic.is_some() {
            let keys = ["targets", name, "http", "oauth"];
            cx.error(&keys, "`oauth`, `bearer` and `basic` all write the header Authorization", "keep one of them");
        }
    }
    if let Some(tls) = &target.tls {
        if tls.cert.is_some() != tls.key.is_some() {
            cx.error(&at("tls"), "a certificate and its key belong together", "give `cert` and `key`, or neither");
        }
        for (key, file) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
            if let Some(file) = file {
                readable(&["targets", name, "http", "tls", key], file, cx);
            }
        }
    }
}

/// A file that is not there is a warning, as a secret is: `check` often runs elsewhere.
fn readable(keys: &[&str], file: &Path, cx: &mut Cx<'_>) {
    if let Err(e) = std::fs::File::open(file) {
        cx.unreadable(keys, format!("the file `{}` cannot be read: {e}", file.display()));
    }
}

/// What works, and is worth a look.
pub(super) fn warnings(name: &str, target: &HttpTarget, cx: &mut Cx<'_>) {
    if crosses_readable(&target.url) {
        let known = target.bearer.is_some() || target.basic.is_some() || target.oauth.is_some();
        let what = if known || !target.headers.is_empty() { "events and credentials" } else { "events" };
        let message = format!("without TLS {what} cross the network readable, and may be changed on their way");
        cx.warning(&["targets", name, "http", "url"], message, "write https:// where the target speaks TLS");
    }
    if let Some(oauth) = target.oauth.as_ref().filter(|oauth| crosses_readable(&oauth.token_url)) {
        let message = format!("without TLS the secret of `{}` crosses the network readable", oauth.client_id);
        let keys = ["targets", name, "http", "oauth", "token_url"];
        cx.warning(&keys, message, "RFC 6749 asks for TLS at the token endpoint; write https://");
    }
    if !target.webhook_secrets.is_empty() && target.mode == Mode::Binary && target.batch.is_none() {
        let message = "in binary mode attributes are headers, which the signature does not cover";
        let keys = ["targets", name, "http", "webhook_secrets"];
        cx.warning(&keys, message, "write `mode: structured`, so that the whole event is signed");
    }
}

/// Whether a URL is `http` to another machine.
fn crosses_readable(url: &str) -> bool {
    let Ok(uri) = router_http::client::url(url) else { return false };
    let host = uri.host().unwrap_or_default();
    let here = is_localhost(host) || written_out(host).is_some_and(|ip| ip.to_canonical().is_loopback());
    uri.scheme_str() == Some("http") && !here
}
