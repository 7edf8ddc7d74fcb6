//! libFuzzer, calling [`flatnet_fuzz::environment`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::environment(data));
