//! The ways to people. A channel says what became of a message: taken, worth another try, or refused for good.
//! It alone knows which answer means which. Where it connects stands in the settings, never in an event.

use std::{fmt, time::Duration};

use bytes::Bytes;
use function_host::{Context, http::retry_after};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use jiff::Timestamp;
use schemas::payload::notifications::Tried;
use serde::Deserialize;

/// Email, over SMTP.
pub mod smtp;

/// Slack's incoming webhooks.
pub mod slack;

/// Any HTTP endpoint, signed as Standard Webhooks say.
pub mod webhook;

/// SMS, by Twilio's API.
pub mod twilio;

/// How long a channel may take where the settings do not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// Longest time that a channel may be given.
pub const TIMEOUT_MS_MAX: u64 = 120_000;
/// Bytes that are read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of an answer that a message repeats.
const ANSWER_CHARS_SHOWN_MAX: usize = 200;
/// When to come back where a channel's own settings are likely wrong: soon changes nothing.
const SLOW: Duration = Duration::from_secs(60);

/// A secret: never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is to be said, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The same for all attempts at this message.
    pub id: &'a str,
    /// The recipient's name.
    pub to: &'a str,
    /// Their address on this channel, where they have one.
    pub address: Option<&'a str>,
    /// One line.
    pub title: &'a str,
    /// The message.
    pub text: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The channel took it; its own name for it, if it said one.
    Taken(Option<String>),
    /// It may work later.
    Later {
        /// For programs.
        code: String,
        /// For people.
        why: String,
        /// When, if the channel said so.
        after: Option<Duration>,
    },
    /// It never works on this channel.
    Refused {
        /// For programs.
        code: String,
        /// For people.
        why: String,
    },
}

impl Outcome {
    /// It may work later.
    pub(crate) fn later(code: impl Into<String>, why: impl Into<String>) -> Self {
        Outcome::Later { code: code.into(), why: why.into(), after: None }
    }

    /// It never works.
    pub(crate) fn refused(code: impl Into<String>, why: impl Into<String>) -> Self {
        Outcome::Refused { code: code.into(), why: why.into() }
    }

    /// It as a line of what was tried.
    pub(crate) fn tried(channel: &str, code: &str, why: &str) -> Tried {
        Tried { channel: channel.into(), code: code.into(), message: why.into() }
    }
}

/// A channel as the settings have it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelText {
    /// Email.
    Smtp(smtp::SmtpText),
    /// Slack.
    Slack(slack::SlackText),
    /// Any HTTP endpoint.
    Webhook(webhook::WebhookText),
    /// SMS.
    Twilio(twilio::TwilioText),
}

/// A channel, ready to send.
pub enum Channel {
    /// Email.
    Smtp(smtp::Smtp),
    /// Slack.
    Slack(slack::Slack),
    /// Any HTTP endpoint.
    Webhook(webhook::Webhook),
    /// SMS.
    Twilio(twilio::Twilio),
}

/// What a channel needs to know of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// An address of this form.
    Address,
    /// The name is enough.
    Name,
    /// Nothing: it has one place to say things.
    Nothing,
}

impl Channel {
    pub(crate) fn new(text: ChannelText) -> Result<Self, String> {
        Ok(match text {
            ChannelText::Smtp(text) => Channel::Smtp(smtp::Smtp::new(text)?),
            ChannelText::Slack(text) => Channel::Slack(slack::Slack::new(text)?),
            ChannelText::Webhook(text) => Channel::Webhook(webhook::Webhook::new(text)?),
            ChannelText::Twilio(text) => Channel::Twilio(twilio::Twilio::new(text)?),
        })
    }

    /// What it needs to know of a recipient.
    pub fn needs(&self) -> Needs {
        match self {
            Channel::Smtp(_) | Channel::Twilio(_) => Needs::Address,
            Channel::Webhook(_) => Needs::Name,
            Channel::Slack(_) => Needs::Nothing,
        }
    }

    /// Whether it could reach this address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn can_reach(&self, address: &str) -> Result<(), String> {
        match self {
            Channel::Smtp(_) => smtp::mailbox(address).map(drop),
            Channel::Twilio(_) => twilio::number(address),
            Channel::Slack(_) | Channel::Webhook(_) => Ok(()),
        }
    }

    /// Sends one message.
    pub async fn send(&self, ctx: &Context, message: Message<'_>) -> Outcome {
        match self {
            Channel::Smtp(smtp) => smtp.send(ctx, message).await,
            Channel::Slack(slack) => slack.send(ctx, message).await,
            Channel::Webhook(webhook) => webhook.send(ctx, message).await,
            Channel::Twilio(twilio) => twilio.send(ctx, message).await,
        }
    }
}

/// A time limit as the settings have it.
pub(crate) fn timeout(timeout_ms: Option<u64>) -> Result<Duration, String> {
    match timeout_ms {
        None => Ok(TIMEOUT_DEFAULT),
        Some(ms @ 1..=TIMEOUT_MS_MAX) => Ok(Duration::from_millis(ms)),
        Some(ms) => Err(format!("timeout_ms: {ms} is not from 1 to {TIMEOUT_MS_MAX}")),
    }
}

/// A URL as the settings have it.
pub(crate) fn url(text: &Secret) -> Result<Uri, String> {
    function_host::http::url(&text.0).map_err(|why| format!("url: it {why}"))
}

/// A header that is not logged.
pub(crate) fn sensitive(value: &str, what: &str) -> Result<HeaderValue, String> {
    let invalid = |_| format!("{what}: it holds characters that no header can carry");
    let mut value = HeaderValue::from_str(value).map_err(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An answer over HTTP, and the beginning of its body.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Posts a body. Once the head of the answer is there it counts, whatever happens to the rest.
pub(crate) async fn post(
    ctx: &Context,
    (uri, headers): (&Uri, HeaderMap),
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Answer, Outcome> {
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers;
    let streamed = ctx.http().stream(request, timeout, ANSWER_BYTES_MAX).await;
    let mut streamed = streamed.map_err(|e| Outcome::later("no-answer", e.to_string()))?;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = streamed.chunk().await {
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: streamed.status, headers: streamed.headers, body })
}

/// What a status means that the channel has no own word for: as the router takes it from a webhook.
pub(crate) fn verdict(answer: &Answer) -> Outcome {
    let status = answer.status.as_u16();
    let shown: String = String::from_utf8_lossy(&answer.body).chars().take(ANSWER_CHARS_SHOWN_MAX).collect();
    let (code, why) = (format!("http-{status}"), format!("it answered {}: {shown}", answer.status));
    match status {
        200..=299 => Outcome::Taken(None),
        // A key that was rotated, a deployment: mended by the operator, and nothing is lost meanwhile.
        401 | 403 | 404 => Outcome::Later { code, why, after: Some(SLOW) },
        408 | 409 | 425 | 429 | 500 | 502..=599 => Outcome::Later { code, why, after: retry_after(&answer.headers) },
        _ => Outcome::Refused { code, why },
    }
}

/// The headers of a body of this kind.
pub(crate) fn typed(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
}
