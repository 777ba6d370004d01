//! SMS by Twilio's API: a form to `/2010-04-01/Accounts/ACCOUNT/Messages.json` with basic authentication; 201
//! with `sid`, or `{"code","message"}` (twilio.com/docs/messaging/api/message-resource).
//!
//! Twilio knows no key that would make a repeat harmless: an attempt whose answer was lost is made again, and
//! the message may come twice.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use function_host::Context;
use http::{HeaderValue, Uri, header};
use serde::Deserialize;

use super::{Message, Outcome, Secret, post, sensitive, timeout, typed, url, verdict};

/// Characters that Twilio takes.
pub const TEXT_CHARS_MAX: usize = 1_600;
/// Digits of a number, as E.164 has them.
const DIGITS_MAX: usize = 15;

/// As the settings have it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwilioText {
    #[serde(default = "api")]
    url: Secret,
    account: String,
    token: Secret,
    /// A number, or a messaging service (`MG…`).
    from: String,
    timeout_ms: Option<u64>,
}

fn api() -> Secret {
    Secret("https://api.twilio.com".into())
}

/// An account.
pub struct Twilio {
    uri: Uri,
    authorization: HeaderValue,
    from: String,
    timeout: Duration,
}

#[derive(Default, Deserialize)]
struct Said {
    sid: Option<String>,
    code: Option<u64>,
    message: Option<String>,
}

impl Twilio {
    pub(crate) fn new(text: TwilioText) -> Result<Self, String> {
        if text.account.is_empty() || !text.account.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("account: it is letters and digits, e.g. AC0123".into());
        }
        if text.from.is_empty() {
            return Err("from: it is a number like +4930123456, or a messaging service like MG0123".into());
        }
        let base = text.url.0.trim_end_matches('/');
        let uri = url(&Secret(format!("{base}/2010-04-01/Accounts/{}/Messages.json", text.account)))?;
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", text.account, text.token.0)));
        let authorization = sensitive(&basic, "token")?;
        Ok(Twilio { uri, authorization, from: text.from, timeout: timeout(text.timeout_ms)? })
    }

    pub(crate) async fn send(&self, ctx: &Context, message: Message<'_>) -> Outcome {
        let body = if message.title.is_empty() {
            message.text.to_owned()
        } else {
            format!("{}\n{}", message.title, message.text)
        };
        let chars = body.chars().count();
        if chars > TEXT_CHARS_MAX {
            let why = format!("{chars} characters; an SMS has at most {TEXT_CHARS_MAX}: send it by another channel");
            return Outcome::refused("text-too-long", why);
        }
        let sender = if self.from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
        let form = form(&[("To", message.address.unwrap_or_default()), (sender, &self.from), ("Body", &body)]);
        let mut headers = typed("application/x-www-form-urlencoded");
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        let answer = match post(ctx, (&self.uri, headers), form.into_bytes(), self.timeout).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (verdict(&answer), said.code) {
            (Outcome::Taken(_), _) => Outcome::Taken(said.sid),
            // Its own code says more than the status.
            (Outcome::Refused { .. }, Some(code)) => {
                Outcome::refused(format!("twilio-{code}"), said.message.unwrap_or_default())
            }
            (outcome, _) => outcome,
        }
    }
}

/// Whether it is a number as E.164 writes it.
pub(crate) fn number(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    if (2..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err("it is no number like +4930123456".into())
}

/// `application/x-www-form-urlencoded`.
fn form(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        let byte = |b: u8| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_carries_every_character() {
        assert_eq!(form(&[("To", "+49"), ("Body", "a b&c=ü\n")]), "To=%2B49&Body=a%20b%26c%3D%C3%BC%0A");
    }

    #[test]
    fn a_number_is_one() {
        for (text, is) in
            [("+4930123456", true), ("+1", false), ("0301234", false), ("+49 30", false), ("+1234567890123456", false)]
        {
            assert_eq!(number(text).is_ok(), is, "{text}");
        }
    }
}
