//! libFuzzer, calling [`flatnet_fuzz::netavark`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::netavark(data));
