//! The log: one JSON object per line on standard error, as Cloud Logging, CloudWatch and Application
//! Insights read it, and for Azure once more in the answer of the invocation.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

/// Lines that are kept for the answer of one invocation; further ones go to standard error only.
pub const LINES_KEPT_MAX: usize = 100;

/// How grave a line is, in Google's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Severity {
    /// Something that happened.
    Info,
    /// Something to look at.
    Warning,
    /// Something that failed.
    Error,
}

#[derive(Serialize)]
struct Line<'a> {
    severity: Severity,
    message: &'a str,
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

/// Where the lines of one invocation go.
#[derive(Clone)]
pub(crate) struct Log {
    function: &'static str,
    key: Option<Box<str>>,
    kept: Arc<Mutex<Vec<String>>>,
    quiet: bool,
}

impl Log {
    pub(crate) fn new(function: &'static str, quiet: bool) -> Self {
        Log { function, key: None, kept: Arc::default(), quiet }
    }

    /// The log of one invocation: its lines are kept together and carry its key.
    pub(crate) fn of(&self, key: &str) -> Self {
        Log { key: Some(key.into()), kept: self.kept.clone(), ..*self }
    }

    /// A log that shares nothing with this one but where it is written.
    pub(crate) fn fresh(&self) -> Self {
        Log { kept: Arc::default(), key: None, ..*self }
    }

    pub(crate) fn line(&self, severity: Severity, message: &str) {
        let line = Line { severity, message, function: self.function, key: self.key.as_deref() };
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < LINES_KEPT_MAX {
            kept.push(text.clone());
        }
        drop(kept);
        if !self.quiet {
            text.push('\n');
            // A log that cannot be written must not stop the work.
            let _written = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// What was logged so far.
    pub(crate) fn kept(&self) -> Vec<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
