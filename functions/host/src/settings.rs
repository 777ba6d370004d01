//! A function's settings: the environment, read once, in one place, so that tests can give their own.

mod document;

use std::{collections::BTreeMap, fmt, str::FromStr};

pub use document::DOCUMENT_BYTES_MAX;

/// A setting that cannot be used. Its value is not shown: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}: {message}")]
pub struct SettingError {
    /// The variable.
    pub name: Box<str>,
    /// What is wrong and what to do.
    pub message: Box<str>,
}

impl SettingError {
    /// Puts both together.
    pub fn new(name: &str, message: impl Into<Box<str>>) -> Self {
        SettingError { name: name.into(), message: message.into() }
    }
}

/// The environment, as far as it is text.
#[derive(Clone, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// The environment of this process. What is not UTF-8 is left out.
    pub fn from_env() -> Self {
        Settings(
            std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect(),
        )
    }

    /// The value of a variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The value of a variable, read as `T`, or `default` where it is not set.
    ///
    /// # Errors
    /// What `T` says about it.
    pub fn read<T: FromStr<Err: fmt::Display>>(&self, name: &str, default: T) -> Result<T, SettingError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        text.trim().parse().map_err(|e| SettingError::new(name, format!("its value cannot be read: {e}")))
    }

    /// The variables whose names begin so, with their values.
    #[cfg(any(feature = "state-s3", feature = "state-gs", feature = "state-az"))]
    pub(crate) fn named(&self, prefix: &str) -> impl Iterator<Item = (String, &str)> {
        let set = self.0.iter().filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty());
        set.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }

    /// The value of a variable that has to be there.
    ///
    /// # Errors
    /// It is not set.
    pub fn required(&self, name: &str) -> Result<&str, SettingError> {
        self.get(name).ok_or_else(|| SettingError::new(name, "is not set, and the function needs it"))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Settings {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Settings(pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

impl fmt::Debug for Settings {
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
