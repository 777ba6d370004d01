//! How far long work is: a bar on a terminal, a line now and then elsewhere, both on standard error.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::count;

/// From one plain line to the next.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Work of a known size.
pub struct Progress {
    what: &'static str,
    of: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    /// Work on so many of these, e.g. `exporting`, `offsets`.
    pub fn new(what: &'static str, of: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {percent}% {msg} {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_prefix(what);
            bar
        });
        Progress { what, of, total, bar, said: Instant::now() }
    }

    /// So many of them are done.
    pub fn at(&mut self, done: u64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done.min(self.total));
            bar.set_message(note.to_owned());
        } else if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            eprintln!(
                "{}: {} of {} {}{}{note}",
                self.what,
                count(done),
                count(self.total),
                self.of,
                if note.is_empty() { "" } else { ", " }
            );
        }
    }

    /// Takes the bar away, so that what is printed next stands alone.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
