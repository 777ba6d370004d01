//! What follows from a recipient's wishes: which channels, at which address, and when not.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    channel::{Channel, Needs},
    config::{Config, Quiet, Recipient},
};

/// The channels for a message, the best first. What the recipient wants holds; among it, what was asked for
/// comes first. Without a wish it is what was asked for, then its fallbacks.
pub fn channels(config: &Config, recipient: &Recipient, asked: &[String]) -> Vec<String> {
    let mut all: Vec<&String> = Vec::new();
    match &recipient.channels {
        Some(wanted) => {
            all.extend(asked.iter().filter(|name| wanted.contains(name)));
            all.extend(wanted);
        }
        None => {
            all.extend(asked);
            all.extend(asked.iter().filter_map(|name| config.fallbacks.get(name)).flatten());
        }
    }
    let mut channels: Vec<String> = Vec::new();
    for name in all {
        if !channels.contains(name) {
            channels.push(name.clone());
        }
    }
    channels
}

/// The recipient's address on a channel.
///
/// # Errors
/// A code and what is wrong, where the channel needs one and there is none.
pub fn address<'a>(
    config: &Config,
    recipient: &'a Recipient,
    (name, channel): (&str, &Channel),
    to: &'a str,
) -> Result<Option<&'a str>, (&'static str, String)> {
    let known = recipient.addresses.get(name).map(String::as_str);
    let address = match (channel.needs(), known) {
        (Needs::Nothing, _) => return Ok(None),
        (Needs::Name, known) => return Ok(known),
        (Needs::Address, Some(known)) => known,
        (Needs::Address, None) if config.addresses_from_events => to,
        (Needs::Address, None) => {
            let why = "the recipient has no address there; add it to `recipients` in the dispatcher's settings";
            return Err(("address-missing", why.into()));
        }
    };
    channel.can_reach(address).map(|()| Some(address)).map_err(|why| ("address-invalid", why))
}

/// The end of the quiet hours, if it is within them.
pub fn quiet_until(quiet: Quiet, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let local = now.to_zoned(zone.clone()).datetime();
    let (date, time) = (local.date(), local.time());
    let over_midnight = quiet.from > quiet.to;
    let last_day = match (over_midnight, time >= quiet.from, time < quiet.to) {
        (false, true, true) | (true, _, true) => date,
        (true, true, false) => date.tomorrow().ok()?,
        _ => return None,
    };
    let end = last_day.to_datetime(quiet.to).to_zoned(zone.clone()).ok()?.timestamp();
    // Where a clock is set back, an hour comes twice: the first end is enough.
    (end > now).then_some(end)
}

/// A text without what ends a line: a title is one.
pub fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_end_in_the_recipients_time_zone() {
        let until = |from: &str, to: &str, zone: &str, now: &str| {
            let quiet = Quiet { from: from.parse().unwrap(), to: to.parse().unwrap() };
            let zone = TimeZone::get(zone).unwrap();
            quiet_until(quiet, &zone, now.parse().unwrap()).map(|end| end.to_string())
        };
        let berlin = |now| until("22:00", "07:00", "Europe/Berlin", now);
        assert_eq!(berlin("2026-01-15T20:59:59Z"), None);
        assert_eq!(berlin("2026-01-15T21:00:00Z").unwrap(), "2026-01-16T06:00:00Z");
        assert_eq!(berlin("2026-01-16T05:59:59Z").unwrap(), "2026-01-16T06:00:00Z");
        assert_eq!(berlin("2026-01-16T06:00:00Z"), None);
        // The night in which clocks go forward is an hour shorter; in autumn it is longer.
        assert_eq!(berlin("2026-03-28T22:00:00Z").unwrap(), "2026-03-29T05:00:00Z");
        assert_eq!(berlin("2026-10-24T22:00:00Z").unwrap(), "2026-10-25T06:00:00Z");
        // 02:30 does not exist in New York on this day.
        let gap = until("01:00", "02:30", "America/New_York", "2026-03-08T06:30:00Z");
        assert_eq!(gap.unwrap(), "2026-03-08T07:30:00Z");
        // 01:30 comes twice; the second time it is over.
        assert_eq!(until("00:00", "01:30", "America/New_York", "2026-11-01T06:15:00Z"), None);
        assert_eq!(until("12:00", "13:00", "UTC", "2026-01-15T12:30:00Z").unwrap(), "2026-01-15T13:00:00Z");
        assert_eq!(until("12:00", "13:00", "UTC", "2026-01-15T13:00:00Z"), None);
    }

    #[test]
    fn a_title_is_one_line() {
        assert_eq!(one_line("Ready\r\nBcc: all@example.com"), "Ready Bcc: all@example.com");
        assert_eq!(one_line("Zoë ☕"), "Zoë ☕");
    }
}
