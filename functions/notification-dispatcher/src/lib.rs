//! Brings notifications and alerts to people.
//!
//! Settings, channels and words: docs/notification-dispatcher.md.
//!
//! A `notification.send` goes to one recipient, an `alert.trigger` to all who hear of its severity. For each of
//! them the channels are tried in the order of their own wishes, else of the event and the fallbacks
//! ([`recipient`]), until one takes the message: `notification.delivered`. A channel that refuses it for good
//! is left for the next; one that may work later is tried again by another attempt at the event, and left for
//! the next after a few. When all refuse: `notification.failed`.
//!
//! Alerts of one name are a group: the first, a worse one and the end are sent, others are counted, and the
//! next message says how many ([`memory`]).
//!
//! A repeat of an event sends nothing that was taken before. What was sent and whose answer was lost is sent
//! again, under the same id.

mod alert;
pub mod channel;
pub mod config;
pub mod memory;
pub mod recipient;
pub mod template;

use std::time::Duration;

use function_host::{Context, Failure, Function, Reply, SettingError, Settings, data};
use schemas::{
    Event,
    payload::notifications::{Delivered, Failed, How, Send, Tried, Trigger},
};

use channel::{Message, Outcome};
use config::{Config, Recipient};
use memory::{Got, Said};

/// Characters of a title.
pub const TITLE_CHARS_MAX: usize = 200;
/// Bytes of a text.
pub const TEXT_BYTES_MAX: usize = 32_768;
/// Bytes of a recipient's name.
pub const TO_BYTES_MAX: usize = 256;

/// The function.
pub struct NotificationDispatcher {
    config: Config,
}

/// What is to be said to one recipient.
pub(crate) struct Errand<'a> {
    pub(crate) event: &'a Event,
    pub(crate) to: &'a str,
    /// The channels, the best first.
    pub(crate) channels: Vec<String>,
    pub(crate) title: String,
    pub(crate) text: String,
    /// Whether it breaks the rate, and leaves a channel that is away at once.
    pub(crate) urgent: bool,
    /// Whether it waits for the end of the quiet hours.
    pub(crate) waits: bool,
    pub(crate) dedupe: Option<&'a str>,
}

impl Function for NotificationDispatcher {
    const NAME: &'static str = "notification-dispatcher";
    const CONSUMES: &'static [&'static str] = &["notification.send", "alert.trigger"];
    const EMITS: &'static [&'static str] = &["notification.delivered", "notification.failed"];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        Ok(NotificationDispatcher { config: Config::read(settings)? })
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        match event.kind() {
            "notification.send" => self.notification(event, &data(event)?, ctx).await,
            _ => {
                let trigger: Trigger = data(event)?;
                ctx.once(&ctx.event_key(event), self.alert(event, &trigger, ctx)).await
            }
        }
    }
}

impl NotificationDispatcher {
    async fn notification(&self, event: &Event, send: &Send, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let recipient = self.recipient(&send.to)?;
        let (title, text) = match &send.template {
            Some(template) => {
                let locale = send.locale.as_deref().unwrap_or(&recipient.locale);
                let none = Default::default();
                self.config.templates.fill(template, locale, send.values.as_ref().unwrap_or(&none))?
            }
            None => (send.title.clone(), send.text.clone()),
        };
        let asked = std::slice::from_ref(&send.channel);
        let errand = Errand {
            event,
            to: &send.to,
            channels: recipient::channels(&self.config, recipient, asked),
            title,
            text,
            urgent: false,
            waits: send.quiet_hours == Some(true),
            dedupe: send.dedupe.as_deref(),
        };
        self.tell(errand, ctx).await
    }

    /// What is known of a recipient; the usual where nothing is.
    pub(crate) fn recipient(&self, to: &str) -> Result<&Recipient, Failure> {
        if to.is_empty() || to.len() > TO_BYTES_MAX {
            let message = format!("data.to: a recipient has from 1 to {TO_BYTES_MAX} bytes, not {}", to.len());
            return Err(Failure::refuse("recipient-invalid", message));
        }
        Ok(self.config.recipients.get(to).unwrap_or(&self.config.usual))
    }

    /// Says something to one recipient, once for each event.
    pub(crate) async fn tell(&self, errand: Errand<'_>, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let id = function_host::key(&[ctx.event_key(errand.event).as_bytes(), errand.to.as_bytes()]);
        ctx.once(&format!("{id}-to"), self.say(&errand, &id, ctx)).await
    }

    async fn say(&self, errand: &Errand<'_>, id: &str, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let (recipient, now) = (self.recipient(errand.to)?, ctx.now());
        let (title, text) = (recipient::one_line(&errand.title), errand.text.as_str());
        if title.chars().count() > TITLE_CHARS_MAX || text.len() > TEXT_BYTES_MAX {
            let message = format!(
                "data.title, data.text: at most {TITLE_CHARS_MAX} characters and {TEXT_BYTES_MAX} bytes; send a link \
                 to what is longer"
            );
            return Err(Failure::refuse("text-too-long", message));
        }
        if errand.channels.is_empty() {
            let message = format!(
                "data.channel: none of the recipient's channels is there; the dispatcher has {}",
                self.config.names()
            );
            return Err(Failure::refuse("channel-unknown", message));
        }
        if self.said(errand, ctx).await? {
            return delivered(errand, How::Duplicate, None, Vec::new(), now);
        }
        if let Some(until) = recipient
            .quiet_hours
            .filter(|_| errand.waits)
            .and_then(|quiet| recipient::quiet_until(quiet, &recipient.time_zone, now))
        {
            let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            let message = format!("the recipient wants silence until {until}; it is sent then");
            return Err(Failure::retry("quiet-hours", message).after(wait));
        }
        self.in_rate(errand, recipient, id, ctx).await?;
        let message = Message { id, to: errand.to, address: None, title: &title, text, now };
        self.send(errand, recipient, message, ctx).await
    }

    /// Tries the channels until one takes it.
    async fn send(
        &self,
        errand: &Errand<'_>,
        recipient: &Recipient,
        message: Message<'_>,
        ctx: &Context,
    ) -> Result<Vec<Reply>, Failure> {
        let (mut tried, mut later): (Vec<Tried>, Option<Failure>) = (Vec::new(), None);
        let leaves = errand.urgent || ctx.attempt() >= self.config.fall_back_after;
        for name in &errand.channels {
            let Some(channel) = self.config.channels.get(name) else {
                let why = format!("no channel is called so; there are {}", self.config.names());
                tried.push(Outcome::tried(name, "channel-unknown", &why));
                continue;
            };
            let address = match recipient::address(&self.config, recipient, (name, channel), errand.to) {
                Ok(address) => address,
                Err((code, why)) => {
                    tried.push(Outcome::tried(name, code, &why));
                    continue;
                }
            };
            match channel.send(ctx, Message { address, ..message }).await {
                Outcome::Taken(reference) => {
                    self.remember(errand, ctx).await?;
                    return delivered(errand, How::Sent, Some((name, reference)), tried, message.now);
                }
                Outcome::Refused { code, why } => tried.push(Outcome::tried(name, &code, &why)),
                Outcome::Later { code, why, after } => {
                    let failure = Failure::retry("channel-later", format!("channel {name}: {why} ({code})"));
                    let failure = after.into_iter().fold(failure, Failure::after);
                    if !leaves {
                        return Err(failure);
                    }
                    tried.push(Outcome::tried(name, &code, &why));
                    later = later.or(Some(failure));
                }
            }
        }
        // While one of them may work later, nothing is given up.
        match later {
            Some(failure) => Err(failure),
            None if tried.iter().all(|t| matches!(t.code.as_str(), "channel-unknown" | "address-missing")) => {
                // Nobody was asked: the settings are what is to be mended, and then the event can go again.
                let all: Vec<String> = tried.iter().map(|t| format!("channel {}: {}", t.channel, t.message)).collect();
                Err(Failure::refuse("unreachable", format!("data.to: {}", all.join("; "))))
            }
            None => {
                let failed =
                    Failed { notification: errand.event.id().to_owned(), to: errand.to.to_owned(), reasons: tried };
                Ok(vec![of(errand, Reply::json("notification.failed", &failed)?)])
            }
        }
    }

    /// Takes a place in the recipient's rate.
    async fn in_rate(&self, errand: &Errand<'_>, who: &Recipient, id: &str, ctx: &Context) -> Result<(), Failure> {
        let Some(rate) = who.rate.filter(|_| !errand.urgent) else { return Ok(()) };
        let (key, now_ms) = (ctx.state_key("rates", errand.to), ctx.now().as_millisecond());
        let taken = memory::change(ctx, &key, |got: Option<Got>| got.unwrap_or_default().take(id, now_ms, rate));
        taken.await?.map_err(|wait| {
            let message =
                format!("the recipient got {} messages in {} s; it is sent later", rate.count_max, rate.per_s);
            Failure::retry("recipient-rate", message).after(wait)
        })
    }

    /// Whether the same was said to the recipient before, by another event.
    async fn said(&self, errand: &Errand<'_>, ctx: &Context) -> Result<bool, Failure> {
        let Some(key) = said_key(errand, ctx) else { return Ok(false) };
        let (now_ms, cause) = (ctx.now().as_millisecond(), ctx.event_key(errand.event));
        let window_ms = i64::from(self.config.dedupe_s) * 1_000;
        let known = memory::change(ctx, &key, |said: Option<Said>| {
            let known = said.is_some_and(|said| said.cause != cause && now_ms - said.at_ms < window_ms);
            (None, known)
        });
        known.await
    }

    /// Remembers that it was said. Only what was taken counts: what was not must not keep the next one back.
    async fn remember(&self, errand: &Errand<'_>, ctx: &Context) -> Result<(), Failure> {
        let Some(key) = said_key(errand, ctx) else { return Ok(()) };
        let said = Said { cause: ctx.event_key(errand.event), at_ms: ctx.now().as_millisecond() };
        memory::change(ctx, &key, |_: Option<Said>| (Some(said.clone()), ())).await
    }
}

fn said_key(errand: &Errand<'_>, ctx: &Context) -> Option<String> {
    let name = errand.dedupe?;
    Some(ctx.state_key("said", &function_host::key(&[errand.to.as_bytes(), name.as_bytes()])))
}

fn delivered(
    errand: &Errand<'_>,
    how: How,
    by: Option<(&String, Option<String>)>,
    tried: Vec<Tried>,
    now: jiff::Timestamp,
) -> Result<Vec<Reply>, Failure> {
    let (channel, reference) = by.map_or((None, None), |(name, reference)| (Some(name.clone()), reference));
    let (notification, to) = (errand.event.id().to_owned(), errand.to.to_owned());
    let delivered = Delivered { notification, to, how, channel, reference, at: now.to_string(), tried };
    Ok(vec![of(errand, Reply::json("notification.delivered", &delivered)?)])
}

/// An answer carries the partition key of what it answers.
fn of(errand: &Errand<'_>, reply: Reply) -> Reply {
    match errand.event.get("partitionkey") {
        Some(key) => reply.attr("partitionkey", key.to_string()),
        None => reply,
    }
}
