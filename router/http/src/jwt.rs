//! Tokens that an identity service signed for who sends: JSON Web Tokens (RFC 7519) with RS256, checked against the
//! keys that the service publishes (RFC 7517). The keys are had once, kept, and had again when a token names one that
//! is not among them, at most once in [`ASK_EVERY`]: a stranger's tokens make no storm of requests.
//!
//! What cannot be told now, because the keys cannot be had, is told apart from what is wrong: the sender of the first
//! is to come again.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use crate::client::{self, Client, USER_AGENT};

/// How often keys are asked for at most.
pub const ASK_EVERY: Duration = Duration::from_secs(30);
/// How old keys may be before they are asked for again, while tokens go on naming one of them.
pub const KEYS_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long the service has to answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of its answer that are read.
const KEYS_BYTES_MAX: usize = 256 << 10;
/// Bytes of a token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// How far two clocks may be apart.
pub const LEEWAY: Duration = Duration::from_secs(300);

/// What a token has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where the service publishes its keys.
    pub keys_url: String,
    /// Who may have issued it: `iss`.
    pub issuers: Vec<String>,
    /// For whom it may be: `aud`.
    pub audiences: Vec<String>,
    /// What else it has to say.
    pub claims: Vec<Claim>,
}

/// Claims of which the first that is there has one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its names, as versions of a service call it.
    pub names: Vec<String>,
    /// Its values; numbers and booleans as they are written.
    pub values: Vec<String>,
}

/// Why a request is not its sender's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// No token.
    #[error("there is no `Authorization: Bearer TOKEN`")]
    Missing,
    /// A token that is none, has ended, or is somebody else's.
    #[error("the token {0}")]
    Wrong(String),
    /// The keys cannot be had, so that nobody knows.
    #[error("the keys that tokens are checked with cannot be had: {0}")]
    Unknown(String),
}

/// One public key: its modulus and its exponent.
#[derive(Clone)]
struct RsaKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

#[derive(Default)]
struct Keys {
    keys: BTreeMap<String, RsaKey>,
    had_at: Option<Instant>,
    asked_at: Option<Instant>,
    failed: Option<String>,
}

/// Checks tokens.
pub struct Verifier {
    rules: Rules,
    uri: Uri,
    client: Client,
    keys: Mutex<Keys>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl Verifier {
    /// Checks the settings; connects nowhere.
    ///
    /// # Errors
    /// A URL that cannot be called.
    pub fn new(rules: Rules, client: Client) -> Result<Self, client::UrlError> {
        let uri = client::url(&rules.keys_url)?;
        Ok(Verifier { rules, uri, client, keys: Mutex::default() })
    }

    /// Checks the token of a request.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn check(&self, headers: &HeaderMap, now: SystemTime) -> Result<(), Denied> {
        let wrong = |why: &str| Denied::Wrong(why.to_owned());
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(bearer).ok_or(Denied::Missing)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(wrong("is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| wrong("is no JSON Web Token"))?;
        let (head, claims) = signed.split_once('.').ok_or_else(|| wrong("is no JSON Web Token"))?;
        let head: Head = read(head).ok_or_else(|| wrong("has a head that cannot be read"))?;
        if head.alg != "RS256" {
            return Err(wrong("is not signed with RS256"));
        }
        let kid = head.kid.ok_or_else(|| wrong("names no key"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| wrong("has a signature that cannot be read"))?;
        // What it says is looked at first: a stranger's token then costs no request and no arithmetic.
        let claims: Value = read(claims).ok_or_else(|| wrong("has claims that cannot be read"))?;
        self.rules.judge(&claims, now).map_err(Denied::Wrong)?;
        let key = self.key(&kid).await?;
        let key = RsaPublicKeyComponents { n: &key.n, e: &key.e };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
            .map_err(|_| wrong("was not signed by the key that it names"))
    }

    /// The key of that name.
    async fn key(&self, kid: &str) -> Result<RsaKey, Denied> {
        let mut keys = self.keys.lock().await;
        let old = keys.had_at.is_none_or(|at| at.elapsed() > KEYS_AGE_MAX);
        let known = keys.keys.contains_key(kid);
        if (old || !known) && keys.asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            keys.asked_at = Some(Instant::now());
            match self.ask().await {
                Ok(had) => *keys = Keys { keys: had, had_at: Some(Instant::now()), failed: None, ..*keys },
                Err(why) => {
                    tracing::warn!(code = %crate::codes::KEYS_NOT_HAD, why, "the keys that senders' tokens are checked with cannot be had");
                    keys.failed = Some(why);
                }
            }
        }
        match (keys.keys.get(kid), &keys.failed) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(why)) => Err(Denied::Unknown(why.clone())),
            (None, None) => Err(Denied::Wrong("names a key that its issuer does not publish".into())),
        }
    }

    async fn ask(&self) -> Result<BTreeMap<String, RsaKey>, String> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let host = client::host(&self.uri);
        let answer = self.client.send(request, ASK_TIMEOUT, KEYS_BYTES_MAX).await.map_err(|e| e.to_string())?;
        if answer.status != StatusCode::OK || answer.cut {
            return Err(format!("{host} answered {}", answer.status.as_u16()));
        }
        let published: Published =
            serde_json::from_slice(&answer.body).map_err(|_| format!("the answer of {host} is no set of keys"))?;
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().filter(|b| !b.is_empty());
        let key = |key: PublishedKey| Some((key.kid, RsaKey { n: bytes(&key.n)?, e: bytes(&key.e)? }));
        Ok(published.keys.into_iter().filter(|key| key.kty == "RSA").filter_map(key).collect())
    }
}

impl Rules {
    /// Whether a token's claims are what is asked for.
    fn judge(&self, claims: &Value, now: SystemTime) -> Result<(), String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let leeway = LEEWAY.as_secs_f64();
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        match time("exp") {
            None => return Err("says no end".into()),
            Some(end) if end + leeway < now => return Err("has ended".into()),
            Some(_) => {}
        }
        if time("nbf").is_some_and(|start| start - leeway > now) {
            return Err("is not valid yet; compare the clocks".into());
        }
        let says = |name: &str, allowed: &[String]| match claims.get(name) {
            Some(Value::Array(values)) => values.iter().any(|value| allowed.contains(&text(value))),
            Some(value) => allowed.contains(&text(value)),
            None => false,
        };
        if !says("iss", &self.issuers) {
            return Err("was issued by somebody else".into());
        }
        if !says("aud", &self.audiences) {
            return Err("is for somebody else: its `aud` is none of those that are configured".into());
        }
        for claim in &self.claims {
            let name = claim.names.iter().find(|name| claims.get(name.as_str()).is_some());
            if !name.is_some_and(|name| says(name, &claim.values)) {
                return Err(format!("has no `{}` that is among those configured", claim.names.join("` or `")));
            }
        }
        Ok(())
    }
}

/// A claim as it is compared.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read<T: for<'a> Deserialize<'a>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The token of `Bearer TOKEN`.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case("bearer ").then(|| token.trim())
}

#[cfg(test)]
mod tests;
