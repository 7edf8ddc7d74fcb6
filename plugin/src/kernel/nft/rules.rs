//! What one network wants of nftables on this node, in our nouns and then as nft objects.
//!
//! As nft would print it for network `pods`, VNI 4096, with an IPv4 underlay:
//!
//! ```text
//! chain vxlan-4096 {
//!   ip daddr VTEP ip saddr != VTEP ip saddr @vteps-4096 iifname "eth0" accept    # each underlay device
//!   ip daddr VTEP ip saddr != VTEP ip saddr @vteps-4096 fib saddr . iif oif exists accept
//!   @th,96,32 != V accept
//!   meta nfproto ipv4 drop
//! }
//! chain pod-4096 {
//!   fib saddr . iif oif missing drop
//!   ip daddr 127.0.0.0/8 drop
//!   ip6 daddr ::1 drop
//!   icmp type destination-unreachable icmp code frag-needed ip daddr != @cluster4-4096 drop
//!   icmpv6 type packet-too-big ip6 daddr != @cluster6-4096 drop
//! }
//! chain source-4096 {
//!   iifname "eth0" accept                                               # each underlay device
//!   fib saddr . iif oif missing drop
//! }
//! chain node-4096 {
//!   ip daddr 127.0.0.0/8 ct direction original drop                     # with ipMasq
//!   ip6 daddr ::1 ct direction original drop                            # with ipMasq
//!   icmp type destination-unreachable icmp code frag-needed iifgroup P drop
//!   icmp type destination-unreachable icmp code frag-needed @th,192,32 != @cluster4-4096 drop
//!   icmpv6 type packet-too-big iifgroup P drop
//!   icmpv6 type packet-too-big @th,256,128 != @cluster6-4096 drop
//! }
//! chain outer-4096 {
//!   iifgroup O ip saddr VTEP accept                                     # in a VRF: meta priority O
//!   iifgroup P ip daddr @vteps-4096 drop
//!   @th,96,32 != V accept
//!   @th,96,32 V ip daddr @vteps-4096 drop
//!   iif != 0 ip daddr @vteps-4096 drop
//! }
//! chain prerouting-4096 { type filter hook prerouting priority raw;
//!   udp dport 4789 @th,96,32 V ip daddr VTEP notrack accept
//!   iifgroup P goto pod-4096
//!   iifgroup != O ip saddr @cluster4-4096 goto source-4096              # and so for ip6
//! }
//! chain input-4096 { type filter hook input priority 300;
//!   udp dport 4789 jump vxlan-4096
//!   iifgroup & 0xfeffffff == P goto node-4096
//! }
//! chain forward-4096 { type filter hook forward priority raw;           # with other networks
//!   iifgroup & 0xfeffffff == P oifgroup & 0xfe000000 == 0x66000000 oifgroup & 0xffffff != 4096 drop
//!   oifgroup & 0xfeffffff == P iifgroup & 0xfe000000 == 0x66000000 iifgroup & 0xffffff != 4096 drop
//! }
//! chain output-4096 { type filter hook output priority raw;
//!   udp dport 4789 @th,96,32 V notrack
//! }
//! chain egress-4096 { type filter hook postrouting priority srcnat - 1;
//!   udp dport 4789 jump outer-4096
//!   oifgroup O meta priority set O                                      # in a VRF
//!   ip daddr 169.254.1.1 iifgroup P drop
//!   ip6 daddr fe80::1 iifgroup P drop
//! }
//! chain postrouting-4096 { type nat hook postrouting priority srcnat;   # with ipMasq
//!   oifgroup != O ip saddr @cluster4-4096 ip daddr != @cluster4-4096
//!     ip daddr != 224.0.0.0/4 masquerade fully-random
//!   oifgroup O ip saddr != @cluster4-4096 masquerade fully-random
//! }                                                                     # and so for ip6
//! ```
//!
//! `P` is the group of the network's pods, 0x66001000, `O` that of its overlay device, 0x67001000;
//! `VTEP` is this node's own. `@th,96,32` is the VNI: eight bytes of UDP header, four of VXLAN flags.
//! `V` is 0x00100000: the byte behind the VNI is 0, or VXLAN drops the packet (`vxlan_rcv`); four bytes
//! are compared faster than three. Other users of VXLAN on the same port have another VNI, and are
//! left alone.
//!
//! **After NAT.** What a packet is for is known only when destinations have been translated: a
//! Service, a published port or IPVS (in the input hook, at 99) may lead to a VTEP's port or to
//! the loopback. So nothing is judged by its destination before: what this node receives is judged
//! in `input`, behind IPVS; what leaves it in `egress`, the last place that every packet passes, and
//! before its source is translated, which would make it look like one of this node.
//!
//! **The overlay's own packets** are known by the kernel's word: the device that a packet came by is, in
//! the postrouting hook, for an outer packet the VXLAN device that made it (since Linux 5.7), and for
//! what a program of the node sent no device. Neither a user of the node nor a container can
//! pretend that. What the overlay brought here and somebody's NAT sends on to a VTEP came by that
//! device too; its source is not yet this node's. Where the underlay is in a VRF, that device takes the
//! overlay's place. There the overlay's packets get a priority (`skb->priority`, the number `O`) before they are
//! wrapped, which no user without privileges can set.
//!
//! **Where an outer packet may come from.** A VTEP's address alone proves nothing: a container of
//! another program, behind a device of its own, can write it into a packet. So the device counts, too:
//! one that was seen to lead to the peers, or one that leads there now. A strict check of
//! the way back alone would cut off an underlay on which packets come by another device than they
//! leave by. This node's own VTEP is no source: who has that address is this node, which does not
//! send to itself.
//!
//! **What a pod may send.** Only what the way back to the source would lead to its own veth for.
//! That leaves out link-local sources, too: both ends know each other's MAC for good and need no
//! neighbour discovery, and the node makes a neighbour entry for each source of a router
//! solicitation, until its table is full. `::` passes in duplicate address detection only,
//! `0.0.0.0` in DHCP only: the kernel's fib expression takes these for good. A source that is the
//! node's own address is spoofed like any other.
//!
//! **What others may send.** Under a pod's address nothing, unless by the underlay: a peer may route
//! directly, and not all nodes begin or end that at once. What the underlay lets pass is beyond a node's
//! packet filter.
//!
//! Nor may a pod tell a node what a path carries: the node would believe it about the way to any
//! peer or pod, and refuse large packets of all pods for ten minutes. So a pod tells that to pods
//! only. Which of the cluster's addresses are nodes' is seen where they are: there, what comes by the overlay
//! is believed about ways to pods, not to VTEPs. (`@th,192,32` is the destination of the packet that was too
//! large, 8 bytes of ICMP and 16 of IP further on.)
//!
//! Its gateway is an address of no device. Without an answer of ours, the node would send what a pod
//! sends there out by its default route. The node's loopback addresses are reached from elsewhere as soon
//! as `route_localnet` is set, which portmap and kube-proxy do; by NAT, too, but there a pod's answers to what the
//! node sent from the loopback to a published port look the same. Connection tracking tells them apart; for the
//! sake of that rule alone it is not switched on.
//!
//! **Networks do not meet.** A node that is in several would route between them. The groups of our
//! devices tell whose they are: what comes from a pod or the overlay of one network goes to no pod of
//! another, nor into another's overlay. Of two networks, one must have the chain: the one that came
//! second finds the other without. A pod in both networks may be a router.
//!
//! **Fragments.** Where there is conntrack, every hook sees packets put together. Without, a first
//! fragment may be too short to show the VNI, and be completed later. So what shows no VNI is
//! refused where what shows ours would be; a datagram as short is no VXLAN either. A fragment without the
//! UDP header is refused by the kernel itself (RFC 8200, section 4.5), and later ones wait in vain.
//!
//! **Masquerading makes ways symmetric.** What a pod sends to another node's own address leaves by
//! the underlay, and an answer to the pod's address would come back by the overlay: a strict
//! reverse-path filter, routing by source or a cloud that knows no pod's address drops one of the two.
//! With the node's address both go by the underlay. The other way round, what enters the overlay
//! from outside the pod network takes this node's address on the overlay.
//!
//! **The order.** Every packet between pods on two nodes passes these hooks ten times, a good part
//! of what it costs. So each is asked at once where it comes from, and then only what concerns it; and
//! a chain that nothing needs is not there.

mod leaving;
mod matches;
mod nat;
mod received;

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::expression::{Is, Meta, Verdict, verdict};
use super::intervals;
use super::names::Names;
use super::objects::{Base, Chain, ChainType, Family, Hook, Rule, Set};
use crate::kernel::attribute::Attribute;
pub use nat::Masquerade;

/// Before conntrack (-200), behind IPv4 and IPv6 defragmentation (-400).
const PRIORITY_RAW: i32 = -300;
/// Where source NAT is done.
const PRIORITY_SRCNAT: i32 = 100;
/// Behind all that changes the destination of what this node receives (IPVS: 98 and 99).
const PRIORITY_LAST: i32 = 300;

/// What one network wants of nftables on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// The network's name, in every rule's comment.
    pub network: String,
    /// Its VNI, in every chain's and set's name, so that networks never meet.
    pub vni: u32,
    /// The UDP port of its VXLAN.
    pub port: u16,
    /// `IFLA_GROUP` of this network's veths on the node: the VNI behind a first byte that is the same
    /// in all networks, and even.
    pub group: u32,
    /// That of the overlay device, one more; both are no other program's.
    pub overlay_group: u32,
    /// This node's own underlay address.
    pub vtep: IpAddr,
    /// Underlay addresses of all nodes, this one included, all of one family.
    pub vteps: Vec<IpAddr>,
    /// The devices by which packets of other nodes come in, by name.
    pub underlay: Vec<String>,
    /// Whether the underlay is in a VRF.
    pub in_vrf: bool,
    /// The pods' gateways, which no device has.
    pub gateways: Vec<IpAddr>,
    /// The pod network, of both families.
    pub cluster_cidrs: Vec<IpNetwork>,
    /// What takes the node's address.
    pub masquerade: Masquerade,
}

impl RuleSet {
    /// The sets that the rules refer to.
    pub(super) fn sets(&self) -> Vec<Set> {
        let names = Names::of(self.vni);
        let mut sets = vec![Set {
            name: names.vteps,
            family: self.underlay_family(),
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
        let led_to = |name: &String, rules| Chain { name: name.clone(), base: None, rules };
        let base = |name: &String, kind, hook, priority, rules| Chain {
            name: name.clone(),
            base: Some(Base { kind, hook, priority }),
            rules,
        };
        let filter =
            |name, hook, priority, rules| base(name, ChainType::Filter, hook, priority, rules);
        let mut chains = vec![
            led_to(&names.vxlan, self.vxlan()),
            led_to(&names.pod, self.pod()),
            led_to(&names.node, self.node()),
            led_to(&names.source, self.source()),
            led_to(&names.outer, self.outer()),
            filter(&names.prerouting, Hook::Prerouting, PRIORITY_RAW, self.prerouting(&names)),
            filter(&names.input, Hook::Input, PRIORITY_LAST, self.input(&names)),
        ];
        if in_company {
            chains.push(filter(&names.forward, Hook::Forward, PRIORITY_RAW, self.forward()));
        }
        let egress = self.egress(&names);
        chains.push(filter(&names.output, Hook::Output, PRIORITY_RAW, self.output()));
        chains.push(filter(&names.egress, Hook::Postrouting, PRIORITY_SRCNAT - 1, egress));
        if self.masquerade != Masquerade::Off {
            let (kind, hook) = (ChainType::Nat, Hook::Postrouting);
            let rules = self.clusters().flat_map(|cluster| self.masquerade(&cluster)).collect();
            chains.push(base(&names.postrouting, kind, hook, PRIORITY_SRCNAT, rules));
        }
        chains
    }

    fn forward(&self) -> Vec<Rule> {
        const OURS: u32 = 0xfe00_0000;
        const VNI: u32 = 0x00ff_ffff;
        [
            ("to another network", Meta::InputGroup, Meta::OutputGroup),
            ("from another network", Meta::OutputGroup, Meta::InputGroup),
        ]
        .map(|(why, ours, theirs)| {
            self.drop(
                why,
                [
                    matches::group(ours, matches::NETWORK, Is::Equal, self.group),
                    matches::group(theirs, OURS, Is::Equal, self.group & OURS),
                    matches::group(theirs, VNI, Is::Different, self.group & VNI),
                ],
            )
        })
        .into()
    }

    fn rule<const N: usize>(&self, why: &str, parts: [Vec<Attribute>; N]) -> Rule {
        Rule { comment: format!("{}: {why}", self.network), expressions: parts.concat() }
    }

    fn drop<const N: usize>(&self, why: &str, parts: [Vec<Attribute>; N]) -> Rule {
        let mut rule = self.rule(why, parts);
        rule.expressions.push(verdict(Verdict::Drop));
        rule
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
