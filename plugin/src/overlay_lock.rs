//! The lock of a network's overlay on a node. Who changes the overlay is alone; who makes an attachment
//! to it holds it beside others, so that it is the same from the veth's creation to its end.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{node_folder, open_regular};
use nix::fcntl::{Flock, FlockArg};

use crate::books;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::stamp::Stamp;

/// How often an attachment is begun anew because the overlay was changed beside it.
const ATTEMPTS: usize = 5;

/// Waits until nobody else holds the lock. The kernel frees that of a process that is killed.
///
/// # Errors
/// The node has no state folder, or the lock cannot be opened there (5).
pub fn alone(conf: &NetworkConf, node: &str) -> Result<Flock<File>, Error> {
    lock(conf, node, FlockArg::LockExclusive)
}

/// Keeps the overlay as it is, for an attachment that was begun when it was as `this` says, and tells
/// what it is now. Nothing is changed about it before the lock is dropped.
///
/// # Errors
/// Those of [`books::ensure`]; 11 if the range file is changed again and again.
pub fn hold(
    kernel: &mut dyn Kernel,
    conf: &NetworkConf,
    netns: u64,
    mut this: Stamp,
) -> Result<(Stamp, Flock<File>), Error> {
    for _ in 0..ATTEMPTS {
        let lock = lock(conf, &this.node, FlockArg::LockShared);
        if Stamp::find(conf, netns).as_ref() == Some(&this) {
            return Ok((this, lock?));
        }
        drop(lock);
        this = books::ensure(kernel, conf, netns)?;
    }
    Err(Error::Changed { what: format!("network {} could not be held still", conf.name) })
}

fn lock(conf: &NetworkConf, node: &str, how: FlockArg) -> Result<Flock<File>, Error> {
    let path = node_folder(&conf.state_dir, &conf.name, node).join("overlay.lock");
    let failed = |action, source| Error::File { action, path: path.display().to_string(), source };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = open_regular(&path, &options).map_err(|e| failed("open", e))?;
    Flock::lock(file, how).map_err(|(_, e)| failed("lock", e.into()))
}
