//! `lock::fuzz::lock` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lock::fuzz::lock(bytes));
