//! What is to be done, and what stands in the way.

use std::collections::BTreeSet;
use std::fmt;

use ipnetwork::IpNetwork;

use crate::source::Deed;

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

impl Decision {
    pub(super) fn lost(&mut self, range: IpNetwork, holder: &str) {
        self.waits.push(Wait::Lost { range, holder: holder.to_owned() });
    }
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
