//! How AWS knows the router. Without settings of its own a target uses what every AWS program on the machine uses:
//! environment, profile, web identity, container, instance, in the order of the SDK. Settings that are alike share
//! one [`Account`], so that credentials are had once and renewed once.
//!
//! Nothing is looked up before the first delivery or check: a start waits for nobody, and credentials that are not
//! there yet are a fault of the target, tried again like any other.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use router_http::Secret;
use tokio::sync::OnceCell;

/// How long a connection to AWS may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What AWS shows of a session, unless it is configured.
const SESSION_NAME: &str = "gocoffee";

/// Who the router is to AWS, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The region; `None`: what the environment or the profile says.
    pub region: Option<String>,
    /// Where the service is, in place of the region's own address.
    pub endpoint: Option<String>,
    /// A profile of the shared configuration files; `None`: the environment's.
    pub profile: Option<String>,
    /// Credentials written out; `None`: those of the environment.
    pub access_key: Option<AccessKey>,
    /// A role that is assumed with them; `None`: they are used themselves.
    pub role: Option<Role>,
}

/// Credentials written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// The token of a temporary one.
    pub session_token: Option<Secret>,
}

/// A role that is assumed, and renewed before it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its owner asks for.
    pub external_id: Option<String>,
    /// What its owner sees of us; `None`: `gocoffee`.
    pub session_name: Option<String>,
}

/// A setting that cannot be: its key in the configuration, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// The keys below the target or source, from the outside in.
    pub keys: &'static [&'static str],
    /// What is wrong, and what to write.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn new(keys: &'static [&'static str], message: impl Into<String>) -> Self {
        ConfigError { keys, message: message.into() }
    }
}

impl Settings {
    /// What of the settings cannot be.
    ///
    /// # Errors
    /// The first of it.
    pub fn check(&self) -> Result<(), ConfigError> {
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(region) = self.region.as_ref().filter(|region| !word(region)) {
            let message = format!("`{region}` is no region; write one as AWS does, e.g. `us-east-1`");
            return Err(ConfigError::new(&["region"], message));
        }
        if let Some(endpoint) = &self.endpoint {
            router_http::client::url(endpoint).map_err(|e| ConfigError::new(&["endpoint"], e.to_string()))?;
        }
        if let Some(Role { arn, .. }) = self.role.as_ref().filter(|role| !is_arn_of(&role.arn, "iam")) {
            let message = format!("`{arn}` is no role; write its ARN, e.g. `arn:aws:iam::123456789012:role/router`");
            return Err(ConfigError::new(&["credentials", "role_arn"], message));
        }
        if self.access_key.is_some() && self.profile.is_some() {
            let message = "`access_key_id` and `profile` both say who the router is; keep one of the two";
            return Err(ConfigError::new(&["credentials", "profile"], message));
        }
        Ok(())
    }
}

/// Whether a text is an ARN of that service: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
pub(crate) fn is_arn_of(text: &str, service: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some(service)
        && parts.nth(2).is_some_and(|resource| !resource.is_empty())
}

/// The region that an ARN names.
pub(crate) fn region_of(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

/// All accounts of a router, each once.
#[derive(Default)]
pub struct Accounts {
    known: Mutex<Vec<Arc<Account>>>,
    http: Arc<OnceLock<SharedHttpClient>>,
}

impl Accounts {
    /// The account of these settings.
    pub fn get(&self, settings: &Settings) -> Arc<Account> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.iter().find(|account| account.settings == *settings) {
            return account.clone();
        }
        let account = Account { settings: settings.clone(), http: self.http.clone(), loaded: OnceCell::new() };
        known.push(Arc::new(account));
        known.last().cloned().unwrap_or_else(|| unreachable!())
    }
}

/// Credentials and a region, had at the first use.
pub struct Account {
    settings: Settings,
    http: Arc<OnceLock<SharedHttpClient>>,
    loaded: OnceCell<SdkConfig>,
}

impl Account {
    /// Where the service is, in place of the region's own address.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.settings.endpoint.as_deref()
    }

    /// What clients are made of.
    ///
    /// # Errors
    /// One sentence: no region is known.
    pub(crate) async fn config(&self) -> Result<&SdkConfig, Box<str>> {
        let config = self.loaded.get_or_init(|| self.load()).await;
        if config.region().is_none() {
            return Err("no region is known; write `region`, or set AWS_REGION, or one in the profile".into());
        }
        Ok(config)
    }

    async fn load(&self) -> SdkConfig {
        let Settings { region, profile, access_key, role, .. } = &self.settings;
        // One set of connections for all, with the TLS that the rest of the router has.
        let http = self.http.get_or_init(|| {
            Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https()
        });
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
        if let Some(region) = region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(AccessKey { id, secret, session_token }) = access_key {
            let token = session_token.as_ref().map(|token| token.expose().to_owned());
            let given = Credentials::new(id, secret.expose(), token, None, "configuration");
            loader = loader.credentials_provider(SharedCredentialsProvider::new(given));
        }
        let config = loader.load().await;
        let Some(Role { arn, external_id, session_name }) = role else { return config };
        let mut assumed = AssumeRoleProvider::builder(arn.as_str())
            .session_name(session_name.as_deref().unwrap_or(SESSION_NAME))
            .configure(&config);
        if let Some(id) = external_id {
            assumed = assumed.external_id(id);
        }
        let provider = match config.credentials_provider() {
            Some(own) => assumed.build_from_provider(own).await,
            None => assumed.build().await,
        };
        config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
    }
}

/// How long a call may take; the SDK's own retries are off, since the path makes its own.
pub(crate) fn once(timeout: Duration) -> (RetryConfig, TimeoutConfig) {
    let connect = CONNECT_TIMEOUT.min(timeout);
    let times = TimeoutConfig::builder().operation_timeout(timeout).connect_timeout(connect).build();
    (RetryConfig::disabled(), times)
}

/// A client of that SDK for that account, whose calls take so long at most; ends the function that it stands in where no
/// region is known. Each SDK has types of its own for the same thing.
macro_rules! client {
    ($sdk:ident, $account:expr, $timeout:expr) => {{
        let (retry, times) = $crate::auth::once($timeout);
        let config = $sdk::config::Builder::from($account.config().await?);
        let mut config = config.retry_config(retry).timeout_config(times);
        if let Some(endpoint) = $account.endpoint() {
            config = config.endpoint_url(endpoint);
        }
        $sdk::Client::from_conf(config.build())
    }};
}
pub(crate) use client;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let role = |arn: &str| Some(Role { arn: arn.into(), external_id: None, session_name: None });
        let key = AccessKey { id: "AKID".into(), secret: Secret::new("s"), session_token: None };
        let cases = [
            (Settings { region: Some("us east".into()), ..Settings::default() }, "region"),
            (Settings { endpoint: Some("localhost:4566".into()), ..Settings::default() }, "endpoint"),
            (Settings { role: role("router"), ..Settings::default() }, "role_arn"),
            (Settings { role: role("arn:aws:sqs:us-east-1:1:q"), ..Settings::default() }, "role_arn"),
            (Settings { access_key: Some(key), profile: Some("p".into()), ..Settings::default() }, "profile"),
        ];
        for (settings, at) in cases {
            let refused = settings.check().unwrap_err();
            assert_eq!(refused.keys.last(), Some(&at), "{refused}");
        }
        let fine = Settings { region: Some("eu-central-1".into()), ..Settings::default() };
        let fine = Settings { role: role("arn:aws-cn:iam::123456789012:role/r"), ..fine };
        assert_eq!(fine.check(), Ok(()));
    }

    #[test]
    fn settings_that_are_alike_share_one_account() {
        let accounts = Accounts::default();
        let of = |region: &str| accounts.get(&Settings { region: Some(region.into()), ..Settings::default() });
        assert!(Arc::ptr_eq(&of("us-east-1"), &of("us-east-1")));
        assert!(!Arc::ptr_eq(&of("us-east-1"), &of("us-east-2")));
    }

    #[test]
    fn secrets_of_settings_are_not_printed() {
        let secret = Secret::new("hunter2");
        let access_key = Some(AccessKey { id: "AKID".into(), secret: secret.clone(), session_token: Some(secret) });
        let printed = format!("{:?}", Settings { access_key, ..Settings::default() });
        assert!(printed.contains("AKID") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn arns_tell_their_region() {
        assert_eq!(region_of("arn:aws:events:eu-west-1:1:event-bus/coffee"), Some("eu-west-1"));
        assert_eq!(region_of("arn:aws:iam::1:role/r"), None);
        assert_eq!(region_of("coffee"), None);
    }
}
