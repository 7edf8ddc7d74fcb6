//! What takes the node's address, so that answers come back the way that packets went.

use super::Policy;
use super::matches::{Direction, load, no_multicast, of};
use crate::identity::HEARD_FROM;
use crate::kernel::nft::expression::{
    Expression, Member, MetaKey, Operator, compare, lookup, masquerade, masquerade_to, meta,
};
use crate::kernel::nft::objects::{Family, Rule, Set};

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
    pub(super) fn masquerade(&self, cluster: &Set) -> Vec<Rule> {
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
        let leaves = [by_overlay(Operator::NotEqual), from_pod, to].concat();
        let to_node = self.masquerade == Masquerade::On && family == self.underlay_family();
        let to_node = to_node.then(|| self.leaves_for_a_node(&leaves)).into_iter().flatten();
        let rules = [
            self.rule("leaves the pod network", [leaves, masquerade()]),
            self.rule(
                "enters the pod network",
                [by_overlay(Operator::Equal), from_outside, masquerade()],
            ),
        ];
        to_node.chain(rules).collect()
    }

    /// What pods send to nodes, from no source port from which an overlay is heard. A sender of raw packets says itself
    /// where in its packet a checksum is put in, behind all rules (`PACKET_VNET_HDR` of packet(7)): two bytes, which may
    /// be the port that it is for, but not that and the source port as well. Over IPv6, whose header has no checksum,
    /// they may be the protocol: what has no ports to be translated is not for nodes there.
    fn leaves_for_a_node(&self, leaves: &[Expression]) -> Vec<Rule> {
        const LAST: u16 = HEARD_FROM - 1;
        let to = self.vtep(Direction::Destination, Member::In);
        let masquerade = masquerade_to((1024, LAST)).to_vec();
        let without_ports = (self.underlay_family() == Family::V6).then(|| {
            const WITH_PORTS: [u8; 4] = [6, 17, 58, 132]; // TCP, UDP, ICMPv6 with its identifiers, SCTP
            let others = WITH_PORTS
                .map(|protocol| [meta(MetaKey::L4Proto), compare(Operator::NotEqual, &[protocol])]);
            self.drop("without ports for a node", [leaves.to_vec(), to.clone(), others.concat()])
        });
        let masquerade = self.rule("leaves for a node", [leaves.to_vec(), to, masquerade]);
        without_ports.into_iter().chain([masquerade]).collect()
    }
}
