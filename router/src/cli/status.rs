//! `gocoffee status`: what the router is doing.

use router_core::stats::{BreakerState, BusStatus, LaneStateName, TargetStatus};

use super::{
    Admin, Done, Exit, Output,
    api::Api,
    print, print_json,
    table::{ago, count, table},
};
use crate::admin::{Operation, view::Status};

/// Shows buses, routes and targets of a running router.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee status\n  gocoffee status --output json | jq '.routes[] | select(.dead_letters > 0)'"
)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(args: Args) -> Done {
    let status: Status = Api::new(&args.admin)?.get(Operation::Status).await?;
    match args.admin.output {
        Output::Json => print_json(&status)?,
        Output::Table => print(&text(&status, jiff::Timestamp::now()))?,
    }
    Ok(Exit::Ok)
}

/// The word for what a route is doing.
pub fn state(state: LaneStateName) -> String {
    match state {
        LaneStateName::Active => "active",
        LaneStateName::Paused => "paused",
        LaneStateName::Stopped => "stopped",
        LaneStateName::Orphaned => "orphaned",
    }
    .into()
}

/// The word for what a target's breaker does.
pub fn breaker(state: BreakerState) -> String {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::Probing => "probing",
    }
    .into()
}

/// How fast a target may be sent to, and whether it waits for that now.
fn rate(target: &TargetStatus) -> String {
    match target.events_per_second_max {
        Some(rate) if target.paced => format!("{}/s, waits", count(rate.into())),
        Some(rate) => format!("{}/s", count(rate.into())),
        None => "-".into(),
    }
}

/// The status as tables.
pub fn text(status: &Status, now: jiff::Timestamp) -> String {
    let buses = status.buses.iter().map(|b| {
        let unmatched = b.tail.0.saturating_sub(b.planned.0);
        vec![b.name.to_string(), count(b.first.0), count(b.tail.0), count(unmatched)]
    });
    let routes = status.routes.iter().map(|r| {
        vec![
            r.name.clone(),
            r.target.clone().unwrap_or_else(|| "-".into()),
            state(r.state),
            count(r.waiting),
            count(r.in_flight),
            count(r.retrying),
            r.oldest.as_deref().map_or_else(|| "-".into(), |t| ago(t, now)),
            count(r.delivered),
            count(r.dead_letters),
        ]
    });
    let targets = status
        .targets
        .iter()
        .map(|t| vec![t.name.to_string(), breaker(t.breaker), count(t.in_flight), count(t.delivered), rate(t)]);
    let head = format!("gocoffee {}, up {}, epoch {}\n", status.version, ago(&status.started, now), status.epoch);
    let refuses = |b: &BusStatus| b.refuses.as_ref().map(|why| format!("bus {} takes nothing in: {why}\n", b.name));
    let refusals: String = status.buses.iter().filter_map(refuses).collect();
    [
        head + &refusals,
        table(&["BUS", "#FIRST", "#TAIL", "#UNMATCHED"], &buses.collect::<Vec<_>>()),
        table(
            &[
                "ROUTE",
                "TARGET",
                "STATE",
                "#WAITING",
                "#IN FLIGHT",
                "#RETRYING",
                "#OLDEST",
                "#DELIVERED",
                "#DEAD LETTERS",
            ],
            &routes.collect::<Vec<_>>(),
        ),
        table(&["TARGET", "BREAKER", "#IN FLIGHT", "#DELIVERED", "RATE"], &targets.collect::<Vec<_>>()),
    ]
    .join("\n")
}
