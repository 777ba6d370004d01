//! Forecasts demand and proposes reorders.
