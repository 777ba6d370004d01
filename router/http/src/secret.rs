//! Text that is never printed: keys, tokens and passwords. `Debug` and `Display` show `***`, there is
//! no `Serialize`, and [`redact`] takes them out of what a target said.

use std::fmt;

use serde::Deserialize;

/// What is printed in place of a secret.
pub const MASK: &str = "***";

/// A secret. Only [`Secret::expose`] shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the text as a secret.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the place where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The text without control characters, its secrets masked, at most `bytes_max` bytes of it.
///
/// `cut` says that `text` is the beginning of something longer: then its end may hold the beginning of
/// a secret, so that as many bytes as the longest secret has are left out there.
pub fn redact(text: &[u8], cut: bool, secrets: &[Secret], bytes_max: usize) -> String {
    let longest = secrets.iter().map(|s| s.expose().len()).max().unwrap_or(0);
    let end = if cut { text.len().saturating_sub(longest) } else { text.len() };
    let text = String::from_utf8_lossy(text.get(..end).unwrap_or_default());
    let mut clean: String = text.chars().filter(|c| !c.is_control()).collect();
    for secret in secrets.iter().filter(|s| !s.expose().is_empty()) {
        if clean.contains(secret.expose()) {
            clean = clean.replace(secret.expose(), MASK);
        }
    }
    clean.truncate(clean.floor_char_boundary(bytes_max));
    clean
}

/// All forms in which a target may echo these secrets, the longest first: as they are, and as JSON text.
pub fn echoes(secrets: impl IntoIterator<Item = String>) -> Vec<Secret> {
    let mut forms: Vec<String> = Vec::new();
    for secret in secrets {
        let plain: String = secret.chars().filter(|c| !c.is_control()).collect();
        let quoted = serde_json::to_string(&secret).unwrap_or_default();
        let quoted = quoted.trim_matches('"').to_owned();
        forms.extend([plain, quoted].into_iter().filter(|form| !form.is_empty()));
    }
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
    forms.into_iter().map(Secret::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }

    #[test]
    fn secrets_and_control_characters_leave_what_a_target_said() {
        let secrets = echoes(["hunter2".to_owned(), "pa\"ss".to_owned()]);
        let said = b"no \x1b[31mhun\x00ter2\r\n {\"p\":\"pa\\\"ss\"} pa\"ss \xff";
        assert_eq!(redact(said, false, &secrets, 1024), "no [31m*** {\"p\":\"***\"} *** \u{fffd}");
    }

    #[test]
    fn cut_answer_shows_no_beginning_of_a_secret() {
        let secrets = echoes(["0123456789".to_owned()]);
        assert_eq!(redact(b"key: 01234567", true, &secrets, 1024), "key");
        assert_eq!(redact(b"key: 01234567", false, &secrets, 1024), "key: 01234567");
    }

    #[test]
    fn limit_falls_on_a_character() {
        assert_eq!(redact("aé".as_bytes(), false, &[], 2), "a");
    }
}
