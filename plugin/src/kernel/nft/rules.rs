//! What one network wants of nftables on this node, in our nouns and then as nft objects.
//!
//! As nft would print it for network `pods`, VNI 4096, with an IPv4 underlay:
//!
//! ```text
//! chain pod-4096 {
//!   fib saddr . iif oif missing drop
//!   icmp type destination-unreachable icmp code frag-needed fib daddr type != unicast drop
//!   icmpv6 type packet-too-big fib daddr type != unicast drop
//! }
//! chain vxlan-4096 {
//!   @th,96,32 V iifgroup != P ip daddr VTEP ip saddr @vteps-4096 notrack accept
//!   iifgroup P ip daddr @vteps-4096 drop
//!   @th,96,32 V ip daddr @vteps-4096 drop
//!   @th,96,32 V fib daddr type != unicast drop
//!   iifgroup P goto pod-4096
//! }
//! chain prerouting-4096 { type filter hook prerouting priority raw;
//!   udp dport 4789 goto vxlan-4096
//!   iifgroup P goto pod-4096
//! }
//! chain input-4096 { type filter hook input priority raw;               # without ipMasq
//!   udp dport 4789 @th,96,32 V ip daddr VTEP ip saddr @vteps-4096 accept
//!   udp dport 4789 @th,96,32 V meta nfproto ipv4 drop
//! }
//! chain forward-4096 { type filter hook forward priority raw;           # with other networks
//!   iifgroup & 0xfeffffff == P oifgroup & 0xfe000000 == 0x66000000 oifgroup & 0xffffff != 4096 drop
//!   oifgroup & 0xfeffffff == P iifgroup & 0xfe000000 == 0x66000000 iifgroup & 0xffffff != 4096 drop
//! }
//! chain output-4096 { type filter hook output priority raw;
//!   udp dport 4789 @th,96,32 V notrack
//! }
//! chain postrouting-4096 { type nat hook postrouting priority srcnat;   # with ipMasq
//!   oifname != "flat.4096" ip saddr @cluster4-4096 ip daddr != @cluster4-4096
//!     ip daddr != @vteps-4096 ip daddr != 224.0.0.0/4 masquerade fully-random
//! }                                                                     # and so for ip6
//! ```
//!
//! `P` is the group of the network's pods, 0x66001000; `VTEP` this node's own. `@th,96,32` is the
//! VNI: eight bytes of UDP header, four of VXLAN flags. `V` is 0x00100000: the byte behind the VNI is
//! 0, or VXLAN drops the packet (`vxlan_rcv`); four bytes are compared faster than three. Other users
//! of VXLAN on the same port have another VNI, and are left alone. What is not for the node itself is
//! `unicast` to the fib.
//!
//! **The order.** Every packet between pods on two nodes passes these hooks seven times, a good part
//! of what it costs. So each is asked at once where it comes from, and then only what concerns it; and
//! a chain that nobody needs is not there.
//!
//! **What a pod may send.** Only what the way back to the source would lead to its own veth for.
//! That leaves out link-local sources, too: both ends know each other's MAC for good and need no
//! neighbour discovery, and the node makes a neighbour entry for each source of a router
//! solicitation, until its table is full. `::` passes in duplicate address detection only,
//! `0.0.0.0` in DHCP only: the kernel's fib expression takes these for good. A source that is the
//! node's own address is spoofed like any other.
//!
//! Nor may it tell the node what a path carries: the node would believe it about the way to any
//! peer or pod, and refuse large packets of all pods for ten minutes. A pod is the end of its path.
//!
//! **Who else may not.** A container of another network, or of another program, may be masqueraded
//! on its way out, and would reach the next node with a VTEP's address. Its packets with our VNI
//! are dropped while they still show their own source. The node may have further addresses, of
//! which the range file knows nothing and at which VXLAN listens, too: there nothing is accepted.
//!
//! **Networks do not meet.** A node that is in several would route between them. The groups of our
//! devices tell whose they are: what comes from a pod or the overlay of one network goes to no pod of
//! another, nor into another's overlay. Of two networks, one must have the chain: the one that came
//! second finds the other without. A pod in both networks may be a router.
//!
//! **Why input guards the overlay again, without ipMasq.** With it there is conntrack, and
//! prerouting sees fragments put together. Without, IPv4 fragments are put together after
//! prerouting, IPv6 fragments after input, so that a first fragment too short to show the VNI would
//! slip through, and be completed later: with an IPv6 underlay, two more rules let pass what shows
//! another VNI, and drop a first fragment from a stranger to this port that shows none. A fragment
//! without the UDP header is refused by the kernel itself (RFC 8200, section 4.5), and later ones
//! wait in vain.

use super::expression::{
    Header, Is, Member, Meta, Verdict, compare, destination_type, fragment, goto, lookup, mask,
    masquerade, meta, notrack, payload, reverse_path, verdict,
};
use super::intervals;
use super::names::Names;
use super::objects::{Base, Chain, ChainType, Family, Hook, Rule, Set};
use crate::kernel::attribute::Attribute;
use ipnetwork::IpNetwork;
use std::net::IpAddr;

/// Before conntrack (-200), behind IPv4 and IPv6 defragmentation (-400).
const PRIORITY_RAW: i32 = -300;
/// Where source NAT is done.
const PRIORITY_SRCNAT: i32 = 100;

/// What one network wants of nftables on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// The network's name, in every rule's comment.
    pub network: String,
    /// Its VNI, in every chain's and set's name, so that networks never meet.
    pub vni: u32,
    /// The UDP port of its VXLAN.
    pub port: u16,
    /// The VXLAN device, as in `flat.4096`.
    pub overlay: String,
    /// `IFLA_GROUP` of this network's veths on the node: the VNI behind a first byte that is the same
    /// in all networks, and even. That of the overlay is one more; both are nobody else's.
    pub group: u32,
    /// This node's own underlay address.
    pub vtep: IpAddr,
    /// Underlay addresses of all nodes, this one included, all of one family.
    pub vteps: Vec<IpAddr>,
    /// The pod network, of both families.
    pub cluster_cidrs: Vec<IpNetwork>,
    /// Whether what leaves the pod network takes the node's address (`ipMasq`).
    pub masquerade: bool,
}

impl RuleSet {
    fn underlay(&self) -> Family {
        Family::of(&self.vtep)
    }

    /// The sets that the rules refer to.
    pub(super) fn sets(&self) -> Vec<Set> {
        let names = Names::of(self.vni);
        let mut sets = vec![Set {
            name: names.vteps,
            family: self.underlay(),
            interval: false,
            elements: intervals::addresses(&self.vteps),
        }];
        sets.extend(self.clusters());
        sets
    }

    /// The pod network, a set for each family that it has.
    fn clusters(&self) -> impl Iterator<Item = Set> {
        let names = Names::of(self.vni);
        let families = [(names.cluster4, Family::V4), (names.cluster6, Family::V6)];
        families.into_iter().filter_map(|(name, family)| {
            let elements = intervals::networks(&self.cluster_cidrs, family);
            (!elements.is_empty()).then_some(Set { name, family, interval: true, elements })
        })
    }

    /// The chains with their rules; `in_company` of a network that does not keep itself apart.
    pub(super) fn chains(&self, in_company: bool) -> Vec<Chain> {
        let names = Names::of(self.vni);
        let raw = |name, hook, rules| {
            let base = Base { kind: ChainType::Filter, hook, priority: PRIORITY_RAW };
            Chain { name, base: Some(base), rules }
        };
        let mut chains = vec![
            Chain { name: names.pod.clone(), base: None, rules: self.pod() },
            Chain { name: names.vxlan.clone(), base: None, rules: self.vxlan(&names) },
            raw(names.prerouting.clone(), Hook::Prerouting, self.prerouting(&names)),
        ];
        if !self.masquerade {
            chains.push(raw(names.input, Hook::Input, self.input()));
        }
        if in_company {
            chains.push(raw(names.forward, Hook::Forward, self.forward()));
        }
        chains.push(raw(names.output, Hook::Output, self.output()));
        if self.masquerade {
            let base =
                Base { kind: ChainType::Nat, hook: Hook::Postrouting, priority: PRIORITY_SRCNAT };
            let rules = self.clusters().map(|cluster| self.masquerade(&cluster)).collect();
            chains.push(Chain { name: names.postrouting, base: Some(base), rules });
        }
        chains
    }

    fn prerouting(&self, names: &Names) -> Vec<Rule> {
        vec![
            self.rule("VXLAN", [self.to_port(), vec![goto(&names.vxlan)]]),
            self.rule("from a pod", [self.sent_by_pod(Is::Equal), vec![goto(&names.pod)]]),
        ]
    }

    fn pod(&self) -> Vec<Rule> {
        let astray = vec![reverse_path(), compare(Is::Equal, &[0; 4])];
        let mut rules = vec![self.rule("spoofed source", [astray, vec![verdict(Verdict::Drop)]])];
        rules.extend(self.too_large());
        rules
    }

    fn vxlan(&self, names: &Names) -> Vec<Rule> {
        let drop = || vec![verdict(Verdict::Drop)];
        let from_pod = || self.sent_by_pod(Is::Equal);
        let to_a_vtep = || [of(self.underlay()), self.vtep(Side::Destination, Member::In)].concat();
        let our_vni = || self.our_vni(Is::Equal);
        let from_others = [our_vni(), self.sent_by_pod(Is::Different)].concat();
        let untracked = vec![notrack(), verdict(Verdict::Accept)];
        vec![
            self.rule("overlay packet from a VTEP", [from_others, self.vtep_to_us(), untracked]),
            // No VNI is looked at: a pod has no business with any VTEP.
            self.rule("VXLAN from a pod", [from_pod(), to_a_vtep(), drop()]),
            self.rule("overlay packet from no VTEP", [our_vni(), to_a_vtep(), drop()]),
            self.rule("overlay packet to no VTEP", [our_vni(), for_this_node(), drop()]),
            self.rule("from a pod", [from_pod(), vec![goto(&names.pod)]]),
        ]
    }

    fn input(&self) -> Vec<Rule> {
        let (accept, drop) = (|| vec![verdict(Verdict::Accept)], || vec![verdict(Verdict::Drop)]);
        let of_underlay = || of(self.underlay());
        let mut rules = vec![
            self.rule("overlay packet", [self.overlay_packet(), self.vtep_to_us(), accept()]),
            self.rule(
                "overlay packet from or to no VTEP",
                [self.overlay_packet(), of_underlay(), drop()],
            ),
        ];
        if let Family::V6 = self.underlay() {
            let stranger = [of_underlay(), self.vtep(Side::Source, Member::NotIn)].concat();
            let is_fragment = vec![fragment(), compare(Is::Equal, &[1])];
            rules.push(self.rule(
                "another overlay's VNI",
                [self.to_port(), self.our_vni(Is::Different), accept()],
            ));
            rules.push(self.rule(
                "fragment that hides its VNI",
                [self.to_port(), stranger, is_fragment, drop()],
            ));
        }
        rules
    }

    /// What a router says to the sender of a packet that was too large for the next link.
    fn too_large(&self) -> [Rule; 2] {
        const IPPROTO_ICMP: u8 = 1;
        const IPPROTO_ICMPV6: u8 = 58;
        // Type and code (RFC 1191); type alone (RFC 4443).
        [(IPPROTO_ICMP, &[3, 4][..]), (IPPROTO_ICMPV6, &[2])].map(|(protocol, kind)| {
            let told = vec![
                meta(Meta::Transport),
                compare(Is::Equal, &[protocol]),
                payload(Header::Transport, 0, kind.len() as u32),
                compare(Is::Equal, kind),
            ];
            let drop = vec![verdict(Verdict::Drop)];
            self.rule("path MTU from a pod", [told, for_this_node(), drop])
        })
    }

    fn output(&self) -> Vec<Rule> {
        vec![self.rule("overlay packet", [self.overlay_packet(), vec![notrack()]])]
    }

    fn forward(&self) -> Vec<Rule> {
        // The first byte with and without its last bit, which tells pods from the overlay.
        const NETWORK: u32 = 0xfeff_ffff;
        const OURS: u32 = 0xfe00_0000;
        const VNI: u32 = 0x00ff_ffff;
        let masked = |side, bits: u32, is, value: u32| {
            vec![meta(side), mask(&bits.to_ne_bytes()), compare(is, &value.to_ne_bytes())]
        };
        [
            ("to another network", Meta::InputGroup, Meta::OutputGroup),
            ("from another network", Meta::OutputGroup, Meta::InputGroup),
        ]
        .map(|(why, ours, theirs)| {
            self.rule(
                why,
                [
                    masked(ours, NETWORK, Is::Equal, self.group),
                    masked(theirs, OURS, Is::Equal, self.group & OURS),
                    masked(theirs, VNI, Is::Different, self.group & VNI),
                    vec![verdict(Verdict::Drop)],
                ],
            )
        })
        .into()
    }

    /// From a VTEP, at this node's own. Its outer packets are not tracked: conntrack would hold an
    /// entry per flow of pods for nothing, and fill up.
    fn vtep_to_us(&self) -> Vec<Attribute> {
        let own = match self.vtep {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let to_own = vec![load(self.underlay(), Side::Destination), compare(Is::Equal, &own)];
        [of(self.underlay()), to_own, self.vtep(Side::Source, Member::In)].concat()
    }

    /// A packet of this overlay, whoever sent it.
    fn overlay_packet(&self) -> Vec<Attribute> {
        [self.to_port(), self.our_vni(Is::Equal)].concat()
    }

    /// What leaves the pod network. Nodes are reached with the pod's own address. What leaves by
    /// the overlay stays as it is, so that a connection that is made while a new range's route is
    /// there and its element of `cluster` is not yet, is not translated for the rest of its life.
    fn masquerade(&self, cluster: &Set) -> Rule {
        let family = cluster.family;
        let destination = || load(family, Side::Destination);
        let mut to = vec![destination(), lookup(Member::NotIn, &cluster.name)];
        if family == self.underlay() {
            to.extend(self.vtep(Side::Destination, Member::NotIn));
        }
        to.extend(match family {
            Family::V4 => {
                vec![destination(), mask(&[0xf0, 0, 0, 0]), compare(Is::Different, &[224, 0, 0, 0])]
            }
            Family::V6 => vec![payload(Header::Network, 24, 1), compare(Is::Different, &[0xff])],
        });
        self.rule(
            "leaves the pod network",
            [
                vec![meta(Meta::OutputName), compare(Is::Different, &device_name(&self.overlay))],
                of(family),
                vec![load(family, Side::Source), lookup(Member::In, &cluster.name)],
                to,
                vec![masquerade()],
            ],
        )
    }

    fn rule<const N: usize>(&self, why: &str, parts: [Vec<Attribute>; N]) -> Rule {
        Rule { comment: format!("{}: {why}", self.network), expressions: parts.concat() }
    }

    fn sent_by_pod(&self, is: Is) -> Vec<Attribute> {
        vec![meta(Meta::InputGroup), compare(is, &self.group.to_ne_bytes())]
    }

    fn to_port(&self) -> Vec<Attribute> {
        const IPPROTO_UDP: u8 = 17;
        vec![
            meta(Meta::Transport),
            compare(Is::Equal, &[IPPROTO_UDP]),
            payload(Header::Transport, 2, 2),
            compare(Is::Equal, &self.port.to_be_bytes()),
        ]
    }

    fn our_vni(&self, is: Is) -> Vec<Attribute> {
        vec![payload(Header::Transport, 12, 4), compare(is, &(self.vni << 8).to_be_bytes())]
    }

    fn vtep(&self, side: Side, member: Member) -> Vec<Attribute> {
        vec![load(self.underlay(), side), lookup(member, &Names::of(self.vni).vteps)]
    }
}

/// Which address of a packet.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// Goes on for what the node itself would receive: its own addresses, broadcasts, multicasts.
fn for_this_node() -> Vec<Attribute> {
    const RTN_UNICAST: u32 = 1;
    vec![destination_type(), compare(Is::Different, &RTN_UNICAST.to_ne_bytes())]
}

/// Loads an address.
fn load(family: Family, side: Side) -> Attribute {
    let offset = match (family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    };
    payload(Header::Network, offset, family.length())
}

/// A device's name as the kernel compares it.
fn device_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16]; // IFNAMSIZ
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// Goes on for packets of the family; in a table of family inet, only then do offsets in the IP
/// header mean something.
fn of(family: Family) -> Vec<Attribute> {
    let number = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    vec![meta(Meta::Family), compare(Is::Equal, &[number])]
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
