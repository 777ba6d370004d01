//! `gocoffee filter`: try filters out, without a router.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use router_core::filter::{
    Explanation, Filter, Spec,
    sql::{Evaluated, Expression, Outcome},
};
use schemas::Event;

use super::{Done, Exit, Failure, Output, print, print_json};
use crate::{codes, config};

/// Tries filters out on an event, without a router.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee filter test --filter filter.json --event event.json --explain\n  gocoffee filter eval --sql \"LENGTH(subject) * 2\" --event event.json"
)]
pub enum Command {
    Test(Test),
    Eval(Eval),
}

/// Tells whether an event matches a filter.
///
/// Exit code 0 when it does, 1 when it does not, 2 when the filter or the event is invalid.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee filter test --filter filter.json --event event.json --explain\n  gocoffee filter test --filter filter.yaml --event - < event.json\n\nA filter file holds one of the keys pattern, eventbridge, sql, exact, prefix, suffix, all, any, not:\n  { \"pattern\": { \"type\": [{ \"prefix\": \"coffee.\" }], \"data\": { \"total\": [{ \"numeric\": [\">\", 0] }] } } }"
)]
pub struct Test {
    /// The filter, JSON or YAML; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    filter: PathBuf,
    /// The event, a CloudEvent in its JSON form; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// Tells which clause decided, what the event has there, and what is near.
    #[arg(long)]
    explain: bool,
    /// The event is any JSON object: its members stand for attributes.
    #[arg(long)]
    raw: bool,
    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Evaluates a CESQL expression and prints its value and errors as JSON.
///
/// Exit code 0, or 2 when the expression cannot be parsed or the event is invalid.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gocoffee filter eval --sql \"LENGTH(subject) * 2\" --event event.json")]
pub struct Eval {
    /// The expression.
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    sql: String,
    /// The event, a CloudEvent in its JSON form; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// CESQL without the extension of `data.` paths.
    #[arg(long)]
    strict: bool,
    /// The event is any JSON object: its members stand for attributes.
    #[arg(long)]
    raw: bool,
}

pub fn run(command: &Command) -> Done {
    match command {
        Command::Test(args) => test(args),
        Command::Eval(args) => eval(args),
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, codes::FILTER_INVALID, message)
}

pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let fail = |e| invalid(format!("`{}` cannot be read: {e}", path.display()));
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(fail)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(fail)
}

/// The event that is asked about.
enum Subject {
    Event(Event),
    Document(String),
}

fn subject(path: &Path, raw: bool) -> Result<Subject, Failure> {
    let text = read(path)?;
    if raw {
        return Ok(Subject::Document(text));
    }
    match schemas::json::decode(text.as_bytes()) {
        Ok(event) => Ok(Subject::Event(event)),
        Err(e) => {
            Err(invalid(format!("`{}` is no CloudEvent: {e}; write --raw to judge any JSON object", path.display())))
        }
    }
}

fn test(args: &Test) -> Done {
    let name = args.filter.display().to_string();
    let written = config::document(&name, &read(&args.filter)?).map_err(invalid)?;
    let spec: Spec = serde_json::from_value(written)
        .map_err(|e| invalid(format!("`{name}` is no filter: {e}; a filter is an object with one of these keys")))?;
    let parse = if args.raw { Filter::parse_for_documents } else { Filter::parse };
    let filter = parse(spec).map_err(|e| invalid(format!("`{name}`: {e}")))?;
    let explanation = match subject(&args.event, args.raw)? {
        Subject::Event(event) => filter.explain(&event),
        Subject::Document(text) => filter
            .explain_document(text.as_bytes())
            .map_err(|e| invalid(format!("`{}` is no JSON object: {e}", args.event.display())))?,
    };
    match args.output {
        Output::Json => print_json(&explanation)?,
        Output::Table => print(&text(&explanation, args.explain))?,
    }
    Ok(if explanation.matches { Exit::Ok } else { Exit::No })
}

fn text(explanation: &Explanation, explain: bool) -> String {
    let mut text = String::from(if explanation.matches { "match\n" } else { "no match\n" });
    let lines = [
        ("clause", &explanation.clause),
        ("wanted", &explanation.wanted),
        ("found", &explanation.found),
        ("nearest", &explanation.nearest),
    ];
    for (name, value) in lines.into_iter().filter(|_| explain) {
        if let Some(value) = value {
            text.push_str(&format!("  {name:8} {value}\n"));
        }
    }
    text
}

fn eval(args: &Eval) -> Done {
    let subject = subject(&args.event, args.raw)?;
    let (evaluated, refused) = match Expression::parse(&args.sql, args.strict) {
        Ok(expression) => match subject {
            Subject::Event(event) => (expression.evaluate(&event), None),
            Subject::Document(text) => (expression.evaluate_document(text.as_bytes()), None),
        },
        Err(e) => (Evaluated { value: Outcome::Boolean(false), errors: vec![e.kind] }, Some(e.message)),
    };
    match serde_json::to_string(&evaluated) {
        Ok(line) => print(&format!("{line}\n"))?,
        Err(e) => {
            return Err(Failure::new(Exit::No, codes::OUTPUT, format!("the answer cannot be written as JSON: {e}")));
        }
    }
    match refused {
        Some(message) => Err(invalid(format!("the expression is invalid: {message}"))),
        None => Ok(Exit::Ok),
    }
}
