//! What must hold of anything that comes from outside: a function for each kind of input, which
//! panics if it does not. `make fuzz` calls them with what libFuzzer finds, `cargo test` with the
//! corpus. Of the corpus, `found-*` are inputs of libFuzzer's own, chosen for what they reach; the
//! others are written by hand.

mod docker;
mod environment;
mod etcd;
mod host_local;
mod lease;
mod netavark;
mod network;
mod range_file;
mod reply;
mod result;

pub use docker::docker;
pub use environment::environment;
pub use etcd::etcd;
pub use host_local::host_local;
pub use lease::lease;
pub use netavark::netavark;
pub use network::network;
pub use range_file::range_file;
pub use result::result;

/// A target: takes any bytes, and panics on a finding.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 9] = [
    ("docker", docker),
    ("environment", environment),
    ("etcd", etcd),
    ("host_local", host_local),
    ("lease", lease),
    ("netavark", netavark),
    ("network", network),
    ("range_file", range_file),
    ("result", result),
];
