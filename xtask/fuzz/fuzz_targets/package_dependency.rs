//! `package::fuzz::dependency` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| package::fuzz::dependency(bytes));
