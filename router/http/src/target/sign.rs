//! Standard Webhooks (<https://www.standardwebhooks.com>, 1.0.0): `webhook-id`, `webhook-timestamp` in
//! seconds since 1970, and `webhook-signature`, one `v1,BASE64` for each secret with a space between:
//! HMAC-SHA256 of `ID.TIMESTAMP.BODY`. Two secrets are for a rotation: a receiver that knows either is
//! content. The id stays the same at every attempt, the timestamp is the attempt's own.
//!
//! The signature covers the body, and no header but the id and the time: in binary mode attributes are
//! headers, and nobody vouches for them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use super::config::ConfigError;
use crate::secret::Secret;

/// Secrets of one target: the new one, and the old one for the time of a rotation.
pub const SECRETS_MAX: usize = 2;
/// Bytes of a secret after base64, as the specification asks.
pub const SECRET_BYTES_MIN: usize = 24;
/// Bytes of a secret after base64, as the specification asks.
pub const SECRET_BYTES_MAX: usize = 64;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The secrets of a target, ready to sign.
pub(super) struct Signer(Vec<hmac::Key>);

impl Signer {
    /// Reads secrets as `whsec_BASE64`, the prefix by choice; `None` when there are none.
    pub fn new(secrets: &[Secret]) -> Result<Option<Self>, ConfigError> {
        if secrets.len() > SECRETS_MAX {
            return Err(ConfigError::WebhookSecrets("are at most two: the new one, and the old one for a rotation"));
        }
        let keys: Result<Vec<_>, _> = secrets.iter().map(key).collect();
        Ok(Some(Signer(keys?)).filter(|signer| !signer.0.is_empty()))
    }

    /// Adds the three headers for a body that is sent now.
    pub fn sign(&self, headers: &mut HeaderMap, id: &str, now: SystemTime, body: &[u8]) {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signatures: Vec<String> = self.0.iter().map(|key| signature(key, id, seconds, body)).collect();
        // Digits, base64 and the letters of a DeliveryId: a header can carry each.
        for (name, text) in [(ID, id.to_owned()), (SIGNATURE, signatures.join(" "))] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
        headers.insert(TIMESTAMP, seconds.into());
    }
}

fn key(secret: &Secret) -> Result<hmac::Key, ConfigError> {
    let text = secret.expose().trim();
    let bytes = BASE64
        .decode(text.strip_prefix("whsec_").unwrap_or(text))
        .map_err(|_| ConfigError::WebhookSecrets("are written as `whsec_` and base64"))?;
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
        return Err(ConfigError::WebhookSecrets(
            "have 24 to 64 bytes before base64, e.g. `echo whsec_$(openssl rand -base64 32)`",
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signature(key: &hmac::Key, id: &str, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    format!("v1,{}", BASE64.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The vector of the reference libraries, which the Python package `standardwebhooks` 1.1.0 takes, too.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn signed(secrets: &[&str]) -> [String; 3] {
        let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new(*s)).collect();
        let mut headers = HeaderMap::new();
        let now = UNIX_EPOCH + Duration::from_millis(1_614_265_330_999);
        let signer = Signer::new(&secrets).unwrap().unwrap();
        signer.sign(&mut headers, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, br#"{"test": 2432232314}"#);
        [ID, TIMESTAMP, SIGNATURE].map(|name| headers[name].to_str().unwrap().to_owned())
    }

    #[test]
    fn signature_is_that_of_the_reference_libraries() {
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(&[SECRET]), ["msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", expected]);
        let [_, _, two] = signed(&["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", SECRET]);
        let (first, second) = two.split_once(' ').unwrap();
        assert!(first.starts_with("v1,") && first != expected && second == expected, "{two}");
    }

    #[test]
    fn secret_that_is_none_is_refused_and_not_shown() {
        let refused = |secrets: &[&str]| {
            let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new(*s)).collect();
            Signer::new(&secrets).err().map(|e| e.to_string()).unwrap_or_default()
        };
        for (secrets, part) in [
            (vec!["whsec_hunter2!"], "whsec_"),
            (vec!["whsec_aHVudGVyMg=="], "24 to 64 bytes"),
            (vec![SECRET, SECRET, SECRET], "at most two"),
        ] {
            let error = refused(&secrets);
            assert!(error.contains(part) && !error.contains("hunter") && !error.contains("aHVud"), "{error}");
        }
        assert!(Signer::new(&[]).unwrap().is_none());
    }
}
