//! libFuzzer, calling [`flatnet_fuzz::range_file`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::range_file(data));
