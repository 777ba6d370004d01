//! Who the router is to others.

use router_core::hops;

use super::Cx;
use crate::config::Config;

/// A key is one that others cannot guess.
pub fn check(config: &Config, cx: &mut Cx<'_>) {
    let Some(key) = &config.router.key else { return };
    let keys = ["router", "key"];
    cx.secret(&keys, key);
    let short = key.resolve().ok().and_then(|key| hops::Router::new(None, key.as_bytes()).err());
    if let Some(short) = short {
        cx.error(&keys, "the key is too short", short.to_string());
    }
}
