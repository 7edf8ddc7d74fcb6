//! A device that Docker has moved into its container.

use std::path::Path;

use flatnet_conf::Mac;

use crate::error::Error;
use crate::kernel::netns::Netns;
use crate::kernel::{Dev, Link, Netlink, Observe as _};

/// A device in its container, switched on.
pub(super) struct Moved {
    /// The container's namespace.
    pub pod: Netlink,
    /// The container's end.
    pub dev: Dev,
    /// The MAC of the node's end.
    pub mac: Mac,
}

impl Moved {
    /// The other end of a node's; `None` if it is not there yet.
    pub fn find(end: &Link, sandbox: &Path) -> Result<Option<Self>, Error> {
        let (Some(peer), Some(_)) = (end.peer, end.peer_netns) else { return Ok(None) };
        let (Some(mac), Some(netns)) = (end.mac, Netns::open(sandbox)?) else { return Ok(None) };
        let mut pod = Netlink::open_in(netns)?;
        let link = pod.link_by_index(peer)?;
        let link = link.filter(|link| link.up && link.peer == Some(end.dev.index));
        Ok(link.map(|link| Self { pod, dev: link.dev, mac }))
    }
}
