//! libFuzzer, calling [`flatnet_fuzz::result`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::result(data));
