//! What the file says about schemas.

use std::path::PathBuf;

use serde::Deserialize;

/// The schemas that sources may ask for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schemas {
    /// A folder of files `TYPE.schema.json`, read once at the start. Default: none.
    pub path: Option<PathBuf>,
    /// Whether the schemas of the platform's own events are there, too. Default `true`.
    pub built_in: bool,
}

impl Default for Schemas {
    fn default() -> Self {
        Schemas { path: None, built_in: true }
    }
}

/// What a source does with an event whose data its schema refuses, from the mildest to the strictest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validate {
    /// It does not look.
    #[default]
    Off,
    /// It takes it in with a mark.
    Warn,
    /// It refuses it.
    Refuse,
}

impl<'de> Deserialize<'de> for Validate {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "off" => Ok(Validate::Off),
            "warn" => Ok(Validate::Warn),
            "refuse" => Ok(Validate::Refuse),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `off`, `warn` and `refuse`"))),
        }
    }
}
