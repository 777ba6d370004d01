//! From the configuration to Google Cloud. Without the feature `gcp` there is nothing to connect, and that is said.

#[cfg(feature = "gcp")]
use std::sync::Arc;

#[cfg(feature = "gcp")]
use router_core::{id::TargetName, target::Target};
#[cfg(feature = "gcp")]
use router_gcp::{Credentials, PubSub, PubSubConfig, Settings, target::Batch, wire::Mode};

#[cfg(feature = "gcp")]
use super::{Error, rate};
#[cfg(feature = "gcp")]
use crate::config::{self, GoogleCredentials, PubSubBatch, PubSubTarget};

#[cfg(feature = "gcp")]
pub(super) use router_gcp::Accounts;

/// No account can be had.
#[cfg(not(feature = "gcp"))]
#[derive(Default)]
pub(super) struct Accounts;

/// Connects a topic of Pub/Sub.
#[cfg(feature = "gcp")]
pub(super) fn pubsub(name: &TargetName, target: &PubSubTarget, accounts: &Accounts) -> Result<Arc<dyn Target>, Error> {
    let PubSubBatch { count_max, bytes_max, delay_max } = target.batch;
    let config = PubSubConfig {
        settings: settings(target.endpoint.as_ref(), &target.credentials),
        mode: mode(target.mode),
        ordering: target.ordering,
        timeout: target.timeout,
        batch: Batch { count_max: count_max.into(), bytes_max, delay_max: delay_max.unwrap_or_default() },
        in_flight_max: target.in_flight_max.into(),
        rate: rate(target.rate.as_ref()),
        ..PubSubConfig::new(name.clone(), target.topic.clone())
    };
    let refused = |e: router_gcp::ConfigError| Error::Google { name: name.clone(), keys: e.keys, why: e.message };
    Ok(Arc::new(PubSub::new(config, accounts).map_err(refused)?))
}

#[cfg(feature = "gcp")]
fn mode(mode: config::Mode) -> Mode {
    match mode {
        config::Mode::Binary => Mode::Binary,
        config::Mode::Structured => Mode::Structured,
    }
}

/// Who the router is to Google, and where.
#[cfg(feature = "gcp")]
fn settings(endpoint: Option<&String>, given: &GoogleCredentials) -> Settings {
    let credentials = match (&given.file, given.anonymous) {
        (Some(file), _) => Credentials::File(file.clone()),
        (None, true) => Credentials::Anonymous,
        (None, false) => Credentials::Ambient,
    };
    Settings { endpoint: endpoint.cloned(), credentials, impersonate: given.impersonate.clone() }
}
