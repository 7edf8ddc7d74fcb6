//! What takes the node's address, so that answers come back the way that packets went.

use super::Policy;
use super::matches::{Direction, load, no_multicast, of};
use crate::kernel::nft::expression::{
    Member, MetaKey, Operator, compare, lookup, masquerade, meta,
};
use crate::kernel::nft::objects::{Rule, Set};

/// What `masquerade` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// Nothing (without `ipMasq`).
    Off,
    /// What leaves the pod network, and what enters it by the overlay from outside (`ipMasq`).
    On,
    /// The same without what goes to other nodes' VTEPs (`ipMasqNodes` false).
    SparesNodes,
}

impl Policy {
    /// What leaves the pod network, and what enters it by the overlay. What leaves by the overlay
    /// stays as it is if it comes from a pod, so that a connection that is made while a new range's
    /// route is there and its element of `cluster` is not yet, is not translated for the rest of its life.
    pub(super) fn masquerade(&self, cluster: &Set) -> [Rule; 2] {
        let family = cluster.family;
        let overlay = self.overlay_group.to_ne_bytes();
        let by_overlay = |is| vec![meta(MetaKey::Oifgroup), compare(is, &overlay)];
        let source = |member| {
            vec![of(family), vec![load(family, Direction::Source), lookup(member, &cluster.name)]]
        };
        let mut to =
            vec![load(family, Direction::Destination), lookup(Member::NotIn, &cluster.name)];
        if self.masquerade == Masquerade::SparesNodes && family == self.underlay_family() {
            to.extend(self.vtep(Direction::Destination, Member::NotIn));
        }
        to.extend(no_multicast(family));
        let from_pod = source(Member::In).concat();
        let from_outside = source(Member::NotIn).concat();
        let masquerade = || vec![masquerade()];
        [
            self.rule(
                "leaves the pod network",
                [by_overlay(Operator::NotEqual), from_pod, to, masquerade()],
            ),
            self.rule(
                "enters the pod network",
                [by_overlay(Operator::Equal), from_outside, masquerade()],
            ),
        ]
    }
}
