//! Goal: each method gives the figures that others published for it.

use super::{
    Choice, Model, class,
    class::Class,
    croston::{self, Variant},
    forecast,
    holt_winters::{self, FIT_STEPS_MAX, Params, Season, State},
};

/// Monthly totals of international airline passengers in thousands, 1949 to 1960 (Box, Jenkins and Reinsel, *Time
/// Series Analysis*, series G; `AirPassengers` in R).
const PASSENGERS: [f64; 144] = [
    112., 118., 132., 129., 121., 135., 148., 148., 136., 119., 104., 118., 115., 126., 141., 135., 125., 149., 170.,
    170., 158., 133., 114., 140., 145., 150., 178., 163., 172., 178., 199., 199., 184., 162., 146., 166., 171., 180.,
    193., 181., 183., 218., 230., 242., 209., 191., 172., 194., 196., 196., 236., 235., 229., 243., 264., 272., 237.,
    211., 180., 201., 204., 188., 235., 227., 234., 264., 302., 293., 259., 229., 203., 229., 242., 233., 267., 269.,
    270., 315., 364., 347., 312., 274., 237., 278., 284., 277., 317., 313., 318., 374., 413., 405., 355., 306., 271.,
    306., 315., 301., 356., 348., 355., 422., 465., 467., 404., 347., 305., 336., 340., 318., 362., 348., 363., 435.,
    491., 505., 404., 359., 310., 337., 360., 342., 406., 396., 420., 472., 548., 559., 463., 407., 362., 405., 417.,
    391., 419., 461., 472., 535., 622., 606., 508., 461., 390., 432.,
];

/// Quarterly visitor nights of international tourists in Australia in millions, 1999 to 2015 (`austourists` of the R
/// package fpp2).
const VISITORS: [f64; 68] = [
    30.052513,
    19.148496,
    25.317692,
    27.591437,
    32.076456,
    23.487961,
    28.47594,
    35.123753,
    36.838485,
    25.007017,
    30.72223,
    28.693759,
    36.640986,
    23.824609,
    29.311683,
    31.770309,
    35.177877,
    19.775244,
    29.60175,
    34.538842,
    41.273599,
    26.655862,
    28.279859,
    35.191153,
    42.20566386,
    24.64917133,
    32.66733514,
    37.25735401,
    45.24246027,
    29.35048127,
    36.34420728,
    41.78208136,
    49.27659843,
    31.27540139,
    37.85062549,
    38.83704413,
    51.23690034,
    31.83855162,
    41.32342126,
    42.79900337,
    55.70835836,
    33.40714492,
    42.31663797,
    45.15712257,
    59.57607996,
    34.83733016,
    44.84168072,
    46.9712496,
    60.01903094,
    38.37117851,
    46.97586413,
    50.73379646,
    61.64687319,
    39.29956937,
    52.67120908,
    54.33231689,
    66.83435838,
    40.87118847,
    51.82853579,
    57.49190993,
    65.25146985,
    43.06120822,
    54.76075713,
    59.83447494,
    73.25702747,
    47.69662373,
    61.09776802,
    66.05576122,
];

/// Monthly prescriptions of one kind in Australia, July 1991 to June 2008 (`PBS_dataset.csv` of sktime).
const SCRIPTS: &str = "1 1 1 0 0 1
    3 1 1 1 1 1 2 1 1 0 0 2 0 0 1 2 0 1 0 0 1 1 1 1 0 0 2 1 0 0 0 1 0 3 3 2 4 1 1 3 3 1 0 4 1 3 0 1
    2 5 14 2 0 0 3 6 2 2 2 5 1 6 3 3 2 0 1 1 0 0 0 1 4 12 4 0 7 0 2 1 4 1 3 1 0 6 9 3 1 3 1 7 1 3 3 3
    5 6 10 5 1 3 1 1 1 2 1 3 7 11 10 5 5 2 2 1 0 3 6 5 8 9 1 1 0 0 0 1 2 2 0 0 0 0 1 0 0 0 2 1 1 0 1 0
    0 0 0 0 0 0 0 0 0 0 0 0 1 0 1 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
    0 0 0 0 0 0";

fn near(found: f64, published: f64, tolerance: f64) {
    assert!((found - published).abs() <= tolerance, "found {found}, published {published}, tolerance {tolerance}");
}

#[test]
fn multiplicative_season_gives_the_coefficients_that_r_publishes() {
    // R 3 and 4, `HoltWinters(AirPassengers, seasonal = "mult")`: parameters and coefficients as R prints them.
    let params = Params { level: 0.275_592_5, trend: 0.032_692_95, season: 0.870_729_2, damping: 1.0 };
    let mut state = State::start(&PASSENGERS, 12, Season::Multiplicative).unwrap();
    // R takes the level half a season before the place where its filter starts.
    state.level -= 6.0 * state.trend;
    let squares: f64 = PASSENGERS[12..].iter().map(|y| state.update(Season::Multiplicative, &params, *y).powi(2)).sum();
    near(squares, 16_570.78, 0.01);
    near(state.level, 469.323_220_6, 0.001);
    near(state.trend, 3.021_539_1, 0.000_01);
    let published = [
        0.9464611, 0.8829239, 0.9717369, 1.0304825, 1.0476884, 1.1805272, 1.3590778, 1.3331706, 1.1083381, 0.9868813,
        0.8361333, 0.9209877,
    ];
    for (found, published) in state.season.iter().zip(published) {
        near(*found, published, 0.000_002);
    }
}

#[test]
fn search_finds_parameters_at_least_as_good_as_r() {
    // 16570.78 is the least sum of squares that R's optimiser reports for the same data, season and start.
    let mut start = State::start(&PASSENGERS, 12, Season::Multiplicative).unwrap();
    start.level -= 6.0 * start.trend;
    let fit = holt_winters::fit_from(&start, &PASSENGERS[12..], Season::Multiplicative, FIT_STEPS_MAX);
    assert!(fit.squared_error <= 16_570.78, "{fit:?}");
    assert!(fit.steps < FIT_STEPS_MAX, "the compass came to rest by itself: {fit:?}");
}

#[test]
fn damped_trend_with_additive_season_gives_the_states_and_forecasts_that_r_publishes() {
    // R's `forecast::ets(austourists, model = "AAA", damped = TRUE)`, as recorded in statsmodels,
    // tsa/tests/results/fit_ets_results_seasonal.json, TRUE / AAA. There β and γ are those of the error form.
    let (alpha, beta, gamma) = (0.354_454_27, 0.032_007_49, 0.399_933_87);
    let params = Params { level: alpha, trend: beta / alpha, season: gamma / (1.0 - alpha), damping: 0.979_999_97 };
    let start = [5.349_566_37, -6.611_717_98, -0.507_359_02, 1.769_510_63];
    let mut state = State { level: 24.012_783_57, trend: 0.977_701_47, season: start.to_vec() };
    let first = state.update(Season::Additive, &params, VISITORS[0]);
    near(first, -0.267_984_35, 1e-6);
    near(state.level, 24.875_942_78, 1e-6);
    near(state.trend, 0.949_569_91, 1e-6);
    near(state.season[3], 5.242_390_35, 1e-6);
    for y in &VISITORS[1..] {
        state.update(Season::Additive, &params, *y);
    }
    near(state.level, 62.003_405_79, 1e-5);
    let published = [76.077_680_73, 51.617_411_09, 63.964_577_29, 68.278_862_41];
    for (found, published) in state.forecasts(Season::Additive, &params).zip(published) {
        near(found, published, 1e-5);
    }
}

#[test]
fn damped_trend_without_season_gives_the_states_that_r_publishes() {
    // The same of `ets(oildata, model = "AAN", damped = TRUE)`: fit_ets_results_nonseasonal.json, TRUE / AAN.
    let oil = [111.0091, 130.8284, 141.2871, 154.2278, 162.7409, 192.1665];
    let (alpha, beta) = (0.999_899_69, 0.118_869_85);
    let params = Params { level: alpha, trend: beta / alpha, season: 0.0, damping: 0.800_001_97 };
    let mut state = State { level: 36.464_668_37, trend: 34.725_849_83, season: vec![0.0] };
    for y in oil {
        state.update(Season::None, &params, y);
    }
    near(state.level, 192.164_476_53, 1e-3);
    near(state.trend, 11.795_112_78, 1e-3);
}

#[test]
fn croston_gives_the_forecasts_that_r_publishes() {
    // R's `forecast::croston`, as recorded in sktime, forecasting/tests/test_croston.py.
    let scripts: Vec<f64> = SCRIPTS.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(scripts.len(), 204);
    for (weight, published) in [(0.1, 0.868_892_1), (0.5, 0.675_464_6), (0.05, 1.405_808)] {
        let fit = croston::fit(&scripts, Variant::Croston, weight, weight).unwrap();
        near(fit.forecast, published, 1e-5);
    }
}

#[test]
fn croston_sba_and_tsb_give_the_published_course_of_a_small_example() {
    // github.com/pmrgn/intermittent-forecast (outputs as of R's tsintermittent), tests of CRO, SBA and TSB.
    let demand = [0., 0., 3., 0., 4., 0., 0., 0., 2., 0.];
    let after =
        |count: usize, variant, alpha, beta| croston::fit(&demand[..count], variant, alpha, beta).unwrap().forecast;
    for (count, published) in [(3, 1.0), (4, 1.0), (5, 1.25), (8, 1.25), (9, 0.904_605), (10, 0.904_605)] {
        near(after(count, Variant::Croston, 0.5, 0.2), published, 1e-6);
        near(after(count, Variant::Sba, 0.5, 0.2), 0.9 * published, 1e-6);
    }
    // TSB's published course starts at the first period with the first demand's size and interval.
    for (count, published) in [(5, 1.246_839), (8, 0.908_945_6), (9, 1.012_372_3), (10, 0.911_135_1)] {
        near(after(count, Variant::Tsb, 0.3, 0.1), published, 1e-6);
    }
}

#[test]
fn classes_follow_the_published_cut_off_values() {
    let class = |history: &[f64]| class::profile(history).class;
    assert_eq!(class(&[0., 0., 0.]), Class::None);
    assert_eq!(class(&[5., 6., 5., 4., 6., 5.]), Class::Smooth);
    assert_eq!(class(&[1., 1., 1., 20., 1., 1.]), Class::Erratic);
    assert_eq!(class(&[5., 0., 0., 6., 0., 5., 0., 0.]), Class::Intermittent);
    assert_eq!(class(&[1., 0., 0., 30., 0., 1., 0., 1.]), Class::Lumpy);
    // Just below and just above 1.32: 33 demands in 43 periods, and in 44.
    let regular = |periods: usize| (0..periods).map(|i| f64::from(u8::from(i < 33))).collect::<Vec<_>>();
    assert_eq!(class(&regular(43)), Class::Smooth);
    assert_eq!(class(&regular(44)), Class::Intermittent);
}

#[test]
fn weekly_course_is_found_and_projected() {
    let week = [20., 22., 21., 25., 40., 60., 50.];
    let history: Vec<f64> = (0..8).flat_map(|_| week).collect();
    let found = forecast(&history, 7, Choice::ByClass, 40);
    assert!(found.method().starts_with("holt-winters"), "{found:?}");
    near(found.demand(7.0), week.iter().sum(), 0.5);
    near(found.demand(1.5), 20. + 11., 0.2);
}

#[test]
fn trend_that_is_damped_comes_to_rest() {
    let history: Vec<f64> = (0..40).map(|day| 100.0 + 2.0 * f64::from(day)).collect();
    let found = forecast(&history, 7, Choice::ByClass, 40);
    let week = found.demand(7.0);
    assert!(week > 7.0 * 178.0 && week < 7.0 * 195.0, "{week} {found:?}");
}

#[test]
fn item_that_fades_is_forecast_by_probability() {
    let mut history: Vec<f64> = (0..60).map(|day| if day % 3 == 0 { 4.0 } else { 0.0 }).collect();
    assert_eq!(forecast(&history, 7, Choice::ByClass, 8).method(), "sba");
    history.extend([0.0; 20]);
    let found = forecast(&history, 7, Choice::ByClass, 8);
    assert_eq!(found.method(), "tsb");
    let sba = forecast(&history, 7, Choice::Croston(Variant::Sba), 8);
    assert!(found.demand(1.0) < sba.demand(1.0) / 4.0, "{} {}", found.demand(1.0), sba.demand(1.0));
}

#[test]
fn short_and_empty_histories_get_a_plain_answer() {
    assert_eq!(forecast(&[], 7, Choice::ByClass, 8).model, Model::None);
    assert_eq!(forecast(&[0., 0., 0., 0., 0.], 7, Choice::ByClass, 8).demand(10.0), 0.0);
    let short = forecast(&[4., 6.], 7, Choice::ByClass, 8);
    assert_eq!((short.method(), short.demand(3.0), short.variance(1.0)), ("mean", 15.0, 2.0));
}

#[test]
fn same_history_gives_the_same_forecast() {
    let history: Vec<f64> = (0..70_u32).map(|day| f64::from(day % 7 * 5 + day * day % 11 + 3)).collect();
    assert_eq!(forecast(&history, 7, Choice::ByClass, 20), forecast(&history, 7, Choice::ByClass, 20));
}

#[test]
fn lead_time_variance_of_a_level_alone_is_the_textbook_sum() {
    // With α only, cⱼ = α: the variance of the sum over three periods is σ² (1 + (1 + α)² + (1 + 2α)²).
    let state = State { level: 10.0, trend: 0.0, season: vec![0.0] };
    let params = Params { level: 0.5, trend: 0.0, season: 0.0, damping: 1.0 };
    let fit = holt_winters::Fit { season: Season::None, params, state, squared_error: 20.0, errors: 13, steps: 0 };
    near(fit.variance(), 2.0, 1e-12);
    near(fit.lead_time_variance(3.0), 2.0 * (1.0 + 2.25 + 4.0), 1e-12);
}

#[test]
fn hostile_numbers_leave_no_number_that_is_not_one() {
    for history in [vec![0.0, 1e12, 0.0, 1e-12, 5.0, 1e12, 3.0, 1.0, 1.0], vec![1e-300; 30], vec![1e12; 30]] {
        for choice in [Choice::ByClass, Choice::HoltWinters] {
            let found = forecast(&history, 3, choice, 20);
            assert!(found.demand(5.0).is_finite() && found.variance(5.0).is_finite(), "{found:?}");
        }
    }
}
