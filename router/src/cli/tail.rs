//! `gocoffee tail`: the flow of a bus, as it goes.

use std::io::Write;

use super::{
    Admin, Done, Exit, Failure, Output,
    api::Api,
    stream::{Stream, position, read_filter},
    table::count,
};
use crate::{
    admin::{
        Operation,
        reading::{Line, PassedOver},
    },
    codes,
};

/// Characters of an event's data that a line for people shows.
const DATA_CHARS: usize = 120;

/// Shows the events of a bus as they are appended, until Ctrl-C.
///
/// It reads beside the flow and never slows it: when it cannot keep up, it goes on further ahead and says how many
/// events it passed over. It ends with the router. Exit code 0, also after Ctrl-C; 69 when the connection breaks.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee tail\n  gocoffee tail --where '{\"sql\": \"type LIKE '\"'\"'coffee.%'\"'\"'\"}'\n  gocoffee tail --where filter.json --from 10m --output json | jq .event.data\n  gocoffee tail --bus default --from earliest --until-latest --facts\n\nA filter is an object with one of the keys pattern, eventbridge, sql, exact, prefix, suffix, all, any, not."
)]
pub struct Args {
    /// The bus.
    #[arg(long, value_name = "NAME", default_value = "default")]
    bus: String,
    /// Only events that this filter matches: JSON, or a file of JSON or YAML.
    #[arg(long = "where", value_name = "FILTER")]
    filter: Option<String>,
    /// Where to begin: `latest`, `earliest`, an offset, an age, e.g. 10m, or a time.
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = position)]
    from: String,
    /// End at the event that is the newest now, instead of waiting for more.
    #[arg(long)]
    until_latest: bool,
    /// Show what sources told beside an event, too, e.g. how often they had tried; JSON always has it.
    #[arg(long)]
    facts: bool,
    /// End after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(args: Args) -> Done {
    let api = Api::new(&args.admin)?;
    let mut query = vec![("bus", args.bus.clone()), ("from", args.from.clone())];
    if let Some(filter) = &args.filter {
        query.push(("where", read_filter("--where", filter)?.to_string()));
    }
    if args.until_latest {
        query.push(("follow", "false".into()));
    }
    let mut stream = Stream::open(&api, Operation::Tail, &query).await?;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let next = tokio::select! {
            biased;
            _ = &mut interrupted => return Ok(Exit::Ok),
            next = stream.next() => next?,
        };
        let Some((text, line)) = next else { return Ok(Exit::Ok) };
        left -= u64::from(line.event.is_some());
        if !show(args.admin.output, args.facts, &text, &line)? {
            return Ok(Exit::Ok);
        }
    }
    Ok(Exit::Ok)
}

/// Writes a line; whether anybody still reads them.
fn show(output: Output, facts: bool, text: &[u8], line: &Line) -> Result<bool, Failure> {
    if let Some(PassedOver { events, why, .. }) = &line.passed_over {
        let why = match why.as_str() {
            "trimmed" => "they are no longer kept",
            "lost" => "their copy in the archive is missing or damaged, or they went before they were copied",
            _ => "the flow is faster than this tail",
        };
        eprintln!("passed over {} events: {why}", count(*events));
    }
    if line.end.as_deref() == Some("stopping") {
        eprintln!("the router is stopping");
    }
    let shown = match output {
        Output::Json if line.event.is_some() || line.passed_over.is_some() => text.to_vec(),
        Output::Table if line.event.is_some() => for_people(line, facts).into_bytes(),
        _ => return Ok(true),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(&shown).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::new(Exit::No, codes::OUTPUT, format!("standard output cannot be written: {e}"))),
    }
}

/// When, where, what, and the beginning of the data. What an event holds must not steer the terminal.
fn for_people(line: &Line, facts: bool) -> String {
    let event: serde_json::Value =
        line.event.as_ref().and_then(|event| serde_json::from_str(event.get()).ok()).unwrap_or_default();
    let text = |name: &str| event.get(name).and_then(|v| v.as_str()).unwrap_or_default();
    let data = match (event.get("data"), event.get("data_base64")) {
        (Some(serde_json::Value::String(text)), _) => text.clone(),
        (Some(json), _) => json.to_string(),
        (None, Some(base64)) => format!("base64 {}", base64.as_str().unwrap_or_default()),
        (None, None) => String::new(),
    };
    let mut chars = data.chars();
    let mut shown: String = chars.by_ref().take(DATA_CHARS).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    let (appended, offset) = (line.appended.as_deref().unwrap_or_default(), line.offset.unwrap_or_default());
    let mut whole = format!("{appended}  {offset}  {}  {}  {}  {shown}", text("type"), text("source"), text("id"));
    for (key, value) in line.facts.iter().filter(|_| facts) {
        whole.push_str(&format!("  {key}={value}"));
    }
    whole.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_is_one_line_whatever_the_event_holds() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t\u001b[2J","datacontenttype":"text/plain","data":"a\nb"}"#;
        let line = Line {
            offset: Some(7),
            appended: Some("2026-01-02T03:04:05.678Z".into()),
            event: serde_json::value::RawValue::from_string(event.into()).ok(),
            facts: [("pubsub-delivery-attempt".to_owned(), "2\n".to_owned())].into_iter().collect(),
            ..Line::default()
        };
        let shown = "2026-01-02T03:04:05.678Z  7  t [2J  /s  1  a b";
        assert_eq!(for_people(&line, false), shown);
        assert_eq!(for_people(&line, true), format!("{shown}  pubsub-delivery-attempt=2"));
    }
}
