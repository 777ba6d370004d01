//! What a `datacontenttype` says of data: JSON, text, or neither.

/// Whether the data is declared as JSON: `*/json` or `*/*+json`, in any case, with any parameters.
/// [CloudEvents 1.0.2, JSON format, 3.1.1] An absent type means JSON in the JSON formats only, so that
/// is the caller's to say.
pub fn is_json(media_type: &str) -> bool {
    subtype(media_type).is_some_and(|(_, subtype)| is_or_ends_with(subtype, "json"))
}

/// Whether the data is declared as text that people can read: `text/*`, `*/xml` or `*/*+xml`.
pub fn is_text(media_type: &str) -> bool {
    subtype(media_type)
        .is_some_and(|(kind, subtype)| kind.eq_ignore_ascii_case("text") || is_or_ends_with(subtype, "xml"))
}

/// Whether what is declared is in UTF-8: there is no `charset`, or it is UTF-8 or US-ASCII.
pub fn is_utf8(media_type: &str) -> bool {
    let charset = media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    charset.is_none_or(|c| ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| c.eq_ignore_ascii_case(known)))
}

/// The media type without its parameters.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn subtype(media_type: &str) -> Option<(&str, &str)> {
    essence(media_type).split_once('/').filter(|(kind, _)| !kind.is_empty())
}

fn is_or_ends_with(subtype: &str, format: &str) -> bool {
    let suffix = subtype.rsplit_once('+').map(|(_, suffix)| suffix);
    subtype.eq_ignore_ascii_case(format) || suffix.is_some_and(|s| s.eq_ignore_ascii_case(format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_subtype() {
        for yes in [
            "application/json",
            "text/json",
            "APPLICATION/JSON; charset=utf-8",
            "application/cloudevents+json",
            "x/y+JSON;a=b",
            " a/json ",
        ] {
            assert!(is_json(yes), "{yes}");
        }
        for no in [
            "",
            "json",
            "/json",
            "application/jsonx",
            "application/x-json",
            "application/json+xml",
            "application/xml; a=/json",
            "+json",
        ] {
            assert!(!is_json(no), "{no}");
        }
    }

    #[test]
    fn text_is_text_and_xml_in_utf8() {
        for yes in ["text/plain", "Text/HTML", "application/xml", "image/svg+xml"] {
            assert!(is_text(yes), "{yes}");
        }
        for no in ["application/octet-stream", "texts/plain", "application/xmlx", "text"] {
            assert!(!is_text(no), "{no}");
        }
        for (media_type, want) in [
            ("text/plain", true),
            ("text/plain; charset=UTF-8", true),
            ("text/plain; format=flowed; Charset=\"utf-8\"", true),
            ("text/plain;charset=us-ascii", true),
            ("text/plain; charset=iso-8859-1", false),
            ("application/json;charset=utf-16", false),
        ] {
            assert_eq!(is_utf8(media_type), want, "{media_type}");
        }
    }
}
