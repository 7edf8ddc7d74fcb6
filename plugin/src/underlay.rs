//! The network between the nodes, as this one sees it: looked at once for all who need it, because
//! ten thousand peers are ten thousand lookups.

use std::collections::HashMap;
use std::net::IpAddr;

use flatnet_conf::{Node, RangeFile};

use crate::error::Error;
use crate::kernel::{Kernel, Path};

/// The ways to the peers.
#[derive(Debug)]
pub struct Underlay {
    /// Each peer's VTEP and the way there; `None` where there is no route now.
    pub peers: Vec<(IpAddr, Option<Path>)>,
    /// Index of the device that has this node's VTEP, if any has.
    pub own: Option<u32>,
}

impl Underlay {
    /// Looks up the way to every peer of `node`.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look(kernel: &mut dyn Kernel, file: &RangeFile, node: &Node) -> Result<Self, Error> {
        let others = file.nodes.iter().filter(|peer| peer.name != node.name);
        let vteps: Vec<IpAddr> = others.map(|peer| peer.vtep).collect();
        let paths = kernel.paths(&vteps)?;
        let addresses = kernel.addresses()?;
        let own = addresses.iter().find(|(_, address)| address.ip() == node.vtep);
        Ok(Self { peers: vteps.into_iter().zip(paths).collect(), own: own.map(|(dev, _)| *dev) })
    }

    /// The peers that no router stands before, and the index of the uplink to each.
    pub fn adjacent(&self) -> HashMap<IpAddr, u32> {
        let paths = self.peers.iter().filter_map(|(vtep, path)| Some((*vtep, (*path)?)));
        paths.filter(|(_, path)| path.on_link).map(|(vtep, path)| (vtep, path.dev)).collect()
    }
}
