//! Intermittent demand: periods without any, and now and then some.
//!
//! - Croston (*Operational Research Quarterly* 23(3), 1972, pages 289-303): the size of a demand and the interval
//!   between two are smoothed apart, and only when there is one; the forecast is their ratio.
//! - SBA (Syntetos and Boylan, *International Journal of Forecasting* 21(2), 2005, pages 303-314): the ratio is too high
//!   on average, by about 1 / (1 - β/2) with β the interval's weight; SBA takes that off.
//! - TSB (Teunter, Syntetos and Babai, *European Journal of Operational Research* 214, 2011, pages 606-615): the
//!   *probability* of a demand is smoothed in every period, so that an item that nobody asks for any more fades.

/// The smoothing weight of sizes, intervals and probabilities unless an item says otherwise; the usual choice
/// (R's `croston`), small because an intermittent item gives few observations.
pub const WEIGHT_DEFAULT: f64 = 0.1;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Croston's ratio.
    Croston,
    /// With the correction of its bias.
    Sba,
    /// By probability.
    Tsb,
}

/// What was learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Which method.
    pub variant: Variant,
    /// The mean demand for each period from now on.
    pub forecast: f64,
    /// The smoothed size of a demand.
    pub size: f64,
    /// The smoothed interval between demands, in periods; for TSB its inverse is the probability.
    pub interval: f64,
    /// The mean squared error of the one-step forecasts: their variance.
    pub variance: f64,
}

/// Smooths a history; sizes with weight `alpha`, intervals or probabilities with `beta`. Sizes and intervals start at
/// the first demand's, the probability at the first interval's inverse (as R's `croston`, and `tsintermittent` with
/// its naive start).
///
/// `None` when there was no demand at all.
pub fn fit(history: &[f64], variant: Variant, alpha: f64, beta: f64) -> Option<Fit> {
    let first = history.iter().position(|y| *y > 0.0)?;
    let mut size = history.get(first).copied()?;
    let mut interval = (first + 1) as f64;
    let mut probability = 1.0 / interval;
    let mut gap = 0.0;
    let (mut squares, mut errors) = (0.0, 0_u32);
    // The probability is smoothed from the first period on; the others have nothing to learn before the first demand.
    let skip = if variant == Variant::Tsb { 0 } else { first + 1 };
    for y in history.iter().skip(skip) {
        let forecast = forecast(variant, size, interval, probability, beta);
        squares += (y - forecast).powi(2);
        errors += 1;
        gap += 1.0;
        let some = *y > 0.0;
        probability += beta * (f64::from(u8::from(some)) - probability);
        if some {
            size += alpha * (y - size);
            interval += beta * (gap - interval);
            gap = 0.0;
        }
    }
    let forecast = forecast(variant, size, interval, probability, beta);
    let interval = if variant == Variant::Tsb { 1.0 / probability.max(f64::MIN_POSITIVE) } else { interval };
    let variance = if errors > 0 { squares / f64::from(errors) } else { size * size };
    Some(Fit { variant, forecast, size, interval, variance })
}

fn forecast(variant: Variant, size: f64, interval: f64, probability: f64, beta: f64) -> f64 {
    match variant {
        Variant::Croston => size / interval,
        Variant::Sba => (1.0 - beta / 2.0) * size / interval,
        Variant::Tsb => probability * size,
    }
}
