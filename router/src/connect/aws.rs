//! From the configuration to AWS. Without the feature `aws` there is nothing to connect, and that is said.

#[cfg(feature = "aws")]
use std::sync::Arc;

#[cfg(feature = "aws")]
use router_aws::{AccessKey, EventBridge, EventBridgeConfig, Role, Settings, target::Batch, wire::Mapping};
#[cfg(feature = "aws")]
use router_core::{id::TargetName, target::Target};

#[cfg(feature = "aws")]
use super::{Error, rate, secret};
#[cfg(feature = "aws")]
use crate::config;

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
    let config::EventBridgeBatch { count_max, bytes_max, delay_max } = target.batch;
    let config = EventBridgeConfig {
        settings,
        mapping: match target.mapping {
            None | Some(config::EventBridgeMapping::Structured) => Mapping::Structured,
            Some(config::EventBridgeMapping::Opaque) => Mapping::Opaque,
            Some(config::EventBridgeMapping::Data) => Mapping::Data,
        },
        timeout: target.timeout,
        batch: Batch { count_max: count_max.into(), bytes_max, delay_max: delay_max.unwrap_or_default() },
        in_flight_max: target.in_flight_max.into(),
        rate: rate(target.rate.as_ref()),
        ..EventBridgeConfig::new(name.clone(), target.bus.clone())
    };
    let refused = |e: router_aws::ConfigError| Error::Aws { name: name.clone(), keys: e.keys, why: e.message };
    Ok(Arc::new(EventBridge::new(config, accounts).map_err(refused)?))
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
