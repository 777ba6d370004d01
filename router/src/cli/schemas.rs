//! `gocoffee schemas`: the catalogue, and events held to it, without a router.

use std::path::PathBuf;

use schemas::{
    Event, Form, Invalid,
    catalogue::{Catalogue, Entry},
    doc,
};

use super::{Done, Exit, Failure, Output, filter::read, print, print_json, table::table};
use crate::{catalogue, codes, config};

/// Events of one array.
const EVENTS_MAX: usize = 1_000_000;

/// Shows the schemas of events, and holds events to them, without a router.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee schemas ls\n  gocoffee schemas show coffee.order.created\n  gocoffee schemas check orders.ndjson --path ./schemas"
)]
pub enum Command {
    Ls(Ls),
    Show(Show),
    Check(Check),
}

/// Which catalogue.
#[derive(Debug, clap::Args)]
struct From {
    /// The catalogue that this configuration names. Default: what is built in.
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    config: Option<PathBuf>,
    /// A folder of files TYPE.schema.json beside what is built in.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Lists the schemas: the type of event, the name that `dataschema` may give, and where each comes from.
///
/// Exit code 0, or 2 when the catalogue cannot be read or compiled.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gocoffee schemas ls\n  gocoffee schemas ls --config gocoffee.yaml --output json")]
pub struct Ls {
    #[command(flatten)]
    from: From,
    /// How to write the listing.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Prints a schema as it is written.
///
/// Exit code 0, 1 when there is none of that name, 2 when the catalogue cannot be read or compiled.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee schemas show coffee.order.created\n  gocoffee schemas show urn:gocoffee:schema:inventory.low:1"
)]
pub struct Show {
    /// The type of event, or the schema's $id.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    from: From,
}

/// Holds events to their schemas, as a source with `validate` does.
///
/// Exit code 0 when nothing is wrong, 1 when something is, 2 when the file or the catalogue cannot be read. An event that
/// no schema describes is not wrong.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee schemas check orders.ndjson\n  gocoffee schemas check --config gocoffee.yaml - < event.json\n  gocoffee schemas check --type coffee.order.created order.json"
)]
pub struct Check {
    /// Events: one, an array, or one on each line; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file is the data of one event of this type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    from: From,
    /// How to write the findings.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(command: &Command) -> Done {
    match command {
        Command::Ls(args) => ls(args),
        Command::Show(args) => show(args),
        Command::Check(args) => check(args),
    }
}

fn load(from: &From) -> Result<Catalogue, Failure> {
    let refused = |message: String| Failure::new(Exit::Usage, codes::CATALOGUE_REFUSED, message);
    let schemas = match &from.config {
        Some(file) => {
            let loaded = config::load_file(file).map_err(refused)?;
            let report = loaded.report.to_text(false);
            loaded.config.ok_or_else(|| refused(format!("the configuration has errors\n{report}")))?.schemas
        }
        None => config::Schemas { path: from.path.clone(), ..config::Schemas::default() },
    };
    catalogue::load(schemas.path.as_deref(), schemas.built_in).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        refused(lines.join("\n"))
    })
}

fn ls(args: &Ls) -> Done {
    let catalogue = load(&args.from)?;
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
    match args.output {
        Output::Json => {
            let row = |e: &Entry| serde_json::json!({"type": e.document.kind, "id": e.id, "title": e.title, "from": e.document.origin});
            print_json(&catalogue.entries().map(row).collect::<Vec<_>>())?;
        }
        Output::Table => {
            let row = |e: &Entry| vec![e.document.kind.to_string(), text(&e.id), e.document.origin.to_string()];
            print(&table(&["TYPE", "DATASCHEMA", "FROM"], &catalogue.entries().map(row).collect::<Vec<_>>()))?;
        }
    }
    Ok(Exit::Ok)
}

fn show(args: &Show) -> Done {
    let catalogue = load(&args.from)?;
    let Some(entry) = catalogue.find(&args.name) else {
        let message = format!("there is no schema `{}`; `gocoffee schemas ls` lists all", args.name);
        return Err(Failure::new(Exit::No, codes::UNKNOWN_NAME, message));
    };
    print(&format!("{}\n", entry.document.text.trim_end()))?;
    Ok(Exit::Ok)
}

/// An event of the file, and its place there: the line, or the index in the array, counted from 1.
type Placed = (usize, Result<Event, Invalid>);

/// What is wrong with one event.
#[derive(serde::Serialize)]
struct Finding {
    /// The line, or the place in the array.
    at: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    code: &'static str,
    place: String,
    message: String,
}

/// How it went with the events of a file.
#[derive(Default, serde::Serialize)]
struct Held {
    events: usize,
    valid: usize,
    invalid: usize,
    without_schema: usize,
    findings: Vec<Finding>,
}

fn check(args: &Check) -> Done {
    let catalogue = load(&args.from)?;
    let text = read(&args.file)?;
    let unreadable =
        |e: Invalid| Failure::new(Exit::Usage, codes::INPUT_UNREADABLE, format!("`{}`: {e}", args.file.display()));
    let events = match &args.kind {
        Some(kind) => {
            let event = Event::builder("1", "/", kind).data(Form::Json, text).build();
            vec![(1, Ok(event.map_err(unreadable)?))]
        }
        None => events(&text).map_err(unreadable)?,
    };
    let held = hold(&catalogue, events);
    match args.output {
        Output::Json => print_json(&held)?,
        Output::Table => print(&report(&args.file.display().to_string(), &held))?,
    }
    Ok(if held.invalid == 0 { Exit::Ok } else { Exit::No })
}

/// The events of a text: one, an array, or one on each line.
fn events(text: &str) -> Result<Vec<Placed>, Invalid> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('[') {
        let all = schemas::json::decode_batch(text.as_bytes(), EVENTS_MAX)?;
        return Ok((1..).zip(all).collect());
    }
    if doc::validate(text.as_bytes()).is_ok() {
        return Ok(vec![(1, schemas::json::decode(text.as_bytes()))]);
    }
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    Ok(lines.map(|(n, line)| (n, schemas::json::decode(line.as_bytes()))).collect())
}

fn hold(catalogue: &Catalogue, events: Vec<Placed>) -> Held {
    let mut held = Held { events: events.len(), ..Held::default() };
    for (at, event) in events {
        let event = match event {
            Ok(event) => event,
            Err(Invalid { code, place, message }) => {
                held.invalid += 1;
                let (place, message) = (place.to_string(), message.into());
                held.findings.push(Finding { at, id: None, code: code.0, place, message });
                continue;
            }
        };
        let found = catalogue.judge(&event);
        match (found.is_empty(), catalogue.knows(&event)) {
            (true, true) => held.valid += 1,
            (true, false) => held.without_schema += 1,
            (false, _) => held.invalid += 1,
        }
        let finding = |f: schemas::catalogue::Finding| Finding {
            at,
            id: Some(event.id().to_owned()),
            code: f.code.0,
            place: f.place.to_string(),
            message: f.message.into(),
        };
        held.findings.extend(found.into_iter().map(finding));
    }
    held
}

fn report(name: &str, held: &Held) -> String {
    let line = |f: &Finding| format!("{name}:{}: {}: {} ({})\n", f.at, f.place, f.message, f.code);
    let lines: String = held.findings.iter().map(line).collect();
    let Held { events, valid, invalid, without_schema, .. } = held;
    format!("{lines}{events} events: {valid} valid, {invalid} invalid, {without_schema} without a schema\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"alert.trigger","data":{"alert":"a","severity":"info","title":"t","text":"x"}}"#;

    #[test]
    fn one_event_an_array_and_lines_are_read() {
        let count = |text: &str| events(text).unwrap().iter().map(|(at, e)| (*at, e.is_ok())).collect::<Vec<_>>();
        let pretty = GOOD.replace(",\"", ",\n\"");
        assert_eq!(count(&pretty), [(1, true)]);
        assert_eq!(count(&format!("[{GOOD}, 1]")), [(1, true), (2, false)]);
        assert_eq!(count(&format!("{GOOD}\n\nnonsense\n{GOOD}\n")), [(1, true), (3, false), (4, true)]);
        assert!(events("[1").is_err());
        assert_eq!(count(""), []);
    }

    #[test]
    fn events_are_counted_by_what_their_schema_says() {
        let catalogue = catalogue::load(None, true).unwrap();
        let bad = GOOD.replace("\"info\"", "7");
        let other = GOOD.replace("alert.trigger", "alert.other");
        let held = hold(&catalogue, events(&format!("{GOOD}\n{bad}\n{other}\n{{}}\n")).unwrap());
        assert_eq!((held.events, held.valid, held.invalid, held.without_schema), (4, 1, 2, 1));
        let text = report("f", &held);
        assert!(text.starts_with("f:2: data/severity: ") && text.contains("\nf:4: "), "{text}");
        assert!(text.ends_with("4 events: 1 valid, 2 invalid, 1 without a schema\n"), "{text}");
    }
}
