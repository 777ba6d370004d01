//! `gocoffee status`: what the router is doing.

use router_core::{
    retain::Level,
    stats::{BreakerState, BusStatus, DiskStatus, LaneStateName, TargetStatus},
};

use super::{
    Admin, Done, Exit, Output,
    api::Api,
    print, print_json,
    table::{ago, count, table},
};
use crate::admin::{
    Operation,
    view::{Archive, Status, Waiting},
};

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
        LaneStateName::Blocked => "blocked",
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
pub fn rate(target: &TargetStatus) -> String {
    match target.events_per_second_max {
        Some(rate) if target.paced => format!("{}/s, waits", count(rate.into())),
        Some(rate) => format!("{}/s", count(rate.into())),
        None => "-".into(),
    }
}

/// Bytes to three figures, in units of 1024.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 || value >= 99.95 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

/// How much space there is, and whether it is short.
fn disk(disk: &DiskStatus) -> String {
    let level = match disk.level {
        Level::Calm => "calm",
        Level::Short => "short: settled events go before their time",
        Level::Full => "full: nothing is taken in",
    };
    let used = size(disk.used_bytes);
    let budget = disk.bytes_max.map_or_else(|| used.clone(), |max| format!("{used} of {}", size(max)));
    let free = disk.free_bytes.map(|free| format!(", {} free of at least {}", size(free), size(disk.free_bytes_min)));
    format!("disk {level}; {budget} used{}\n", free.unwrap_or_default())
}

/// The archive in object storage, and what waits for it.
fn archive(archive: &Archive, now: jiff::Timestamp) -> String {
    let state = match &archive.failing {
        Some(why) => format!("takes no copies: {why}"),
        None if archive.ready => "takes copies".into(),
        None => "is being read".into(),
    };
    let mut text = format!("archive {} {state}\n", archive.place);
    for Waiting { bus, segments, bytes, oldest } in archive.waiting.iter().filter(|w| w.segments > 0) {
        let since = oldest.as_deref().map(|at| format!(", the oldest since {}", ago(at, now))).unwrap_or_default();
        text += &format!("bus {bus}: {} segments of {} wait to be copied{since}\n", count(*segments), size(*bytes));
    }
    text
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
    let stuck = status.routes.iter().filter(|r| r.stuck_keys > 0 || r.parked > 0).map(|r| {
        let (keys, parked) = (count(r.stuck_keys), count(r.parked));
        format!("route {}: {keys} keys are stuck, {parked} deliveries are parked behind others of their key\n", r.name)
    });
    let stuck: String = stuck.collect();
    let targets = status
        .targets
        .iter()
        .map(|t| vec![t.name.to_string(), breaker(t.breaker), count(t.in_flight), count(t.delivered), rate(t)]);
    let head = format!("gocoffee {}, up {}, epoch {}\n", status.version, ago(&status.started, now), status.epoch);
    let archived = status.archive.as_ref().map(|a| archive(a, now)).unwrap_or_default();
    let refuses = |b: &BusStatus| b.refuses.as_ref().map(|why| format!("bus {} takes nothing in: {why}\n", b.name));
    let refusals: String = status.buses.iter().filter_map(refuses).collect();
    [
        head + &disk(&status.disk) + &archived + &refusals + &stuck,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (150 << 20, "150 MiB"),
            (3 << 39, "1.5 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn disk_is_told_in_a_line() {
        let status = DiskStatus {
            used_bytes: 3 << 29,
            bytes_max: Some(50 << 30),
            free_bytes: Some(100 << 30),
            free_bytes_min: 256 << 20,
            level: Level::Calm,
            refuses: None,
        };
        assert_eq!(disk(&status), "disk calm; 1.5 GiB of 50.0 GiB used, 100 GiB free of at least 256 MiB\n");
        let memory = DiskStatus { bytes_max: None, free_bytes: None, level: Level::Full, ..status };
        assert_eq!(disk(&memory), "disk full: nothing is taken in; 1.5 GiB used\n");
    }
}
