//! The network that an attachment is made for: its overlay stands, its books are kept, and both stay as they
//! are until the attachment is made.

use std::fs::File;

use flatnet_conf::NetworkConf;
use nix::fcntl::Flock;

use crate::attachment::books::Books;
use crate::error::Error;
use crate::kernel::{Kernel, Mode};
use crate::overlay::agent;
use crate::overlay::lock;
use crate::overlay::site::{self, Ensured};
use crate::overlay::stamp::Stamp;

/// How often an attachment is begun again because the overlay was changed beside it.
const ATTEMPTS: usize = 5;

/// Makes sure that the overlay stands, and that the books are those of the node that it stands for.
///
/// # Errors
/// Those of [`site::ensure`].
pub fn ensure(kernel: &mut dyn Kernel, conf: &NetworkConf, own: u64) -> Result<Stamp, Error> {
    let ensured = site::ensure(kernel, conf, own).map_err(|error| agent::advised(conf, error));
    let Ensured { stamp, is_new } = ensured?;
    if is_new {
        Books { conf, node: &stamp.node, own, mode: Mode::Apply }.keep_along(kernel.observing());
    }
    Ok(stamp)
}

/// Keeps the overlay as it is, for an attachment that was begun when it was as `this` says, and tells
/// what it is now. Nothing is changed about it before the lock is dropped.
///
/// # Errors
/// Those of [`ensure`]; 11 if the range file is changed again and again.
pub fn hold(
    kernel: &mut dyn Kernel,
    conf: &NetworkConf,
    netns: u64,
    mut this: Stamp,
) -> Result<(Stamp, Flock<File>), Error> {
    for _ in 0..ATTEMPTS {
        let lock = lock::beside(conf, &this.node);
        if this.stands(conf, netns) {
            return Ok((this, lock?));
        }
        drop(lock);
        this = ensure(kernel, conf, netns)?;
    }
    Err(Error::Changed { what: format!("network {} could not be held still", conf.name) })
}
