//! A function of Azure Functions with an HTTP trigger: a webhook that is shown the function's key or a token. It is the
//! webhook target in all else: modes, statuses, replies, `Idempotency-Key`.

use std::collections::BTreeMap;

use router_http::{HttpTarget, HttpTargetConfig, client::Client};

use super::ConfigError;
use crate::auth::{Auth, AuthError};

/// A function as it is configured.
#[derive(Clone, Debug)]
pub struct FunctionConfig {
    /// Where it is and how it is called; without `auth`.
    pub http: HttpTargetConfig,
    /// How it knows us; `None`: anonymous.
    pub auth: Option<Auth>,
}

/// Makes the target; connects nowhere. The client is one that connects as [`HttpTargetConfig::client`] says.
///
/// # Errors
/// The first setting that cannot be.
pub fn function(config: FunctionConfig, client: Client) -> Result<HttpTarget, ConfigError> {
    let FunctionConfig { mut http, auth } = config;
    match auth {
        None => {}
        Some(Auth::Sas { .. }) => return Err(AuthError::NoSignature.into()),
        Some(Auth::Key(key)) => {
            if key.expose().is_empty() {
                return Err(AuthError::Key.into());
            }
            http.headers.extend(BTreeMap::from([("x-functions-key".to_owned(), key)]));
        }
        Some(Auth::Entra(entra)) => {
            let tokens = entra.tokens(&client)?;
            return Ok(HttpTarget::with_tokens(http, client, tokens)?);
        }
    }
    Ok(HttpTarget::new(http, client)?)
}
