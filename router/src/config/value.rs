//! Values that are more than a word: durations, sizes, secrets, JSON.

use std::{collections::BTreeMap, fmt, marker::PhantomData, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

use super::de::{ITEMS, JSON, SECRET};

/// Reads `500ms`, `30s`, `10m`, `24h`, `14d`.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| ms > 0)
        .and_then(|n| n.checked_mul(ms))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is no duration: a whole number and a unit, ms, s, m, h or d, e.g. `10m`"))
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that is exact.
pub fn duration_text(d: Duration) -> String {
    let ms = d.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

/// Reads `512`, `64KiB`, `1MiB`, `50GiB`, `1TiB`; bytes.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    let read = |shift: u32| number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    shift
        .and_then(read)
        .ok_or_else(|| format!("`{text}` is no size: a whole number and a unit, B, KiB, MiB, GiB or TiB, e.g. `1MiB`"))
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that is exact.
pub fn size_text(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, name)) => format!("{}{name}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

fn split(text: &str) -> (&str, &str) {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim())
}

/// For `#[serde(deserialize_with)]`: [`parse_duration`], above zero.
///
/// # Errors
/// The deserializer's.
pub fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let read = d.deserialize_str(Text("a duration, e.g. `10m`", parse_duration))?;
    if read.is_zero() { Err(de::Error::custom("a duration is longer than zero")) } else { Ok(read) }
}

/// For `#[serde(deserialize_with)]`: [`duration`], or nothing.
///
/// # Errors
/// The deserializer's.
pub fn some_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Given(#[serde(deserialize_with = "duration")] Duration);
    Ok(Option::<Given>::deserialize(d)?.map(|Given(duration)| duration))
}

/// For `#[serde(deserialize_with)]`: [`parse_size`] as `usize`.
///
/// # Errors
/// The deserializer's.
pub fn size<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    let read = d.deserialize_str(Text("a size, e.g. `1MiB`", parse_size))?;
    usize::try_from(read).map_err(|_| de::Error::custom("larger than this machine can address"))
}

/// For `#[serde(deserialize_with)]`: [`parse_size`].
///
/// # Errors
/// The deserializer's.
pub fn bytes<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    d.deserialize_str(Text("a size, e.g. `1MiB`", parse_size))
}

/// For `#[serde(deserialize_with)]`: [`parse_size`], of a key that may be left out.
///
/// # Errors
/// The deserializer's.
pub fn size_some<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    bytes(d).map(Some)
}

/// For `#[serde(deserialize_with)]`: [`duration`], of a key that may be left out.
///
/// # Errors
/// The deserializer's.
pub fn duration_some<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    duration(d).map(Some)
}

/// For `#[serde(deserialize_with)]`: a mapping of independent entries, each read whatever the others are. Only
/// for [`super::de`], which notes the errors that are passed over here.
///
/// # Errors
/// The deserializer's, when it is no mapping.
pub fn items<'de, D, K, V>(d: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    d.deserialize_newtype_struct(ITEMS, Items(PhantomData))
}

struct Items<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Items<K, V> {
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut items = BTreeMap::new();
        loop {
            match map.next_key::<K>() {
                Ok(None) => return Ok(items),
                Ok(Some(key)) => {
                    if let Ok(value) = map.next_value::<V>() {
                        items.insert(key, value);
                    }
                }
                Err(_) => {}
            }
        }
    }
}

/// For `#[serde(deserialize_with)]`: an IP address and a port.
///
/// # Errors
/// The deserializer's.
pub fn addr<'de, D: Deserializer<'de>>(d: D) -> Result<SocketAddr, D::Error> {
    let parse: fn(&str) -> Result<SocketAddr, String> =
        |text| text.parse().map_err(|_| format!("`{text}` is no address: an IP and a port, e.g. `127.0.0.1:8080`"));
    d.deserialize_str(Text("an address, e.g. `127.0.0.1:8080`", parse))
}

/// For `#[serde(deserialize_with)]`: [`addr`], of a key that may be left out.
///
/// # Errors
/// The deserializer's.
pub fn addr_some<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SocketAddr>, D::Error> {
    addr(d).map(Some)
}

/// Reads text by a function; the text before it says what was expected.
struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

/// A value as JSON, numbers digit by digit.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub serde_json::Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let parse: fn(&str) -> Result<Json, String> =
            |text| serde_json::from_str(text).map(Json).map_err(|e| e.to_string());
        d.deserialize_newtype_struct(JSON, Text("any value", parse))
    }
}

/// Text that may name secrets, as `${env:NAME}` and `${file:PATH}`, with other text around them; `$$` is a
/// dollar sign. It is never shown, not even where the operator wrote it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Env(String),
    File(PathBuf),
}

/// A secret that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    /// What is missing.
    pub message: String,
}

impl Secret {
    /// Reads the text without looking anything up.
    ///
    /// # Errors
    /// What is wrong, as a sentence that does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            parts.push(Part::Text(before.into()));
            if let Some(after) = from.strip_prefix("$$") {
                parts.push(Part::Text("$".into()));
                rest = after;
            } else if let Some((name, after)) = from.strip_prefix("${").and_then(|f| f.split_once('}')) {
                parts.push(match name.split_once(':') {
                    Some(("env", name)) if !name.is_empty() => Part::Env(name.into()),
                    Some(("file", path)) if !path.is_empty() => Part::File(path.into()),
                    _ => return Err("a secret is named as `${env:NAME}` or `${file:PATH}`".into()),
                });
                rest = after;
            } else {
                return Err("`$` begins `${env:NAME}` or `${file:PATH}`; write `$$` for a dollar sign".into());
            }
        }
        parts.push(Part::Text(rest.into()));
        parts.retain(|p| !matches!(p, Part::Text(t) if t.is_empty()));
        Ok(Secret(parts))
    }

    /// Whether a part of it stands in a file, which may change.
    pub fn in_file(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::File(_)))
    }

    /// The secret itself: the environment and files are read now. White space at the end of a file, where
    /// editors leave a line break, is not part of it.
    ///
    /// # Errors
    /// [`Unreadable`] names the variable or the file, or says that the secret is empty.
    pub fn resolve(&self) -> Result<String, Unreadable> {
        let mut whole = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => whole.push_str(text),
                Part::Env(name) => whole.push_str(&std::env::var(name).map_err(|_| Unreadable {
                    message: format!("the environment variable `{name}` is not set, or is not UTF-8"),
                })?),
                Part::File(path) => whole.push_str(
                    std::fs::read_to_string(path)
                        .map_err(|e| Unreadable {
                            message: format!("the file `{}` cannot be read: {e}", path.display()),
                        })?
                        .trim_end(),
                ),
            }
        }
        if whole.is_empty() { Err(Unreadable { message: "the secret is empty".into() }) } else { Ok(whole) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_newtype_struct(SECRET, Text("a text, e.g. `${env:NAME}`", Secret::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_back_what_they_print() {
        for text in ["1ms", "500ms", "30s", "10m", "36h", "14d"] {
            assert_eq!(parse_duration(text).map(duration_text), Ok(text.to_owned()));
        }
        assert_eq!(parse_duration("24h").map(duration_text), Ok("1d".into()));
        for bad in ["", "10", "m", "1.5h", "-1s", "10 minutes", "99999999999999999999d", "1m30s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert_eq!(parse_size("50 GiB"), Ok(50 << 30));
        for bad in ["", "1MB", "1.5MiB", "KiB", "99999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secret_is_put_together_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let secret = Secret::parse(&format!("a-${{file:{}}}-$$-z", file.path().display())).unwrap();
        assert_eq!(secret.resolve(), Ok("a-s3cret-$-z".into()));
        assert_eq!(format!("{secret:?}"), "***");
        let missing = Secret::parse("${env:GOCOFFEE_NO_SUCH_VARIABLE}").unwrap().resolve();
        assert!(missing.unwrap_err().message.contains("GOCOFFEE_NO_SUCH_VARIABLE"));
        assert!(Secret::parse("${vault:x}").is_err());
        assert!(Secret::parse("a$b").is_err());
    }
}
