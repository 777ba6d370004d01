//! What kind of demand a history shows.
//!
//! The average demand interval (ADI, in periods) and the squared coefficient of variation of the sizes (CV²) make four
//! classes, with the cut-off values of Syntetos, Boylan and Croston (*Journal of the Operational Research Society* 56(5),
//! 2005, pages 495-503): 1.32 and 0.49.

/// From this average interval on, demand is intermittent.
pub const INTERVAL_CUT: f64 = 1.32;
/// From this squared coefficient of variation on, its sizes are erratic.
pub const VARIATION_CUT: f64 = 0.49;
/// A pause this many times the average interval is no chance: with intervals at random it comes once in twenty times
/// (e⁻³), so that the item is taken to be fading.
pub const FADING_INTERVALS: f64 = 3.0;

/// The four classes, and no demand at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing was asked for.
    None,
    /// Regular in time and size.
    Smooth,
    /// Regular in time, not in size.
    Erratic,
    /// Now and then, of similar size.
    Intermittent,
    /// Now and then, of any size.
    Lumpy,
}

impl Class {
    /// Its name in payloads.
    pub fn name(self) -> &'static str {
        match self {
            Class::None => "none",
            Class::Smooth => "smooth",
            Class::Erratic => "erratic",
            Class::Intermittent => "intermittent",
            Class::Lumpy => "lumpy",
        }
    }
}

/// What the classes are made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// The class.
    pub class: Class,
    /// Periods from demand to demand on average.
    pub interval: f64,
    /// The squared coefficient of variation of the sizes of demands.
    pub variation: f64,
    /// The mean demand for each period, periods without any included.
    pub mean: f64,
    /// Whether the last demand is so long ago that the item seems to fade.
    pub fading: bool,
}

/// The profile of a history.
pub fn profile(history: &[f64]) -> Profile {
    let mut count = 0.0;
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut pause = 0.0;
    for y in history {
        if *y > 0.0 {
            count += 1.0;
            sum += y;
            squares += y * y;
            pause = 0.0;
        } else {
            pause += 1.0;
        }
    }
    if count == 0.0 {
        return Profile { class: Class::None, interval: 0.0, variation: 0.0, mean: 0.0, fading: false };
    }
    let periods = history.len() as f64;
    let interval = periods / count;
    let size = sum / count;
    let variation = (squares / count - size * size).max(0.0) / (size * size);
    let class = match (interval >= INTERVAL_CUT, variation >= VARIATION_CUT) {
        (false, false) => Class::Smooth,
        (false, true) => Class::Erratic,
        (true, false) => Class::Intermittent,
        (true, true) => Class::Lumpy,
    };
    // The interval while the item was still asked for.
    let before = ((periods - pause) / count).max(1.0);
    Profile {
        class,
        interval,
        variation,
        mean: sum / periods,
        fading: pause > FADING_INTERVALS * before && count > 1.0,
    }
}
