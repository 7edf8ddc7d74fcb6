//! Which of the cluster's objects count. Of two that contradict each other the older one does, so that each
//! node finds the same whatever it heard first, and so that nothing new can take away what stands.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use flatnet_conf::{ClusterNetwork, Range};
use ipnetwork::IpNetwork;

use crate::cluster::{BlockEntry, Born, Cluster, NodeEntry};
use crate::held::Held;
use crate::rejected::{Reason, Rejected};

/// What counts of a cluster.
#[derive(Debug, Default)]
pub struct Judged<'a> {
    /// The nodes' VTEPs, by their names.
    pub nodes: BTreeMap<&'a str, IpAddr>,
    /// Whether VTEPs are IPv4 addresses, as that of the oldest node is.
    pub ipv4: Option<bool>,
    /// The ranges, whether the node that holds one is there or not: what one holds that is not there yet is
    /// no other's.
    pub blocks: Held<Block<'a>>,
    /// What was left out, in the order of creation.
    pub rejected: Vec<Rejected>,
}

/// A block that counts.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    /// Which node holds it.
    pub node: &'a str,
    /// What it gives.
    pub range: &'a Range,
    /// See [`BlockEntry::retiring`].
    pub retiring: bool,
    /// When it was made.
    pub born: &'a Born,
}

type Problem = (Reason, String);

/// Looks at the objects in the order of their creation.
pub fn judge<'a>(network: &ClusterNetwork, cluster: &'a Cluster) -> Judged<'a> {
    let mut judged = Judged::default();
    let mut nodes: Vec<&NodeEntry> = cluster.nodes.iter().map(Arc::as_ref).collect();
    nodes.sort_by(|a, b| a.born.cmp(&b.born));
    let mut vteps = HashMap::with_capacity(nodes.len());
    for node in nodes {
        if let Err((reason, problem)) = judged.add_node(network, node, &mut vteps) {
            let (kind, name, node) = ("node", node.name.clone(), node.name.clone());
            judged.rejected.push(Rejected { kind, name, node, reason, problem });
        }
    }
    let mut blocks: Vec<&BlockEntry> = cluster.blocks.iter().map(Arc::as_ref).collect();
    blocks.sort_by(|a, b| a.born.cmp(&b.born));
    for block in blocks {
        if let Err((reason, problem)) = judged.add_block(network, block) {
            let (kind, name, node) = ("block", block.key.clone(), block.node.clone());
            judged.rejected.push(Rejected { kind, name, node, reason, problem });
        }
    }
    judged
}

impl<'a> Judged<'a> {
    fn add_node(
        &mut self,
        network: &ClusterNetwork,
        node: &'a NodeEntry,
        vteps: &mut HashMap<IpAddr, &'a str>,
    ) -> Result<(), Problem> {
        let vtep = node.vtep.clone().map_err(|problem| (Reason::Malformed, problem))?;
        if let Some(around) = around(network, vtep.into()) {
            let problem = format!(
                "its VTEP {vtep} is inside the pod network {around}; use an address of the underlay"
            );
            return Err((Reason::Place, problem));
        }
        if self.ipv4.is_some_and(|ipv4| ipv4 != vtep.is_ipv4()) {
            let problem = format!(
                "its VTEP {vtep} is not of the family that the oldest node's is of; all VTEPs are of one"
            );
            return Err((Reason::Family, problem));
        }
        if let Some(other) = vteps.get(&vtep) {
            return Err((
                Reason::Taken,
                format!("its VTEP {vtep} is that of {other}, which is older"),
            ));
        }
        if self.nodes.contains_key(node.name.as_str()) {
            return Err((Reason::Taken, "an older one has its name".to_owned()));
        }
        vteps.insert(vtep, &node.name);
        self.nodes.insert(&node.name, vtep);
        self.ipv4.get_or_insert(vtep.is_ipv4());
        Ok(())
    }

    fn add_block(
        &mut self,
        network: &ClusterNetwork,
        block: &'a BlockEntry,
    ) -> Result<(), Problem> {
        let BlockEntry { range, node, retiring, born, .. } = block;
        let range = range.as_ref().map_err(|problem| (Reason::Malformed, problem.clone()))?;
        let subnet = range.subnet();
        if around(network, subnet).is_none() {
            return Err((Reason::Place, format!("{subnet} is not inside any of clusterCIDRs")));
        }
        let counts = Block { node, range, retiring: *retiring, born };
        self.blocks.take(subnet, counts).map_err(|(other, holding)| {
            let problem = format!("{subnet} overlaps {other} of {}, which is older", holding.node);
            (Reason::Taken, problem)
        })
    }
}

/// The network of `clusterCIDRs` that holds all of another.
pub fn around(network: &ClusterNetwork, inner: IpNetwork) -> Option<IpNetwork> {
    let holds =
        |outer: &&IpNetwork| outer.contains(inner.network()) && outer.contains(inner.broadcast());
    network.cluster_cidrs.iter().find(holds).copied()
}

#[cfg(test)]
mod tests;
