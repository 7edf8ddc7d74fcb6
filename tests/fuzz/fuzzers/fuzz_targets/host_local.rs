//! libFuzzer, calling [`flatnet_fuzz::host_local`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::host_local(data));
