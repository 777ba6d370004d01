//! How much to keep, when to order, how much to order.
//!
//! A policy (s, Q): when the inventory position (on hand, plus on order, less what is owed) falls to `s`, order `Q`.
//! `s` is the demand expected over the lead time plus a safety stock; `Q` starts as the economic order quantity and is
//! then bound by what is missing, the shelf life, the minimum order and the pack size, in this order.

#[cfg(test)]
mod tests;

/// Service levels that make sense: the probability that a cycle ends without a stock-out.
pub const SERVICE_LEVEL_MIN: f64 = 0.5;
/// See [`SERVICE_LEVEL_MIN`]: beyond this the normal distribution's tail is a fiction.
pub const SERVICE_LEVEL_MAX: f64 = 0.9999;
/// Packs in one order at most: a larger one is an error of its data.
pub const PACKS_MAX: f64 = 1e9;

/// The standard normal distribution's quantile, by algorithm AS 241 (PPND16: Wichura, *Applied Statistics* 37(3), 1988,
/// pages 477-484), accurate to about one part in 10¹⁶. Not a number outside (0, 1).
pub fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(r, &CENTRE);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let value = if r <= 5.0 { ratio(r - 1.6, &MIDDLE) } else { ratio(r - 5.0, &FAR) };
    value.copysign(q)
}

type Polynomials = [[f64; 8]; 2];

fn ratio(r: f64, [up, down]: &Polynomials) -> f64 {
    let horner = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * r + c);
    horner(up) / horner(down)
}

const CENTRE: Polynomials = [
    [
        3.387_132_872_796_366_5,
        1.331_416_678_917_843_8e2,
        1.971_590_950_306_551_3e3,
        1.373_169_376_550_946e4,
        4.592_195_393_154_987e4,
        6.726_577_092_700_87e4,
        3.343_057_558_358_813e4,
        2.509_080_928_730_122_7e3,
    ],
    [
        1.0,
        4.231_333_070_160_091e1,
        6.871_870_074_920_579e2,
        5.394_196_021_424_751e3,
        2.121_379_430_158_659_7e4,
        3.930_789_580_009_271e4,
        2.872_908_573_572_194_3e4,
        5.226_495_278_852_854e3,
    ],
];

const MIDDLE: Polynomials = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];

const FAR: Polynomials = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_4e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

/// The safety stock for a service level: z √(variance of the demand over the mean lead time + demand² · variance of
/// the lead time), with demand and lead time independent (for instance Stevenson, *Operations Management*, chapter on
/// inventory, formula for both variable).
///
/// `demand_variance` is of the whole lead time's demand, `rate` the demand of one period, `lead_time_deviation` in periods.
pub fn safety_stock(service_level: f64, demand_variance: f64, rate: f64, lead_time_deviation: f64) -> f64 {
    normal_quantile(service_level) * (demand_variance + (rate * lead_time_deviation).powi(2)).sqrt()
}

/// The economic order quantity √(2 D S / H) (Harris, *Factory, The Magazine of Management* 10(2), 1913), with D the demand
/// of a year, S the cost of an order, H the cost of holding one unit for a year. `None` unless all are positive.
pub fn economic_quantity(demand_year: f64, order_cost: f64, holding_cost_year: f64) -> Option<f64> {
    let all = demand_year > 0.0 && order_cost > 0.0 && holding_cost_year > 0.0;
    all.then(|| (2.0 * demand_year * order_cost / holding_cost_year).sqrt()).filter(|q| q.is_finite())
}

/// What bounds an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Units in a pack; orders are whole packs. Positive.
    pub pack: f64,
    /// The supplier's least order, in units.
    pub order_min: f64,
    /// The most that can be used before it spoils, in units; infinite when it keeps.
    pub usable_max: f64,
    /// What is needed to come back above the reorder point.
    pub missing: f64,
}

/// What changed the quantity; each is told in the reasoning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// The economic quantity would not bring the position back above the reorder point.
    RaisedToMissing(f64),
    /// More would spoil.
    LoweredToShelfLife(f64),
    /// The supplier asks for more.
    RaisedToMinimum(f64),
    /// Whole packs.
    WholePacks {
        /// How many.
        packs: f64,
        /// Of how many units.
        pack: f64,
    },
    /// The supplier's least order, or one pack, is more than can be used in time.
    WillSpoil(f64),
}

/// The quantity to order, in units, and what changed it.
///
/// Of the two whole numbers of packs around the wish the one with the lower cost is taken: with Q units a cycle costs
/// D S / Q + H Q / 2, whose two neighbours Q₁ < Q₂ of the optimum Q* cost the same where Q₁ Q₂ = Q*²; so the lower one is
/// cheaper when Q*² < Q₁ Q₂. It is never rounded below what is missing, nor above what can be used.
pub fn bounded_quantity(wish: f64, bounds: &Bounds, done: &mut Vec<Adjustment>) -> f64 {
    let mut quantity = wish.max(0.0);
    if quantity < bounds.missing {
        quantity = bounds.missing;
        done.push(Adjustment::RaisedToMissing(quantity));
    }
    if quantity > bounds.usable_max {
        quantity = bounds.usable_max.max(0.0);
        done.push(Adjustment::LoweredToShelfLife(quantity));
    }
    if quantity < bounds.order_min {
        quantity = bounds.order_min;
        done.push(Adjustment::RaisedToMinimum(quantity));
    }
    let least = (bounds.order_min / bounds.pack).ceil().max(1.0);
    let (low, high) = ((quantity / bounds.pack).floor(), (quantity / bounds.pack).ceil());
    let cheaper_low = quantity * quantity < low * high * bounds.pack * bounds.pack;
    let fits = |packs: f64| packs * bounds.pack <= bounds.usable_max;
    let enough = |packs: f64| packs * bounds.pack >= bounds.missing;
    let packs = if !fits(high) || (cheaper_low && enough(low)) { low } else { high };
    let packs = packs.max(least).min(PACKS_MAX);
    let result = packs * bounds.pack;
    if (result - quantity).abs() > f64::EPSILON * result {
        done.push(Adjustment::WholePacks { packs, pack: bounds.pack });
    }
    if result > bounds.usable_max {
        done.push(Adjustment::WillSpoil(result - bounds.usable_max));
    }
    result
}
