//! What is known when it is decided.

use std::collections::{BTreeMap, BTreeSet};

use flatnet_conf::ClusterNetwork;
use ipnetwork::IpNetwork;

use super::decision::Decision;
use crate::cluster::{BlockEntry, NodeEntry};
use crate::judge::Judged;
use crate::source::{Deed, OwnNode};
use crate::usage::Usage;

/// All that leads to a decision.
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

impl<'a> Known<'a> {
    /// The blocks that this node holds, the oldest first.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (IpNetwork, &'a BlockEntry)> {
        let blocks = self.judged.of(self.name).iter();
        blocks.filter_map(|block| Some((block.subnet()?, &**block)))
    }

    /// Whether it has nothing yet: a range that it claims now could be given to another.
    pub(super) fn is_to_wait(&self) -> bool {
        self.early
            && !self.network.claims
            && self.blocks().next().is_none()
            && self.former.is_empty()
    }

    /// How many addresses of a range its pods have.
    pub(super) fn used(&self, range: IpNetwork) -> Option<u64> {
        self.usage.map(|usage| usage.of(range))
    }

    /// Claims ranges again that the node has lost while pods live in them.
    pub(super) fn reclaim(&self, decision: &mut Decision) {
        let given = &self.own.ranges;
        let lives = |range: &&IpNetwork| !given.contains(range) && self.used(**range) > Some(0);
        for range in self.former.iter().filter(lives) {
            match self.judged.blocks.overlapping(*range) {
                Some((_, block)) if block.node == self.name => {}
                Some((_, block)) => decision.lost(*range, &block.node),
                None => match self.refused.get(range) {
                    Some(holder) => decision.lost(*range, holder),
                    None => decision.deeds.push(Deed::Reclaim(*range)),
                },
            }
        }
    }

    /// Gives back a range that is not wanted and that nothing lives in.
    pub(super) fn let_go(&self, range: IpNetwork, decision: &mut Decision) {
        decision.leaving.insert(range);
        if self.left.contains(&range) {
            decision.deeds.push(Deed::Release(range));
        }
    }
}
