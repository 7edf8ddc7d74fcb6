//! libFuzzer, calling [`flatnet_fuzz::lease`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::lease(data));
