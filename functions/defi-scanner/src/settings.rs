//! The scanner's settings, from the environment.
//!
//! | variable | default | |
//! |---|---|---|
//! | `DEFI_BASES` | dollars and ether | JSON: `[{"token":"USDC","gas":"0.5","profit_min":"1","input_max":"100000"}]` |
//! | `DEFI_HOPS_MAX` | 4 | hops of a cycle, 2 to 6 |
//! | `DEFI_SLIPPAGE_PARTS` | 1000 | millionths that each hop may give less |
//! | `DEFI_GAIN_PARTS_MAX` | 200000 | a gain above this is a wrong price |
//! | `DEFI_QUOTE_AGE_MAX_MS` | 3000 | how long a quote is trusted |
//! | `DEFI_POOL_AGE_MAX_MS` | 30000 | how long a pool's reserves are trusted |

use function_host::{SettingError, Settings};
use serde::Deserialize;

use crate::{
    amount::{Amount, PARTS},
    search::{Base, HOPS_LIMIT, Terms},
};

/// Bases at most.
pub const BASES_MAX: usize = 16;
/// Longest trust in a price, a day: a longer one is a mistake of units.
pub const AGE_MAX_MS: i64 = 86_400_000;

/// All settings, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is looked for.
    pub terms: Terms,
    /// How long a quote is trusted.
    pub quote_age_max_ms: i64,
    /// How long a pool's reserves are trusted.
    pub pool_age_max_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseText {
    token: Box<str>,
    gas: String,
    profit_min: String,
    input_max: String,
}

const BASES_DEFAULT: &str = r#"[
    {"token":"USDC","gas":"0.5","profit_min":"1","input_max":"100000"},
    {"token":"USDT","gas":"0.5","profit_min":"1","input_max":"100000"},
    {"token":"DAI","gas":"0.5","profit_min":"1","input_max":"100000"},
    {"token":"WETH","gas":"0.0002","profit_min":"0.0005","input_max":"50"},
    {"token":"ETH","gas":"0.0002","profit_min":"0.0005","input_max":"50"}
]"#;

impl Config {
    /// Reads them.
    ///
    /// # Errors
    /// The first that cannot be used, with what it has to be.
    pub fn read(settings: &Settings) -> Result<Self, SettingError> {
        let within = |name: &str, default: i64, least: i64, most: i64| {
            let value = settings.read(name, default)?;
            let message = || SettingError::new(name, format!("{value} is not from {least} to {most}"));
            (least..=most).contains(&value).then_some(value).ok_or_else(message)
        };
        let parts = |name: &str, default: i64, most: i64| {
            within(name, default, 0, most).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
        };
        let hops_max = within("DEFI_HOPS_MAX", 4, 2, HOPS_LIMIT as i64)?;
        let terms = Terms {
            bases: bases(settings.get("DEFI_BASES").unwrap_or(BASES_DEFAULT))?,
            hops_max: usize::try_from(hops_max).unwrap_or(HOPS_LIMIT),
            slippage_parts: parts("DEFI_SLIPPAGE_PARTS", 1_000, PARTS as i64 / 2)?,
            gain_parts_max: parts("DEFI_GAIN_PARTS_MAX", 200_000, 1_000 * PARTS as i64)?,
        };
        let quote_age_max_ms = within("DEFI_QUOTE_AGE_MAX_MS", 3_000, 1, AGE_MAX_MS)?;
        let pool_age_max_ms = within("DEFI_POOL_AGE_MAX_MS", 30_000, 1, AGE_MAX_MS)?;
        Ok(Config { terms, quote_age_max_ms, pool_age_max_ms })
    }
}

fn bases(text: &str) -> Result<Vec<Base>, SettingError> {
    let error = |message: String| SettingError::new("DEFI_BASES", message);
    let read: Vec<BaseText> = serde_json::from_str(text).map_err(|e| error(e.to_string()))?;
    if read.is_empty() || read.len() > BASES_MAX {
        return Err(error(format!("{} bases; from 1 to {BASES_MAX} can be given", read.len())));
    }
    let amount = |base: &BaseText, name: &str, text: &str| -> Result<Amount, SettingError> {
        text.parse().map_err(|e| error(format!("{}: {name}: {e}", base.token)))
    };
    let base = |base: BaseText| {
        let (gas, profit_min) = (amount(&base, "gas", &base.gas)?, amount(&base, "profit_min", &base.profit_min)?);
        let input_max = amount(&base, "input_max", &base.input_max)?;
        if input_max.is_zero() || base.token.is_empty() {
            return Err(error(format!("{:?}: it has a name and an input_max above 0", base.token)));
        }
        Ok(Base { token: base.token, gas, profit_min, input_max })
    };
    read.into_iter().map(base).collect()
}
