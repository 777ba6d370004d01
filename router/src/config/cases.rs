//! Tests of routes: each event is judged by all routes of its bus, offline, and must reach the ones it names.

use std::collections::BTreeSet;

use router_core::{filter::Filter, id::RouteName};
use schemas::Event;

use super::{Config, Test, report::Finding, value::Json, yaml::Node};
use crate::codes;

/// Runs the tests of a configuration whose filters can all be read; each that fails is a finding at its place.
pub fn run(config: &Config, root: &Node, findings: &mut Vec<Finding>) {
    for (name, test) in &config.tests {
        if let Err(failure) = one(config, name, test) {
            let Failure { key, message, help } = *failure;
            let finding = Finding::error(root.place(&["tests", name, key]), message);
            findings.push(finding.code(codes::TEST_FAILED).help(help));
        }
    }
}

struct Failure {
    /// The key that it is about.
    key: &'static str,
    message: String,
    help: String,
}

fn one(config: &Config, name: &str, test: &Test) -> Result<(), Box<Failure>> {
    let fail = |key, message: String, help: String| Err(Box::new(Failure { key, message, help }));
    let Json(written) = &test.event;
    let event = match schemas::json::decode(written.to_string().as_bytes()) {
        Ok(event) => event,
        Err(e) => {
            let help = "write a CloudEvent: specversion, id, source, type, and data";
            return fail("event", format!("the event of test `{name}` is no CloudEvent: {e}"), help.into());
        }
    };
    let wanted: BTreeSet<&RouteName> = test.reaches.iter().collect();
    if let Some(unknown) = wanted.iter().find(|route| !config.routes.contains_key(**route)) {
        let there: Vec<&str> = config.routes.keys().map(RouteName::as_str).collect();
        let message = format!("test `{name}`: there is no route `{unknown}`");
        return fail("reaches", message, format!("the routes are {}", there.join(", ")));
    }
    let reached = reached(config, test, &event);
    if wanted == reached {
        return Ok(());
    }
    let list = |routes: &BTreeSet<&RouteName>| match routes.len() {
        0 => "no route".to_owned(),
        _ => routes.iter().map(|route| format!("`{route}`")).collect::<Vec<_>>().join(", "),
    };
    let message = format!("test `{name}`: the event reaches {}, and must reach {}", list(&reached), list(&wanted));
    let missing =
        wanted.difference(&reached).map(|route| format!("- {route}: {}", why_not(config, test, route, &event)));
    let extra = reached.difference(&wanted).map(|route| format!("+ {route}: its filter matches"));
    fail("reaches", message, missing.chain(extra).collect::<Vec<_>>().join("\n"))
}

fn filter(config: &Config, route: &RouteName) -> Option<Filter> {
    match &config.routes.get(route)?.filter {
        // One that cannot be read is a finding of its own.
        Some(filter) => Filter::parse(filter.spec()).ok(),
        None => Some(Filter::all()),
    }
}

fn reached<'c>(config: &'c Config, test: &Test, event: &Event) -> BTreeSet<&'c RouteName> {
    let of_bus = config.routes.iter().filter(|(_, route)| route.bus == test.bus);
    of_bus.map(|(name, _)| name).filter(|name| filter(config, name).is_some_and(|f| f.matches(event))).collect()
}

/// Why an event does not reach a route, in one line.
fn why_not(config: &Config, test: &Test, route: &RouteName, event: &Event) -> String {
    let bus = config.routes.get(route).map(|r| &r.bus);
    if let Some(bus) = bus.filter(|bus| **bus != test.bus) {
        return format!("it reads bus `{bus}`, the test is of bus `{}`", test.bus);
    }
    let Some(filter) = filter(config, route) else { return "its filter cannot be read".into() };
    let explanation = filter.explain(event);
    let part = |what: &str, value: Option<String>| value.map(|value| format!("{what} {value}"));
    let parts = [
        explanation.clause,
        part("wants", explanation.wanted),
        part("found", explanation.found),
        part("near:", explanation.nearest),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
