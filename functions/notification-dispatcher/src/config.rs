//! What the dispatcher is told: channels, people, templates, alerts. JSON in `NOTIFY`, or in the file that
//! `NOTIFY_FILE` names. A string that is `${env:NAME}` stands for the variable of that name.

use std::collections::BTreeMap;

use function_host::{SettingError, Settings};
use jiff::{civil::Time, tz::TimeZone};
use schemas::payload::notifications::Severity;
use serde::Deserialize;

use crate::{
    channel::{Channel, ChannelText},
    template::{TemplateText, Templates},
};

/// Recipients of one alert.
pub const ALERT_RECIPIENTS_MAX: usize = 100;
/// Messages of a rate that are remembered.
pub const RATE_COUNT_MAX: usize = 1_000;
/// Longest window of a rate, of duplicates, of a group: a week.
pub const WINDOW_S_MAX: u32 = 604_800;

/// All of it, read and checked.
pub struct Config {
    /// By name.
    pub channels: BTreeMap<String, Channel>,
    /// Which channels follow when one does not take a message.
    pub fallbacks: BTreeMap<String, Vec<String>>,
    /// People, by the name that events have for them.
    pub recipients: BTreeMap<String, Recipient>,
    /// Whether an event may name an address that is not among the recipients'.
    pub addresses_from_events: bool,
    /// What holds for those who say nothing else.
    pub usual: Recipient,
    /// What is said, by name and locale.
    pub templates: Templates,
    /// How long the same is not said again.
    pub dedupe_s: u32,
    /// From which attempt on a channel that may work later is left for the next.
    pub fall_back_after: u32,
    /// Who hears of alerts.
    pub alerts: Alerts,
}

/// One person or group, as the file has them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RecipientText {
    addresses: BTreeMap<String, String>,
    channels: Option<Vec<String>>,
    locale: Option<String>,
    time_zone: Option<String>,
    quiet_hours: Option<Quiet>,
    rate: Option<Rate>,
}

/// One person or group.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// By channel.
    pub addresses: BTreeMap<String, String>,
    /// The channels that they want, the best first; any where they do not say.
    pub channels: Option<Vec<String>>,
    /// Their language.
    pub locale: String,
    /// Where they live.
    pub time_zone: TimeZone,
    /// When they want silence.
    pub quiet_hours: Option<Quiet>,
    /// How many messages they get.
    pub rate: Option<Rate>,
}

/// Hours of the day, in the recipient's time zone; `from` may be later than `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    /// The first quiet minute.
    pub from: Time,
    /// The first minute that is not.
    pub to: Time,
}

/// Messages in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub count_max: usize,
    /// In how many seconds.
    pub per_s: u32,
}

/// Who hears of alerts, and how often.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// By severity, where an alert does not say.
    pub to: BTreeMap<String, Vec<String>>,
    /// The channels, the best first, for recipients who do not say.
    pub channels: Vec<String>,
    /// How long further alerts of the same name are counted, not sent.
    pub group_s: u32,
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts { to: BTreeMap::new(), channels: Vec::new(), group_s: 300 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    channels: BTreeMap<String, ChannelText>,
    #[serde(default)]
    fallbacks: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    recipients: BTreeMap<String, RecipientText>,
    #[serde(default)]
    addresses_from_events: bool,
    #[serde(default = "english")]
    locale: String,
    #[serde(default = "utc")]
    time_zone: String,
    quiet_hours: Option<Quiet>,
    rate: Option<Rate>,
    #[serde(default)]
    templates: BTreeMap<String, BTreeMap<String, TemplateText>>,
    #[serde(default = "a_day")]
    dedupe_s: u32,
    #[serde(default = "three")]
    fall_back_after: u32,
    #[serde(default)]
    alerts: Alerts,
}

fn english() -> String {
    "en".into()
}

fn utc() -> String {
    "UTC".into()
}

fn a_day() -> u32 {
    86_400
}

fn three() -> u32 {
    3
}

impl Config {
    /// Reads `NOTIFY` or the file that `NOTIFY_FILE` names.
    ///
    /// # Errors
    /// The setting, with the place in it.
    pub fn read(settings: &Settings) -> Result<Self, SettingError> {
        let (name, text): (_, Text) = settings.document("NOTIFY")?;
        Self::new(text).map_err(|e| SettingError::new(&name, e))
    }

    fn new(text: Text) -> Result<Self, String> {
        let usual = RecipientText { quiet_hours: text.quiet_hours, rate: text.rate, ..RecipientText::default() };
        let usual = Recipient::new("", usual, &text.locale, &text.time_zone, None)?;
        let recipients = text.recipients.into_iter().map(|(name, recipient)| {
            let place = format!("recipients.{name}.");
            Ok((name, Recipient::new(&place, recipient, &text.locale, &text.time_zone, Some(&usual))?))
        });
        let channels = text.channels.into_iter().map(|(name, channel)| {
            let built = Channel::new(channel).map_err(|e| format!("channels.{name}: {e}"))?;
            Ok((name, built))
        });
        let config = Config {
            channels: channels.collect::<Result<_, String>>()?,
            fallbacks: text.fallbacks,
            recipients: recipients.collect::<Result<_, String>>()?,
            addresses_from_events: text.addresses_from_events,
            usual,
            templates: Templates::new(text.templates, &text.locale)?,
            dedupe_s: text.dedupe_s,
            fall_back_after: text.fall_back_after,
            alerts: text.alerts,
        };
        config.check()?;
        Ok(config)
    }

    /// Names that point nowhere, and figures out of bounds.
    fn check(&self) -> Result<(), String> {
        if self.channels.is_empty() {
            return Err("channels: there is none, so nobody can be told anything".into());
        }
        for (name, window) in [("dedupe_s", self.dedupe_s), ("alerts.group_s", self.alerts.group_s)] {
            if window > WINDOW_S_MAX {
                return Err(format!("{name}: {window} is more than {WINDOW_S_MAX}, a week"));
            }
        }
        if self.fall_back_after == 0 {
            return Err("fall_back_after: attempts count from 1".into());
        }
        for (name, next) in &self.fallbacks {
            self.known(&format!("fallbacks.{name}"), next.iter().chain([name]))?;
        }
        for (name, recipient) in &self.recipients {
            self.known(&format!("recipients.{name}.addresses"), recipient.addresses.keys())?;
            self.known(&format!("recipients.{name}.channels"), recipient.channels.iter().flatten())?;
        }
        self.known("alerts.channels", self.alerts.channels.iter())?;
        let severities = [Severity::Info, Severity::Warning, Severity::Critical].map(Severity::as_str);
        for (severity, to) in &self.alerts.to {
            if !severities.contains(&severity.as_str()) {
                return Err(format!("alerts.to: {severity} is none of {}", severities.join(", ")));
            }
            if to.len() > ALERT_RECIPIENTS_MAX {
                return Err(format!("alerts.to.{severity}: at most {ALERT_RECIPIENTS_MAX} recipients"));
            }
        }
        Ok(())
    }

    fn known<'a>(&self, place: &str, mut names: impl Iterator<Item = &'a String>) -> Result<(), String> {
        match names.find(|name| !self.channels.contains_key(*name)) {
            Some(name) => Err(format!("{place}: no channel is called {name}; there are {}", self.names())),
            None => Ok(()),
        }
    }

    /// The channels, for messages.
    pub fn names(&self) -> String {
        self.channels.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Recipient {
    fn new(place: &str, text: RecipientText, locale: &str, zone: &str, usual: Option<&Self>) -> Result<Self, String> {
        let zone = text.time_zone.as_deref().unwrap_or(zone);
        let time_zone = TimeZone::get(zone)
            .map_err(|_| format!("{place}time_zone: no zone is called {zone}; e.g. Europe/Berlin"))?;
        let quiet_hours = text.quiet_hours.or(usual.and_then(|usual| usual.quiet_hours));
        if quiet_hours.is_some_and(|quiet| quiet.from == quiet.to) {
            return Err(format!("{place}quiet_hours: from and to are the same; leave it out where there are none"));
        }
        let rate = text.rate.or(usual.and_then(|usual| usual.rate));
        let bad = |rate: &Rate| {
            rate.count_max == 0 || rate.count_max > RATE_COUNT_MAX || rate.per_s == 0 || rate.per_s > WINDOW_S_MAX
        };
        if rate.as_ref().is_some_and(bad) {
            let message = format!("count_max is from 1 to {RATE_COUNT_MAX}, per_s from 1 to {WINDOW_S_MAX}");
            return Err(format!("{place}rate: {message}"));
        }
        let locale = text.locale.unwrap_or_else(|| locale.to_owned());
        Ok(Recipient { addresses: text.addresses, channels: text.channels, locale, time_zone, quiet_hours, rate })
    }
}

#[cfg(test)]
mod tests;
