//! Identity tokens: what a private service of Cloud Run, or a function, asks a caller for. One is for an audience, lives
//! for an hour, and is renewed by the official crate before it ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use google_cloud_auth::credentials::idtoken::{self, IDTokenCredentials, impersonated, service_account, user_account};
use router_http::target::Fetched;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{Account, Credentials, read, ring};

/// Identity tokens for one audience.
pub(crate) struct Identity {
    account: std::sync::Arc<Account>,
    audience: String,
    made: OnceCell<IDTokenCredentials>,
}

impl Identity {
    pub fn new(account: std::sync::Arc<Account>, audience: String) -> Self {
        Identity { account, audience, made: OnceCell::new() }
    }

    /// The token in use.
    ///
    /// # Errors
    /// Why there is none, without a secret.
    pub async fn fetch(&self) -> Result<Fetched, String> {
        let credentials = self.made.get_or_try_init(|| self.make()).await.map_err(String::from)?;
        let token = credentials.id_token().await.map_err(|e| e.to_string())?;
        let life = life(&token, SystemTime::now()).ok_or("what Google gave is no token with an end")?;
        Ok(Fetched { token, life })
    }

    async fn make(&self) -> Result<IDTokenCredentials, Box<str>> {
        ring();
        let audience = self.audience.as_str();
        let settings = &self.account.settings;
        if let Some(principal) = &settings.impersonate {
            let own = self.account.own().await?;
            let acting = impersonated::Builder::from_source_credentials(audience, principal, own).build();
            return acting.map_err(|e| format!("nothing can act as {principal}: {e}").into());
        }
        match &settings.credentials {
            Credentials::Ambient => idtoken::Builder::new(audience).build().map_err(|e| e.to_string().into()),
            Credentials::Anonymous => Err("nobody has no identity token; leave `anonymous` out".into()),
            Credentials::File(path) => {
                let (kind, json) = read(path).await?;
                let built = match kind.as_str() {
                    "service_account" => service_account::Builder::new(audience, json).build(),
                    "impersonated_service_account" => impersonated::Builder::new(audience, json).build(),
                    "authorized_user" => user_account::Builder::new(json).build(),
                    other => {
                        let why = format!(
                            "credentials of type `{other}` have no identity tokens of their own; write `impersonate` and a service account that they may act as"
                        );
                        return Err(why.into());
                    }
                };
                built.map_err(|_| format!("the file `{}` gives no identity tokens", path.display()).into())
            }
        }
    }
}

/// How long a token is good for.
fn life(token: &str, now: SystemTime) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let end = serde_json::from_slice::<Value>(&claims).ok()?.get("exp")?.as_u64()?;
    Some((UNIX_EPOCH + Duration::from_secs(end)).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_when_it_ends() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let of = |claims: &str| life(&format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims)), now);
        assert_eq!(of(r#"{"exp":4600}"#), Some(Duration::from_secs(3600)));
        assert_eq!(of(r#"{"exp":10}"#), Some(Duration::ZERO));
        assert_eq!((of("{}"), life("token", now)), (None, None));
    }
}
