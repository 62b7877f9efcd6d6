//! `profile::fuzz::profile` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| profile::fuzz::profile(bytes));
