//! From the configuration to AWS. Without the feature `aws` there is nothing to connect, and that is said.

#[cfg(feature = "aws")]
use std::sync::Arc;

#[cfg(feature = "aws")]
use http::HeaderName;

#[cfg(feature = "aws")]
use router_aws::{
    AccessKey, ApiDestination, ApiDestinationConfig, Credentials, EventBridge, EventBridgeConfig, EventBridgeSource,
    EventBridgeSourceConfig, EventBridgeV2, EventBridgeV2Config, Invocation, Lambda, LambdaConfig, PutEvents,
    PutEventsConfig, Role, Settings, Sqs, SqsConfig, target::Batch, wire::Mapping,
};
#[cfg(feature = "aws")]
use router_core::{
    id::{SourceName, TargetName},
    target::Target,
};

#[cfg(feature = "aws")]
use super::{Connected, Error, KnownKey, on_invalid, rate, secret};
#[cfg(feature = "aws")]
use crate::config;
#[cfg(feature = "aws")]
use router_http::{
    Key, KeySpec,
    client::Client,
    jwt::{Claim, Rules, Verifier},
};

#[cfg(feature = "aws")]
pub(super) use router_aws::Accounts;

/// No account can be had.
#[cfg(not(feature = "aws"))]
#[derive(Default)]
pub(super) struct Accounts;

/// Connects a bus of EventBridge.
#[cfg(feature = "aws")]
pub(super) fn eventbridge(
    name: &TargetName,
    target: &config::EventBridgeTarget,
    accounts: &Accounts,
) -> Result<Arc<dyn Target>, Error> {
    let settings = Settings {
        region: target.region.clone(),
        endpoint: target.endpoint.clone(),
        ..settings(&target.credentials, &format!("targets.{name}.eventbridge"))?
    };
    let config = EventBridgeConfig {
        settings,
        mapping: match target.mapping {
            None | Some(config::EventBridgeMapping::Structured) => Mapping::Structured,
            Some(config::EventBridgeMapping::Opaque) => Mapping::Opaque,
            Some(config::EventBridgeMapping::Data) => Mapping::Data,
        },
        timeout: target.timeout,
        batch: batch(&target.batch),
        in_flight_max: target.in_flight_max.into(),
        rate: rate(target.rate.as_ref()),
        ..EventBridgeConfig::new(name.clone(), target.bus.clone())
    };
    let refused = |e| refused(format!("targets.{name}"), e);
    Ok(Arc::new(EventBridge::new(config, accounts).map_err(refused)?))
}

/// Connects a custom event bus of EventBridge.
#[cfg(feature = "aws")]
pub(super) fn eventbridge_v2(
    name: &TargetName,
    target: &config::EventBridgeV2Target,
    accounts: &Accounts,
) -> Result<Arc<dyn Target>, Error> {
    let settings = Settings {
        region: target.region.clone(),
        endpoint: target.endpoint.clone(),
        ..settings(&target.credentials, &format!("targets.{name}.eventbridge_v2"))?
    };
    let config::RawEventsBatch { count_max, bytes_max, delay_max } = target.batch;
    let config = EventBridgeV2Config {
        settings,
        timeout: target.timeout,
        batch: Batch { count_max: count_max.into(), bytes_max, delay_max: delay_max.unwrap_or_default() },
        in_flight_max: target.in_flight_max.into(),
        rate: rate(target.rate.as_ref()),
        ..EventBridgeV2Config::new(name.clone(), target.bus.clone())
    };
    let refused = |e| refused(format!("targets.{name}"), e);
    Ok(Arc::new(EventBridgeV2::new(config, accounts).map_err(refused)?))
}

/// Connects a queue of SQS.
#[cfg(feature = "aws")]
pub(super) fn sqs(
    name: &TargetName,
    target: &config::SqsTarget,
    accounts: &Accounts,
) -> Result<Arc<dyn Target>, Error> {
    let settings = Settings {
        region: target.region.clone(),
        endpoint: target.endpoint.clone(),
        ..settings(&target.credentials, &format!("targets.{name}.sqs"))?
    };
    let config = SqsConfig {
        settings,
        timeout: target.timeout,
        batch: batch(&target.batch),
        in_flight_max: target.in_flight_max.into(),
        rate: rate(target.rate.as_ref()),
        ..SqsConfig::new(name.clone(), target.queue_url.clone())
    };
    let refused = |e| refused(format!("targets.{name}"), e);
    Ok(Arc::new(Sqs::new(config, accounts).map_err(refused)?))
}

/// Connects a function of Lambda.
#[cfg(feature = "aws")]
pub(super) fn lambda(
    name: &TargetName,
    target: &config::LambdaTarget,
    accounts: &Accounts,
    client: router_http::client::Client,
) -> Result<Arc<dyn Target>, Error> {
    let settings = Settings {
        region: target.region.clone(),
        endpoint: target.endpoint.clone(),
        ..settings(&target.credentials, &format!("targets.{name}.lambda"))?
    };
    let config = LambdaConfig {
        settings,
        invocation: match target.invocation {
            config::Invocation::RequestResponse => Invocation::RequestResponse,
            config::Invocation::Event => Invocation::Event,
        },
        timeout: target.timeout,
        in_flight_max: target.in_flight_max.into(),
        rate: rate(target.rate.as_ref()),
        ..LambdaConfig::new(name.clone(), target.function.clone())
    };
    let refused = |e| refused(format!("targets.{name}"), e);
    Ok(Arc::new(Lambda::new(config, accounts, client).map_err(refused)?))
}

#[cfg(feature = "aws")]
fn batch(batch: &config::AwsBatch) -> Batch {
    let config::AwsBatch { count_max, bytes_max, delay_max } = *batch;
    Batch { count_max: count_max.into(), bytes_max, delay_max: delay_max.unwrap_or_default() }
}

/// Connects a queue that EventBridge feeds.
#[cfg(feature = "aws")]
pub(super) fn queue(
    name: &SourceName,
    source: &config::EventBridgeSource,
    accounts: &Accounts,
) -> Result<Connected, Error> {
    let settings = Settings {
        region: source.region.clone(),
        endpoint: source.endpoint.clone(),
        ..settings(&source.credentials, &format!("sources.{name}.eventbridge"))?
    };
    let config = EventBridgeSourceConfig {
        settings,
        on_invalid: on_invalid(source.on_invalid),
        receivers: source.receivers.into(),
        visibility: source.visibility,
        ..EventBridgeSourceConfig::new(name.clone(), source.queue_url.clone())
    };
    let refused = |e| refused(format!("sources.{name}"), e);
    let connected = Arc::new(EventBridgeSource::new(config, accounts).map_err(refused)?);
    Ok(Connected::Pull { source: connected, bus: source.bus.clone(), validate: source.validate })
}

/// Mounts what SDKs publish to.
#[cfg(feature = "aws")]
pub(super) fn put_events(name: &SourceName, source: &config::PutEventsSource) -> Result<Connected, Error> {
    let refused = |e: &dyn std::fmt::Display| Error::Source(name.clone(), e.to_string());
    let mut keys = Vec::new();
    for given in &source.access_keys {
        let text = secret(|| format!("sources.{name}.aws.put_events.access_keys.{}", given.id), &given.secret)?;
        let key = Key::new(KeySpec::new(given.id.clone(), text)).map_err(|e| refused(&e))?;
        keys.push(KnownKey { key, secret: given.secret.clone() });
    }
    let config = PutEventsConfig {
        path: source.path.clone(),
        access_keys: keys.iter().map(|known| known.key.clone()).collect(),
        event_buses: source.event_buses.clone(),
        ..PutEventsConfig::new(name.clone())
    };
    let endpoint = Box::new(PutEvents::new(config).map_err(|e| refused(&e))?);
    Ok(Connected::Push { endpoint, bus: source.bus.clone(), keys, validate: source.validate })
}

/// Mounts what EventBridge sends to.
#[cfg(feature = "aws")]
pub(super) fn api_destination(name: &SourceName, source: &config::ApiDestinationSource) -> Result<Connected, Error> {
    let refused = |e: &dyn std::fmt::Display| Error::Source(name.clone(), e.to_string());
    let mut known = Vec::new();
    let mut keys = |list: &str, secrets: &[config::value::Secret]| {
        let made = (1..).zip(secrets).map(|(n, given)| {
            let text = secret(|| format!("sources.{name}.aws.api_destination.{list}"), given)?;
            let key = Key::new(KeySpec::new(format!("{name}/{n}"), text)).map_err(|e| refused(&e))?;
            known.push(KnownKey { key: key.clone(), secret: given.clone() });
            Ok(key)
        });
        made.collect::<Result<Vec<_>, Error>>()
    };
    // Of several, which `check` refuses, the first.
    let credentials = match source {
        config::ApiDestinationSource { api_key: Some(given), .. } => {
            let header = HeaderName::try_from(&given.header).map_err(|e| refused(&e))?;
            Credentials::ApiKey(header, keys("api_key.keys", &given.keys)?)
        }
        config::ApiDestinationSource { basic: Some(given), .. } => {
            Credentials::Basic(given.username.clone(), keys("basic.passwords", &given.passwords)?)
        }
        config::ApiDestinationSource { oauth: Some(given), .. } => {
            let client = Client::new().map_err(|e| refused(&e))?;
            let names = ["client_id", "azp"].map(str::to_owned).to_vec();
            let clients = Claim { names, values: given.clients.clone() };
            let rules = Rules {
                keys_url: given.keys_url.clone(),
                issuers: given.issuers.clone(),
                audiences: given.audiences.clone(),
                claims: if given.clients.is_empty() { Vec::new() } else { vec![clients] },
            };
            Credentials::OAuth(Box::new(Verifier::new(rules, client).map_err(|e| refused(&e))?))
        }
        _ => Credentials::None,
    };
    let config = ApiDestinationConfig { credentials, ..ApiDestinationConfig::new(name.clone(), source.path.clone()) };
    let endpoint = Box::new(ApiDestination::new(config).map_err(|e| refused(&e))?);
    Ok(Connected::Push { endpoint, bus: source.bus.clone(), keys: known, validate: source.validate })
}

#[cfg(feature = "aws")]
fn refused(place: String, e: router_aws::ConfigError) -> Error {
    Error::Aws { place, keys: e.keys, why: e.message }
}

/// Who the router is to AWS; `at` is where the credentials stand.
#[cfg(feature = "aws")]
fn settings(given: &config::AwsCredentials, at: &str) -> Result<Settings, Error> {
    let secret = |key: &str, value| secret(|| format!("{at}.credentials.{key}"), value);
    let access_key = match (&given.access_key_id, &given.secret_access_key) {
        (Some(id), Some(value)) => Some(AccessKey {
            id: id.clone(),
            secret: secret("secret_access_key", value)?,
            session_token: given.session_token.as_ref().map(|token| secret("session_token", token)).transpose()?,
        }),
        // One without the other was refused by `check`.
        _ => None,
    };
    let role = given.role_arn.as_ref().map(|arn| Role {
        arn: arn.clone(),
        external_id: given.external_id.clone(),
        session_name: given.session_name.clone(),
    });
    Ok(Settings { profile: given.profile.clone(), access_key, role, ..Settings::default() })
}
