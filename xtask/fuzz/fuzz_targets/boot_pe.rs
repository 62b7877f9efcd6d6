//! `boot::fuzz::pe` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boot::fuzz::pe(bytes));
