//! The price of an order, in whole cents throughout: no rounding but where a percentage or a tax is taken,
//! and there half a cent goes up.
//!
//! 1. A line's unit price is the item's and its extras'.
//! 2. Of the promotions that hold (by code, time, subtotal), each line takes the one that takes most off it;
//!    a *buy and get free* looks at all its items together, and the cheapest are free.
//! 3. Loyalty points pay a part of what is left. What they pay is spread over the lines by their size, the
//!    odd cents to the largest remainders, so that each tax has its own share.
//! 4. Tax is taken once for each rate on the sum of its lines, included in it or added to it.

use jiff::Timestamp;
use schemas::payload::orders::{
    Accepted, Created, Discount, LINES_MAX, Line, PricedLine, Reason, Reserved, Stock, Tax,
};

use crate::menu::{Item, Menu, Promotion};

/// How many of one line.
pub const QUANTITY_MAX: u64 = 1_000;
/// Extras of one line.
pub const EXTRAS_MAX: usize = 20;
/// Codes of promotions with one order.
pub const CODES_MAX: usize = 10;

/// A line that is on the menu.
struct Found<'a> {
    line: &'a Line,
    item: &'a Item,
    extras: Vec<&'a Item>,
    unit_cents: u64,
    discount_cents: u64,
}

impl Found<'_> {
    fn gross(&self) -> u64 {
        self.unit_cents * self.line.quantity
    }

    fn net(&self) -> u64 {
        self.gross() - self.discount_cents
    }
}

/// Prices an order and says what it uses of the stock.
///
/// # Errors
/// Everything that is wrong with it, with the member.
pub fn price(menu: &Menu, order: &Created, at: Timestamp) -> Result<(Accepted, Reserved), Vec<Reason>> {
    let mut wrong = Vec::new();
    let lines = find(menu, order, &mut wrong);
    check_shown(order, &lines, &mut wrong);
    let promotions = promotions(menu, order, at, &lines, &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut lines = lines;
    let mut discounts = take_promotions(&mut lines, &promotions);
    let subtotal_cents = lines.iter().map(Found::gross).sum();
    let points_redeemed = redeem(menu, order, &lines, &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let redeemed_cents = points_redeemed * menu.loyalty.cents_per_point;
    if redeemed_cents > 0 {
        spread(&mut lines, redeemed_cents);
        discounts.push(Discount { promotion: "loyalty".into(), cents: redeemed_cents });
    }
    let taxes = taxes(menu, order, &lines);
    let added: u64 = taxes.iter().filter(|tax| !tax.included).map(|tax| tax.tax_cents).sum();
    let total_cents = lines.iter().map(Found::net).sum::<u64>() + added;
    let reserved = Reserved { order: order.order.clone(), shop: order.shop, items: uses(&lines) };
    let accepted = Accepted {
        order: order.order.clone(),
        shop: order.shop,
        customer: order.customer.name.clone(),
        lines: lines.iter().map(priced).collect(),
        currency: order.currency.clone(),
        subtotal_cents,
        discounts,
        taxes,
        total_cents,
        points_redeemed,
        points_earned: (total_cents / 100).saturating_mul(menu.loyalty.points_per_100_cents),
        pickup: order.pickup.unwrap_or(true),
    };
    Ok((accepted, reserved))
}

fn reason(code: &str, place: impl Into<String>, message: impl Into<String>) -> Reason {
    Reason { code: code.into(), place: place.into(), message: message.into() }
}

/// Looks every line up.
fn find<'a>(menu: &'a Menu, order: &'a Created, wrong: &mut Vec<Reason>) -> Vec<Found<'a>> {
    if order.order.is_empty() {
        wrong.push(reason("order-unnamed", "order", "an order has a name"));
    }
    if !menu.sells_in(&order.currency) {
        let message = format!("{} is not taken; pay in {}", order.currency, menu.currencies());
        wrong.push(reason("currency-unknown", "currency", message));
    }
    if order.lines.is_empty() || order.lines.len() > LINES_MAX {
        let message = format!("{} lines; an order has 1 to {LINES_MAX}", order.lines.len());
        wrong.push(reason("lines-count", "lines", message));
        return Vec::new();
    }
    let mut found = Vec::with_capacity(order.lines.len());
    for (i, line) in order.lines.iter().enumerate() {
        if line.quantity == 0 || line.quantity > QUANTITY_MAX {
            let message = format!("{} of {}; a line has 1 to {QUANTITY_MAX}", line.quantity, line.item);
            wrong.push(reason("quantity", format!("lines[{i}].quantity"), message));
            continue;
        }
        let Some(item) = menu.item(&line.item) else {
            wrong.push(reason("item-unknown", format!("lines[{i}].item"), format!("{} is not on the menu", line.item)));
            continue;
        };
        let extras = find_extras(menu, item, line, i, wrong);
        let unit_cents = item.price_cents + extras.iter().map(|extra| extra.price_cents).sum::<u64>();
        found.push(Found { line, item, extras, unit_cents, discount_cents: 0 });
    }
    found
}

fn find_extras<'a>(menu: &'a Menu, item: &Item, line: &Line, i: usize, wrong: &mut Vec<Reason>) -> Vec<&'a Item> {
    let names = line.extras.as_deref().unwrap_or_default();
    if names.len() > EXTRAS_MAX {
        let message = format!("{} extras; a line has at most {EXTRAS_MAX}", names.len());
        wrong.push(reason("extras-count", format!("lines[{i}].extras"), message));
        return Vec::new();
    }
    let mut found = Vec::with_capacity(names.len());
    for (k, name) in names.iter().enumerate() {
        match menu.extra(name) {
            None => {
                let place = format!("lines[{i}].extras[{k}]");
                wrong.push(reason("extra-unknown", place, format!("{name} is no extra on the menu")));
            }
            Some(_) if item.without_extras.contains(name) => {
                let place = format!("lines[{i}].extras[{k}]");
                wrong.push(reason("extra-excluded", place, format!("{} cannot be had with {name}", item.name)));
            }
            Some(extra) => found.push(extra),
        }
    }
    found
}

/// What the customer was shown must be what the menu says: nobody is charged another price.
fn check_shown(order: &Created, lines: &[Found<'_>], wrong: &mut Vec<Reason>) {
    for found in lines {
        let Some(shown) = found.line.price_cents.filter(|shown| *shown != found.item.price_cents) else { continue };
        let i = order.lines.iter().position(|line| std::ptr::eq(line, found.line)).unwrap_or_default();
        let message = format!(
            "{} was shown for {shown} and costs {}; show the menu anew",
            found.item.name, found.item.price_cents
        );
        wrong.push(reason("price-changed", format!("lines[{i}].price_cents"), message));
    }
    let total: u64 = lines.iter().map(|found| found.item.price_cents * found.line.quantity).sum();
    if let Some(shown) = order.total.filter(|shown| *shown != total && wrong.is_empty()) {
        let message = format!("{shown} was shown, and the lines are {total} before extras, promotions and tax");
        wrong.push(reason("total-differs", "total", message));
    }
}

/// The promotions that hold for this order.
fn promotions<'a>(
    menu: &'a Menu,
    order: &Created,
    at: Timestamp,
    lines: &[Found<'_>],
    wrong: &mut Vec<Reason>,
) -> Vec<&'a Promotion> {
    let codes = order.promotions.as_deref().unwrap_or_default();
    if codes.len() > CODES_MAX {
        let message = format!("{} codes; an order has at most {CODES_MAX}", codes.len());
        wrong.push(reason("promotions-count", "promotions", message));
        return Vec::new();
    }
    let subtotal: u64 = lines.iter().map(Found::gross).sum();
    let now = |p: &Promotion| p.from.is_none_or(|from| from <= at) && p.until.is_none_or(|until| at < until);
    for (i, code) in codes.iter().enumerate() {
        let named = menu.promotions.iter().find(|p| p.code.as_deref() == Some(code));
        let message = match named {
            None => format!("{code} is the code of no promotion"),
            Some(p) if !now(p) => format!("{} does not hold at {at}", p.name),
            Some(p) if subtotal < p.subtotal_cents_min => format!("{} holds from {} on", p.name, p.subtotal_cents_min),
            Some(_) => continue,
        };
        wrong.push(reason("promotion-invalid", format!("promotions[{i}]"), message));
    }
    let asked = |p: &Promotion| p.code.as_ref().is_none_or(|code| codes.contains(code));
    menu.promotions.iter().filter(|p| asked(p) && now(p) && subtotal >= p.subtotal_cents_min).collect()
}

/// Takes off each line what its best promotion takes; gives the sums.
fn take_promotions(lines: &mut [Found<'_>], promotions: &[&Promotion]) -> Vec<Discount> {
    // For each line, the best so far: what it takes, and whose it is.
    let mut best: Vec<(u64, Option<usize>)> = vec![(0, None); lines.len()];
    for (p, promotion) in promotions.iter().enumerate() {
        for (line, cents) in takes(lines, promotion) {
            if let Some(slot) = best.get_mut(line).filter(|(most, _)| cents > *most) {
                *slot = (cents, Some(p));
            }
        }
    }
    let mut sums = vec![0; promotions.len()];
    for (line, (cents, whose)) in lines.iter_mut().zip(best) {
        line.discount_cents = cents;
        if let Some(sum) = whose.and_then(|p| sums.get_mut(p)) {
            *sum += cents;
        }
    }
    let given = promotions.iter().zip(sums).filter(|(_, cents)| *cents > 0);
    given.map(|(promotion, cents)| Discount { promotion: promotion.name.clone(), cents }).collect()
}

/// What a promotion takes off which line.
fn takes(lines: &[Found<'_>], promotion: &Promotion) -> Vec<(usize, u64)> {
    let mut of: Vec<(usize, &Found<'_>)> =
        lines.iter().enumerate().filter(|(_, found)| promotion.is_for(&found.item.name)).collect();
    if promotion.percent_off > 0 {
        return of.iter().map(|(i, found)| (*i, portion(found.gross(), promotion.percent_off, 100))).collect();
    }
    // The cheapest are free: of as many as there are, each whole `buy + free` has `free` of them. An extra is
    // never free: only the item is.
    of.sort_by_key(|(i, found)| (found.item.price_cents, *i));
    let count: u64 = of.iter().map(|(_, found)| found.line.quantity).sum();
    let mut free = count / (promotion.buy + promotion.free) * promotion.free;
    let mut taken = Vec::new();
    for (i, found) in of {
        let here = free.min(found.line.quantity);
        free -= here;
        taken.push((i, here * found.item.price_cents));
    }
    taken
}

/// `amount` times `part` by `whole`, half a cent up. No product of a checked order comes near 128 bits.
fn portion(amount: u64, part: u64, whole: u64) -> u64 {
    let (amount, part, whole) = (u128::from(amount), u128::from(part), u128::from(whole.max(1)));
    u64::try_from((amount * part * 2 + whole) / (whole * 2)).unwrap_or(u64::MAX)
}

/// The points that pay a part: all that were asked for, or the order is rejected.
fn redeem(menu: &Menu, order: &Created, lines: &[Found<'_>], wrong: &mut Vec<Reason>) -> u64 {
    let Some(points) = order.redeem_points.filter(|points| *points > 0) else { return 0 };
    let has = order.customer.loyalty_points.unwrap_or(0);
    let net: u64 = lines.iter().map(Found::net).sum();
    let cents_max = net * menu.loyalty.redeem_percent_max / 100;
    let message = if menu.loyalty.cents_per_point == 0 {
        "points pay for nothing here".to_owned()
    } else if points > has {
        format!("{points} points; the customer has {has}")
    } else if points > cents_max / menu.loyalty.cents_per_point {
        let at_most = cents_max / menu.loyalty.cents_per_point;
        format!("{points} points; at most {at_most} pay for this order ({} %)", menu.loyalty.redeem_percent_max)
    } else {
        return points;
    };
    wrong.push(reason("points-invalid", "redeem_points", message));
    0
}

/// Spreads what is paid otherwise over the lines, by their size: largest remainders (Hamilton's method).
fn spread(lines: &mut [Found<'_>], cents: u64) {
    let net: u64 = lines.iter().map(Found::net).sum();
    if net == 0 {
        return;
    }
    let (mut left, mut remainders) = (cents, Vec::with_capacity(lines.len()));
    for (i, line) in lines.iter_mut().enumerate() {
        let product = u128::from(line.net()) * u128::from(cents);
        let share = u64::try_from(product / u128::from(net)).unwrap_or(u64::MAX);
        remainders.push((product % u128::from(net), i));
        line.discount_cents += share;
        left -= share;
    }
    remainders.sort_by_key(|(remainder, i)| (std::cmp::Reverse(*remainder), *i));
    for (_, i) in remainders {
        if left == 0 {
            return;
        }
        if let Some(line) = lines.get_mut(i).filter(|line| line.net() > 0) {
            line.discount_cents += 1;
            left -= 1;
        }
    }
}

/// One row for each rule that any line falls under, in the order of the lines.
fn taxes(menu: &Menu, order: &Created, lines: &[Found<'_>]) -> Vec<Tax> {
    let mut rows: Vec<(&str, Tax)> = Vec::new();
    for line in lines {
        let Some(rule) = menu.tax(&order.currency, &line.item.tax_class) else { continue };
        match rows.iter_mut().find(|(class, _)| *class == rule.class) {
            Some((_, tax)) => tax.base_cents += line.net(),
            None => {
                let (rate_ppm, included) = (rule.rate_ppm, rule.included);
                let tax = Tax { name: rule.name.clone(), rate_ppm, included, base_cents: line.net(), tax_cents: 0 };
                rows.push((&rule.class, tax));
            }
        }
    }
    let taxed = rows.into_iter().map(|(_, mut tax)| {
        if tax.included {
            tax.tax_cents = portion(tax.base_cents, tax.rate_ppm, 1_000_000 + tax.rate_ppm);
            tax.base_cents -= tax.tax_cents;
        } else {
            tax.tax_cents = portion(tax.base_cents, tax.rate_ppm, 1_000_000);
        }
        tax
    });
    taxed.collect()
}

fn priced(found: &Found<'_>) -> PricedLine {
    PricedLine {
        line: found.line.line,
        item: found.item.name.clone(),
        quantity: found.line.quantity,
        extras: found.extras.iter().map(|extra| extra.name.clone()).collect(),
        unit_cents: found.unit_cents,
        discount_cents: found.discount_cents,
        net_cents: found.net(),
    }
}

/// What the lines use of the stock, each item and unit once, in the order of the lines.
fn uses(lines: &[Found<'_>]) -> Vec<Stock> {
    let mut all: Vec<Stock> = Vec::new();
    for found in lines {
        for used in found.extras.iter().flat_map(|extra| &extra.uses).chain(&found.item.uses) {
            let amount = used.amount.saturating_mul(found.line.quantity);
            match all.iter_mut().find(|stock| stock.item == used.item && stock.unit == used.unit) {
                Some(stock) => stock.amount = stock.amount.saturating_add(amount),
                None => all.push(Stock { amount, ..used.clone() }),
            }
        }
    }
    all
}

#[cfg(test)]
mod tests;
