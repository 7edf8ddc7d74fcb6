//! libFuzzer, calling [`flatnet_fuzz::network`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::network(data));
