//! What routes keep in order.

use super::{Cx, Route};
use crate::config::OnDeadLetter;

/// Checks what a route says of its order.
pub(super) fn check(name: &str, route: &Route, cx: &mut Cx<'_>) {
    let at = |key| ["routes", name, key];
    if let Some(attribute) = &route.order {
        let is_name = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if attribute.is_empty() || !attribute.as_bytes().iter().all(is_name) {
            let message = format!("`{attribute}` is no name of an attribute");
            let help = "write the name of a context attribute, lower-case letters and digits, e.g. `partitionkey`";
            cx.error(&at("order"), message, help);
        }
        if attribute == "id" || attribute == "specversion" {
            let help = "name an attribute that events have in common which depend on each other, e.g. `partitionkey`";
            cx.warning(&at("order"), format!("`{attribute}` tells no groups of events apart"), help);
        }
    } else {
        let help = "name the attribute whose value is the key: `order: partitionkey`";
        if route.on_dead_letter == OnDeadLetter::Hold {
            cx.error(&at("on_dead_letter"), "without `order` there is no key that could wait", help);
        }
        if route.stuck_keys_max.is_some() {
            cx.error(&at("stuck_keys_max"), "without `order` there is no key that could be stuck", help);
        }
    }
    if route.stuck_keys_max == Some(0) {
        cx.error(
            &at("stuck_keys_max"),
            "with `stuck_keys_max` 0 no delivery could ever be tried again",
            "write 1 or more",
        );
    }
}
