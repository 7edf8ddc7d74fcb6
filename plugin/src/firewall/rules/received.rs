//! The rules for what comes in, before anything is translated: from the underlay, from pods, and from
//! everything else.

use super::Policy;
use super::matches::{
    Direction, astray, device_name, for_this_node, hops_beyond, load, of, pod_network, too_large,
};
use crate::identity::{HOPS_OF_USERS, SOURCE_PORTS};
use crate::kernel::nft::expression::{
    ACCEPT, Expression, Header, Member, MetaKey, Operator, compare, goto, jump, lookup, meta,
    notrack, payload, reverse_path, set_meta, verdict,
};
use crate::kernel::nft::names::Names;
use crate::kernel::nft::objects::{Family, Rule, Set};

impl Policy {
    pub(super) fn prerouting(&self, names: &Names) -> Vec<Rule> {
        let others = self.clusters().map(|cluster| {
            let source = pod_network(&cluster, Direction::Source, Member::In);
            let judged = vec![goto(&names.source)];
            self.rule("a pod's source", [of(cluster.family), source, judged])
        });
        [
            self.rule("VXLAN", [self.to_port(), vec![jump(&names.vxlan)]]),
            self.rule("from a pod", [self.sent_by_pod(), vec![goto(&names.pod)]]),
            self.rule(
                "from the overlay",
                [self.sent_by_overlay(Operator::Equal), vec![goto(&names.overlay)]],
            ),
        ]
        .into_iter()
        .chain(others)
        .collect()
    }

    /// VXLAN of whatever sender. That of peers is not tracked: conntrack would hold an entry per flow of
    /// pods for nothing, and fill up. What is not tracked is not translated either. It gets the mark that
    /// `overlay` asks for.
    pub(super) fn vxlan(&self, names: &Names) -> Vec<Rule> {
        let leads_back = vec![reverse_path(), compare(Operator::NotEqual, &[0; 4])];
        let known = set_meta(MetaKey::Priority, &self.mark()).to_vec();
        let untracked = vec![notrack(), verdict(ACCEPT)];
        let of_peer = |by| {
            let to = [self.our_vni(Operator::Equal), self.to_us()].concat();
            let from = [self.peer(Direction::Source), self.wrapped_by_a_device(), by].concat();
            self.rule("overlay packet", [to, from, known.clone(), untracked.clone()])
        };
        // A virtual machine behind a bridge of this node may be a node, too. Bridges ask these rules as well
        // (`bridge-nf-call-iptables`).
        let between_peers = |by| {
            let to = [of(self.underlay_family()), self.peer(Direction::Destination)].concat();
            let from = [self.peer(Direction::Source), self.wrapped_by_a_device(), by].concat();
            let vni = self.our_vni(Operator::Equal);
            self.rule("overlay packet between peers", [vni, to, from, untracked.clone()])
        };
        let ways: Vec<_> = self.by_underlay().chain([leads_back]).collect();
        let ours: Vec<Rule> = ways.iter().cloned().map(of_peer).collect();
        let passing: Vec<Rule> = ways.into_iter().map(between_peers).collect();
        let out = self.may_become_a_vtep().map(|to| {
            let from = [self.sent_by_pod(), self.our_vni(Operator::Equal)].concat();
            self.drop("overlay packet out of the pod network", [from, to])
        });
        let others = [
            self.drop(
                "overlay packet from no VTEP",
                [self.our_vni(Operator::Equal), self.to_a_vtep()],
            ),
            self.drop(
                "overlay packet to no VTEP",
                [self.our_vni(Operator::Equal), for_this_node()],
            ),
        ];
        // No VNI is looked at: a pod has no business with any VTEP.
        let to_a_vtep = self.drop("VXLAN from a pod", [self.sent_by_pod(), self.to_a_vtep()]);
        // Nor here: what another program sends on to a peer may show it first behind this node.
        let of_a_vtep = [of(self.underlay_family()), self.vtep(Direction::Source, Member::In)];
        let judged = vec![goto(&names.source)];
        let by_a_vtep = self.rule("under a VTEP's address", [of_a_vtep.concat(), judged]);
        // A user's packet for an address of the pod network has the mark, also where that is the node's own.
        let marked = vec![meta(MetaKey::Priority), compare(Operator::Equal, &self.mark())];
        let unmark = set_meta(MetaKey::Priority, &[0; 4]).to_vec();
        let not_wrapped = self.sent_by_overlay(Operator::NotEqual);
        let unmark = self.rule("not wrapped", [not_wrapped, marked, unmark]);
        let rest = others.into_iter().chain([unmark, by_a_vtep]);
        ours.into_iter().chain([to_a_vtep]).chain(out).chain(passing).chain(rest).collect()
    }

    /// From a source port that nothing has which pods send to VTEPs (see `leaving_for_a_node`), and with more hops left than
    /// what users send there.
    fn wrapped_by_a_device(&self) -> Vec<Expression> {
        let first = SOURCE_PORTS.0.to_be_bytes();
        let port = [payload(Header::Transport, 0, 2), compare(Operator::GreatherThanEqual, &first)];
        [&port[..], &hops_beyond(self.underlay_family(), HOPS_OF_USERS)].concat()
    }

    /// That it came by one of the underlay's devices, for each.
    fn by_underlay(&self) -> impl Iterator<Item = Vec<Expression>> {
        let by = |name: &String| {
            vec![meta(MetaKey::Iifname), compare(Operator::Equal, &device_name(name))]
        };
        self.underlay.iter().map(by)
    }

    /// What comes from neither a pod nor the overlay, with a source of the pod network; and VXLAN of another VNI with a
    /// VTEP's.
    pub(super) fn source(&self) -> Vec<Rule> {
        let by_devices =
            self.by_underlay().map(|by| self.rule("by the underlay", [by, vec![verdict(ACCEPT)]]));
        by_devices.chain([self.drop("spoofed source", [astray()])]).collect()
    }

    /// What pods of this node send.
    pub(super) fn pod(&self, names: &Names) -> Vec<Rule> {
        // Most packets fail these comparisons, so the family is asked behind them.
        let loopback = vec![payload(Header::Network, 16, 1), compare(Operator::Equal, &[127])];
        let gateway = vec![
            load(Family::V4, Direction::Destination),
            compare(Operator::Equal, &self.gateway.octets()),
        ];
        // The IPv6 gateway is link-local, which the kernel never sends on, and its loopback one address.
        let to_node = [("to the loopback", loopback), ("to the gateway", gateway)]
            .map(|(why, to)| self.drop(why, [to, of(Family::V4)]));
        let path_mtu = self.clusters().map(|cluster| {
            let judged = vec![goto(&names.path_mtu)];
            self.rule("path MTU from a pod", [too_large(cluster.family), judged])
        });
        [self.drop("spoofed source", [astray()])]
            .into_iter()
            .chain(to_node)
            .chain(path_mtu)
            .collect()
    }

    /// Whom a pod tells what a path carries: other pods, and no node.
    pub(super) fn path_mtu(&self) -> Vec<Rule> {
        let to_no_pod = self.clusters().map(|cluster| {
            let family = cluster.family;
            let to = outside(&cluster, family.destination(), Header::Network);
            self.drop("path MTU to no pod", [of(family), to])
        });
        to_no_pod.chain([self.drop("path MTU to the node", [for_this_node()])]).collect()
    }

    /// What pods and nodes behind the overlay send. It is of peers only if `vxlan` has seen what it was wrapped in:
    /// a priority stays when a packet is unwrapped, put together of fragments, or taken apart. The
    /// mark ends here, for NAT may lead the packet to be unwrapped once more.
    pub(super) fn overlay(&self) -> Vec<Rule> {
        let unmarked = vec![meta(MetaKey::Priority), compare(Operator::NotEqual, &self.mark())];
        let unmark = set_meta(MetaKey::Priority, &[0; 4]).to_vec();
        let of_no_peer =
            [self.drop("wrapped by no peer", [unmarked]), self.rule("unwrapped", [unmark])];
        let path_mtu = self.clusters().map(|cluster| {
            // The header of what was too large stands behind eight bytes of ICMP.
            let offset = 8 + cluster.family.destination();
            let about = outside(&cluster, offset, Header::Transport);
            let parts = [too_large(cluster.family), about, for_this_node()];
            self.drop("path MTU of the underlay", parts)
        });
        of_no_peer.into_iter().chain(path_mtu).collect()
    }
}

/// An address in the packet is not of the pod network.
fn outside(cluster: &Set, offset: u32, header: Header) -> Vec<Expression> {
    let address = payload(header, offset, cluster.family.length());
    vec![address, lookup(Member::NotIn, &cluster.name)]
}
