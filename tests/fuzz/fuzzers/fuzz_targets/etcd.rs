//! libFuzzer, calling [`flatnet_fuzz::etcd`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flatnet_fuzz::etcd(data));
