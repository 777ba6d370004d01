//! The archive in object storage.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use router_core::{
    id::BusName,
    path::{Archiving, COPY_EVERY},
    shelf::Shelf,
};
use router_objects::Bucket;

use super::{Error, secret};
use crate::{
    around::Around,
    config::{self, Config},
};

/// The buses whose events are copied.
pub fn archived_buses(config: &Config) -> Vec<BusName> {
    let Some(archive) = &config.archive else { return Vec::new() };
    match &archive.buses {
        Some(buses) => buses.clone(),
        None => {
            let mut all: Vec<BusName> = config.buses.keys().cloned().collect();
            if !config.buses.contains_key(&config::default_bus()) {
                all.push(config::default_bus());
            }
            all
        }
    }
}

/// How long a bus keeps its events.
pub fn retention_of(config: &Config, bus: &BusName) -> Duration {
    let default =
        || if bus.as_str() == config::SYSTEM_BUS { config::SYSTEM_AGE } else { config::Retention::default().age_max };
    config.buses.get(bus).map_or_else(default, |bus| bus.retention.age_max)
}

/// The archive that is configured, with this around its place; nothing is asked of it yet.
///
/// # Errors
/// [`Error`].
pub fn archiving(config: &Config, around: &dyn Around) -> Result<Option<Archiving>, Error> {
    let Some(archive) = &config.archive else { return Ok(None) };
    let mut options = BTreeMap::new();
    for (name, value) in &archive.options {
        options.insert(name.clone(), secret(|| format!("archive.options.{name}"), value)?.expose().to_owned());
    }
    let bucket = Bucket::open(&archive.to, &options, &environment).map_err(|e| Error::Archive(e.to_string()))?;
    Ok(Some(Archiving {
        shelf: Arc::new(Shelf::new(around.objects(Arc::new(bucket)))),
        buses: archived_buses(config),
        uncopied: archive.when_full.uncopied(),
        lag_max: archive.lag_max,
        age_max: archive.age_max,
        every: COPY_EVERY,
        inline: false,
    }))
}

/// What the environment of this process says.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
