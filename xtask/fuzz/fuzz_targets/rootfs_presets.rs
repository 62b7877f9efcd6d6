//! `rootfs::fuzz::presets` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rootfs::fuzz::presets(bytes));
