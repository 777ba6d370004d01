//! From the configuration to Google Cloud. Without the feature `gcp` there is nothing to connect, and that is said.

#[cfg(feature = "gcp")]
use std::sync::Arc;

#[cfg(feature = "gcp")]
use router_core::{
    id::{SourceName, TargetName},
    target::Target,
};
#[cfg(feature = "gcp")]
use router_gcp::{
    Credentials, PubSub, PubSubConfig, Settings,
    source::{self, Publish, PublishConfig, Pull, PullConfig, Push, PushConfig},
    target::{Batch, CloudRunConfig, CloudRunError, cloud_run as service},
    wire::Mode,
};
#[cfg(feature = "gcp")]
use router_http::{
    HttpTargetConfig, Key, KeySpec,
    client::{Client, Clients},
    jwt::Verifier,
    target,
};

#[cfg(feature = "gcp")]
use super::{Connected, Error, KnownKey, on_invalid, rate, secret};
#[cfg(feature = "gcp")]
use crate::config::{
    self, CloudRunTarget, GoogleCredentials, GoogleTokens, PubSubBatch, PubSubPublish, PubSubPush, PubSubSource,
    PubSubTarget,
};

#[cfg(feature = "gcp")]
pub(super) use router_gcp::Accounts;

/// No account can be had.
#[cfg(not(feature = "gcp"))]
#[derive(Default)]
pub(super) struct Accounts;

/// Connects a subscription of Pub/Sub that is pulled.
#[cfg(feature = "gcp")]
pub(super) fn pull(name: &SourceName, given: &PubSubSource, accounts: &Accounts) -> Result<Connected, Error> {
    let config = PullConfig {
        settings: settings(given.endpoint.as_ref(), &given.credentials),
        topic: given.topic.clone(),
        type_attribute: given.type_attribute.clone(),
        on_invalid: on_invalid(given.on_invalid),
        messages_max: given.messages_max,
        bytes_max: given.bytes_max,
        lease: given.lease,
        ..PullConfig::new(name.clone(), given.subscription.clone())
    };
    let refused = |e: router_gcp::ConfigError| unusable(name, &format!("{}: {}", e.keys.join("."), e.message));
    let source = Arc::new(Pull::new(config, accounts).map_err(refused)?);
    Ok(Connected::Pull { source, bus: given.bus.clone(), validate: given.validate })
}

/// Connects a push subscription of Pub/Sub.
#[cfg(feature = "gcp")]
pub(super) fn push(name: &SourceName, given: &PubSubPush) -> Result<Connected, Error> {
    let config = PushConfig {
        unwrapped: given.unwrapped,
        tokens: given.tokens.as_ref().map(|given| tokens(name, given)).transpose()?,
        topic: given.topic.clone(),
        type_attribute: given.type_attribute.clone(),
        ..PushConfig::new(name.clone(), given.path.clone())
    };
    let endpoint = Push::new(config).map_err(|e| unusable(name, &e))?;
    let (bus, validate) = (given.bus.clone(), given.validate);
    Ok(Connected::Push { endpoint: Box::new(endpoint), bus, keys: Vec::new(), validate })
}

/// Mounts what Pub/Sub's clients publish to.
#[cfg(feature = "gcp")]
pub(super) fn publish(name: &SourceName, given: &PubSubPublish) -> Result<Connected, Error> {
    let mut keys = Vec::new();
    for (n, named) in (1..).zip(&given.keys) {
        let text = secret(|| format!("sources.{name}.pubsub_publish.keys"), named)?;
        let key = Key::new(KeySpec::new(format!("{name}/{n}"), text)).map_err(|e| unusable(name, &e))?;
        keys.push(KnownKey { key, secret: named.clone() });
    }
    let config = PublishConfig {
        topics: given.topics.clone(),
        keys: keys.iter().map(|known| known.key.clone()).collect(),
        type_attribute: given.type_attribute.clone(),
        ..PublishConfig::new(name.clone())
    };
    let endpoint = Box::new(Publish::new(config).map_err(|e| unusable(name, &e))?);
    Ok(Connected::Push { endpoint, bus: given.bus.clone(), keys, validate: given.validate })
}

#[cfg(feature = "gcp")]
fn tokens(name: &SourceName, given: &GoogleTokens) -> Result<Verifier, Error> {
    let client = Client::new().map_err(|e| unusable(name, &e))?;
    let GoogleTokens { audiences, accounts, keys_url } = given.clone();
    source::tokens(audiences, accounts, keys_url, client).map_err(|e| unusable(name, &e))
}

#[cfg(feature = "gcp")]
fn unusable(name: &SourceName, why: &dyn std::fmt::Display) -> Error {
    Error::Source(name.clone(), why.to_string())
}

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

/// Connects a service of Cloud Run, or a function.
#[cfg(feature = "gcp")]
pub(super) fn cloud_run(
    name: &TargetName,
    given: &CloudRunTarget,
    accounts: &Accounts,
    clients: &Clients,
) -> Result<Arc<dyn Target>, Error> {
    let refused = |keys: &'static [&'static str], why: &dyn std::fmt::Display| Error::Google {
        name: name.clone(),
        keys,
        why: why.to_string(),
    };
    let mut statuses = target::Statuses::default();
    for (status, verdict) in &given.retry.statuses {
        statuses.set(status, verdict).map_err(|e| refused(&["retry", "statuses"], &e))?;
    }
    let http = HttpTargetConfig {
        mode: match given.mode {
            config::Mode::Binary => target::Mode::Binary,
            config::Mode::Structured => target::Mode::Structured,
        },
        timeout: given.timeout,
        in_flight_max: given.in_flight_max.into(),
        rate: rate(given.rate.as_ref()),
        statuses,
        ..HttpTargetConfig::new(name.clone(), given.url.clone())
    };
    let client = clients.get(http.client()).map_err(|e| Error::TargetTls(name.clone(), e))?;
    let config =
        CloudRunConfig { http, audience: given.audience.clone(), settings: settings(None, &given.credentials) };
    let made = service(config, client, accounts).map_err(|e| match &e {
        CloudRunError::Google(google) => refused(google.keys, &e),
        _ => refused(&["url"], &e),
    });
    Ok(Arc::new(made?))
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
