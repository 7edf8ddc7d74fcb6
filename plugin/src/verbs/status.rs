//! STATUS: would an ADD work now?
//!
//! Asked every few seconds, and a "no" takes a Kubernetes node out of service. So it asks what the
//! next ADD needs, and makes it: a node that is called ready has its overlay, its rules and its
//! forwarding, also one that never had a pod, for the other nodes send to it and trust its VTEP.
//! Where all of it stands, that is a glance.

use flatnet_ipam::check_leases;

use crate::dispatch::Call;
use crate::error::Error;
use crate::identity::overlay_name;
use crate::kernel::{Kernel, Netlink};
use crate::network_lock::NetworkLock;
use crate::overlay;
use crate::stamp::Stamp;

/// Succeeds if an ADD can be expected to; the overlay stands then.
///
/// # Errors
/// Code 50 with the reason; 51 if the overlay is gone as well, so that pods attached earlier are cut
/// off and no ADD can bring it back.
pub fn run(call: &Call) -> Result<(), Error> {
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    prepare(&mut node, call, own).map_err(|e| Error::Unavailable {
        reason: format!("pods cannot be attached: {e}"),
        pods_affected: Stamp::find(&call.conf, own)
            .is_some_and(|stamp| is_cut_off(&mut node, &stamp)),
    })?;
    match call.delegate()? {
        Some(delegate) => delegate.run("STATUS"),
        None => Ok(()),
    }
}

fn prepare(node: &mut dyn Kernel, call: &Call, own: u64) -> Result<(), Error> {
    let _lock = NetworkLock::enter(&call.conf, own)?;
    let this = overlay::ensure(node, &call.conf, own)?;
    if call.conf.ipam.is_none() {
        check_leases(&call.conf.state_dir, &call.conf.name, &this.node)?;
    }
    Ok(())
}

fn is_cut_off(node: &mut dyn Kernel, stamp: &Stamp) -> bool {
    match node.link(&overlay_name(stamp.vni)) {
        Ok(link) => !link.is_some_and(|link| link.up),
        // It could not be seen, so it is not known to be gone.
        Err(_) => false,
    }
}
