//! The router's targets and sources at the clouds, each beside a bare loop over the cloud's own SDK against the same peer, in
//! turn: an example of `router-tests` measures. What has no peer here is left out, and it says so itself.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    Args,
    table::{Limit, Table, median},
    world::{load_average, say},
};
use crate::{Error, peers};

const NAME: &str = "clouds";
/// Of the bare loop's rate.
const RATIO_MIN: f64 = 0.9;
/// Events of a run, of which AWS gets a tenth.
const EVENTS_MAX: u64 = 50_000;

/// The rates of the router and of the bare loop, a round each.
type Rounds = (Vec<f64>, Vec<f64>, Vec<f64>);

/// See the module.
pub fn run(root: &Path, args: &Args, table: &mut Table) -> Result<(), Error> {
    // They say themselves what cannot be had.
    peers::provide().join().unwrap_or_default();
    let (events, rounds) = (args.events.min(EVENTS_MAX).to_string(), if args.long { "9" } else { "5" });
    let mut command = match &args.programs {
        Some(folder) => Command::new(folder.join("examples/clouds")),
        None => {
            say("building the example clouds of router-tests");
            let mut cargo = crate::cargo();
            cargo.args(["run", "--quiet", "--release", "--package", "router-tests", "--example", "clouds", "--"]);
            cargo
        }
    };
    say(&format!("clouds: {events} events, {rounds} rounds"));
    let output = command
        .current_dir(root)
        .args([events.as_str(), rounds])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| Error(format!("clouds: it cannot be started: {e}")))?;
    if !output.status.success() {
        return Err(Error(format!("clouds: {}", output.status)));
    }
    for (what, (mut ours, mut bare, mut ratios)) in read(&String::from_utf8_lossy(&output.stdout))? {
        table.show(NAME, format!("{what}, bare, median"), median(&mut bare), "events/s", "");
        table.show(NAME, format!("{what}, router, median"), median(&mut ours), "events/s", "");
        table.hold(NAME, &format!("{what}, ratio, median"), median(&mut ratios), "", Limit::AtLeast(RATIO_MIN));
    }
    table.show(NAME, "load average at the end", load_average().parse().unwrap_or_default(), "", "");
    Ok(())
}

/// What was measured, by what was done.
fn read(said: &str) -> Result<BTreeMap<String, Rounds>, Error> {
    let mut figures = BTreeMap::<String, Rounds>::new();
    for line in said.lines() {
        let row: Value = serde_json::from_str(line).map_err(|e| Error(format!("clouds: `{line}`: {e}")))?;
        let number = |key: &str| row.get(key).and_then(Value::as_f64).filter(|rate| *rate > 0.0);
        let (Some(what), Some(ours), Some(bare)) =
            (row.get("what").and_then(Value::as_str), number("ours"), number("bare"))
        else {
            return Err(Error(format!("clouds: `{line}` is no figure")));
        };
        let (all_ours, all_bare, ratios) = figures.entry(what.to_owned()).or_default();
        all_ours.push(ours);
        all_bare.push(bare);
        ratios.push(ours / bare);
    }
    match figures.is_empty() {
        true => Err(Error("clouds: nothing was measured".into())),
        false => Ok(figures),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_put_together_and_what_is_no_figure_is_an_error() {
        let line = |ours: u32, bare: u32| format!("{{\"what\":\"w\",\"ours\":{ours},\"bare\":{bare}}}\n");
        let figures = read(&(line(9, 10) + &line(10, 10))).unwrap();
        assert_eq!(figures["w"], (vec![9.0, 10.0], vec![10.0, 10.0], vec![0.9, 1.0]));
        for wrong in ["", "no JSON", "{\"what\":\"w\",\"ours\":1}", &line(1, 0)] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
