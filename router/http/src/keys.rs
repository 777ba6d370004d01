//! Who may send what: keys with rights. A request carries one as `Authorization: Bearer SECRET`; several
//! are valid at once, so that a new one is handed out before the old one is taken back.
//!
//! | what | answer |
//! |---|---|
//! | no key | 401 `missing-key` |
//! | a key that is none of them | 401 `wrong-key` |
//! | a bus that is not the key's | 403 `key-bus` |
//! | an event whose `source` or `type` is not the key's to claim | 403 `key-source`, `key-type`; in a batch, that event is refused and the others are taken |
//! | more events than the key may send | 429 `key-rate`, Retry-After |
//!
//! A key's secret can be replaced while requests come in ([`renew`]): the next request is held to the new one.

use std::{
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use router_core::{
    id::BusName,
    source::{Kind, Rejection},
};
use schemas::{Event, Place};
use tokio::time::Instant;

use crate::{codes, pace::Budget, problem::Problem, secret::Secret};

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 254;
/// Keys at a time at one path.
pub const KEYS_MAX: usize = 1_000;
/// Bytes of an attribute that an answer repeats.
const SHOWN_BYTES_MAX: usize = 200;
const PADDED: usize = 256;

/// A key as it is configured. An empty list is no restriction.
#[derive(Clone, Debug)]
pub struct KeySpec {
    /// What answers and logs call it.
    pub name: String,
    /// What its holder sends.
    pub secret: Secret,
    /// The `source` attributes that its events may have: exact, or a beginning and `*`.
    pub sources: Vec<String>,
    /// The `type` attributes that its events may have: exact, or a beginning and `*`.
    pub types: Vec<String>,
    /// The buses that it may feed.
    pub buses: Vec<BusName>,
    /// Events per second; up to a second's worth at once. `None`: as many as come.
    pub events_per_second_max: Option<NonZeroU32>,
}

impl KeySpec {
    /// A key that may everything.
    pub fn new(name: impl Into<String>, secret: Secret) -> Self {
        let (sources, types, buses) = (Vec::new(), Vec::new(), Vec::new());
        KeySpec { name: name.into(), secret, sources, types, buses, events_per_second_max: None }
    }
}

/// Why keys cannot be; none is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret that no header can carry.
    #[error("key {name} has {bytes} bytes; a key has 1 to {KEY_BYTES_MAX}, visible ASCII without spaces")]
    Secret {
        /// The key's name.
        name: String,
        /// How long it is.
        bytes: usize,
    },
    /// A `*` before the end.
    #[error("key {name}: `{pattern}` is no pattern; a `*` stands only at its end")]
    Pattern {
        /// The key's name.
        name: String,
        /// What is wrong.
        pattern: String,
    },
    /// Two keys with one secret: which rights it has would be chance.
    #[error("the keys {first} and {second} have the same secret; give each its own")]
    Twice {
        /// The first key's name.
        first: String,
        /// The second key's name.
        second: String,
    },
    /// Too many.
    #[error("{0} keys, at most {KEYS_MAX} are compared")]
    Count(usize),
}

/// One key. Shared by all endpoints that take it, so that its rate is one.
pub struct Key {
    spec: KeySpec,
    padded: RwLock<[u8; PADDED]>,
    budget: Option<Budget>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.spec).finish()
    }
}

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(spec: KeySpec) -> Result<Arc<Self>, KeyError> {
        let padded = RwLock::new(usable(&spec.name, &spec.secret)?);
        if let Some(pattern) = spec.sources.iter().chain(&spec.types).find(|p| !is_pattern(p)) {
            return Err(KeyError::Pattern { name: spec.name.clone(), pattern: pattern.clone() });
        }
        let budget = spec.events_per_second_max.map(|rate| Budget::new(rate.get(), Instant::now()));
        Ok(Arc::new(Key { spec, padded, budget }))
    }

    /// What answers and logs call it.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its secret as it is now, for who checks what was signed with it.
    pub fn secret(&self) -> Secret {
        let padded = self.padded();
        let length = padded.last().map_or(0, |length| usize::from(*length));
        let bytes = padded.get(..length).unwrap_or_default();
        // It was visible ASCII when it was taken.
        Secret::new(String::from_utf8_lossy(bytes).into_owned())
    }

    fn padded(&self) -> [u8; PADDED] {
        *self.padded.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may feed a bus.
    pub(crate) fn feeds(&self, bus: &BusName) -> Result<(), Problem> {
        if self.spec.buses.is_empty() || self.spec.buses.contains(bus) {
            return Ok(());
        }
        let detail = format!("key `{}` may not feed the bus `{bus}`; ask for another key", self.spec.name);
        Err(Problem::new(StatusCode::FORBIDDEN, codes::KEY_BUS, detail))
    }

    /// Whether it may send this event.
    pub(crate) fn may(&self, event: &Event) -> Result<(), Rejection> {
        let claims = [
            ("source", event.source(), &self.spec.sources, codes::KEY_SOURCE),
            ("type", event.kind(), &self.spec.types, codes::KEY_TYPE),
        ];
        for (attribute, value, allowed, code) in claims {
            if allowed.is_empty() || allowed.iter().any(|pattern| fits(pattern, value)) {
                continue;
            }
            let shown = value.get(..value.floor_char_boundary(SHOWN_BYTES_MAX)).unwrap_or_default();
            let message = format!(
                "key `{}` may not claim the {attribute} `{shown}`; it may claim {}",
                self.spec.name,
                allowed.join(", ")
            );
            let place = Place::Attribute(attribute.into());
            return Err(Rejection { code, place, message: message.into(), kind: Kind::Unauthorised });
        }
        Ok(())
    }

    /// Takes one event of its rate; [`Key::owe`] takes the others of a batch.
    pub(crate) fn take(&self) -> Result<(), Problem> {
        let Some(wait) = self.budget.as_ref().and_then(|budget| budget.take(Instant::now()).err()) else {
            return Ok(());
        };
        let rate = self.spec.events_per_second_max.map_or(0, NonZeroU32::get);
        let detail = format!("key `{}` may send {rate} events per second; send this again later", self.spec.name);
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, codes::KEY_RATE, detail).retry_after(wait))
    }

    /// Takes so many events more of its rate.
    pub(crate) fn owe(&self, count: usize) {
        if let Some(budget) = &self.budget {
            budget.owe(count);
        }
    }

    /// Requests per minute that it may send, when that is limited.
    pub(crate) fn per_minute(&self) -> Option<u64> {
        self.spec.events_per_second_max.map(|rate| u64::from(rate.get()) * 60)
    }
}

fn usable(name: &str, secret: &Secret) -> Result<[u8; PADDED], KeyError> {
    let secret = secret.expose().as_bytes();
    let visible = secret.iter().all(u8::is_ascii_graphic);
    let refused = || KeyError::Secret { name: name.to_owned(), bytes: secret.len() };
    padded(secret).filter(|_| visible).ok_or_else(refused)
}

/// The keys of one path, each with the secret that it gets.
pub type Renewal = Vec<(Arc<Key>, Secret)>;

/// Gives keys new secrets, all of them or none; the names of those that changed. No two keys of one path
/// may be the same.
///
/// # Errors
/// [`KeyError`]: a secret that cannot be one, or that two keys would share. All keys are as they were.
pub fn renew(groups: &[Renewal]) -> Result<Vec<String>, KeyError> {
    let mut changed = Vec::new();
    for group in groups {
        let mut seen = std::collections::HashMap::new();
        for (key, secret) in group {
            let padded = usable(&key.spec.name, secret)?;
            if let Some(first) = seen.insert(padded, &key.spec.name) {
                return Err(KeyError::Twice { first: first.clone(), second: key.spec.name.clone() });
            }
            changed.push((key, padded));
        }
    }
    let mut names = Vec::new();
    for (key, padded) in changed {
        let mut now = key.padded.write().unwrap_or_else(PoisonError::into_inner);
        // A key of several groups is new once.
        if *now != padded {
            *now = padded;
            names.push(key.spec.name.clone());
        }
    }
    Ok(names)
}

fn is_pattern(pattern: &str) -> bool {
    pattern.find('*').is_none_or(|at| at + 1 == pattern.len())
}

fn fits(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => value.starts_with(beginning),
        None => value == pattern,
    }
}

/// The bytes, zeros, and the length in the last byte: equal for equal keys only.
fn padded(key: &[u8]) -> Option<[u8; PADDED]> {
    let mut out = [0; PADDED];
    out.get_mut(..key.len())?.copy_from_slice(key);
    let length = u8::try_from(key.len()).ok().filter(|n| *n != 0 && usize::from(*n) <= KEY_BYTES_MAX)?;
    *out.last_mut()? = length;
    Some(out)
}

/// The keys of an endpoint, each padded to one length so that comparing takes one time.
#[derive(Debug)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// Puts them together.
    ///
    /// # Errors
    /// Too many, or two with one secret.
    pub fn new(keys: Vec<Arc<Key>>) -> Result<Self, KeyError> {
        if keys.len() > KEYS_MAX {
            return Err(KeyError::Count(keys.len()));
        }
        let mut seen = std::collections::HashMap::new();
        for key in &keys {
            if let Some(first) = seen.insert(key.padded(), &key.spec.name) {
                return Err(KeyError::Twice { first: first.clone(), second: key.spec.name.clone() });
            }
        }
        Ok(Keys(keys))
    }

    /// Whether nobody is asked who he is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.0.iter()
    }

    /// The key with this secret, for who is not shown it as a bearer token. Compares with every key, whichever was
    /// right, in constant time.
    pub fn find(&self, given: &[u8]) -> Option<&Key> {
        use subtle::{ConditionallySelectable, ConstantTimeEq};
        let given = padded(given)?;
        let mut found = u32::MAX;
        for (index, key) in (0u32..).zip(&self.0) {
            found.conditional_assign(&index, key.padded().ct_eq(&given));
        }
        self.0.get(usize::try_from(found).ok()?).map(|key| &**key)
    }

    /// The key of a request; `None` where none is asked for. Compares with every key, whichever was
    /// right, in constant time.
    pub fn check(&self, headers: &HeaderMap) -> Result<Option<&Key>, Problem> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
        if let Some(key) = given.and_then(|given| self.find(given)) {
            return Ok(Some(key));
        }
        let (code, detail, challenge) = if given.and_then(padded).is_some() {
            (codes::WRONG_KEY, "this key is not among the keys of this source", r#"Bearer error="invalid_token""#)
        } else {
            (codes::MISSING_KEY, "this source asks for a key: send `Authorization: Bearer KEY`", "Bearer")
        };
        Err(Problem::new(StatusCode::UNAUTHORIZED, code, detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)))
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, secret: &str) -> Result<Arc<Key>, KeyError> {
        Key::new(KeySpec::new(name, Secret::new(secret)))
    }

    fn check(keys: &[&str], authorization: Option<&str>) -> Result<Option<String>, &'static str> {
        let keys = keys.iter().map(|k| key(k, k).unwrap()).collect();
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let keys = Keys::new(keys).unwrap();
        keys.check(&headers).map(|key| key.map(|k| k.spec.name.clone())).map_err(|p| p.code().0)
    }

    #[test]
    fn only_a_whole_key_opens() {
        let keys = ["alpha-key", "beta-key"];
        assert_eq!(check(&[], None), Ok(None));
        assert_eq!(check(&keys, None), Err("missing-key"));
        assert_eq!(check(&keys, Some("Bearer alpha-key")), Ok(Some("alpha-key".into())));
        assert_eq!(check(&keys, Some("bearer beta-key")), Ok(Some("beta-key".into())));
        assert_eq!(check(&keys, Some("Bearer alpha-ke")), Err("wrong-key"));
        assert_eq!(check(&keys, Some("Bearer alpha-key2")), Err("wrong-key"));
        assert_eq!(check(&keys, Some("Bearer ")), Err("missing-key"));
        assert_eq!(check(&keys, Some("Basic alpha-key")), Err("missing-key"));
        assert_eq!(check(&keys, Some(&format!("Bearer {}", "a".repeat(300)))), Err("missing-key"));
    }

    #[test]
    fn key_that_no_header_can_carry_is_refused() {
        for text in ["", "two words", "line\n", &"k".repeat(255)] {
            assert!(matches!(key("a", text), Err(KeyError::Secret { .. })), "{text:?}");
        }
        assert!(key("a", &"k".repeat(254)).is_ok());
    }

    #[test]
    fn two_keys_with_one_secret_are_refused_and_none_is_printed() {
        let twice = Keys::new(vec![key("a", "hunter2").unwrap(), key("b", "hunter2").unwrap()]).unwrap_err();
        assert!(matches!(&twice, KeyError::Twice { first, second } if first == "a" && second == "b"));
        assert!(!twice.to_string().contains("hunter2"));
        assert!(!format!("{:?}", Keys::new(vec![key("a", "hunter2").unwrap()])).contains("hunter2"));
    }

    #[test]
    fn renewed_key_opens_and_the_old_one_does_not() {
        let [a, b] = [key("a", "old").unwrap(), key("b", "other").unwrap()];
        let keys = Keys::new(vec![a.clone(), b.clone()]).unwrap();
        let opens = |secret: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap())]);
            keys.check(&headers).is_ok()
        };
        let set = |first: &str, second: &str| {
            let group = vec![(a.clone(), Secret::new(first)), (b.clone(), Secret::new(second))];
            renew(&[group.clone(), group])
        };
        assert_eq!(set("old", "other"), Ok(vec![]));
        assert_eq!(set("new", "other"), Ok(vec!["a".to_owned()]));
        assert_eq!([opens("old"), opens("new"), opens("other")], [false, true, true]);
        assert!(matches!(set("newer", "newer"), Err(KeyError::Twice { .. })));
        assert!(matches!(set("newest", ""), Err(KeyError::Secret { .. })));
        assert_eq!([opens("newer"), opens("newest"), opens("new"), opens("other")], [false, false, true, true]);
    }

    #[test]
    fn star_stands_for_any_end() {
        for (pattern, value, fit) in [
            ("/shop/7", "/shop/7", true),
            ("/shop/7", "/shop/70", false),
            ("/shop/*", "/shop/70", true),
            ("/shop/*", "/shop", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, value), fit, "{pattern} {value}");
        }
        let mut spec = KeySpec::new("a", Secret::new("s"));
        spec.types = vec!["coffee.*.created".into()];
        assert!(matches!(Key::new(spec), Err(KeyError::Pattern { .. })));
    }
}
