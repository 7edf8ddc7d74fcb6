//! What this node should have among the cluster's objects, and what it waits for. Pure: the same objects and
//! the same leases lead to the same deeds, and a deed whose effect shows is not done again.
//!
//! A range that pods live in is never let go: another node could get it, and its pods their addresses. What is
//! to go and is empty leaves this node's range file first, and is given back when still nothing lives in it
//! (`leaving`): an ADD may have chosen an address meanwhile.

mod choice;
mod claimed;
mod given;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use flatnet_conf::{ClusterNetwork, parse_vtep};
use ipnetwork::IpNetwork;

use crate::cluster::{BlockEntry, NodeEntry};
use crate::judge::{Judged, around};
use crate::source::{Deed, OwnNode};
use crate::usage::Usage;

/// What is known when it is decided.
pub struct Known<'a> {
    /// What all nodes have in common.
    pub network: &'a ClusterNetwork,
    /// The cluster.
    pub judged: &'a Judged,
    /// This node's name.
    pub name: &'a str,
    /// What the engine says of it.
    pub own: &'a OwnNode,
    /// Whether it may still be given ranges, and has not waited for them long enough.
    pub early: bool,
    /// Its entry, whether it counts or not.
    pub entry: Option<&'a NodeEntry>,
    /// Its pods' addresses; `None` as long as they have not been counted.
    pub usage: Option<&'a Usage>,
    /// Ranges that it held before, its pods' as far as they are still alive.
    pub former: &'a BTreeSet<IpNetwork>,
    /// Ranges that have been out of this node's file for long enough.
    pub left: &'a BTreeSet<IpNetwork>,
    /// Ranges that the engine said another node holds.
    pub refused: &'a BTreeMap<IpNetwork, String>,
}

/// What is to be done now, and what cannot be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// In this order.
    pub deeds: Vec<Deed>,
    /// What stands in the way.
    pub waits: Vec<Wait>,
    /// Ranges that this node's file is to be without.
    pub leaving: BTreeSet<IpNetwork>,
}

/// Why a node has not all that it should have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The cluster has no node of its name.
    NoNode,
    /// Where it is is unknown.
    Address,
    /// It has addresses, but none that could be its VTEP.
    NoVtep {
        /// Whether an IPv4 address is needed; either if it is open.
        ipv4: Option<bool>,
    },
    /// Another holds a range that is to be this one's; this one itself, if it is another range of its own that
    /// overlaps.
    Held {
        /// The range that it should have.
        range: IpNetwork,
        /// The one that is held.
        block: IpNetwork,
        /// By whom.
        holder: String,
    },
    /// Its pods live in a range that another has now.
    Lost {
        /// The range.
        range: IpNetwork,
        /// Who has it.
        holder: String,
    },
    /// It was given a range that cannot be one.
    Unusable {
        /// The range.
        range: IpNetwork,
        /// What is wrong with it.
        problem: String,
    },
    /// All blocks of a family are taken.
    Full {
        /// Which family.
        ipv4: bool,
    },
}

impl Wait {
    /// One word for each kind, and a CamelCase one for operators' filters.
    pub fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::NoNode => ("no_node", "NodeMissing"),
            Self::Address => ("address", "NoAddress"),
            Self::NoVtep { .. } => ("vtep", "NoAddress"),
            Self::Held { .. } => ("held", "RangeHeld"),
            Self::Lost { .. } => ("lost", "RangeLost"),
            Self::Unusable { .. } => ("unusable", "RangeUnusable"),
            Self::Full { .. } => ("full", "RangesExhausted"),
        }
    }

    /// The first word of each kind.
    pub const KINDS: [&'static str; 7] =
        ["no_node", "address", "vtep", "held", "lost", "unusable", "full"];

    /// For whom.
    pub fn holder(&self) -> Option<&str> {
        match self {
            Self::Held { holder, .. } | Self::Lost { holder, .. } => Some(holder),
            _ => None,
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = |ipv4| if ipv4 { "IPv4" } else { "IPv6" };
        match self {
            Self::NoNode => f.write_str("the cluster has no node of this name yet"),
            Self::Address => f.write_str("the node has no address on the underlay yet"),
            Self::NoVtep { ipv4 } => {
                let kind = ipv4.map_or("", |ipv4| if ipv4 { "IPv4 " } else { "IPv6 " });
                write!(
                    f,
                    "none of the node's addresses is an {kind}address outside the pod network"
                )
            }
            Self::Held { range, block, holder } if range == block => {
                write!(f, "the node is to have {range}, which {holder} still holds")
            }
            Self::Held { range, block, holder } => {
                write!(
                    f,
                    "the node is to have {range}, which overlaps {block}, still held by {holder}"
                )
            }
            Self::Lost { range, holder } => write!(
                f,
                "pods of this node live in {range}, which {holder} has now: nobody reaches them; restart them"
            ),
            Self::Unusable { range, problem } => {
                write!(f, "the node was given {range}, which cannot be used: {problem}")
            }
            Self::Full { ipv4 } => {
                write!(f, "all {} blocks of clusterCIDRs are taken", family(*ipv4))
            }
        }
    }
}

/// Decides.
pub fn decide(known: &Known<'_>) -> Decision {
    let mut decision = Decision::default();
    place(known, &mut decision);
    if known.entry.is_none() && decision.deeds.is_empty() {
        // No node could send it anything: no range is of use.
        return decision;
    }
    if known.own.ranges.is_empty() {
        if known.is_to_wait() {
            return decision;
        }
        claimed::decide(known, &mut decision);
    } else {
        given::decide(known, &mut decision);
    }
    decision
}

/// Decides while the cluster has no node of this name, as when somebody deleted a Node whose kubelet will register
/// it again: its objects may be taken away meanwhile, but its pods live on. `known.own` is where it was.
pub fn outlive(known: &Known<'_>) -> Decision {
    let mut decision = Decision::default();
    let own = known.blocks().map(|(range, _)| range);
    let lives = |range: IpNetwork| known.used(range) > Some(0);
    if known.former.iter().copied().chain(own).any(lives) {
        place(known, &mut decision);
        known.reclaim(&mut decision);
    }
    decision
}

/// Where the node is. An address that it has said stays as long as it is one of its own: with it goes the
/// MAC of its VTEP.
fn place(known: &Known<'_>, decision: &mut Decision) {
    let Known { own, judged, network, entry, .. } = known;
    let fits = |address: &IpAddr| {
        judged.ipv4.is_none_or(|ipv4| ipv4 == address.is_ipv4())
            && parse_vtep(&address.to_string()).is_ok()
            && around(network, (*address).into()).is_none()
    };
    let said = entry.and_then(|entry| entry.vtep.clone().ok());
    let stays = said.filter(|said| own.addresses.contains(said) && fits(said));
    let Some(vtep) = stays.or_else(|| own.addresses.iter().copied().find(fits)) else {
        decision.waits.push(match own.addresses.is_empty() {
            true => Wait::Address,
            false => Wait::NoVtep { ipv4: judged.ipv4 },
        });
        return;
    };
    if said != Some(vtep) {
        decision.deeds.push(Deed::PutNode { vtep });
    }
}

impl<'a> Known<'a> {
    /// The blocks that this node holds, the oldest first.
    fn blocks(&self) -> impl Iterator<Item = (IpNetwork, &'a BlockEntry)> {
        let blocks = self.judged.of(self.name).iter();
        blocks.filter_map(|block| Some((block.subnet()?, &**block)))
    }

    /// Whether it has nothing yet: a range that it claims now could be given to another.
    fn is_to_wait(&self) -> bool {
        self.early
            && !self.network.claims
            && self.blocks().next().is_none()
            && self.former.is_empty()
    }

    /// How many addresses of a range its pods have.
    fn used(&self, range: IpNetwork) -> Option<u64> {
        self.usage.map(|usage| usage.of(range))
    }

    /// Claims ranges again that the node has lost while pods live in them.
    fn reclaim(&self, decision: &mut Decision) {
        let given = &self.own.ranges;
        let lives = |range: &&IpNetwork| !given.contains(range) && self.used(**range) > Some(0);
        for range in self.former.iter().filter(lives) {
            match self.judged.blocks.overlapping(*range) {
                Some((_, block)) if block.node == self.name => {}
                Some((_, block)) => decision.lost(*range, &block.node),
                None => match self.refused.get(range) {
                    Some(holder) => decision.lost(*range, holder),
                    None => decision.deeds.push(Deed::Claim(*range)),
                },
            }
        }
    }

    /// Gives back a range that is not wanted and that nothing lives in.
    fn let_go(&self, range: IpNetwork, decision: &mut Decision) {
        decision.leaving.insert(range);
        if self.left.contains(&range) {
            decision.deeds.push(Deed::Release(range));
        }
    }
}

impl Decision {
    fn lost(&mut self, range: IpNetwork, holder: &str) {
        self.waits.push(Wait::Lost { range, holder: holder.to_owned() });
    }
}

#[cfg(test)]
mod tests;
