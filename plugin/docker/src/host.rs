//! The host's files, for a managed plugin of Docker's, which has none of them: configurations, leases, other plugins, and
//! the namespaces of containers. Which folders these are, nobody knows before the configurations are read.

use std::fs::File;

use nix::sched::{CloneFlags, setns};
use nix::unistd::getppid;

/// Sees the files that the parent sees from now on: a plugin's is containerd's shim, whose mount namespace is that of
/// containerd and of Docker's daemon. What is open stays open.
///
/// # Errors
/// It must not, or other threads run already.
pub fn enter_mounts() -> Result<(), String> {
    // It is 0 from within a PID namespace.
    let mounts = match getppid().as_raw() {
        0 => return Err("the plugin must be in the host's PID namespace: pidHost".to_owned()),
        parent => format!("/proc/{parent}/ns/mnt"),
    };
    let file = File::open(&mounts)
        .map_err(|e| format!("cannot open {mounts}: {e}; it takes SYS_PTRACE"))?;
    setns(file, CloneFlags::CLONE_NEWNS)
        .map_err(|e| format!("cannot enter {mounts}: {e}; it takes SYS_ADMIN and SYS_CHROOT"))
}
