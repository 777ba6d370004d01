//! Templates, in Jinja's language: read at the start, so that a mistake is found there, and filled with
//! nothing but what the event gives.

use std::collections::BTreeMap;

use function_host::Failure;
use minijinja::{Environment, UndefinedBehavior};
use serde::Deserialize;

/// Instructions that one template may take: one that loops for ever fails alone.
pub const FUEL_MAX: u64 = 100_000;

/// A template in one language.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateText {
    title: String,
    text: String,
}

/// All templates.
pub struct Templates {
    environment: Environment<'static>,
    /// By name, the locales that there are.
    locales: BTreeMap<String, Vec<String>>,
    /// What everybody is taken to read.
    usual: String,
}

impl Templates {
    /// Reads them; each has to be there in the usual locale or its language.
    pub(crate) fn new(all: BTreeMap<String, BTreeMap<String, TemplateText>>, usual: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL_MAX));
        let mut locales: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, languages) in all {
            for (locale, template) in languages {
                for (part, source) in [("title", template.title), ("text", template.text)] {
                    let place = format!("templates.{name}.{locale}.{part}");
                    environment.add_template_owned(place.clone(), source).map_err(|e| format!("{place}: {e:#}"))?;
                }
                locales.entry(name.clone()).or_default().push(locale);
            }
            if !ways(usual, usual).any(|way| locales.get(&name).is_some_and(|all| all.iter().any(|l| l == way))) {
                return Err(format!("templates.{name}: it is not there in {usual}, which is used where no other fits"));
            }
        }
        Ok(Templates { environment, locales, usual: usual.to_owned() })
    }

    /// Title and text in the locale, its language, or the usual one.
    ///
    /// # Errors
    /// A refusal that names the template and what it misses.
    pub fn fill(
        &self,
        name: &str,
        locale: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<(String, String), Failure> {
        let Some(locales) = self.locales.get(name) else {
            let message = format!("data.template: no template is called {name:?}; add it to the dispatcher's settings");
            return Err(Failure::refuse("template-unknown", message));
        };
        let locale = ways(locale, &self.usual).find(|way| locales.iter().any(|l| l == way)).unwrap_or(&self.usual);
        let part = |part: &str| {
            let place = format!("templates.{name}.{locale}.{part}");
            let filled = self.environment.get_template(&place).and_then(|template| template.render(values));
            filled.map_err(|e| {
                let message = format!("data.values: {place} cannot be filled: {e:#}");
                Failure::refuse("template-values", message)
            })
        };
        Ok((part("title")?, part("text")?))
    }
}

/// Where to look for a locale: `de-AT`, `de`, then the same of the usual one.
fn ways<'a>(locale: &'a str, usual: &'a str) -> impl Iterator<Item = &'a str> {
    let of = |locale: &'a str| [locale, locale.split(['-', '_']).next().unwrap_or(locale)];
    of(locale).into_iter().chain(of(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(json: &str, usual: &str) -> Result<Templates, String> {
        Templates::new(serde_json::from_str(json).unwrap(), usual)
    }

    const READY: &str = r#"{"ready": {"en": {"title": "Ready", "text": "{{ order }} is ready, {{ name|upper }}"},
        "de": {"title": "Fertig", "text": "{{ order }} ist fertig"}}}"#;

    #[test]
    fn the_nearest_language_is_taken() {
        let templates = templates(READY, "en-GB").unwrap();
        let values = BTreeMap::from([("order".into(), "o-1 <b>".into()), ("name".into(), "Zoë".into())]);
        let text = |locale| templates.fill("ready", locale, &values).unwrap().1;
        assert_eq!(text("de-AT"), "o-1 <b> ist fertig");
        assert_eq!(text("de"), "o-1 <b> ist fertig");
        assert_eq!(text("fr-CA"), "o-1 <b> is ready, ZOË");
    }

    #[test]
    fn what_cannot_be_filled_is_refused_with_its_place() {
        let templates = templates(READY, "en").unwrap();
        let failure = templates.fill("ready", "de", &BTreeMap::new()).unwrap_err();
        assert_eq!((failure.kind, failure.code.0), (function_host::Kind::Refuse, "template-values"));
        assert!(failure.message.contains("templates.ready.de.text"), "{failure}");
        assert_eq!(templates.fill("other", "de", &BTreeMap::new()).unwrap_err().code.0, "template-unknown");
    }

    #[test]
    fn mistakes_are_found_at_the_start() {
        let error = |json, usual| templates(json, usual).map(|_| ()).unwrap_err();
        let error_of_place = error(r#"{"a": {"en": {"title": "{{ x", "text": ""}}}"#, "en");
        assert!(error_of_place.starts_with("templates.a.en.title: "), "{error_of_place}");
        assert!(error(READY, "fr").contains("not there in fr"));
    }

    #[test]
    fn a_template_without_end_fails_alone() {
        let endless = r#"{"a": {"en": {"title": "", "text": "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"}}}"#;
        let failure = templates(endless, "en").unwrap().fill("a", "en", &BTreeMap::new()).unwrap_err();
        assert!(failure.message.contains("fuel"), "{failure}");
    }
}
