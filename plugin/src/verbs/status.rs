//! STATUS: would an ADD work now?
//!
//! Asked every few seconds, and a "no" takes a Kubernetes node out of service: so it is quick, it
//! changes nothing, and it says no only where an ADD would fail. A missing overlay device is no
//! reason, for the next ADD makes it again.

use flatnet_conf::{NetworkConf, RangeFile};
use flatnet_ipam::check_writable;

use crate::dispatch::Call;
use crate::error::Error;
use crate::identity::overlay_name;
use crate::kernel::{Kernel, Netlink};
use crate::overlay::this_node;
use crate::stamp::{Source, Stamp};

/// Succeeds if an ADD can be expected to.
///
/// # Errors
/// Code 50 with the reason; 51 if the overlay is gone as well, so that pods attached earlier are cut
/// off and no ADD can bring it back.
pub fn run(call: &Call) -> Result<(), Error> {
    let conf = &call.conf;
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    let stamp = Stamp::find(conf, own);
    look(&mut node, conf, stamp.as_ref()).map_err(|e| Error::Unavailable {
        reason: format!("pods cannot be attached: {e}"),
        pods_affected: stamp.is_some_and(|stamp| is_cut_off(&mut node, &stamp)),
    })?;
    match call.delegate()? {
        Some(delegate) => delegate.run("STATUS"),
        None => Ok(()),
    }
}

fn look(node: &mut dyn Kernel, conf: &NetworkConf, stamp: Option<&Stamp>) -> Result<(), Error> {
    let path = conf.range_file()?;
    let source = Source::of(path)?;
    if !stamp.is_some_and(|stamp| stamp.is_fresh(&source, conf)) {
        let file = RangeFile::load(path)?;
        this_node(node, conf, &file)?;
    }
    Ok(check_writable(&conf.state_dir)?)
}

fn is_cut_off(node: &mut dyn Kernel, stamp: &Stamp) -> bool {
    match node.link(&overlay_name(stamp.vni)) {
        Ok(link) => !link.is_some_and(|link| link.up),
        // It could not be seen, so it is not known to be gone.
        Err(_) => false,
    }
}
