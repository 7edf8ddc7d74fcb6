//! Which of the cluster's objects count. Of two that contradict each other the older one does, so that each
//! node finds the same whatever it heard first, and so that nothing new can take away what stands. New is a node's
//! entry with another address, too: it is not older than that address (`Born`).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use flatnet_conf::{ClusterNetwork, Mac, vtep_mac};
use ipnetwork::IpNetwork;

use crate::cluster::{BlockEntry, Cluster, NodeEntry};
use crate::held::Held;
use crate::rejected::{Reason, Rejected};

/// What counts of a cluster.
#[derive(Debug, Default, PartialEq)]
pub struct Judged {
    /// The nodes' VTEPs, by their names.
    pub nodes: BTreeMap<String, IpAddr>,
    /// Whether VTEPs are IPv4 addresses, as the oldest is.
    pub ipv4: Option<bool>,
    /// The blocks, whether the node that holds one is there or not: what one holds that is not there yet is
    /// no other's.
    pub blocks: Held<Arc<BlockEntry>>,
    /// The same by the names of their nodes, a node's oldest first.
    pub holdings: BTreeMap<String, Vec<Arc<BlockEntry>>>,
    /// Which node has a VTEP, by its MAC on the overlay: no two nodes have one MAC.
    vteps: HashMap<Mac, (IpAddr, String)>,
    /// Whatever was judged, in this order.
    heard: (Vec<Arc<NodeEntry>>, Vec<Arc<BlockEntry>>),
    rejected: (Vec<Rejected>, Vec<Rejected>),
}

type Problem = (Reason, String);

/// Looks at the objects in the order of their creation.
pub fn judge(network: &ClusterNetwork, cluster: &Cluster) -> Judged {
    let mut judged = Judged::default();
    judged.renew(network, cluster);
    judged
}

impl Judged {
    /// Becomes what counts of a cluster of the same network. What is judged of an object stands on older ones alone:
    /// where younger ones have come, and nothing else, they are all that is looked at.
    pub fn renew(&mut self, network: &ClusterNetwork, cluster: &Cluster) {
        if !(begins(&cluster.nodes, &self.heard.0) && begins(&cluster.blocks, &self.heard.1)) {
            *self = Self::default();
        }
        for node in cluster.nodes.iter().skip(self.heard.0.len()) {
            if let Err((reason, problem)) = self.add_node(network, node) {
                let (kind, name, node) = ("node", node.name.clone(), node.name.clone());
                self.rejected.0.push(Rejected { kind, name, node, reason, problem });
            }
            self.heard.0.push(Arc::clone(node));
        }
        for block in cluster.blocks.iter().skip(self.heard.1.len()) {
            if let Err((reason, problem)) = self.add_block(network, block) {
                let (kind, name, node) = ("block", block.key.clone(), block.node.clone());
                self.rejected.1.push(Rejected { kind, name, node, reason, problem });
            }
            self.heard.1.push(Arc::clone(block));
        }
    }

    /// What was left out, nodes before blocks, each in the order of creation.
    pub fn rejected(&self) -> impl Iterator<Item = &Rejected> {
        self.rejected.0.iter().chain(&self.rejected.1)
    }

    /// The blocks that a node holds, the oldest first.
    pub fn of(&self, node: &str) -> &[Arc<BlockEntry>] {
        self.holdings.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the VTEPs of all nodes but one are IPv4 addresses, as the oldest of them is. What that one says itself
    /// does not bind it.
    pub fn ipv4_beside(&self, network: &ClusterNetwork, name: &str) -> Option<bool> {
        let others = self.heard.0.iter().filter(|node| node.name != name);
        let mut vteps = others.filter_map(|node| node.vtep.as_ref().ok());
        vteps.find(|vtep| around(network, (**vtep).into()).is_none()).map(IpAddr::is_ipv4)
    }

    fn add_node(&mut self, network: &ClusterNetwork, node: &NodeEntry) -> Result<(), Problem> {
        let vtep = node.vtep.clone().map_err(|problem| (Reason::Malformed, problem))?;
        if let Some(around) = around(network, vtep.into()) {
            let problem = format!(
                "its VTEP {vtep} is inside the pod network {around}; use an address of the underlay"
            );
            return Err((Reason::Place, problem));
        }
        if self.ipv4.is_some_and(|ipv4| ipv4 != vtep.is_ipv4()) {
            let problem = format!(
                "its VTEP {vtep} is not of the family that the oldest is of; all VTEPs are of one"
            );
            return Err((Reason::Family, problem));
        }
        let mac = vtep_mac(network.vni, vtep);
        if let Some((taken, other)) = self.vteps.get(&mac) {
            let problem = match *taken == vtep {
                true => format!("its VTEP {vtep} is that of {other}, which is older"),
                false => format!(
                    "its VTEP {vtep} has the MAC {mac} on the overlay, as the VTEP {taken} of {other} has, which \
                     is older; give it another address"
                ),
            };
            return Err((Reason::Taken, problem));
        }
        if self.nodes.contains_key(&node.name) {
            return Err((Reason::Taken, "an older one has its name".to_owned()));
        }
        self.vteps.insert(mac, (vtep, node.name.clone()));
        self.nodes.insert(node.name.clone(), vtep);
        self.ipv4.get_or_insert(vtep.is_ipv4());
        Ok(())
    }

    fn add_block(
        &mut self,
        network: &ClusterNetwork,
        block: &Arc<BlockEntry>,
    ) -> Result<(), Problem> {
        let range = block.range.as_ref().map_err(|problem| (Reason::Malformed, problem.clone()))?;
        let subnet = range.subnet();
        if around(network, subnet).is_none() {
            return Err((Reason::Place, format!("{subnet} is not inside any of clusterCIDRs")));
        }
        self.blocks.take(subnet, Arc::clone(block)).map_err(|(other, holding)| {
            let problem = format!("{subnet} overlaps {other} of {}, which is older", holding.node);
            (Reason::Taken, problem)
        })?;
        self.holdings.entry(block.node.clone()).or_default().push(Arc::clone(block));
        Ok(())
    }
}

/// Whether all begins with these very objects.
fn begins<T>(all: &[Arc<T>], with: &[Arc<T>]) -> bool {
    let beginning = all.get(..with.len());
    beginning.is_some_and(|some| some.iter().zip(with).all(|(one, other)| Arc::ptr_eq(one, other)))
}

/// The network of `clusterCIDRs` that holds all of another.
pub fn around(network: &ClusterNetwork, inner: IpNetwork) -> Option<IpNetwork> {
    let holds =
        |outer: &&IpNetwork| outer.contains(inner.network()) && outer.contains(inner.broadcast());
    network.cluster_cidrs.iter().find(holds).copied()
}

#[cfg(test)]
mod tests;
