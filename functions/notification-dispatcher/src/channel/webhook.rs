//! Any HTTP endpoint: `POST` of `{"id","to","address","title","text"}`, signed as Standard Webhooks 1.0 say
//! (github.com/standard-webhooks/standard-webhooks): `webhook-signature: v1,BASE64` is the HMAC-SHA256 over
//! `ID.TIMESTAMP.BODY`. `webhook-id` is the same for all attempts at a message, so that the endpoint can
//! leave a repeat out.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use function_host::Context;
use http::{HeaderValue, Uri, header};
use ring::hmac;
use serde::Deserialize;
use serde_json::json;

use super::{Message, Outcome, Secret, post, sensitive, timeout, typed, url, verdict};

/// Bytes of a key: Standard Webhooks say 24 to 64.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// As the settings have it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookText {
    url: Secret,
    /// `whsec_…`.
    secret: Option<Secret>,
    bearer: Option<Secret>,
    timeout_ms: Option<u64>,
}

/// One endpoint.
pub struct Webhook {
    uri: Uri,
    key: Option<hmac::Key>,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl Webhook {
    pub(crate) fn new(text: WebhookText) -> Result<Self, String> {
        let bearer = text.bearer.map(|token| sensitive(&format!("Bearer {}", token.0), "bearer")).transpose()?;
        Ok(Webhook {
            uri: url(&text.url)?,
            key: text.secret.map(|secret| key(&secret.0)).transpose()?,
            authorization: bearer,
            timeout: timeout(text.timeout_ms)?,
        })
    }

    pub(crate) async fn send(&self, ctx: &Context, message: Message<'_>) -> Outcome {
        let Message { id, to, address, title, text, now } = message;
        let body = json!({"id": id, "to": to, "address": address, "title": title, "text": text}).to_string();
        let seconds = now.as_second();
        let mut headers = typed("application/json");
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let mut set = |name: &'static str, value: String| {
            // All of them are digits, letters and base64.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        set("webhook-id", id.to_owned());
        set("webhook-timestamp", seconds.to_string());
        if let Some(key) = &self.key {
            let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
            set("webhook-signature", format!("v1,{}", STANDARD.encode(tag.as_ref())));
        }
        match post(ctx, (&self.uri, headers), body.into_bytes(), self.timeout).await {
            Ok(answer) => verdict(&answer),
            Err(outcome) => outcome,
        }
    }
}

fn key(secret: &str) -> Result<hmac::Key, String> {
    let bytes = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    match bytes.filter(|bytes| KEY_BYTES.contains(&bytes.len())) {
        Some(bytes) => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
        None => Err("secret: it is `whsec_` and the base64 of 24 to 64 bytes".into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_that_is_none_is_not_shown() {
        for secret in ["s3cret", "whsec_s3cret", "whsec_czNjcmV0"] {
            assert!(!super::key(secret).unwrap_err().contains(secret), "{secret}");
        }
        assert!(super::key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
    }
}
