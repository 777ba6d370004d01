//! See `router_tests::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| router_tests::fuzz::http(data));
