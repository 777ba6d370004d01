//! Parse, then validate: a file becomes a [`Config`] and a [`Report`]. Nothing is connected; the only
//! things looked up are the secrets that the file names.

use std::{ops::Range, path::Path};

use super::{
    Config, SYSTEM_AGE, SYSTEM_BUS, cases, de,
    report::{Report, Severity},
    validate, yaml,
};

/// What came of a file.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` when the report holds an error.
    pub config: Option<Config>,
    /// Everything that was found.
    pub report: Report,
    /// What was read, for the places of what is found later.
    root: Option<yaml::Node>,
}

impl Loaded {
    /// The bytes of the file to point at for the value at `keys`.
    pub fn place(&self, keys: &[&str]) -> Range<usize> {
        self.root.as_ref().map(|root| root.place(keys)).unwrap_or_default()
    }
}

/// The router's own facts are kept for a time of their own, unless the file says another.
fn keep_facts(config: &mut Config, root: &yaml::Node) {
    let said = root.get(&["buses", SYSTEM_BUS, "retention", "age_max"]).is_some();
    for (_, bus) in config.buses.iter_mut().filter(|(name, _)| name.as_str() == SYSTEM_BUS && !said) {
        bus.retention.age_max = SYSTEM_AGE;
    }
}

/// Reads a configuration from text. `name` is what the report calls it.
pub fn load(name: &str, source: &str) -> Loaded {
    let mut findings = Vec::new();
    // Editors of one platform put a mark at the front of a file; it says nothing.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut secrets = Vec::new();
    let mut config = None;
    let root = yaml::read(source, &mut findings, &mut secrets);
    if let Some(root) = &root {
        let read = de::read::<Config>(root, &mut findings);
        secrets.extend(read.secrets);
        config = read.value;
        if let Some(config) = &mut config {
            keep_facts(config, root);
        }
        if let Some(config) = &config {
            let before = findings.len();
            validate::validate(config, root, &mut findings);
            // What cannot be read was said; what it would do cannot be.
            if findings.iter().skip(before).all(|f| f.severity != Severity::Error) {
                cases::run(config, root, &mut findings);
            }
        }
    }
    let report = Report::new(name, source, findings, &secrets);
    Loaded { config: config.filter(|_| report.errors() == 0), report, root }
}

/// Reads a configuration from a file.
///
/// # Errors
/// The file cannot be read as text; the message names it.
pub fn load_file(path: &Path) -> Result<Loaded, String> {
    let source = std::fs::read_to_string(path)
        .map_err(|e| format!("the configuration `{}` cannot be read: {e}", path.display()))?;
    Ok(load(&path.display().to_string(), &source))
}

/// Reads any JSON or YAML text as JSON. Of a key that JSON has twice the last one holds; YAML refuses it.
///
/// # Errors
/// What is wrong, with its line.
pub fn document(name: &str, source: &str) -> Result<serde_json::Value, String> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let json = match serde_json::from_str(source) {
        Ok(value) => return Ok(value),
        Err(e) => e,
    };
    if source.trim_start().starts_with(['{', '[']) && json.is_eof() {
        return Err(format!("`{name}` is not JSON: {json}"));
    }
    let mut findings = Vec::new();
    let root = yaml::read(source, &mut findings, &mut Vec::new());
    let report = Report::new(name, source, findings, &[]);
    match root.filter(|_| report.errors() == 0) {
        Some(root) => {
            serde_json::from_str(&root.to_json()).map_err(|e| format!("`{name}` cannot be read as JSON: {e}"))
        }
        None => Err(report.to_text(false)),
    }
}
