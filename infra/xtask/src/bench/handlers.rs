//! What is done to one event, alone and in one thread: held to its schema, and handled by a function. Examples of the
//! crates measure, and print a figure as JSON for each line of the table.

use std::{path::Path, process::Stdio};

use serde_json::Value;

use super::{
    Args,
    table::{Limit, Table},
    world::{load_average, say},
};
use crate::Error;

const NAME: &str = "handlers";

/// The crates, their examples, and how these are built: as the router is, or as functions are packaged.
const EXAMPLES: [(&str, &str, &[&str]); 4] = [
    ("schemas", "judging", &["--release", "--features", "catalogue"]),
    ("order-processor", "order_speed", AS_PACKAGED),
    ("defi-scanner", "scanner_speed", AS_PACKAGED),
    ("inventory-optimizer", "inventory_speed", AS_PACKAGED),
];
const AS_PACKAGED: &[&str] = &["--profile", "function"];

/// See the module.
pub fn run(root: &Path, _: &Args, table: &mut Table) -> Result<(), Error> {
    for (package, example, built) in EXAMPLES {
        say(&format!("building and running the example {example} of {package}"));
        let output = crate::cargo()
            .current_dir(root)
            .args(["run", "--quiet", "--package", package, "--example", example])
            .args(built)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| Error(format!("cargo cannot be started: {e}")))?;
        if !output.status.success() {
            return Err(Error(format!("{example} of {package}: {}", output.status)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let figures: Vec<&str> = text.lines().filter(|line| line.starts_with('{')).collect();
        if figures.is_empty() {
            return Err(Error(format!("{example} of {package} printed no figure")));
        }
        for line in figures {
            let row: Value = serde_json::from_str(line).map_err(|e| Error(format!("{example}: `{line}`: {e}")))?;
            let number = |key: &str| row.get(key).and_then(Value::as_f64);
            let (Some(value), Some(limit)) = (number("value"), number("at_most")) else {
                return Err(Error(format!("{example}: `{line}` has no value or no limit")));
            };
            let figure = row.get("figure").and_then(Value::as_str).unwrap_or_default();
            table.hold(NAME, figure, value, "µs", Limit::AtMost(limit));
        }
    }
    table.show(NAME, "load average at the end", load_average().parse().unwrap_or_default(), "", "");
    Ok(())
}
