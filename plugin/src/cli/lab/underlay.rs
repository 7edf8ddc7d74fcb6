//! The network that the nodes share: a bridge in a namespace of its own, and a veth to each node.
//! To a node it looks like a switch: `under0` with an address of 172.31.0.0/16.
//!
//! All nodes of a lab share one kernel, and with it the 1,024 entries that ARP may fill
//! (`net.ipv4.neigh.default.gc_thresh3` counts over all namespaces): 33 nodes that speak to each
//! other would exceed them. So each is told of all the others; what is permanent is not counted.

use std::os::fd::AsFd as _;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;

use super::addresses;
use crate::cli::error::CommandError;
use crate::kernel::netns::Netns;
use crate::kernel::{Change, Dev, Kernel as _, Neighbour, Netlink, Observe as _, Veth};

const BRIDGE: &str = "br0";
/// The nodes' interface.
const INTERFACE: &str = "under0";
/// Bytes; Ethernet's.
const MTU: u32 = 1500;

/// The underlay under construction.
pub struct LabUnderlay {
    kernel: Netlink,
    bridge: Dev,
    nodes: usize,
}

impl LabUnderlay {
    /// Makes the bridge for so many nodes. It has no address: it only carries frames.
    pub fn create(netns: Netns, nodes: usize) -> Result<Self, CommandError> {
        let mut kernel = Netlink::open_in(netns)?;
        let bridge = kernel.create_bridge(BRIDGE)?;
        kernel.apply(&bridge, &[Change::NoLinkLocal, Change::Up])?;
        Ok(Self { kernel, bridge, nodes })
    }

    /// Plugs in a node by its number, from 1.
    pub fn connect(&mut self, number: usize, node: Netns) -> Result<(), CommandError> {
        let name = format!("node-{number}");
        let veth = Veth {
            name: &name,
            mac: mac(0, number),
            group: 0,
            peer_name: INTERFACE,
            peer_mac: mac(1, number),
            peer_netns: node.as_fd(),
            mtu: MTU,
        };
        let pair = self.kernel.create_veth(&veth)?;
        self.kernel.join_bridge(&pair.dev, &self.bridge)?;
        self.kernel.apply(&pair.dev, &[Change::NoLinkLocal, Change::Up])?;
        let mut node = Netlink::open_in(node)?;
        let (address, length) = addresses::underlay(number);
        let address = IpNetwork::new(address, length)
            .map_err(|e| CommandError::Refused(format!("{address}/{length}: {e}")))?;
        let mut changes = vec![Change::NoLinkLocal, Change::AddAddress(address), Change::Up];
        let others = (1..=self.nodes).filter(|other| *other != number);
        changes.extend(others.map(|other| {
            let address = addresses::underlay(other).0;
            Change::PutNeighbour(Neighbour { address, mac: mac(1, other) })
        }));
        node.apply(&pair.peer, &changes)?;
        // Asking runs the link watch: without it the port may drop frames for up to a second.
        self.kernel.link(&name)?;
        Ok(())
    }
}

/// Locally administered, one for each end.
fn mac(end: u8, number: usize) -> Mac {
    // At most 1023 nodes: two bytes hold the number.
    let [high, low] = (number as u16).to_be_bytes();
    Mac([0x02, 0x1a, 0xb0, end, high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_differ() {
        assert_eq!(mac(0, 300).to_string(), "02:1a:b0:00:01:2c");
        assert_eq!(mac(1, 300).to_string(), "02:1a:b0:01:01:2c");
    }
}
