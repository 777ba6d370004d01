//! Goal: the stock formulas give the figures of the textbooks, and an order keeps its bounds.

use super::{Adjustment, Bounds, bounded_quantity, economic_quantity, normal_quantile, safety_stock};

fn near(found: f64, published: f64, tolerance: f64) {
    assert!((found - published).abs() <= tolerance, "found {found}, published {published}, tolerance {tolerance}");
}

const FREE: Bounds = Bounds { pack: 1.0, order_min: 0.0, usable_max: f64::INFINITY, missing: 0.0 };

#[test]
fn normal_quantiles_are_those_of_the_algorithms_paper() {
    // Wichura 1988, test values of PPND16.
    near(normal_quantile(0.25), -0.674_489_750_196_081_7, 1e-15);
    near(normal_quantile(0.001), -3.090_232_306_167_813_5, 1e-14);
    near(normal_quantile(1e-20), -9.262_340_089_798_408, 1e-13);
    near(normal_quantile(0.975), 1.959_963_984_540_054, 1e-14);
    assert_eq!(normal_quantile(0.5), 0.0);
}

#[test]
fn safety_stock_of_a_known_lead_time_demand_is_stevensons() {
    // Stevenson, Operations Management, 14th edition, chapter 12, example 8: σ of the lead time's demand 5 tons, risk
    // 3 percent: 9.40 tons with z = 1.88.
    near(safety_stock(0.97, 25.0, 0.0, 0.0), 9.40, 0.01);
}

#[test]
fn safety_stock_of_daily_demand_is_taylors() {
    // Taylor, Introduction to Management Science, chapter Inventory Management (I-75 Carpet Discount Store): 30 yards a
    // day, σ 5, ten days, 95 percent: 26.1 yards, reorder point 326.1 with z = 1.65.
    near(safety_stock(0.95, 10.0 * 25.0, 30.0, 0.0), 26.1, 0.1);
}

#[test]
fn variable_lead_time_enters_with_the_square_of_demand() {
    // √(7 · 20² + 100² · 2²) = 206.88: with z = 1.645 it is 340.3 units.
    near(safety_stock(0.95, 7.0 * 400.0, 100.0, 2.0), 340.3, 0.1);
}

#[test]
fn economic_quantity_is_taylors() {
    // The same store: 10,000 yards a year, $150 an order, $0.75 a yard and year: 2,000 yards.
    near(economic_quantity(10_000.0, 150.0, 0.75).unwrap(), 2_000.0, 1e-9);
    assert_eq!(economic_quantity(10_000.0, 150.0, 0.0), None);
    assert_eq!(economic_quantity(0.0, 150.0, 1.0), None);
}

fn quantity(wish: f64, bounds: Bounds) -> (f64, Vec<Adjustment>) {
    let mut done = Vec::new();
    (bounded_quantity(wish, &bounds, &mut done), done)
}

#[test]
fn order_is_whole_packs_of_the_cheaper_number() {
    // Between 2 and 3 packs of 10 the costs are equal at √(2 · 3) · 10 = 24.49.
    assert_eq!(quantity(24.0, Bounds { pack: 10.0, ..FREE }).0, 20.0);
    assert_eq!(quantity(25.0, Bounds { pack: 10.0, ..FREE }).0, 30.0);
    assert_eq!(quantity(30.0, Bounds { pack: 10.0, ..FREE }), (30.0, vec![]));
    assert_eq!(quantity(0.0, Bounds { pack: 10.0, ..FREE }).0, 10.0);
}

#[test]
fn order_brings_the_position_back_though_packs_would_round_it_down() {
    let (found, done) = quantity(5.0, Bounds { pack: 10.0, missing: 21.0, ..FREE });
    assert_eq!(found, 30.0);
    assert_eq!(done, [Adjustment::RaisedToMissing(21.0), Adjustment::WholePacks { packs: 3.0, pack: 10.0 }]);
}

#[test]
fn order_is_no_more_than_keeps() {
    let (found, done) = quantity(100.0, Bounds { pack: 10.0, usable_max: 35.0, missing: 20.0, ..FREE });
    assert_eq!(found, 30.0);
    assert_eq!(done, [Adjustment::LoweredToShelfLife(35.0), Adjustment::WholePacks { packs: 3.0, pack: 10.0 }]);
}

#[test]
fn minimum_order_above_the_shelf_life_is_ordered_and_told() {
    let (found, done) = quantity(10.0, Bounds { pack: 12.0, order_min: 40.0, usable_max: 30.0, missing: 0.0 });
    assert_eq!(found, 48.0);
    assert!(done.contains(&Adjustment::RaisedToMinimum(40.0)), "{done:?}");
    assert!(done.contains(&Adjustment::WillSpoil(18.0)), "{done:?}");
}
