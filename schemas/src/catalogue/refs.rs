//! Where a reference stands that leads nowhere.

use jsonschema::ReferencingError;
use serde_json::Value;

use super::{Error, Source};

/// The error of a reference that cannot be followed, with the place of the `$ref`.
pub(super) fn unresolved(sources: &[Source], error: &ReferencingError) -> Error {
    let (target, what) = match error {
        ReferencingError::Unretrievable { uri, .. } => {
            let uri = uri.trim_end_matches('#');
            (
                uri.to_owned(),
                format!("{uri} is not in the catalogue, and nothing is fetched; add its file to the folder"),
            )
        }
        ReferencingError::PointerToNowhere { pointer } => {
            (format!("#{pointer}"), format!("there is nothing at {pointer}"))
        }
        ReferencingError::NoSuchAnchor { anchor } | ReferencingError::InvalidAnchor { anchor } => {
            (format!("#{anchor}"), format!("there is no anchor {anchor}"))
        }
        ReferencingError::UnknownSpecification { specification } => {
            (specification.clone(), format!("{specification} is no $schema that is known here; use draft 2020-12"))
        }
        other => (String::new(), other.to_string()),
    };
    let mut found = None;
    for source in sources {
        walk(&source.schema, String::new(), &mut |pointer, text| {
            if found.is_none() && !target.is_empty() && leads(text, &target) {
                found = Some((&*source.document.origin, pointer.to_owned()));
            }
        });
    }
    let (origin, pointer) = found.unwrap_or(("the catalogue", String::new()));
    Error::new(origin, pointer, what)
}

/// Whether a reference as it is written is the one that leads there: it may be relative, and may have a fragment.
fn leads(written: &str, target: &str) -> bool {
    if target.starts_with('#') {
        return written.ends_with(target);
    }
    let whole = written.split('#').next().unwrap_or(written);
    !whole.is_empty() && target.ends_with(whole.trim_start_matches("./"))
}

/// All references of a schema, each with its JSON Pointer.
fn walk(value: &Value, at: String, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                match inner {
                    Value::String(text) if matches!(&**name, "$ref" | "$dynamicRef" | "$schema") => found(&place, text),
                    inner => walk(inner, place, found),
                }
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, inner)| walk(inner, format!("{at}/{i}"), found));
        }
        _ => {}
    }
}
