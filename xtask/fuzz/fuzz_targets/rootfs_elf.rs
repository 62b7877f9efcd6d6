//! `rootfs::fuzz::elf` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rootfs::fuzz::elf(bytes));
