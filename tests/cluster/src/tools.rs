//! Where the programs are that `.ci/install cluster` built.

use std::path::PathBuf;

use flatnet_tests::program::workspace;

/// The folder of kubelet, kubectl, etcd and the others.
pub fn kubernetes() -> PathBuf {
    built("kubernetes")
}

/// The folder of containerd, its shim and `ctr`.
pub fn containerd() -> PathBuf {
    built("containerd")
}

/// The folder of the reference CNI plugins.
pub fn plugins() -> PathBuf {
    built("plugins")
}

/// A part that `.ci/kubernetes` builds, by its name there.
pub fn built(part: &str) -> PathBuf {
    let link = workspace().join("target/tools").join(part);
    link.canonicalize().unwrap_or_else(|error| {
        panic!("{}: {error}: run `.ci/install cluster`", link.display());
    })
}
