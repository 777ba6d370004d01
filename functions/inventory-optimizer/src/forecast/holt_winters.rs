//! Holt-Winters: level, damped trend and season, updated by each observation.
//!
//! With `m` periods in a season and `l, b, s` the level, trend and season (Winters, *Management Science* 6(3), 1960,
//! pages 324-342; the damping φ as in Gardner and McKenzie, *Management Science* 31(10), 1985, pages 1237-1246; the
//! notation of Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, chapter on Holt-Winters):
//!
//! ```text
//! additive          l' = α (y - s) + (1 - α)(l + φ b)      s' = γ (y - l') + (1 - γ) s     ŷ(h) = l + (φ + … + φ^h) b + s
//! multiplicative    l' = α (y / s) + (1 - α)(l + φ b)      s' = γ (y / l') + (1 - γ) s     ŷ(h) = (l + (φ + … + φ^h) b) s
//! both              b' = β (l' - l) + (1 - β) φ b
//! ```
//!
//! These are the recursions of R's `HoltWinters`, against which the tests hold them. The parameters are those that
//! make the sum of squared one-step errors smallest, found by a compass search from a fixed set of starts: no
//! randomness, so that the same history gives the same order on every platform.

use multiversion::multiversion;

use super::lanes::{LANES, Lanes};

/// Bounds of α, β and γ: at 0 a state would never learn, at 1 it would be the last observation.
pub const WEIGHT_MIN: f64 = 0.0001;
/// See [`WEIGHT_MIN`].
pub const WEIGHT_MAX: f64 = 0.9999;
/// Lowest damping: below it a trend is gone after a few periods (Forecasting: Principles and Practice, section 8.2).
pub const DAMPING_MIN: f64 = 0.8;
/// Compass steps of one fit at most; each evaluates eight neighbours.
pub const FIT_STEPS_MAX: usize = 200;
/// The compass stops when its step is smaller than this.
pub const FIT_STEP_MIN: f64 = 1e-5;
/// The first step of the compass in α, β and γ. The damping moves by [`DAMPING_STEP`] of it.
pub const FIT_STEP_START: f64 = 0.2;
/// The damping's range is a fifth of the weights'.
const DAMPING_STEP: f64 = 0.2;
/// Smaller than this a level or a season cannot be divided by.
const DIVISOR_MIN: f64 = 1e-9;

/// How the season enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// There is none: Holt's damped linear trend.
    None,
    /// It adds units.
    Additive,
    /// It multiplies the level; only for demand that is always positive.
    Multiplicative,
}

/// The smoothing parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// α, of the level.
    pub level: f64,
    /// β, of the trend.
    pub trend: f64,
    /// γ, of the season.
    pub season: f64,
    /// φ, the damping of the trend; 1 is an undamped one.
    pub damping: f64,
}

/// What was learnt up to some period.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The level, in units for each period.
    pub level: f64,
    /// How the level changes in a period.
    pub trend: f64,
    /// One figure for each period of the season, that of the next period first. Not empty.
    pub season: Vec<f64>,
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// How the season enters.
    pub season: Season,
    /// The parameters with the smallest error found.
    pub params: Params,
    /// The state after the last observation.
    pub state: State,
    /// The sum of squared one-step errors.
    pub squared_error: f64,
    /// Of how many errors.
    pub errors: usize,
    /// Compass steps taken.
    pub steps: usize,
}

impl State {
    /// The state at the end of the first season, as R's `HoltWinters` starts it: a moving average over the first two
    /// seasons is the trend's course, a line through it gives level and trend, and what is left is the season.
    /// R takes the line's level half a season early; here it is taken where it belongs.
    ///
    /// `None` when the history is shorter than two seasons, or a multiplicative season meets demand that is not
    /// positive.
    pub fn start(history: &[f64], season_len: usize, season: Season) -> Option<State> {
        if season_len < 2 || season == Season::None {
            return Self::start_without_season(history);
        }
        let two = history.get(..2 * season_len)?;
        let course = moving_average(two, season_len);
        Self::start_on(history, season_len, season, &course)
    }

    /// As [`State::start`], with the moving average of the first two seasons.
    fn start_on(history: &[f64], season_len: usize, season: Season, course: &[f64]) -> Option<State> {
        let two = history.get(..2 * season_len)?;
        if season == Season::Multiplicative && !history.iter().all(|y| *y > 0.0) {
            return None;
        }
        let (intercept, slope) = line(course);
        let half = season_len / 2;
        let level = intercept + slope * (season_len - half) as f64;
        let mut figures_of_course = two.iter().skip(half).zip(course).map(|(y, level)| match season {
            Season::Multiplicative => y / level.max(DIVISOR_MIN),
            Season::Additive | Season::None => y - level,
        });
        let mut figures: Vec<f64> = figures_of_course.by_ref().take(season_len).collect();
        // The course of an odd season is one period longer than it: its last is of the same place as its first.
        if let (Some(first), Some(last)) = (figures.first_mut(), figures_of_course.next()) {
            *first = (*first + last) / 2.0;
        }
        figures.rotate_right(half);
        let mean = figures.iter().sum::<f64>() / season_len as f64;
        for figure in &mut figures {
            *figure = if season == Season::Multiplicative { *figure / mean } else { *figure - mean };
        }
        Some(State { level, trend: slope, season: figures })
    }

    /// A line through the first observations gives the level before the first one.
    fn start_without_season(history: &[f64]) -> Option<State> {
        const LINE_MAX: usize = 10;
        let first = history.get(..history.len().min(LINE_MAX)).filter(|first| !first.is_empty())?;
        let (intercept, slope) = line(first);
        Some(State { level: intercept, trend: slope, season: vec![0.0] })
    }

    /// Takes one observation in and answers the error of the forecast that was made for it.
    pub fn update(&mut self, season: Season, params: &Params, y: f64) -> f64 {
        let mut error = 0.0;
        self.take_in(season, params, &[y], |of_y| error = of_y);
        error
    }

    /// Takes observations in, and tells the error of the forecast of each.
    fn take_in(&mut self, season: Season, params: &Params, observations: &[f64], mut tell: impl FnMut(f64)) {
        let Params { level: alpha, trend: beta, season: gamma, damping: phi } = *params;
        for round in observations.chunks(self.season.len().max(1)) {
            for (y, figure) in round.iter().zip(&mut self.season) {
                let before = self.level + phi * self.trend;
                let (error, level, new) = match season {
                    Season::Multiplicative => {
                        let figure = divisor(*figure);
                        let level = alpha * (y / figure) + (1.0 - alpha) * before;
                        (y - before * figure, level, gamma * (y / divisor(level)) + (1.0 - gamma) * figure)
                    }
                    Season::Additive | Season::None => {
                        let level = alpha * (y - *figure) + (1.0 - alpha) * before;
                        (y - before - *figure, level, gamma * (y - level) + (1.0 - gamma) * *figure)
                    }
                };
                self.trend = beta * (level - self.level) + (1.0 - beta) * phi * self.trend;
                self.level = level;
                if season != Season::None {
                    *figure = new;
                }
                tell(error);
            }
        }
        let into_the_season = observations.len() % self.season.len().max(1);
        self.season.rotate_left(into_the_season);
    }

    /// The forecasts for the next periods, not below zero: demand is not.
    pub fn forecasts<'a>(&'a self, season: Season, params: &'a Params) -> impl Iterator<Item = f64> + 'a {
        let mut damping = 1.0;
        let mut damped = 0.0;
        self.season.iter().cycle().map(move |figure| {
            damping *= params.damping;
            damped += damping;
            let course = self.level + damped * self.trend;
            let forecast = if season == Season::Multiplicative { course * figure } else { course + figure };
            forecast.max(0.0)
        })
    }
}

fn divisor(value: f64) -> f64 {
    if value.abs() < DIVISOR_MIN { DIVISOR_MIN } else { value }
}

/// The centred moving average over `len` periods; with an even `len` the two at the ends count half.
fn moving_average(values: &[f64], len: usize) -> Vec<f64> {
    let (width, ends) = if len.is_multiple_of(2) { (len + 1, 0.5) } else { (len, 1.0) };
    let average = |window: &[f64]| {
        let sum: f64 = window.iter().sum();
        let edges = window.first().unwrap_or(&0.0) + window.last().unwrap_or(&0.0);
        (sum - (1.0 - ends) * edges) / len as f64
    };
    values.windows(width).map(average).collect()
}

/// The line of least squares through (1, v1), (2, v2), …: its value at 0, and its slope.
fn line(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let middle = (count + 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / count;
    let (mut up, mut down) = (0.0, 0.0);
    for (place, value) in values.iter().enumerate() {
        let distance = (place + 1) as f64 - middle;
        up += distance * (value - mean);
        down += distance * distance;
    }
    let slope = if down > 0.0 { up / down } else { 0.0 };
    (mean - slope * middle, slope)
}

/// Fits the parameters, with at most `steps_max` (itself at most [`FIT_STEPS_MAX`]) compass steps.
///
/// `None` when [`State::start`] has none.
pub fn fit(history: &[f64], season_len: usize, season: Season, steps_max: usize) -> Option<Fit> {
    let start = State::start(history, season_len, season)?;
    let after = if season == Season::None { 0 } else { season_len };
    let rest = history.get(after..)?;
    Some(fit_from(&start, rest, season, steps_max))
}

/// The season, or none, that Akaike's criterion prefers, fitted. They are compared by the best of the search's starts on
/// the same observations, those after the first season; only the preferred one is then searched in full.
///
/// `None` when the history is shorter than two seasons.
pub fn fit_best(history: &[f64], season_len: usize, steps_max: usize) -> Option<Fit> {
    let two = history.get(..2 * season_len)?;
    let rest = history.get(season_len..)?;
    let course = moving_average(two, season_len);
    let additive = State::start_on(history, season_len, Season::Additive, &course)?;
    // The same level starts the model without a season.
    let plain = State { level: additive.level, trend: additive.trend, season: vec![0.0] };
    let multiplicative = State::start_on(history, season_len, Season::Multiplicative, &course);
    let candidates =
        [(Season::None, Some(plain)), (Season::Additive, Some(additive)), (Season::Multiplicative, multiplicative)];
    let mut scratch = Vec::new();
    let compared = candidates.into_iter().filter_map(|(season, start)| {
        let start = start?;
        let best = best_of(&start, rest, season, &starts(season), &mut scratch);
        let free = parameters(season) + start.season.len();
        Some((criterion(best.squared_error, rest.len(), free), season, start, best))
    });
    let (_, season, start, best) = compared.min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(search(&start, rest, season, steps_max, best, &mut scratch))
}

/// As [`fit`], from a given state and the observations after it.
pub fn fit_from(start: &State, rest: &[f64], season: Season, steps_max: usize) -> Fit {
    let mut scratch = Vec::new();
    let best = best_of(start, rest, season, &starts(season), &mut scratch);
    search(start, rest, season, steps_max, best, &mut scratch)
}

/// A candidate, and what it came to.
struct Candidate {
    params: Params,
    /// Infinite where it came to no number.
    squared_error: f64,
    /// After the last observation.
    state: State,
}

/// The compass search from the best of the starts.
fn search(
    start: &State,
    rest: &[f64],
    season: Season,
    steps_max: usize,
    mut best: Candidate,
    scratch: &mut Vec<Lanes>,
) -> Fit {
    let mut step = FIT_STEP_START;
    let mut steps = 0;
    while steps < steps_max.min(FIT_STEPS_MAX) && step >= FIT_STEP_MIN {
        steps += 1;
        let found = best_of(start, rest, season, &neighbours(&best.params, step, season), scratch);
        if found.squared_error < best.squared_error {
            best = found;
        } else {
            step /= 2.0;
        }
    }
    let Candidate { params, mut squared_error, mut state } = best;
    if squared_error.is_infinite() {
        // A level came too near to nothing, which the eight side by side do not look out for.
        state.clone_from(start);
        squared_error = 0.0;
        state.take_in(season, &params, rest, |error| squared_error += error * error);
    }
    Fit { season, params, state, squared_error, errors: rest.len(), steps }
}

/// Eight places from which the compass may start: slow and quick levels, with and without a trend that learns.
fn starts(season: Season) -> [Params; LANES] {
    let gamma = if season == Season::None { 0.0 } else { 1.0 };
    let at = |level, trend, season: f64, damping| Params { level, trend, season: season * gamma, damping };
    [
        at(0.05, 0.01, 0.05, 0.98),
        at(0.1, 0.01, 0.3, 0.98),
        at(0.1, 0.1, 0.1, 0.9),
        at(0.3, 0.01, 0.1, 0.98),
        at(0.3, 0.1, 0.6, 0.98),
        at(0.3, 0.03, 0.85, 1.0),
        at(0.6, 0.01, 0.1, 0.98),
        at(0.9, 0.1, 0.1, 0.9),
    ]
}

/// One step up and down in each parameter, within its bounds.
fn neighbours(of: &Params, step: f64, season: Season) -> [Params; LANES] {
    let weight = |value: f64| value.clamp(WEIGHT_MIN, WEIGHT_MAX);
    let gamma = |value| if season == Season::None { 0.0 } else { weight(value) };
    let damping = |value: f64| value.clamp(DAMPING_MIN, 1.0);
    [
        Params { level: weight(of.level + step), ..*of },
        Params { level: weight(of.level - step), ..*of },
        Params { trend: weight(of.trend + step), ..*of },
        Params { trend: weight(of.trend - step), ..*of },
        Params { season: gamma(of.season + step), ..*of },
        Params { season: gamma(of.season - step), ..*of },
        Params { damping: damping(of.damping + step * DAMPING_STEP), ..*of },
        Params { damping: damping(of.damping - step * DAMPING_STEP), ..*of },
    ]
}

/// The candidate with the smallest squared error; the first of equals.
fn best_of(
    start: &State,
    rest: &[f64],
    season: Season,
    candidates: &[Params; LANES],
    figures: &mut Vec<Lanes>,
) -> Candidate {
    let (errors, course) = errors(start, rest, season, candidates, figures);
    let finite = errors.0.into_iter().enumerate().filter(|(_, error)| error.is_finite());
    let (lane, squared_error) = finite.min_by(|one, other| one.1.total_cmp(&other.1)).unwrap_or((0, f64::INFINITY));
    let of = |lanes: &Lanes| lanes.0.get(lane).copied().unwrap_or(f64::NAN);
    let params = *candidates.get(lane).unwrap_or(&candidates[0]);
    let mut season: Vec<f64> = figures.iter().map(of).collect();
    let into_the_season = rest.len() % season.len().max(1);
    season.rotate_left(into_the_season);
    let damped = of(&course.damped);
    let state = State { level: of(&course.expected) - damped, trend: damped / params.damping, season };
    Candidate { params, squared_error, state }
}

fn of_each(candidates: &[Params; LANES], f: impl Fn(&Params) -> f64) -> Lanes {
    Lanes(candidates.each_ref().map(f))
}

// The three loops below are where the time goes. What they wait for is the way from one period's figures to the next one's,
// so it is kept short: with the level that was expected, u = l + φb, the damped trend d = φb, and z for y - s, y / s or y
// itself, all three seasons have
//
//     l' = (1 - α) u + αz      d' = φd + φαβ (z - u)      u' = l' + d' = (1 - α - φαβ) u + φd + (α + φαβ) z
//
// in which only one product and two sums follow from the last period. All is compiled a second time for processors with AVX2
// and chosen at run time. Every operation is rounded by itself (none is fused with the next), so that all processors come
// to the same bits.

/// The sum of squared errors of each candidate, and where each has come to; its season's figures are in `figures`.
#[multiversion(targets("x86_64+avx2"))]
fn errors(
    start: &State,
    rest: &[f64],
    season: Season,
    candidates: &[Params; LANES],
    figures: &mut Vec<Lanes>,
) -> (Lanes, Course) {
    errors_as_compiled(start, rest, season, candidates, figures)
}

/// As [`errors`], for the processor that the caller is compiled for.
#[inline(always)]
fn errors_as_compiled(
    start: &State,
    rest: &[f64],
    season: Season,
    candidates: &[Params; LANES],
    figures: &mut Vec<Lanes>,
) -> (Lanes, Course) {
    figures.clear();
    figures.extend(start.season.iter().map(|figure| Lanes::all(*figure)));
    match season {
        Season::None => errors_without_season(start, rest, candidates),
        Season::Additive => errors_additive(start, rest, candidates, figures),
        Season::Multiplicative => errors_multiplicative(start, rest, candidates, figures),
    }
}

/// Level and damped trend of eight candidates on their way through the periods.
struct Course {
    expected: Lanes,
    damped: Lanes,
    damping: Lanes,
    kept: Lanes,
    taken: Lanes,
    turned: Lanes,
}

impl Course {
    #[inline(always)]
    fn new(start: &State, candidates: &[Params; LANES]) -> Self {
        let turned = |p: &Params| p.damping * p.level * p.trend;
        let damped = of_each(candidates, |p| p.damping * start.trend);
        Course {
            expected: Lanes::all(start.level) + damped,
            damped,
            damping: of_each(candidates, |p| p.damping),
            kept: of_each(candidates, |p| 1.0 - p.level - turned(p)),
            taken: of_each(candidates, |p| p.level + turned(p)),
            turned: of_each(candidates, turned),
        }
    }

    /// Takes in what a period says of the level.
    #[inline(always)]
    fn take_in(&mut self, z: Lanes) {
        let damped = self.damping * self.damped;
        let expected = self.expected;
        self.expected = self.kept * expected + (damped + self.taken * z);
        self.damped = (damped + self.turned * z) - self.turned * expected;
    }
}

#[inline(always)]
fn errors_without_season(start: &State, rest: &[f64], candidates: &[Params; LANES]) -> (Lanes, Course) {
    let (mut course, mut sum) = (Course::new(start, candidates), Lanes::all(0.0));
    for y in rest {
        let y = Lanes::all(*y);
        let error = y - course.expected;
        sum = sum + error * error;
        course.take_in(y);
    }
    (sum, course)
}

#[inline(always)]
fn errors_additive(
    start: &State,
    rest: &[f64],
    candidates: &[Params; LANES],
    figures: &mut [Lanes],
) -> (Lanes, Course) {
    // s' = γ (y - l') + (1 - γ) s = s + γ (1 - α) (z - u)
    let gamma = of_each(candidates, |p| p.season * (1.0 - p.level));
    let (mut course, mut sum) = (Course::new(start, candidates), Lanes::all(0.0));
    for season in rest.chunks(figures.len()) {
        for (y, figure) in season.iter().zip(figures.iter_mut()) {
            let z = Lanes::all(*y) - *figure;
            let error = z - course.expected;
            sum = sum + error * error;
            *figure = *figure + gamma * error;
            course.take_in(z);
        }
    }
    (sum, course)
}

#[inline(always)]
fn errors_multiplicative(
    start: &State,
    rest: &[f64],
    candidates: &[Params; LANES],
    figures: &mut [Lanes],
) -> (Lanes, Course) {
    figures.iter_mut().for_each(|figure| figure.0 = figure.0.map(divisor));
    let alpha = of_each(candidates, |p| p.level);
    let gamma = of_each(candidates, |p| p.season);
    let (left, old) = (Lanes::all(1.0) - alpha, Lanes::all(1.0) - gamma);
    let (mut course, mut sum) = (Course::new(start, candidates), Lanes::all(0.0));
    for season in rest.chunks(figures.len()) {
        for (y, figure) in season.iter().zip(figures.iter_mut()) {
            let y = Lanes::all(*y);
            let z = y / *figure;
            let error = y - course.expected * *figure;
            sum = sum + error * error;
            let level = left * course.expected + alpha * z;
            *figure = gamma * (y / level) + old * *figure;
            course.take_in(z);
        }
    }
    (sum, course)
}

/// Akaike's criterion with its correction for short histories, to choose between models of the same errors.
fn criterion(squared_error: f64, errors: usize, free: usize) -> f64 {
    let (count, free) = (errors as f64, free as f64);
    let mean = (squared_error / count).max(f64::MIN_POSITIVE);
    let left = (count - free - 1.0).max(1.0);
    count * mean.ln() + 2.0 * free + 2.0 * free * (free + 1.0) / left
}

fn parameters(season: Season) -> usize {
    if season == Season::None { 3 } else { 4 }
}

impl Fit {
    /// The mean forecast for each of the next periods.
    pub fn forecasts(&self) -> impl Iterator<Item = f64> + '_ {
        self.state.forecasts(self.season, &self.params)
    }

    /// The variance of a one-step error; the parameters and start states count as spent degrees of freedom.
    pub fn variance(&self) -> f64 {
        let free = self.errors.saturating_sub(parameters(self.season)).max(1);
        self.squared_error / free as f64
    }

    /// The variance of the *sum* of the errors over the next `periods` (Hyndman, Koehler, Ord and Snyder,
    /// *Forecasting with Exponential Smoothing*, 2008, section 6.3: σ² Σ Cⱼ², Cⱼ = 1 + c₁ + … + cⱼ₋₁ with
    /// cᵢ = α + αβ(φ + … + φⁱ) + γ(1 - α) at whole seasons). Exact for an additive season, near it for a
    /// multiplicative one. A fraction of a period counts as that fraction of its square.
    pub fn lead_time_variance(&self, periods: f64) -> f64 {
        let params = &self.params;
        let season = self.state.season.len().max(1);
        let (mut sum, mut weight, mut damping, mut damped) = (0.0, 1.0, 1.0, 0.0);
        let mut left = periods;
        let mut place = 1;
        while left > 0.0 {
            sum += weight * weight * left.min(1.0);
            damping *= params.damping;
            damped += damping;
            let seasonal = self.season != Season::None && place % season == 0;
            weight += params.level * (1.0 + params.trend * damped);
            weight += if seasonal { params.season * (1.0 - params.level) } else { 0.0 };
            left -= 1.0;
            place += 1;
        }
        self.variance() * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_comes_to_the_same_bits() {
        let mut seed = 7_u64;
        let mut next = || {
            // A linear congruential generator (Knuth, MMIX): the same numbers in every run.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut scratch = Vec::new();
        for round in 0..200_usize {
            let season_len = 2 + round % 12;
            let history: Vec<f64> = (0..2 * season_len + round).map(|_| 1e-3 + 50.0 * next()).collect();
            let candidates =
                [(); LANES].map(|()| Params { level: next(), trend: next(), season: next(), damping: next() });
            for season in [Season::None, Season::Additive, Season::Multiplicative] {
                let start = State::start(&history, season_len, season).unwrap();
                let bits = |(errors, course): (Lanes, Course), figures: &mut Vec<Lanes>| {
                    let all = [errors, course.expected, course.damped].into_iter().chain(figures.drain(..));
                    all.map(|lanes| lanes.0.map(f64::to_bits)).collect::<Vec<_>>()
                };
                let plain = errors_as_compiled(&start, &history, season, &candidates, &mut scratch);
                let plain = bits(plain, &mut scratch);
                let chosen = errors(&start, &history, season, &candidates, &mut scratch);
                assert_eq!(plain, bits(chosen, &mut scratch), "{season:?} of {history:?}");
            }
        }
    }
}
