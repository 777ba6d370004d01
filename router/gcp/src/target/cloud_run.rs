//! A service of Cloud Run, or a function, that asks who calls: a webhook that is shown an identity token. It is the
//! webhook target in all else: modes, statuses, replies, `Idempotency-Key`.

use std::sync::Arc;

use http::Uri;
use router_http::{
    HttpTarget, HttpTargetConfig,
    client::{self, Client},
    target::Tokens,
};

use crate::auth::{Accounts, Credentials, Identity, Settings};

/// A service as it is configured.
#[derive(Clone, Debug)]
pub struct CloudRunConfig {
    /// Where it is and how it is called; without `auth`.
    pub http: HttpTargetConfig,
    /// For whom the token is; `None`: [`audience_of`] its URL.
    pub audience: Option<String>,
    /// Who the router is to Google; [`Credentials::Anonymous`]: no token is shown.
    pub settings: Settings,
}

/// Why a service cannot be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloudRunError {
    /// What the webhook target says.
    #[error("{0}")]
    Http(#[from] router_http::target::ConfigError),
    /// Who the router is.
    #[error("{0}")]
    Google(#[from] crate::ConfigError),
    /// A token that others could read on its way.
    #[error(
        "an identity token would cross the network readable; write https://, or `credentials: {{ anonymous: true }}`"
    )]
    Readable,
}

/// Makes the target; connects nowhere. The client is one that connects as [`HttpTargetConfig::client`] says.
///
/// # Errors
/// The first setting that cannot be.
pub fn cloud_run(config: CloudRunConfig, client: Client, accounts: &Accounts) -> Result<HttpTarget, CloudRunError> {
    let CloudRunConfig { http, audience, settings } = config;
    settings.check()?;
    if settings.credentials == Credentials::Anonymous {
        return Ok(HttpTarget::new(http, client)?);
    }
    let uri = client::url(&http.url).map_err(router_http::target::ConfigError::Url)?;
    if uri.scheme_str() != Some("https") && !is_here(&uri) {
        return Err(CloudRunError::Readable);
    }
    let identity = Arc::new(Identity::new(accounts.get(&settings), audience.unwrap_or_else(|| audience_of(&uri))));
    let fetch = Box::new(move || {
        let identity = identity.clone();
        Box::pin(async move { identity.fetch().await }) as router_http::target::Fetching
    });
    Ok(HttpTarget::with_tokens(http, client, Tokens::fetching("Google", fetch))?)
}

/// For whom a token for this URL is: the service's own address; with functions of the first generation, whose address is
/// shared, the function's whole URL [cloud.google.com/functions/docs/securing/authenticating].
pub fn audience_of(uri: &Uri) -> String {
    let (scheme, authority) = (uri.scheme_str().unwrap_or("https"), uri.authority().map_or("", |a| a.as_str()));
    match uri.host().is_some_and(|host| host.ends_with(".cloudfunctions.net")) {
        true => format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')),
        false => format!("{scheme}://{authority}"),
    }
}

/// Whether a URL is of this machine.
fn is_here(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let ip = router_http::address::written_out(host);
    router_http::address::is_localhost(host) || ip.is_some_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_the_service_that_is_called() {
        for (url, audience) in [
            ("https://price-abc-ew.a.run.app/orders?x=1", "https://price-abc-ew.a.run.app"),
            ("https://example.com:8443/", "https://example.com:8443"),
            (
                "https://europe-west1-coffee.cloudfunctions.net/price",
                "https://europe-west1-coffee.cloudfunctions.net/price",
            ),
        ] {
            assert_eq!(audience_of(&url.parse().unwrap()), audience);
        }
    }

    #[test]
    fn a_token_does_not_cross_the_network_readable() {
        let name = || router_core::id::TargetName::new("t").unwrap();
        let of = |url: &str, credentials| {
            let (http, settings) =
                (HttpTargetConfig::new(name(), url), Settings { credentials, ..Settings::default() });
            let config = CloudRunConfig { http, audience: None, settings };
            cloud_run(config, Client::new().unwrap(), &Accounts::default())
        };
        assert!(matches!(of("http://10.0.0.7/", Credentials::Ambient), Err(CloudRunError::Readable)));
        assert!(of("http://10.0.0.7/", Credentials::Anonymous).is_ok());
        assert!(of("http://127.0.0.1:8080/", Credentials::Ambient).is_ok());
        assert!(of("https://price-abc-ew.a.run.app/", Credentials::Ambient).is_ok());
    }
}
