//! Finds arbitrage over quotes and pools; proposes, never trades.
