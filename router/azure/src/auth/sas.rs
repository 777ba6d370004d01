//! Shared access signatures: `r=RESOURCE&e=END&s=SIGNATURE`, the first two signed with HMAC-SHA256 under the access
//! key [MicrosoftDocs/azure-docs, articles/event-grid/authenticate-with-access-keys-shared-access-signatures.md].
//!
//! The end is a time in UTC. Microsoft's own examples write it as .NET does for the United States
//! (`1/2/2026 3:04:05 AM`), and so do we; its clients write it in other ways, too, all of which are read.

use std::time::SystemTime;

use base64::Engine;
use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};
use ring::hmac;
use router_http::Secret;

/// The version of the data plane that a signature is for.
pub const API_VERSION: &str = "2018-01-01";

/// Makes signatures for one resource.
pub struct Signer {
    key: hmac::Key,
    resource: String,
}

impl Signer {
    /// A signer with a key in base64; `None` when it is none. `resource` is the URL of the endpoint.
    pub fn new(key: &Secret, resource: &str) -> Option<Self> {
        Some(Signer { key: hmac_key(key.expose())?, resource: format!("{resource}?apiVersion={API_VERSION}") })
    }

    /// A signature that is good until then.
    pub fn sign(&self, end: SystemTime) -> String {
        let end = Timestamp::try_from(end).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC).datetime();
        let (hour, half) = (end.hour(), if end.hour() < 12 { "AM" } else { "PM" });
        let hour = if hour % 12 == 0 { 12 } else { hour % 12 };
        let (month, day, year) = (end.month(), end.day(), end.year());
        let end = format!("{month}/{day}/{year} {hour}:{:02}:{:02} {half}", end.minute(), end.second());
        let unsigned = format!("r={}&e={}", percent_encode(&self.resource), percent_encode(&end));
        let tag = hmac::sign(&self.key, unsigned.as_bytes());
        let tag = base64::engine::general_purpose::STANDARD.encode(tag.as_ref());
        format!("{unsigned}&s={}", percent_encode(&tag))
    }
}

fn hmac_key(base64: &str) -> Option<hmac::Key> {
    let key = base64::engine::general_purpose::STANDARD.decode(base64).ok().filter(|key| !key.is_empty())?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

/// Why a signature opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsigned {
    /// Not of the form, or signed with another key.
    #[error("the signature was made with none of the keys of this source, or for other text")]
    Wrong,
    /// Its time is over.
    #[error("the signature has ended; make a new one")]
    Ended,
    /// It is for something else.
    #[error("the signature is for another resource than this one")]
    Resource,
}

/// Whether one of these keys made the signature for this path, and it has not ended. The host is not compared: behind
/// a proxy it may have another name, and whoever has the key could sign for that as well.
///
/// # Errors
/// [`Unsigned`].
pub fn verify<'k>(
    token: &str,
    keys: impl IntoIterator<Item = &'k Secret>,
    path: &str,
    now: SystemTime,
) -> Result<(), Unsigned> {
    let (unsigned, tag) = token.rsplit_once("&s=").ok_or(Unsigned::Wrong)?;
    let tag = percent_decode(tag).ok_or(Unsigned::Wrong)?;
    let tag = base64::engine::general_purpose::STANDARD.decode(tag).map_err(|_| Unsigned::Wrong)?;
    let signed = |key: &Secret| {
        // A key that is no base64 signs nothing, and can still be shown as it is.
        hmac_key(key.expose()).is_some_and(|key| hmac::verify(&key, unsigned.as_bytes(), &tag).is_ok())
    };
    if !keys.into_iter().any(signed) {
        return Err(Unsigned::Wrong);
    }
    let field = |name: &str| {
        let mut pairs = unsigned.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(n, _)| *n == name).and_then(|(_, value)| percent_decode(value)).ok_or(Unsigned::Wrong)
    };
    let end = read_time(&field("e")?).ok_or(Unsigned::Wrong)?;
    if end < now {
        return Err(Unsigned::Ended);
    }
    if !covers(&field("r")?, path) {
        return Err(Unsigned::Resource);
    }
    Ok(())
}

/// Whether a signature for this URL is good for that path: its own, or one above it.
fn covers(resource: &str, path: &str) -> bool {
    let resource = resource.split(['?', '#']).next().unwrap_or_default();
    let rest = resource.split_once("://").map_or(resource, |(_, rest)| rest);
    let above = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default().trim_end_matches('/');
    path.strip_prefix(above).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Reads a time in UTC as .NET, Python and JavaScript write it.
fn read_time(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let at = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| utc(text.parse::<DateTime>().ok()?))
        .or_else(|| utc(strtime::parse("%m/%d/%Y %I:%M:%S %p", text).ok()?.to_datetime().ok()?))?;
    Some(at.into())
}

/// As a component of a URL is written: all but letters, digits and `-._~` as `%XX`.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Reads a component of a URL, in which `+` may stand for a space as forms write it; `None` when it is none.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            b'+' => b' ',
            plain => plain,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key() -> Secret {
        Secret::new("c2VjcmV0IGtleSBvZiBhIHRvcGlj")
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Made by the official Python client (azure-eventgrid 4.22.1), with an end in another way of writing it.
    const OF_PYTHON: &str = "r=https%3A%2F%2Ft.eventgrid.azure.net%2Fapi%2Fevents%3FapiVersion%3D2018-01-01&e=2026-01-02%2003%3A04%3A05%2B00%3A00&s=NCaokmkvJIF%2F%2BDsM573WaaEwu%2BcuKlhvfwf2WeuKan0%3D";

    #[test]
    fn a_signature_opens_until_its_end_and_nothing_else() {
        let signer = Signer::new(&key(), "https://t.eventgrid.azure.net/api/events").unwrap();
        let token = signer.sign(at(1_767_323_045));
        assert!(token.contains("&e=1%2F2%2F2026%203%3A04%3A05%20AM&s="), "{token}");
        let other = Secret::new("b3RoZXI=");
        let check = |token: &str, path: &str, now| verify(token, [&other, &key()], path, at(now));
        assert_eq!(check(&token, "/api/events", 1_767_323_045), Ok(()));
        assert_eq!(check(&token, "/api/events", 1_767_323_046), Err(Unsigned::Ended));
        assert_eq!(check(&token, "/api/eventsmore", 0), Err(Unsigned::Resource));
        assert_eq!(check(&token, "/other", 0), Err(Unsigned::Resource));
        assert_eq!(verify(&token, [&other], "/api/events", at(0)), Err(Unsigned::Wrong));
        assert_eq!(verify(&token, [], "/api/events", at(0)), Err(Unsigned::Wrong));
        for forged in
            [token.replace("2026", "2036"), token.replace("api%2Fevents", "other"), String::new(), "s=".into()]
        {
            assert_eq!(check(&forged, "/api/events", 0), Err(Unsigned::Wrong), "{forged}");
        }
        let whole = Signer::new(&key(), "https://t.eventgrid.azure.net").unwrap().sign(at(9));
        assert_eq!(check(&whole, "/topics/coffee:publish", 0), Ok(()));
    }

    #[test]
    fn ends_are_read_as_the_clients_write_them() {
        for text in [
            "1/2/2026 3:04:05 AM",
            "01/02/2026 03:04:05 AM",
            "2026-01-02T03:04:05Z",
            "2026-01-02 03:04:05+00:00",
            "2026-01-02 05:04:05+02:00",
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05.000",
        ] {
            assert_eq!(read_time(text), Some(at(1_767_323_045)), "{text}");
        }
        assert_eq!(read_time("1/2/2026 3:04:05 PM"), Some(at(1_767_366_245)));
        assert_eq!(read_time("1/2/2026 12:04:05 AM"), Some(at(1_767_312_245)));
        assert_eq!(read_time("soon"), None);
        let noon = Signer::new(&key(), "https://t").unwrap().sign(at(1_767_355_445));
        assert!(noon.contains("12%3A04%3A05%20PM"), "{noon}");
    }

    #[test]
    fn the_signature_is_the_official_clients() {
        assert_eq!(verify(OF_PYTHON, [&key()], "/api/events", at(0)), Ok(()));
    }

    #[test]
    fn text_is_encoded_and_read_back() {
        assert_eq!(percent_encode("a b/é~"), "a%20b%2F%C3%A9~");
        assert_eq!(percent_decode("a%20b%2f+%C3%A9~").as_deref(), Some("a b/ é~"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(bad), None, "{bad}");
        }
    }
}
