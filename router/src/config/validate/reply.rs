//! What becomes of the events in answers, and names that the router keeps to itself.

use std::collections::BTreeSet;

use router_core::quarantine::RESERVED;

use super::{Cx, Finding};
use crate::config::{Config, Invocation, LambdaTarget, Reply, Route, SYSTEM_BUS, Target};

/// Nobody's bus or route is called as one of the router's own.
pub fn reserved(cx: &mut Cx<'_>) {
    for (section, what) in [("buses", "bus"), ("routes", "route")] {
        let names: Vec<String> = cx.names(section).into_iter().collect();
        // How long the router's own facts are kept is everybody's own affair.
        let own = |name: &str| RESERVED.contains(&name) && !(section == "buses" && name == SYSTEM_BUS);
        for name in names.iter().filter(|name| own(name)) {
            let span = cx.root.get(&[section]).and_then(|s| s.entry(name)).map_or(0..0, |e| e.key_span.clone());
            let message = format!("the router keeps the name `{name}` to itself");
            let finding = Finding::error(span, message);
            cx.findings.push(finding.help(format!("give the {what} another name, e.g. `{name}-2`")));
        }
    }
}

/// The bus that takes replies is there, and it is known which event each is a reply to.
pub fn check(config: &Config, name: &str, route: &Route, buses: &BTreeSet<String>, cx: &mut Cx<'_>) {
    let to = match &route.reply {
        Reply::No => None,
        Reply::Own => Some(&route.bus),
        Reply::Bus(bus) => Some(bus),
    };
    if to.is_some_and(|bus| bus.as_str() == SYSTEM_BUS) {
        let message = "nothing but the router itself feeds the bus `system`";
        cx.error(&["routes", name, "reply"], message, "write `reply: { bus: … }` with another bus");
    } else if let Reply::Bus(bus) = &route.reply {
        let keys = ["routes", name, "reply", "bus"];
        cx.known(&keys, "bus", bus.as_str(), buses);
    }
    if route.reply == Reply::No {
        return;
    }
    let batched = match config.targets.get(&route.to) {
        Some(Target::Http(http)) => http.batch.is_some(),
        Some(Target::AzureFunction(_) | Target::CloudRun(_)) => false,
        Some(
            Target::EventBridge(_)
            | Target::EventBridgeV2(_)
            | Target::Sqs(_)
            | Target::EventGrid(_)
            | Target::EventGridNamespace(_)
            | Target::PubSub(_),
        ) => {
            let message =
                format!("the target `{}` is a bus, a queue or a topic, which answers with no events", route.to);
            return cx.error(&["routes", name, "reply"], message, "leave out `reply`");
        }
        Some(Target::Lambda(LambdaTarget { invocation: Invocation::Event, .. })) => {
            let message = format!("nobody waits for the function of `{}`, so it answers with no events", route.to);
            let help = "leave out `reply`, or write `invocation: request-response`";
            return cx.error(&["routes", name, "reply"], message, help);
        }
        Some(Target::Lambda(_)) | None => false,
    };
    if batched {
        let message = format!("the target `{}` answers for a batch, where nobody knows what a reply answers", route.to);
        cx.error(&["routes", name, "reply"], message, "leave out `reply`, or the target's `batch`");
    }
}
