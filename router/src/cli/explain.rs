//! `gocoffee explain`: what a code means, and what to do.

use super::{Done, Exit, Failure, Output, print, print_json, table::table};
use crate::{
    codes,
    config::report::nearest,
    explain::{self, Page},
};

/// Says what a code means and what to do; without a code, lists all.
///
/// Codes stand in brackets behind `error`, in the field `code` of log lines and of answers over HTTP, and as the
/// reason of dead letters.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee explain R0021\n  gocoffee explain no-space\n  gocoffee explain --output json | jq -r '.[].code'"
)]
pub struct Args {
    /// The code, e.g. R0021 or no-space.
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> Done {
    match (&args.code, args.output) {
        (None, Output::Json) => print_json(&explain::pages().collect::<Vec<_>>())?,
        (None, Output::Table) => {
            let rows = explain::pages().map(|page| vec![page.code.into(), page.title.into()]);
            print(&table(&["CODE", "MEANING"], &rows.collect::<Vec<_>>()))?;
        }
        (Some(code), output) => {
            let page = explain::pages().find(|page| page.code.eq_ignore_ascii_case(code));
            let page = page.ok_or_else(|| unknown(code))?;
            match output {
                Output::Json => print_json(&page)?,
                Output::Table => print(&text(&page))?,
            }
        }
    }
    Ok(Exit::Ok)
}

fn text(page: &Page) -> String {
    let Page { code, title, cause, check, fix } = page;
    format!("{code}: {title}\n\nCause: {cause}\n\nCheck: {check}\n\nFix:   {fix}\n")
}

fn unknown(code: &str) -> Failure {
    let near = nearest(code, explain::codes().into_iter().map(|code| code.0));
    let help = near.map_or_else(|| "`gocoffee explain` lists all".into(), |near| format!("did you mean `{near}`?"));
    Failure::new(Exit::No, codes::NO_SUCH_CODE, format!("there is no code `{code}`; {help}"))
}
