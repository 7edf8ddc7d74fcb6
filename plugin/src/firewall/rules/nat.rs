//! What takes the node's address, so that answers come back the way that packets went.

use super::Policy;
use super::matches::{Direction, no_multicast, of, pod_network};
use crate::identity::SOURCE_PORTS;
use crate::kernel::nft::expression::{
    Expression, Header, Member, MetaKey, Operator, compare, masquerade, masquerade_to, meta,
    payload,
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

/// Protocols that may go to nodes: these have their ports where UDP has its own, and ICMPv6 none.
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP6: u8 = 58;

/// The first port that a program without privileges can have. A sender below is translated to a port below.
const UNPRIVILEGED: u16 = 1024;

impl Policy {
    /// What leaves the pod network, and what enters it by the overlay. What leaves by the overlay
    /// stays as it is if it comes from a pod, so that a connection that is made while a new range's
    /// route is there and its element of `cluster` is not yet, is not translated for the rest of its life.
    pub(super) fn masquerade(&self, cluster: &Set) -> [Rule; 2] {
        let family = cluster.family;
        let mut to = Vec::new();
        if self.masquerade == Masquerade::SparesNodes && family == self.underlay_family() {
            to.extend(self.vtep(Direction::Destination, Member::NotIn));
        }
        to.extend(no_multicast(family));
        let source = pod_network(cluster, Direction::Source, Member::NotIn);
        let from_outside = [of(family), source].concat();
        [
            self.rule("leaves the pod network", [self.leaves(cluster), to, vec![masquerade()]]),
            self.rule(
                "enters the pod network",
                [self.by_overlay(Operator::Equal), from_outside, vec![masquerade()]],
            ),
        ]
    }

    /// What pods send to nodes, from no source port of overlays. A sender of raw packets says itself where in its packet a
    /// checksum is put in, behind all rules (`PACKET_VNET_HDR` of packet(7)): two bytes, which may be the port
    /// that it is for, but not that and the source port as well. Over IPv6, whose header has no checksum, they may be the
    /// protocol: UDP has its source port where TCP and SCTP have theirs, where ICMPv6 has type and code, of which conntrack
    /// lets begin what is below, and where an extension header names the next, which is below, too, in what is not dropped.
    ///
    /// Before any other program translates it: who asks for no port there keeps the one that it has.
    pub(super) fn leaving_for_a_node(&self) -> Vec<Rule> {
        let (Masquerade::On, Some(cluster)) = (self.masquerade, self.cluster_like_vteps()) else {
            return Vec::new();
        };
        let to = self.vtep(Direction::Destination, Member::In);
        let leaves = [self.leaves(&cluster), to].concat();
        let protocol = |is, number| vec![meta(MetaKey::L4Proto), compare(is, &[number])];
        let (protocols, others): (&[u8], &[u8]) = match cluster.family {
            Family::V4 => (&[UDP], &[]),
            Family::V6 => (&[UDP, TCP, SCTP], &[UDP, TCP, SCTP, ICMP6]),
        };
        let ports = |number: &u8| {
            let unprivileged = vec![
                payload(Header::Transport, 0, 2),
                compare(Operator::GreatherThanEqual, &UNPRIVILEGED.to_be_bytes()),
            ];
            let masquerade = masquerade_to(self.ports_of_no_overlay()).to_vec();
            let by = protocol(Operator::Equal, *number);
            self.rule("leaves for a node", [leaves.clone(), by, unprivileged, masquerade])
        };
        let without_ports = (!others.is_empty()).then(|| {
            let others = others.iter().flat_map(|number| protocol(Operator::NotEqual, *number));
            self.drop("without ports for a node", [leaves.clone(), others.collect()])
        });
        protocols.iter().map(ports).chain(without_ports).collect()
    }

    /// Without the overlay's own port, from which no node takes a question.
    fn ports_of_no_overlay(&self) -> (u16, u16) {
        let (first, last) = (UNPRIVILEGED, SOURCE_PORTS.0 - 1);
        match self.port {
            port if !(first..=last).contains(&port) => (first, last),
            port if port - first > last - port => (first, port - 1),
            port => (port + 1, last),
        }
    }

    /// To an address that two bytes make a VTEP's, of what takes this node's address: any that is no pod's, over IPv6. The
    /// last of these bytes may be the first of the source port, too, so that this counts for nothing.
    pub(super) fn may_become_a_vtep(&self) -> Option<Vec<Expression>> {
        let cluster = self.cluster_like_vteps().filter(|cluster| cluster.family == Family::V6)?;
        let to = pod_network(&cluster, Direction::Destination, Member::NotIn);
        self.masquerades().then(|| [of(Family::V6), to].concat())
    }

    /// The pod network's addresses of the VTEPs' family.
    fn cluster_like_vteps(&self) -> Option<Set> {
        self.clusters().find(|cluster| cluster.family == self.underlay_family())
    }

    /// From a pod, to elsewhere than a pod, and not by the overlay.
    fn leaves(&self, cluster: &Set) -> Vec<Expression> {
        [
            self.by_overlay(Operator::NotEqual),
            of(cluster.family),
            pod_network(cluster, Direction::Source, Member::In),
            pod_network(cluster, Direction::Destination, Member::NotIn),
        ]
        .concat()
    }

    fn by_overlay(&self, is: Operator) -> Vec<Expression> {
        vec![meta(MetaKey::Oifgroup), compare(is, &self.overlay_group.to_ne_bytes())]
    }
}
