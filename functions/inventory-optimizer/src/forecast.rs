//! Demand of the next periods from a history: which method fits, its parameters, and how far it may be off.
//!
//! The class of the history ([`class`]) chooses: regular demand goes to Holt-Winters ([`holt_winters`]) with the season
//! that Akaike's criterion prefers; erratic demand too when it has a season, else to SBA; intermittent and lumpy demand
//! to SBA ([`croston`]), which is the better one above both cut-offs (Syntetos, Boylan and Croston 2005), and to TSB when
//! the item seems to fade, because the others never learn from a period without demand.

pub mod class;
pub mod croston;
pub mod holt_winters;
pub mod lanes;
#[cfg(test)]
mod tests;

use class::{Class, Profile};
use holt_winters::Season;

/// Periods of history that are looked at, the latest; more say little about the next weeks.
pub const HISTORY_MAX: usize = 1_096;
/// Below this many observations the mean is as good as anything.
pub const HISTORY_MIN: usize = 4;
/// Longest season in periods: a year of days.
pub const SEASON_MAX: usize = 366;
/// Longest lead time plus review in periods.
pub const LEAD_TIME_MAX: f64 = 366.0;

/// How the demand of an item is to be forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// By the class of its history.
    #[default]
    ByClass,
    /// Always Holt-Winters.
    HoltWinters,
    /// Always one of Croston's.
    Croston(CrostonChoice),
}

/// Which of Croston's; a type of its own so that [`Choice`] can be compared.
pub type CrostonChoice = croston::Variant;

/// The model that was used.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// No demand, or none known: nothing is expected.
    None,
    /// The mean of a history too short for more.
    Mean {
        /// For each period.
        mean: f64,
        /// Of one period's demand.
        variance: f64,
    },
    /// Level, trend, season.
    HoltWinters(holt_winters::Fit),
    /// Intermittent demand.
    Croston(croston::Fit),
}

/// A forecast with where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// What the history looks like.
    pub profile: Profile,
    /// What was fitted to it.
    pub model: Model,
}

/// Forecasts from a history, oldest period first. `steps_max` bounds the work of a fit (see [`holt_winters::fit`]).
pub fn forecast(history: &[f64], season_len: usize, choice: Choice, steps_max: usize) -> Forecast {
    let history = history.get(history.len().saturating_sub(HISTORY_MAX)..).unwrap_or_default();
    let profile = class::profile(history);
    let model = match (choice, profile.class) {
        (_, Class::None) => Model::None,
        _ if history.len() < HISTORY_MIN => mean(history, &profile),
        (Choice::HoltWinters, _) | (Choice::ByClass, Class::Smooth) => {
            holt_winters(history, season_len, steps_max).map_or_else(|| mean(history, &profile), Model::HoltWinters)
        }
        (Choice::Croston(variant), _) => croston(history, &profile, variant),
        (Choice::ByClass, Class::Erratic) => match holt_winters(history, season_len, steps_max) {
            Some(fit) if fit.season != Season::None => Model::HoltWinters(fit),
            _ => croston(history, &profile, croston::Variant::Sba),
        },
        (Choice::ByClass, _) if profile.fading => croston(history, &profile, croston::Variant::Tsb),
        (Choice::ByClass, _) => croston(history, &profile, croston::Variant::Sba),
    };
    Forecast { profile, model }
}

/// With the best season where the history has two of them, else without.
fn holt_winters(history: &[f64], season_len: usize, steps_max: usize) -> Option<holt_winters::Fit> {
    if (2..=SEASON_MAX).contains(&season_len) && history.len() >= 2 * season_len {
        holt_winters::fit_best(history, season_len, steps_max)
    } else {
        holt_winters::fit(history, 1, Season::None, steps_max)
    }
}

fn croston(history: &[f64], profile: &Profile, variant: croston::Variant) -> Model {
    croston::fit(history, variant, croston::WEIGHT_DEFAULT, croston::WEIGHT_DEFAULT)
        .map_or_else(|| mean(history, profile), Model::Croston)
}

fn mean(history: &[f64], profile: &Profile) -> Model {
    let count = history.len().max(1) as f64;
    let squares: f64 = history.iter().map(|y| (y - profile.mean).powi(2)).sum();
    // One observation says nothing about the spread: then it is taken to be as large as the mean, as of counts
    // that come at random.
    let variance = if history.len() > 1 { squares / (count - 1.0) } else { profile.mean * profile.mean.max(1.0) };
    Model::Mean { mean: profile.mean, variance }
}

impl Forecast {
    /// The expected demand of the next `periods` together; a fraction takes that part of its period.
    pub fn demand(&self, periods: f64) -> f64 {
        let periods = periods.clamp(0.0, LEAD_TIME_MAX * 2.0);
        match &self.model {
            Model::None => 0.0,
            Model::Mean { mean, .. } => mean * periods,
            Model::Croston(fit) => fit.forecast * periods,
            Model::HoltWinters(fit) => {
                let mut left = periods;
                let mut sum = 0.0;
                for forecast in fit.forecasts() {
                    if left <= 0.0 {
                        break;
                    }
                    sum += forecast * left.min(1.0);
                    left -= 1.0;
                }
                sum
            }
        }
    }

    /// The variance of that demand around its expectation.
    pub fn variance(&self, periods: f64) -> f64 {
        let periods = periods.clamp(0.0, LEAD_TIME_MAX * 2.0);
        match &self.model {
            Model::None => 0.0,
            Model::Mean { variance, .. } => variance * periods,
            Model::Croston(fit) => fit.variance * periods,
            Model::HoltWinters(fit) => fit.lead_time_variance(periods),
        }
    }

    /// The name of the method in payloads.
    pub fn method(&self) -> &'static str {
        match &self.model {
            Model::None => "none",
            Model::Mean { .. } => "mean",
            Model::HoltWinters(fit) => match fit.season {
                Season::None => "holt-damped",
                Season::Additive => "holt-winters-additive",
                Season::Multiplicative => "holt-winters-multiplicative",
            },
            Model::Croston(fit) => match fit.variant {
                croston::Variant::Croston => "croston",
                croston::Variant::Sba => "sba",
                croston::Variant::Tsb => "tsb",
            },
        }
    }
}
