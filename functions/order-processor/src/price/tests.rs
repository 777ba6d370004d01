//! Goal: every cent is accounted for. Expected figures are worked out by hand beside each case.

use schemas::payload::orders::Customer;

use super::*;

/// One item a dollar, one two; EUR with 19 % in the prices (food 7 %), USD with 8.875 % on top of them.
const MENU: &str = r#"{
  "items": [
    {"name": "one", "price_cents": 100, "uses": [{"item": "beans", "amount": 9, "unit": "g"}]},
    {"name": "two", "price_cents": 200, "without_extras": ["milk"]},
    {"name": "cake", "price_cents": 333, "tax_class": "food"}
  ],
  "extras": [{"name": "milk", "price_cents": 50, "uses": [{"item": "milk", "amount": 100, "unit": "ml"}]},
             {"name": "shot", "price_cents": 80, "uses": [{"item": "beans", "amount": 9, "unit": "g"}]}],
  "taxes": [
    {"currency": "EUR", "name": "VAT", "rate_ppm": 190000, "included": true},
    {"currency": "EUR", "class": "food", "name": "VAT food", "rate_ppm": 70000, "included": true},
    {"currency": "USD", "name": "sales tax", "rate_ppm": 88750, "included": false},
    {"currency": "USD", "class": "food", "name": "none", "rate_ppm": 0, "included": false}
  ],
  "promotions": [
    {"name": "ten", "code": "TEN", "percent_off": 10},
    {"name": "half-two", "items": ["two"], "percent_off": 50, "from": "2026-02-01T00:00:00Z", "until": "2026-03-01T00:00:00Z"},
    {"name": "third", "items": ["one", "two"], "buy": 2, "free": 1, "subtotal_cents_min": 1000}
  ],
  "loyalty": {"points_per_100_cents": 3, "cents_per_point": 2, "redeem_percent_max": 50}
}"#;

const JANUARY: &str = "2026-01-15T06:30:00Z";

fn line(item: &str, quantity: u64, extras: &[&str]) -> Line {
    let extras = Some(extras.iter().map(|e| (*e).to_owned()).collect());
    Line { line: 1, item: item.into(), quantity, price_cents: None, extras }
}

fn order(currency: &str, lines: Vec<Line>) -> Created {
    Created {
        order: "order-1".into(),
        shop: 4,
        customer: Customer { name: "Zoë".into(), loyalty_points: Some(1_000) },
        lines,
        total: None,
        currency: currency.into(),
        pickup: None,
        promotions: None,
        redeem_points: None,
    }
}

fn priced_at(order: &Created, at: &str) -> Result<(Accepted, Reserved), Vec<Reason>> {
    price(&Menu::parse(MENU).unwrap(), order, at.parse().unwrap())
}

fn accepted(order: &Created) -> Accepted {
    let (accepted, _) = priced_at(order, JANUARY).unwrap();
    balance(&accepted);
    accepted
}

/// What has to hold of every price.
fn balance(a: &Accepted) {
    let sum = |of: fn(&PricedLine) -> u64| a.lines.iter().map(of).sum::<u64>();
    assert_eq!(a.subtotal_cents, sum(|l| l.unit_cents * l.quantity));
    assert_eq!(a.discounts.iter().map(|d| d.cents).sum::<u64>(), sum(|l| l.discount_cents));
    assert_eq!(a.subtotal_cents - sum(|l| l.discount_cents), sum(|l| l.net_cents));
    assert_eq!(a.total_cents, a.taxes.iter().map(|t| t.base_cents + t.tax_cents).sum::<u64>());
}

fn codes(order: &Created) -> Vec<String> {
    let reasons = priced_at(order, JANUARY).unwrap_err();
    reasons.iter().map(|r| format!("{} {}", r.code, r.place)).collect()
}

#[test]
fn extras_are_for_each_and_tax_is_in_the_price_or_on_top_of_it() {
    let lines = || vec![line("one", 2, &["milk", "shot", "shot"]), line("cake", 1, &[])];
    // 2 x (100 + 50 + 80 + 80) = 620; cake 333.
    let euro = accepted(&order("EUR", lines()));
    assert_eq!((euro.subtotal_cents, euro.total_cents, euro.points_earned), (953, 953, 27));
    // 620 x 19/119 = 98.99; 333 x 7/107 = 21.79.
    let taxes: Vec<_> = euro.taxes.iter().map(|t| (t.name.as_str(), t.base_cents, t.tax_cents)).collect();
    assert_eq!(taxes, [("VAT", 521, 99), ("VAT food", 311, 22)]);
    // 620 x 8.875 % = 55.025.
    let dollar = accepted(&order("USD", lines()));
    let taxes: Vec<_> = dollar.taxes.iter().map(|t| (t.base_cents, t.tax_cents)).collect();
    assert_eq!((dollar.total_cents, taxes), (1008, vec![(620, 55), (333, 0)]));
}

#[test]
fn half_a_cent_goes_up() {
    assert_eq!([portion(5, 10, 100), portion(4, 10, 100), portion(15, 10, 100), portion(0, 1, 3)], [1, 0, 2, 0]);
    assert_eq!(portion(u64::MAX, 100, 100), u64::MAX);
}

#[test]
fn each_line_takes_its_best_promotion() {
    let with = |codes: &[&str], lines| Created {
        promotions: Some(codes.iter().map(|c| (*c).to_owned()).collect()),
        ..order("EUR", lines)
    };
    let taken = |a: Accepted| a.discounts.into_iter().map(|d| (d.promotion, d.cents)).collect::<Vec<_>>();
    // Ten percent of 100 + 333 (33.3).
    assert_eq!(
        taken(accepted(&with(&["TEN"], vec![line("one", 1, &[]), line("cake", 1, &[])]))),
        [("ten".to_owned(), 43)]
    );
    // 7 of one and two: 2 free, the cheapest: both "one", whose line so takes 200; ten percent of the other (600) is 60.
    let both = with(&["TEN"], vec![line("two", 3, &[]), line("one", 4, &["milk"])]);
    assert_eq!(taken(accepted(&both)), [("ten".to_owned(), 60), ("third".to_owned(), 200)]);
    // Below its subtotal nothing is free, and without its code nothing is taken off.
    assert_eq!(taken(accepted(&order("EUR", vec![line("one", 9, &[])]))), []);
    let february = |at| taken(priced_at(&order("EUR", vec![line("two", 1, &[])]), at).unwrap().0);
    assert_eq!(february("2026-02-01T00:00:00Z"), [("half-two".to_owned(), 100)]);
    assert_eq!(february("2026-03-01T00:00:00Z"), []);
}

#[test]
fn points_pay_their_part_spread_over_the_lines() {
    let points = |points, lines| Created { redeem_points: Some(points), ..order("EUR", lines) };
    // 50 points are 100 cents of 100 + 333: 23.09 and 76.91, the odd cent to the larger remainder.
    let paid = accepted(&points(50, vec![line("one", 1, &[]), line("cake", 1, &[])]));
    let discounts: Vec<u64> = paid.lines.iter().map(|l| l.discount_cents).collect();
    assert_eq!((discounts, paid.total_cents, paid.points_redeemed), (vec![23, 77], 333, 50));
    assert_eq!(paid.points_earned, 9);
    // Half of 433 is 216: 108 points.
    assert_eq!(accepted(&points(108, vec![line("one", 1, &[]), line("cake", 1, &[])])).total_cents, 217);
    assert_eq!(codes(&points(109, vec![line("one", 1, &[]), line("cake", 1, &[])])), ["points-invalid redeem_points"]);
    assert_eq!(codes(&points(1_001, vec![line("one", 1_000, &[])])), ["points-invalid redeem_points"]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let shown = Line { price_cents: Some(90), ..line("one", 1, &[]) };
    let mut wrong =
        order("CHF", vec![line("tea", 1, &[]), line("one", 0, &[]), line("two", 1, &["milk", "syrup"]), shown]);
    wrong.promotions = Some(vec!["NONE".into(), "TEN".into()]);
    assert_eq!(
        codes(&wrong),
        [
            "currency-unknown currency",
            "item-unknown lines[0].item",
            "quantity lines[1].quantity",
            "extra-excluded lines[2].extras[0]",
            "extra-unknown lines[2].extras[1]",
            "price-changed lines[3].price_cents",
            "promotion-invalid promotions[0]",
        ]
    );
    assert_eq!(
        codes(&Created { total: Some(99), ..order("EUR", vec![line("one", 1, &["milk"])]) }),
        ["total-differs total"]
    );
    assert_eq!(
        accepted(&Created { total: Some(100), ..order("EUR", vec![line("one", 1, &["milk"])]) }).total_cents,
        150
    );
    assert_eq!(codes(&order("EUR", Vec::new())), ["lines-count lines"]);
    assert_eq!(codes(&order("EUR", vec![line("one", 1, &[]); LINES_MAX + 1])), ["lines-count lines"]);
    assert_eq!(codes(&order("EUR", vec![line("one", 1, &["milk"; EXTRAS_MAX + 1])])), ["extras-count lines[0].extras"]);
}

#[test]
fn stock_is_reserved_once_for_each_item() {
    let (_, reserved) =
        priced_at(&order("EUR", vec![line("one", 2, &["shot", "milk"]), line("one", 3, &[])]), JANUARY).unwrap();
    let items: Vec<_> = reserved.items.iter().map(|s| (s.item.as_str(), s.amount, s.unit.as_str())).collect();
    // 2 x 9 for the shots, 2 x 9 and 3 x 9 for the coffee.
    assert_eq!(items, [("beans", 63, "g"), ("milk", 200, "ml")]);
}

#[test]
fn random_orders_balance_to_the_cent() {
    let mut seed = 0x00C0_FFEE_u64;
    let mut below = |end: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    let menu = Menu::parse(MENU).unwrap();
    let mut discounted = 0;
    for _ in 0..5_000 {
        let count = below(6);
        let mut next_line = || {
            let item = ["one", "two", "cake"][below(3) as usize];
            let extras = if item == "two" { &["shot"][..] } else { &["milk", "shot", "shot"] };
            line(item, 1 + below(9), &extras[..below(extras.len() as u64 + 1) as usize])
        };
        let lines: Vec<Line> = (0..=count).map(|_| next_line()).collect();
        let mut order = order(["EUR", "USD"][below(2) as usize], lines);
        order.promotions = (below(2) == 0).then(|| vec!["TEN".into()]);
        order.redeem_points = (below(2) == 0).then(|| below(20));
        let (accepted, _) =
            price(&menu, &order, ["2026-01-15T06:30:00Z", "2026-02-15T06:30:00Z"][below(2) as usize].parse().unwrap())
                .unwrap();
        balance(&accepted);
        discounted += usize::from(accepted.discounts.len() > 1);
    }
    assert!(discounted > 500, "{discounted} orders with several discounts");
}
