//! Prices coffee orders and drives them through their states.
