//! The matcher alone: five rules of each class beside event-ruler's figures and quamina, mixed rules by their
//! number, CESQL, and what a change of the rules costs. `router/core/examples/matching` measures.

use std::path::Path;

use serde_json::Value;

use super::{
    Args,
    table::{Limit, Table},
    world::{load_average, say},
};
use crate::{Error, fuzz};

const NAME: &str = "match";
/// Events of the corpus; a short run takes as few as it is told.
const EVENTS_MAX: u64 = 200_000;

/// See the module.
pub fn run(root: &Path, args: &Args, table: &mut Table) -> Result<(), Error> {
    say("building the matcher's own benchmark");
    let events = args.events.min(EVENTS_MAX);
    say(&format!("match: {events} events, some minutes"));
    let text = fuzz::program(root, &["bench", &events.to_string()])?;
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).map_err(|e| Error(format!("match: `{line}` is no figure: {e}")))?;
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| row.get(key).and_then(Value::as_f64);
        let value = number("value").ok_or_else(|| Error(format!("match: `{line}` has no value")))?;
        let unit =
            ["events/s", "B", "MiB", "s", "ms"].into_iter().find(|unit| *unit == text("unit")).unwrap_or_default();
        let limit = number("at_least").map(Limit::AtLeast).or(number("at_most").map(Limit::AtMost));
        match limit {
            Some(limit) => table.hold_with(NAME, text("figure"), value, unit, limit, text("note")),
            None => table.show(NAME, text("figure"), value, unit, text("note")),
        }
    }
    table.show(NAME, "load average at the end", load_average().parse().unwrap_or_default(), "", "");
    Ok(())
}
