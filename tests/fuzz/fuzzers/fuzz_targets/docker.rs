//! libFuzzer, calling [`flatnet_fuzz::docker`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::docker(data));
