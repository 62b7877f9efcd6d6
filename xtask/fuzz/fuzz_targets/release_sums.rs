//! `release::fuzz::sums` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| release::fuzz::sums(bytes));
