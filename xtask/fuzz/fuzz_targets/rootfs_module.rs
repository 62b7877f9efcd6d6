//! `rootfs::fuzz::module` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rootfs::fuzz::module(bytes));
