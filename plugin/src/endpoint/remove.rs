//! An endpoint goes, and what was left of one that never came.

use flatnet_ipam::Leases;

use super::known::{Found, Known};
use super::{Endpoints, Outcome, said};
use crate::attachment::finished::is_finished;
use crate::error::{Error, all};
use crate::identity::veth_name;
use crate::kernel::{Kernel as _, Netlink, Observe as _};
use crate::overlay::network_lock::NetworkLock;

impl Endpoints {
    /// Removes the attachment of an endpoint. None there is fine, and so is a configuration that has gone.
    ///
    /// # Errors
    /// It cannot be told whether there is one, the books cannot be written, or the kernel refuses.
    pub fn remove(&self, endpoint: &str) -> Outcome<()> {
        match self.find(endpoint)? {
            Some(found) => self.detach(&found),
            None => Ok(()),
        }
    }

    pub(super) fn detach(&self, found: &Found) -> Outcome<()> {
        detach(found).map_err(said)
    }

    /// Removes what no endpoint needs, when Docker's daemon has just begun and has none half made.
    ///
    /// # Errors
    /// All that failed, after everything was tried.
    pub fn sweep(&self) -> Outcome<()> {
        let mut node = Netlink::open().map_err(|e| e.to_string())?;
        let Known { found, problems } = self.all()?;
        let swept = found.iter().map(|found| {
            let holder = &found.record.attachment;
            let end = node.link(&holder.veth).map_err(|e| e.to_string())?;
            // Once moved it is in another namespace, and goes with that.
            if end.is_some_and(|end| is_finished(&end) || end.peer_netns.is_some()) {
                return Ok(());
            }
            log::info!("{holder} was left half made: removed");
            self.detach(found)
        });
        all(swept.chain(problems.into_iter().map(Err)))
    }
}

fn detach(found: &Found) -> Result<(), Error> {
    let Found { conf, node: name, .. } = found;
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    let key = found.key();
    let _lock = NetworkLock::join(conf, own);
    let existing = |name: &String| Leases::existing(&conf.state_dir, &conf.name, name).transpose();
    let leases = name.as_ref().and_then(existing).transpose()?;
    let held = leases.map(|leases| leases.hold(&key, Some(own))).transpose()?;
    // Addresses are given back only when no container can use them any more.
    node.delete_link(&veth_name(&key))?;
    held.map(|held| held.release()).transpose()?;
    Ok(())
}
