//! `fetch::fuzz::detached` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fetch::fuzz::detached(bytes));
