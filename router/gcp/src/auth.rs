//! How Google knows the router. Without settings of its own it is what every Google program on the machine is:
//! application default credentials, in the order of the official crate (`GOOGLE_APPLICATION_CREDENTIALS`, what
//! `gcloud auth application-default login` left, the metadata server, which is workload identity in Kubernetes and the
//! service account of Cloud Run and Compute Engine). Settings that are alike share one [`Account`], so that tokens are
//! had once and renewed once.
//!
//! Nothing is looked up before the first delivery or check: a start waits for nobody, and credentials that are not
//! there yet are a fault of the target, tried again like any other.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use google_cloud_auth::credentials::{
    self as google, anonymous, external_account, impersonated, service_account, user_account,
};
use tokio::sync::OnceCell;

/// Tokens that say who calls a service.
mod identity;

pub(crate) use identity::Identity;

/// Who the router is to Google, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where the service is, in place of Google's own address: a regional endpoint, or an emulator.
    pub endpoint: Option<String>,
    /// Who the router is.
    pub credentials: Credentials,
    /// A service account that it acts as, by its address.
    pub impersonate: Option<String>,
}

/// Who the router is to Google.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Application default credentials.
    #[default]
    Ambient,
    /// A file of credentials: the key of a service account, the configuration of a workload identity pool, what
    /// `gcloud` wrote for a user.
    File(PathBuf),
    /// Nobody: for emulators.
    Anonymous,
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
        let Settings { endpoint, credentials, impersonate } = self;
        if let Some(endpoint) = endpoint {
            let url = router_http::client::url(endpoint).map_err(|e| ConfigError::new(&["endpoint"], e.to_string()))?;
            if url.scheme_str() == Some("http") && *credentials != Credentials::Anonymous {
                let message = format!(
                    "to `{endpoint}` a token would cross the network readable; write https://, or `credentials: {{ anonymous: true }}` for an emulator"
                );
                return Err(ConfigError::new(&["endpoint"], message));
            }
        }
        let Some(account) = impersonate else { return Ok(()) };
        if *credentials == Credentials::Anonymous {
            let message = "nobody can act as a service account; leave `anonymous` or `impersonate` out";
            return Err(ConfigError::new(&["credentials", "impersonate"], message));
        }
        if !account.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.')) {
            let message = format!(
                "`{account}` is no service account; write its address, e.g. `router@go-coffee.iam.gserviceaccount.com`"
            );
            return Err(ConfigError::new(&["credentials", "impersonate"], message));
        }
        Ok(())
    }
}

/// All accounts of a router, each once.
#[derive(Default)]
pub struct Accounts {
    known: Mutex<Vec<Arc<Account>>>,
}

impl Accounts {
    /// The account of these settings.
    pub fn get(&self, settings: &Settings) -> Arc<Account> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.iter().find(|account| account.settings == *settings) {
            return account.clone();
        }
        let account = Arc::new(Account { settings: settings.clone(), loaded: OnceCell::new() });
        known.push(account.clone());
        account
    }
}

/// Credentials, had at the first use.
pub struct Account {
    settings: Settings,
    loaded: OnceCell<google::Credentials>,
}

impl Account {
    /// Where the service is, in place of Google's own address.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.settings.endpoint.as_deref()
    }

    /// What clients show.
    ///
    /// # Errors
    /// One sentence: why there are none.
    pub(crate) async fn credentials(&self) -> Result<google::Credentials, Box<str>> {
        self.loaded.get_or_try_init(|| self.load()).await.cloned()
    }

    /// Who the router is before it acts as somebody else.
    async fn own(&self) -> Result<google::Credentials, Box<str>> {
        ring();
        match &self.settings.credentials {
            Credentials::Ambient => google::Builder::default().build().map_err(|e| e.to_string().into()),
            Credentials::Anonymous => Ok(anonymous::Builder::new().build()),
            Credentials::File(path) => of_file(path).await,
        }
    }

    async fn load(&self) -> Result<google::Credentials, Box<str>> {
        let own = self.own().await?;
        let Some(account) = &self.settings.impersonate else { return Ok(own) };
        let acting = impersonated::Builder::from_source_credentials(own).with_target_principal(account).build();
        acting.map_err(|e| format!("nothing can act as {account}: {e}").into())
    }
}

/// The TLS of the official crates is rustls without a library of its own for the arithmetic: they take the process's,
/// which is ring, as everywhere else.
pub(crate) fn ring() {
    // Whoever was first has chosen.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The kind of credentials that a file names, and all of it.
async fn read(path: &Path) -> Result<(String, serde_json::Value), Box<str>> {
    let at = path.display();
    let text = tokio::fs::read(path).await.map_err(|e| format!("the file `{at}` cannot be read: {e}"))?;
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| format!("the file `{at}` holds no JSON: {e}"))?;
    let kind = json.get("type").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    Ok((kind, json))
}

/// Credentials out of a file, by the kind that it names.
async fn of_file(path: &Path) -> Result<google::Credentials, Box<str>> {
    let (at, (kind, json)) = (path.display(), read(path).await?);
    let built = match kind.as_str() {
        "service_account" => service_account::Builder::new(json).build(),
        "external_account" => external_account::Builder::new(json).build(),
        "authorized_user" => user_account::Builder::new(json).build(),
        "impersonated_service_account" => impersonated::Builder::new(json).build(),
        other => {
            let known = "service_account, external_account, authorized_user, impersonated_service_account";
            return Err(format!("the file `{at}` holds credentials of type `{other}`; known are {known}").into());
        }
    };
    // What the crate says of a key that it cannot read may hold part of it.
    built.map_err(|_| format!("the file `{at}` holds no usable credentials of type `{kind}`").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let anonymous = || Settings { credentials: Credentials::Anonymous, ..Settings::default() };
        let emulator = || Some("http://127.0.0.1:8085".to_owned());
        let cases = [
            (Settings { endpoint: Some("localhost:8085".into()), ..anonymous() }, "endpoint"),
            (Settings { endpoint: emulator(), ..Settings::default() }, "endpoint"),
            (Settings { impersonate: Some("router".into()), ..Settings::default() }, "impersonate"),
            (Settings { impersonate: Some("r@p.iam.gserviceaccount.com".into()), ..anonymous() }, "impersonate"),
        ];
        for (settings, at) in cases {
            let refused = settings.check().unwrap_err();
            assert_eq!(refused.keys.last(), Some(&at), "{refused}");
        }
        assert_eq!(Settings { endpoint: emulator(), ..anonymous() }.check(), Ok(()));
        let regional = Some("https://europe-west1-pubsub.googleapis.com".into());
        assert_eq!(Settings { endpoint: regional, ..Settings::default() }.check(), Ok(()));
    }

    #[test]
    fn settings_that_are_alike_share_one_account() {
        let accounts = Accounts::default();
        let of = |endpoint: &str| accounts.get(&Settings { endpoint: Some(endpoint.into()), ..Settings::default() });
        assert!(Arc::ptr_eq(&of("https://a"), &of("https://a")));
        assert!(!Arc::ptr_eq(&of("https://a"), &of("https://b")));
    }

    #[tokio::test]
    async fn a_file_that_holds_no_credentials_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            ("none", None, "cannot be read"),
            ("text", Some("hunter2"), "holds no JSON"),
            ("odd", Some(r#"{"type":"robot"}"#), "of type `robot`; known are"),
            ("bad", Some(r#"{"type":"service_account","private_key":"hunter2"}"#), "no usable credentials"),
        ];
        for (name, text, says) in cases {
            let path = folder.path().join(name);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let settings = Settings { credentials: Credentials::File(path), ..Settings::default() };
            let why = Accounts::default().get(&settings).credentials().await.unwrap_err();
            assert!(why.contains(says) && !why.contains("hunter2"), "{why}");
        }
    }
}
