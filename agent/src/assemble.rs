//! The range file, made of all that counts at once. Nothing is ever patched: what an event has said of one
//! object and another has not said of the next cannot stay behind.

use std::collections::HashMap;

use flatnet_conf::{ClusterNetwork, Node, RangeFile};
use ipnetwork::IpNetwork;

use crate::judge::{Block, Judged};

/// The range file; `None` if no node has a range. Nodes are in the order of their names. A node without a
/// range, or a range whose node is not there, comes when the other object does.
///
/// A node's oldest range is its first, which gives its address on the overlay: no other takes its place before it
/// goes. Of those that are held for living pods alone new pods get no address.
///
/// `leaves_out` tells which ranges of this node are not to be in it, though it holds them.
pub fn range_file(
    network: &ClusterNetwork,
    judged: &Judged<'_>,
    leaves_out: &dyn Fn(IpNetwork) -> bool,
) -> Option<RangeFile> {
    let mut ranges: HashMap<&str, Vec<&Block<'_>>> = HashMap::with_capacity(judged.nodes.len());
    for (_, block) in judged.blocks.iter().filter(|(subnet, _)| !leaves_out(*subnet)) {
        ranges.entry(block.node).or_default().push(block);
    }
    let nodes = judged.nodes.iter().filter_map(|(name, vtep)| {
        let mut blocks = ranges.remove(name)?;
        blocks.sort_by_key(|block| block.born);
        let ranges = blocks.into_iter().map(|block| match block.retiring {
            true => block.range.clone().retire(),
            false => block.range.clone(),
        });
        let ranges = ranges.collect();
        Some(Node { name: (*name).to_owned(), vtep: *vtep, ranges })
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
