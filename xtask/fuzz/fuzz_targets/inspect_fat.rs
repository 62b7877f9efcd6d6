//! `inspect::fuzz::fat` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inspect::fuzz::fat(bytes));
