//! `release::fuzz::channel` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| release::fuzz::channel(bytes));
