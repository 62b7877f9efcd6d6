//! `rootfs::fuzz::users` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rootfs::fuzz::users(bytes));
