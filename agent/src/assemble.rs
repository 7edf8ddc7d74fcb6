//! The range file, made of all that counts at once. Nothing is ever patched: what an event has said of one
//! object and another has not said of the next cannot stay behind.

use flatnet_conf::{ClusterNetwork, Node, RangeFile};
use ipnetwork::IpNetwork;

use crate::judge::Judged;

/// The range file; `None` if no node has a range. Nodes are in the order of their names. A node without a
/// range, or a range whose node is not there, comes when the other object does.
///
/// A node's oldest range is its first, which gives its address on the overlay: no other takes its place before it
/// goes. Of those that are held for living pods alone new pods get no address.
///
/// `leaves_out` tells which ranges of this node are not to be in it, though it holds them.
pub fn range_file(
    network: &ClusterNetwork,
    judged: &Judged,
    leaves_out: &dyn Fn(IpNetwork) -> bool,
) -> Option<RangeFile> {
    // Both are in the order of names: none has to be looked for.
    let mut holdings = judged.holdings.iter().peekable();
    let nodes = judged.nodes.iter().filter_map(|(name, vtep)| {
        while holdings.next_if(|(holder, _)| *holder < name).is_some() {}
        let (_, blocks) = holdings.next_if(|(holder, _)| *holder == name)?;
        let ranges = blocks.iter().filter_map(|block| {
            let range = block.range.as_ref().ok().filter(|range| !leaves_out(range.subnet()))?;
            Some(if block.retiring { range.clone().retire() } else { range.clone() })
        });
        let ranges: Vec<_> = ranges.collect();
        (!ranges.is_empty()).then(|| Node { name: name.clone(), vtep: *vtep, ranges })
    });
    let nodes: Vec<_> = nodes.collect();
    if nodes.is_empty() {
        return None;
    }
    Some(RangeFile {
        vni: network.vni,
        port: network.port,
        cluster_cidrs: network.cluster_cidrs.clone(),
        direct_routing: network.direct_routing,
        nodes,
    })
}

#[cfg(test)]
mod tests;
