//! Settings that are a document: JSON in a variable `NAME`, or in the file that `NAME_FILE` names. A string that
//! is `${env:OTHER}` stands for the variable of that name, so that a file holds no secret.

use std::{fs::File, io::Read};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{SettingError, Settings};

/// Bytes of the file.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

impl Settings {
    /// Reads a document that has to be there. Gives the variable that says where it stands, too, for errors about
    /// what is in it.
    ///
    /// # Errors
    /// The variable, with the place in the document.
    pub fn document<T: DeserializeOwned>(&self, name: &str) -> Result<(String, T), SettingError> {
        let name_file = format!("{name}_FILE");
        let (name, json) = match (self.get(name), self.get(&name_file)) {
            (Some(json), None) => (name.to_owned(), json.to_owned()),
            (None, Some(path)) => {
                let read = file(path).map_err(|e| SettingError::new(&name_file, format!("{path}: {e}")))?;
                (name_file, read)
            }
            (Some(_), Some(_)) => {
                return Err(SettingError::new(&name_file, format!("is set beside {name}; set one of them")));
            }
            (None, None) => {
                let message = format!("is not set, and neither is {name_file}; the function needs one of them");
                return Err(SettingError::new(name, message));
            }
        };
        let read = || {
            let mut value: Value = serde_json::from_str(&json).map_err(|e| e.to_string())?;
            expand(&mut value, self, "")?;
            serde_path_to_error::deserialize(value).map_err(|e| format!("{}: {}", e.path(), e.inner()))
        };
        read().map(|document| (name.clone(), document)).map_err(|e| SettingError::new(&name, e))
    }
}

/// Puts the variables in place of `${env:NAME}`.
fn expand(value: &mut Value, settings: &Settings, place: &str) -> Result<(), String> {
    match value {
        Value::String(text) => {
            let Some(name) = text.strip_prefix("${env:").and_then(|rest| rest.strip_suffix('}')) else { return Ok(()) };
            let missing = || format!("{place}: the environment variable {name} is not set");
            *text = settings.get(name).ok_or_else(missing)?.to_owned();
            Ok(())
        }
        Value::Array(items) => {
            items.iter_mut().enumerate().try_for_each(|(i, item)| expand(item, settings, &format!("{place}[{i}]")))
        }
        Value::Object(members) => members.iter_mut().try_for_each(|(name, inner)| {
            let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
            expand(inner, settings, &place)
        }),
        _ => Ok(()),
    }
}

/// Reads no more than the limit, whatever the file says that its length is.
fn file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(DOCUMENT_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(format!("it has more than {DOCUMENT_BYTES_MAX} bytes, which are read at most"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Document = BTreeMap<String, u64>;

    fn read(settings: &[(&str, &str)]) -> Result<(String, Document), String> {
        let settings: Settings = settings.iter().copied().collect();
        settings.document("DOC").map_err(|e| e.to_string())
    }

    #[test]
    fn a_document_stands_in_the_variable_or_in_its_file() {
        let path = std::env::temp_dir().join(format!("document-{}.json", std::process::id()));
        std::fs::write(&path, r#"{"a": 1}"#).unwrap();
        let one: Document = [("a".to_owned(), 1)].into();
        assert_eq!(read(&[("DOC", r#"{"a": 1}"#)]), Ok(("DOC".into(), one.clone())));
        let path_text = path.to_str().unwrap();
        assert_eq!(read(&[("DOC_FILE", path_text)]), Ok(("DOC_FILE".into(), one)));
        let both = read(&[("DOC", "{}"), ("DOC_FILE", path_text)]).unwrap_err();
        assert!(both.contains("DOC_FILE: is set beside DOC"), "{both}");
        std::fs::remove_file(&path).unwrap();
        let gone = read(&[("DOC_FILE", path_text)]).unwrap_err();
        assert!(gone.contains("DOC_FILE") && gone.contains(path_text), "{gone}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (settings, wanted) in [
            (&[][..], "DOC: is not set, and neither is DOC_FILE"),
            (&[("DOC", "{")], "DOC: EOF"),
            (&[("DOC", r#"{"a": -1}"#)], "DOC: a: "),
            (&[("DOC", r#"{"a": ["${env:NONE}"]}"#)], "DOC: a[0]: the environment variable NONE is not set"),
        ] {
            let error = read(settings).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_more_is_read_than_the_limit_says() {
        let error = file("/dev/zero").unwrap_err();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
    }
}
