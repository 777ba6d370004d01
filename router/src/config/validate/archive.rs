//! Where sealed segments are copied to.

use super::{Config, Cx, SYSTEM_BUS, Store};
use crate::connect;

/// Less would seal a segment for every few events.
const LAG_MIN: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn archive(cx: &mut Cx<'_>, config: &Config) {
    let Some(archive) = &config.archive else { return };
    if let Store::Memory(_) = config.store {
        let help = "use `store: { disk: … }`, or take `archive` away";
        cx.error(&["archive", "to"], "what is in memory is another store at each start, and no archive's own", help);
    }
    let mut buses = cx.names("buses");
    buses.insert(super::DEFAULT_BUS.into());
    buses.insert(SYSTEM_BUS.into());
    for bus in archive.buses.iter().flatten() {
        cx.known(&["archive", "buses"], "bus", bus.as_str(), &buses);
    }
    if archive.lag_max < LAG_MIN {
        let message = format!("with less than {} s segments would hold a few events each", LAG_MIN.as_secs());
        cx.error(&["archive", "lag_max"], message, "say `1m` or more");
    }
    for (name, secret) in &archive.options {
        cx.secret(&["archive", "options", name], secret);
    }
    // Whether the options are there is not asked here: their names are.
    let options = archive.options.keys().map(|name| (name.clone(), String::new())).collect();
    if let Err(e) = router_objects::check(&archive.to, &options) {
        let at = if options.is_empty() { "to" } else { "options" };
        cx.error(&["archive", at], e.to_string(), "see docs/archive.md");
    }
    if let Some(age_max) = archive.age_max {
        let buses = connect::archived_buses(config);
        let longest = buses.iter().map(|bus| connect::retention_of(config, bus)).max().unwrap_or_default();
        if age_max <= longest {
            let message = "copies would be removed as soon as their events are let go here";
            cx.warning(&["archive", "age_max"], message, "say more than the `retention.age_max` of each bus");
        }
    }
}
