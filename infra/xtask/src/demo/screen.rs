//! What is seen while the router works: a bar for each route on a terminal, and nothing elsewhere, where the lines of
//! each act say enough.

use std::io::{IsTerminal, stdout};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::balance::{self, ROUTES};
use crate::Error;

/// How a route is shown.
const TEMPLATE: &str = "  {prefix:16} {bar:32} {pos:>6} of {len:<6} {msg}";

/// The bars; they are taken away at the end.
pub struct Screen(Option<(MultiProgress, Vec<ProgressBar>)>);

impl Screen {
    /// Bars on a terminal.
    pub fn new() -> Screen {
        if !stdout().is_terminal() {
            return Screen(None);
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |name: &'static str| {
            let bar = all.add(ProgressBar::new(0).with_style(style.clone()));
            bar.set_prefix(name);
            bar
        };
        let bars = ROUTES.iter().map(|route| bar(route.name)).collect();
        Screen(Some((all, bars)))
    }

    /// Shows what the router says of itself.
    ///
    /// # Errors
    /// When it does not say enough.
    pub fn show(&mut self, status: &Value) -> Result<(), Error> {
        let Some((_, bars)) = &self.0 else { return Ok(()) };
        for (route, bar) in ROUTES.iter().zip(bars) {
            let now = balance::of_route(status, route.name)?;
            let (matched, delivered) = (balance::figure(now, "matched")?, balance::figure(now, "delivered")?);
            let (dead, parked) = (balance::figure(now, "dead_letters")?, balance::figure(now, "parked")?);
            let mut words = Vec::new();
            if now.get("state").is_some_and(|state| state == "blocked") {
                words.push("its target is down".to_owned());
            }
            if parked > 0 {
                words.push(format!("{parked} behind a stuck key"));
            }
            if dead > 0 {
                words.push(format!("{dead} dead letters"));
            }
            bar.set_length(matched);
            bar.set_position(delivered);
            bar.set_message(words.join(", "));
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some((all, bars)) = &self.0 {
            bars.iter().for_each(ProgressBar::finish_and_clear);
            // A terminal that is gone needs no clearing.
            let _gone = all.clear();
        }
    }
}
