//! What is wrong with a configuration, all of it at once, each with its place: as text with a caret for
//! people, as JSON for programs.

use std::ops::Range;

use schemas::Code;
use serde::Serialize;

use crate::codes;

/// Findings of one report: a file with more is a file of another kind.
pub const FINDINGS_MAX: usize = 100;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The router does not start with it.
    Error,
    /// The router starts; look at it.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which page says more.
    pub code: Code,
    /// Its bytes in the file.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Finding {
    /// An error.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Error, code: codes::CONFIG_VALUE, span, message: message.into(), help: None }
    }

    /// A warning.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, code: codes::CONFIG_WARNING, ..Finding::error(span, message) }
    }

    /// Names the page that says more.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All findings of one file, in the order of the file.
#[derive(Debug, Clone)]
pub struct Report {
    file: String,
    lines: Vec<(usize, String)>,
    findings: Vec<Finding>,
    /// There may be more.
    cut: bool,
}

/// A finding as programs read it. Lines and columns count from 1, columns in characters.
#[derive(Debug, Serialize)]
struct Row<'a> {
    severity: Severity,
    code: &'a str,
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    help: Option<&'a str>,
}

impl Report {
    /// Puts findings in order. `secrets` are bytes of `source` that are never shown.
    pub fn new(file: &str, source: &str, mut findings: Vec<Finding>, secrets: &[Range<usize>]) -> Self {
        findings.sort_by_key(|f| (f.span.start, f.span.end));
        findings.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        let mut shown = source.as_bytes().to_vec();
        for secret in secrets {
            shown
                .get_mut(secret.clone())
                .unwrap_or_default()
                .iter_mut()
                .filter(|b| **b != b'\n')
                .for_each(|b| *b = b'*');
        }
        // Spans begin and end between characters, so that this is still the text it was.
        let shown = String::from_utf8_lossy(&shown);
        let mut lines = Vec::new();
        let mut start = 0;
        for line in shown.split_inclusive('\n') {
            lines.push((start, line.trim_end_matches(['\n', '\r']).to_owned()));
            start += line.len();
        }
        if lines.is_empty() || shown.ends_with('\n') {
            lines.push((start, String::new()));
        }
        let cut = findings.len() >= FINDINGS_MAX;
        // A flood of warnings must not carry an error away: with it the file would pass.
        findings.sort_by_key(|f| f.severity != Severity::Error);
        findings.truncate(FINDINGS_MAX);
        findings.sort_by_key(|f| (f.span.start, f.span.end));
        Report { file: file.into(), lines, findings, cut }
    }

    /// Adds what was found later.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.findings.sort_by_key(|f| (f.span.start, f.span.end));
    }

    /// What was found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.findings.len() - self.errors()
    }

    /// Line number from 1, its text, and the part of it, in bytes, that a finding is about.
    fn locate(&self, finding: &Finding) -> (usize, &str, Range<usize>) {
        let number = self.lines.partition_point(|(start, _)| *start <= finding.span.start).max(1);
        let (start, text) = self.lines.get(number - 1).map_or((0, ""), |(start, text)| (*start, text.as_str()));
        let from = finding.span.start.saturating_sub(start).min(text.len());
        let to = finding.span.end.saturating_sub(start).clamp(from, text.len());
        (number, text, from..to)
    }

    fn column(text: &str, byte: usize) -> usize {
        text.get(..byte).unwrap_or(text).chars().count() + 1
    }

    /// The findings with file, line, column, the line itself and a caret under the place, then the counts.
    pub fn to_text(&self, color: bool) -> String {
        let paint = |code: &str, text: &str| if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        let mut out = String::new();
        for finding in &self.findings {
            let (number, text, part) = self.locate(finding);
            let column = Self::column(text, part.start);
            let (name, code) = match finding.severity {
                Severity::Error => ("error", "1;31"),
                Severity::Warning => ("warning", "1;33"),
            };
            let margin = " ".repeat(number.to_string().len());
            // A tab moves by an unknown width: it becomes one space in the line and under it.
            let line = text.replace('\t', " ");
            let marked = text.get(part.clone()).map_or(0, |s| s.chars().count()).max(1);
            let caret = format!("{}{}", " ".repeat(column - 1), paint(code, &"^".repeat(marked)));
            let help = finding
                .help
                .as_ref()
                .map(|help| {
                    // Further lines stand below the first.
                    format!("{margin} = {}\n", help.replace('\n', &format!("\n{margin}   ")))
                })
                .unwrap_or_default();
            out.push_str(&format!(
                "{}: {}\n{margin}--> {}:{number}:{column}\n{number} | {line}\n{margin} | {caret}\n{help}\n",
                paint(code, &format!("{name}[{}]", finding.code)),
                finding.message,
                self.file,
            ));
        }
        if let Some(first) = self.findings.first() {
            out.push_str(&format!("help: `gocoffee explain {}` says more, as of every code\n", first.code));
        }
        out.push_str(&self.summary());
        if self.cut {
            out.push_str("; there may be more, correct these first");
        }
        out
    }

    /// One line: how many errors and warnings.
    pub fn summary(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        match (self.errors(), self.warnings()) {
            (0, 0) => format!("{}: ok", self.file),
            (0, warnings) => format!("{}: ok, {}", self.file, count(warnings, "warning")),
            (errors, 0) => format!("{}: {}", self.file, count(errors, "error")),
            (errors, warnings) => {
                format!("{}: {}, {}", self.file, count(errors, "error"), count(warnings, "warning"))
            }
        }
    }

    /// The findings as JSON: `{file, errors, warnings, findings: [{severity, code, file, line, column, message, help}]}`.
    pub fn to_json(&self) -> serde_json::Value {
        let rows: Vec<Row<'_>> = self
            .findings
            .iter()
            .map(|f| {
                let (line, text, part) = self.locate(f);
                Row {
                    severity: f.severity,
                    code: f.code.0,
                    file: &self.file,
                    line,
                    column: Self::column(text, part.start),
                    message: &f.message,
                    help: f.help.as_deref(),
                }
            })
            .collect();
        serde_json::json!({
            "file": self.file, "errors": self.errors(), "warnings": self.warnings(), "findings": rows,
        })
    }
}

/// The nearest of `names` to what was written, when it is near enough to be meant.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The hint for a name that is not known: the nearest one, or all of them.
pub fn hint<'a>(written: &str, names: impl IntoIterator<Item = &'a str>, what: &str) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match nearest(written, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => format!("there are no {what}"),
        None if names.len() > 12 => format!("there are {} {what}, none with a similar name", names.len()),
        None => format!("{what}: {}", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
    }
}
