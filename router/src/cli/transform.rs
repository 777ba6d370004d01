//! `gocoffee transform`: try transforms out, without a router.

use std::path::PathBuf;

use router_core::{
    clock::{Clock, SystemClock, Timestamp},
    transform::{Context, Spec, Transform},
};

use super::{Done, Exit, Failure, Output, filter::read, print, print_json};
use crate::{codes, config};

/// Tries transforms out on an event, without a router.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee transform test --transform transform.yaml --event event.json\n  gocoffee transform test --transform transform.json --event - < event.json"
)]
pub enum Command {
    Test(Test),
}

/// Shows what a target would get in place of an event.
///
/// Exit code 0 with the new event, 1 when nothing can be made of it, 2 when the transform or the event is invalid.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee transform test --transform transform.yaml --event event.json\n\nA transform file holds one of the keys input_path, input, set:\n  { \"set\": { \"attributes\": { \"subject\": \"order <$.data.order>\" }, \"data\": { \"total\": \"<$.data.total>\" } } }"
)]
pub struct Test {
    /// The transform, JSON or YAML; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    transform: PathBuf,
    /// The event, a CloudEvent in its JSON form; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// The route's name, as templates see it.
    #[arg(long, value_name = "NAME", default_value = "test")]
    route: String,
    /// How to write a failure.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, codes::TRANSFORM_REFUSED, message)
}

pub fn run(command: &Command) -> Done {
    let Command::Test(args) = command;
    let name = args.transform.display().to_string();
    let written = config::document(&name, &read(&args.transform)?).map_err(invalid)?;
    let spec: Spec = serde_json::from_value(written).map_err(|e| {
        invalid(format!("`{name}` is no transform: {e}; a transform is an object with one of these keys"))
    })?;
    let transform = Transform::parse(&spec).map_err(|e| invalid(format!("`{name}`: {e}")))?;
    let event = schemas::json::decode(read(&args.event)?.as_bytes())
        .map_err(|e| invalid(format!("`{}` is no CloudEvent: {e}", args.event.display())))?;
    let appended: Timestamp = SystemClock::new().wall();
    let event_bytes_max = config::Limits::default().event_bytes_max;
    match transform.apply(&event, &Context { route: &args.route, appended, event_bytes_max }) {
        Ok(made) => {
            let json = schemas::json::encode(&made);
            print(&format!("{}\n", String::from_utf8_lossy(&json)))?;
            Ok(Exit::Ok)
        }
        Err(failure) if args.output == Output::Json => {
            print_json(&serde_json::json!({"code": failure.code.0, "message": failure.message}))?;
            Ok(Exit::No)
        }
        Err(failure) => Err(Failure::new(Exit::No, failure.code, failure.message)),
    }
}
