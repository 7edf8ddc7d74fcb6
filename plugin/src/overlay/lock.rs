//! The lock of a network's overlay on a node. Who changes the overlay is alone; who makes an attachment
//! to it holds it beside others, so that it is the same from the veth's creation to its end.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{node_folder, open_regular};
use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

/// Waits until no other process holds the lock. The kernel frees that of a process that is killed.
///
/// # Errors
/// The node has no state folder, or the lock cannot be opened there (5).
pub fn alone(conf: &NetworkConf, node: &str) -> Result<Flock<File>, Error> {
    lock(conf, node, FlockArg::LockExclusive)
}

/// Waits until no other process changes the overlay, and keeps it from being changed.
///
/// # Errors
/// As [`alone`].
pub fn beside(conf: &NetworkConf, node: &str) -> Result<Flock<File>, Error> {
    lock(conf, node, FlockArg::LockShared)
}

fn lock(conf: &NetworkConf, node: &str, how: FlockArg) -> Result<Flock<File>, Error> {
    let path = node_folder(&conf.state_dir, &conf.name, node).join("overlay.lock");
    let failed = |action, source| Error::File { action, path: path.display().to_string(), source };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = open_regular(&path, &options).map_err(|e| failed("open", e))?;
    Flock::lock(file, how).map_err(|(_, e)| failed("lock", e.into()))
}
