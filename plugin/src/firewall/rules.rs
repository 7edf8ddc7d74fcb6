//! What one network wants of the packet filter on this node, and the rules that bring it about.
//!
//! As nft would print it for network `pods`, VNI 4096, with an IPv4 underlay:
//!
//! ```text
//! chain vxlan-4096 {
//!   @th,96,32 V ip daddr VTEP ip saddr != VTEP ip saddr @vteps-4096 W
//!     iifname "eth0" M notrack accept                                   # for each underlay device
//!   @th,96,32 V ip daddr VTEP ip saddr != VTEP ip saddr @vteps-4096 W
//!     fib saddr . iif oif exists M notrack accept
//!   iifgroup P ip daddr @vteps-4096 drop
//!   iifgroup P @th,96,32 V ip6 daddr != @cluster6-4096 drop             # with ipMasq and an IPv6 underlay
//!   @th,96,32 V ip daddr != VTEP ip daddr @vteps-4096 ip saddr != VTEP ip saddr @vteps-4096 W
//!     iifname "eth0" notrack accept                                     # for each underlay device
//!   @th,96,32 V ip daddr != VTEP ip daddr @vteps-4096 ip saddr != VTEP ip saddr @vteps-4096 W
//!     fib saddr . iif oif exists notrack accept
//!   @th,96,32 V ip daddr @vteps-4096 drop
//!   @th,96,32 V fib daddr type != unicast drop
//!   iifgroup != O meta priority O meta priority set 0
//!   ip saddr @vteps-4096 goto source-4096
//! }
//! chain pod-4096 {
//!   fib saddr . iif oif missing drop
//!   ip daddr 127.0.0.0/8 drop
//!   ip daddr 169.254.1.1 drop
//!   icmp type destination-unreachable icmp code frag-needed goto path-mtu-4096
//!   icmpv6 type packet-too-big goto path-mtu-4096
//! }
//! chain path-mtu-4096 {
//!   ip daddr != @cluster4-4096 drop
//!   ip6 daddr != @cluster6-4096 drop
//!   fib daddr type != unicast drop
//! }
//! chain overlay-4096 {
//!   meta priority != O drop
//!   meta priority set 0
//!   icmp type destination-unreachable icmp code frag-needed @th,192,32 != @cluster4-4096
//!     fib daddr type != unicast drop
//!   icmpv6 type packet-too-big @th,256,128 != @cluster6-4096 fib daddr type != unicast drop
//! }
//! chain source-4096 {
//!   iifname "eth0" accept                                               # for each underlay device
//!   fib saddr . iif oif missing drop
//! }
//! chain prerouting-4096 { type filter hook prerouting priority raw;
//!   udp dport 4789 jump vxlan-4096
//!   iifgroup P goto pod-4096
//!   iifgroup O goto overlay-4096
//!   ip saddr @cluster4-4096 goto source-4096                            # and so for ip6
//! }
//! chain landing-4096 { type nat hook input priority srcnat;
//!   udp dport 4789 ct status dnat drop                                  # with ipMasq
//!   udp dport 4789 ct original proto-dst != 4789 drop                   # with ipMasq
//!   iifgroup & 0xfeffffff == P ip daddr 127.0.0.0/8 drop
//!   iifgroup & 0xfeffffff == P ip6 daddr ::1 drop
//! }
//! chain forward-4096 { type filter hook forward priority raw;           # with other networks
//!   iifgroup & 0xfeffffff == P oifgroup & 0xfe000000 == 0x66000000 oifgroup & 0xffffff != 4096 drop
//!   oifgroup & 0xfeffffff == P iifgroup & 0xfe000000 == 0x66000000 iifgroup & 0xffffff != 4096 drop
//! }
//! chain fast-path-4096 { type filter hook forward priority 2147483647;  # with fastPath
//!   iifgroup & 0xfeffffff == P oifgroup & 0xfeffffff == P ct state established
//!     ct status & 0x2070 == 0 meta priority set meta priority | 0x80000000
//! }
//! chain user-4096 {
//!   udp dport 4789 @th,96,32 V meta priority != O ip daddr @vteps-4096 drop
//!   udp dport 4789 S ip daddr @vteps-4096 ip ttl set 16
//! }
//! chain program-4096 {
//!   jump user-4096
//!   ip daddr @cluster4-4096 meta priority set O                         # and so for ip6
//! }
//! chain output-4096 { type filter hook output priority raw;
//!   meta skuid >= 0 jump user-4096
//!   udp dport 4789 @th,96,32 V notrack
//! }
//! chain local-4096 { type filter hook output priority 300;
//!   meta skuid >= 0 goto program-4096
//! }
//! chain departing-4096 { type nat hook postrouting priority srcnat - 1;
//!   udp sport 4789 ip saddr @vteps-4096 drop
//!   udp dport 4789 ip daddr @vteps-4096 iifkind != "vxlan" drop
//!   udp dport 4789 ip daddr @vteps-4096 iifgroup >= 0 fib saddr type != local drop
//!   udp dport 4789 ip daddr @vteps-4096 ct status dnat drop             # with ipMasq
//!   udp dport 4789 ip daddr @vteps-4096
//!     ct original proto-dst != 4789 drop                                # with ipMasq
//!   udp dport 4789 iifgroup P ip6 daddr != @cluster6-4096
//!     ct status dnat drop                                               # with ipMasq and an IPv6 underlay
//!   udp dport 4789 iifgroup P ip6 daddr != @cluster6-4096
//!     ct original proto-dst != 4789 drop                                # the same
//!   oifgroup != O ip saddr @cluster4-4096 ip daddr != @cluster4-4096
//!     ip daddr @vteps-4096 meta l4proto udp udp sport >= 1024
//!     masquerade to :4790-49151 fully-random                            # with ipMasq, not without ipMasqNodes;
//!                                                                       # over IPv6 so for TCP and SCTP, and:
//!   oifgroup != O ip6 saddr @cluster6-4096 ip6 daddr != @cluster6-4096
//!     ip6 daddr @vteps-4096 meta l4proto != { tcp, udp, icmpv6, sctp } drop
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
//! are compared faster than three. `udp dport` is `@th,16,16` and then `meta l4proto udp`: most packets fail the
//! first. `M` is `meta priority set O`, `S` is
//! `meta priority & 0xff000000 != 0x67000000 udp checksum != 0 udp length >= 52`, `W` is
//! `udp sport >= 49152 ip ttl > 16`. Other users of VXLAN
//! on the same port have another VNI, and what they send is left alone. What is not for the node itself is `unicast` to
//! the fib. `@th,192,32` is the destination of what an ICMP error is about: 8 bytes of ICMP and 16 of IP further on.
//!
//! **The order.** Every packet between pods on two nodes passes five chains of type filter, with `ipMasq` and
//! without: `prerouting`, `output` and `local` on the one node, `prerouting` twice on the other. With other
//! networks it passes `forward` on both as well. Each costs some hundredths of a round trip, even with a single
//! rule. So each packet is asked at once where it comes from, and then only what concerns it; a chain that
//! nothing needs is not there; and what only NAT can bring about is asked where NAT is done, once for each
//! connection.
//!
//! **Before and after NAT.** What comes in is judged in `prerouting`, what this node sends in `local`, behind NAT.
//! What came in a Service, a published port or IPVS (in the input hook, at 99) may lead to a VTEP's port, or to
//! the loopback: that is judged behind, and before a translated source would make it look like one of this node.
//! Chains of type nat do it, `landing` and `departing`, which see the first packet of a connection. The VNI is not
//! looked at there: the first packet need not show what later ones carry. A pod's answers to what the node sent
//! from its loopback to a published port are for the loopback, too, but are no first packets. Nor are answers: what
//! NAT leads to a pod or container is answered under this node's address, to the port that asked. So a VTEP's port asks
//! nobody.
//!
//! **Without conntrack**, which `ipMasq` brings and otherwise another program may, there is no NAT, and chains of
//! type nat are passed at once. Nor do they know then what a packet was before NAT: asking would switch conntrack
//! on for all that pods send. So what was seen before NAT is marked there (`M`), and only
//! such packets are unwrapped to something that passes; and nothing is sent on to a VTEP's port by a node whose
//! conntrack is on. What conntrack finds invalid passes chains of type nat, too: they guard nothing alone.
//!
//! **Several datagrams in one packet.** A socket with `UDP_SEGMENT` sends many by one call, and each has a VNI of its own.
//! The rules see one packet, and in it the first VNI; it is taken apart behind them, on the wire or before it is
//! unwrapped. What comes in so bears no mark. What is sent on ends whatever it shows. What a user of this node
//! sends is left so few hops that no peer hears it as VXLAN. Such packets have a checksum (`udp_send_skb` demands it), and so may
//! what another VXLAN device wraps for a program of the node: that arrives all the same.
//!
//! **The overlay's own packets.** What it wraps for a pod has no socket; what it wraps for a program
//! of the node has that program's, and a mark that it got in `local`, behind NAT, as something for a pod: a
//! priority (`skb->priority`, the number `O`), which no user without privileges can set. What a user sends to
//! the overlay's port has a socket and no such mark. It is asked before other programs' chains, which may keep it in a
//! queue (NFQUEUE) until its socket is closed, and behind NAT again.
//!
//! **Where an outer packet may come from.** A VTEP's address alone proves nothing: a container of
//! another program, behind a device of its own, can write it into a packet. So the device counts, too:
//! one that was seen to lead to the peers, or one that leads there now. A strict check of
//! the way back alone would cut off an underlay on which packets come by another device than they
//! leave by. This node's own VTEP is no source: who has that address is this node, which does not
//! send to itself. And the source port counts: pods' packets for VTEPs get none of those, for a checksum that is
//! put in behind all rules may make the port that they are for the overlay's. Over IPv6 it may as well make a VTEP
//! of where they go; so pods send nothing with our VNI out of the pod network there. What shows our VNI to any address of
//! the node, or to any VTEP, and is none of these, ends here while it still shows its own source; and what shows
//! another, and a VTEP's source by a device that does not lead there.
//!
//! **What a pod may send.** Only what the way back to the source would lead to its own veth for.
//! That leaves out link-local sources, too: both ends know each other's MAC for good and need no
//! neighbour discovery, and the node makes a neighbour entry for each source of a router
//! solicitation, until its table is full. The kernel's fib expression itself lets two sources pass: `::` in
//! ICMPv6 to multicast and link-local addresses, which duplicate address detection needs, and 0.0.0.0/8 to
//! 255.255.255.255 and 224.0.0.0/24, which DHCP needs. A source that is the node's own address is spoofed like
//! any other.
//!
//! **What others may send.** Under a pod's address nothing, unless by the underlay: a peer may route
//! directly, and not all nodes begin or end that at once. What the underlay lets pass is beyond a node's
//! packet filter.
//!
//! Nor may a pod tell a node what a path carries: the node would believe it about the way to any
//! peer or pod, and refuse large packets of all pods for ten minutes. So a pod tells that to pods
//! only. Which of the cluster's addresses are nodes' is seen where they are: there, what comes by the overlay
//! is believed about ways to pods, not to VTEPs.
//!
//! A pod's gateway is an address of no device. Without a rule of ours, the node would send what a pod sends
//! there out by its default route. The node's loopback addresses are reached from elsewhere as soon as
//! `route_localnet` is set, which portmap and kube-proxy do.
//!
//! **Networks do not meet.** A node that is in several would route between them. The groups of our
//! devices tell whose they are: what comes from a pod or the overlay of one network goes to no pod of
//! another, nor into another's overlay. Of two networks, one must have the chain: the one that came
//! second finds the other without. A pod in both networks may be a router.
//!
//! **The fast path** learns from packets that bear a bit of the priority (`plugin/bpf/learn.c` takes it off again), which
//! the last rule of all sets: whatever any other rule drops in this hook or before is never learned. Behind it is only the
//! postrouting hook, whose drops never reach the device either. What conntrack translates, or a helper of it reads, goes
//! the usual way. The rule switches conntrack on.
//!
//! **Fragments.** With conntrack every hook sees packets put together. Without, a first fragment may be too
//! short to show the VNI, and be completed later: it has no mark. A fragment without the UDP header is refused
//! by the kernel itself (RFC 8200, section 4.5), and later ones wait in vain.
//!
//! **Masquerading makes ways symmetric.** What a pod sends to another node's own address leaves by
//! the underlay, and an answer to the pod's address would come back by the overlay: a strict
//! reverse-path filter, routing by source or a cloud that knows no pod's address drops one of the two.
//! With the node's address both go by the underlay. The other way round, what enters the overlay
//! from outside the pod network takes this node's address on the overlay.

mod apart;
mod fast_path;
mod leaving;
mod matches;
mod nat;
mod received;
mod translated;

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use crate::kernel::RuleSet;
use crate::kernel::nft::expression::{DROP, Expression, verdict};
use crate::kernel::nft::intervals;
use crate::kernel::nft::names::Names;
use crate::kernel::nft::objects::{Base, Chain, ChainType, Family, InetHookNumber, Rule, Set};
pub use nat::Masquerade;

/// Before conntrack (-200), behind IPv4 and IPv6 defragmentation (-400).
const PRIORITY_RAW: i32 = -300;
/// Where source NAT is done.
const PRIORITY_SRCNAT: i32 = 100;
/// Behind all that changes the destination of what this node receives or sends (IPVS: 99 and -98).
const PRIORITY_LAST: i32 = 300;

/// What one network wants of the packet filter on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The network's name, in every rule's comment.
    pub network: String,
    /// Its VNI, in every chain's and set's name, so that networks never meet.
    pub vni: u32,
    /// The UDP port of its VXLAN.
    pub port: u16,
    /// `IFLA_GROUP` of this network's veths on the node: the VNI behind a first byte that is the same
    /// in all networks, and even.
    pub group: u32,
    /// That of the overlay device: its first byte is one more. No other program uses either.
    pub overlay_group: u32,
    /// This node's own underlay address.
    pub vtep: IpAddr,
    /// Underlay addresses of all nodes, this one included, all of one family.
    pub vteps: Vec<IpAddr>,
    /// The devices by which packets of other nodes come in, by name.
    pub underlay: Vec<String>,
    /// The pods' IPv4 gateway, which no device has.
    pub gateway: Ipv4Addr,
    /// The pod network, of both families.
    pub cluster_cidrs: Vec<IpNetwork>,
    /// What takes the node's address.
    pub masquerade: Masquerade,
    /// Whether packets that all filters have let through are to be learned from.
    pub fast_path: bool,
}

impl Policy {
    /// The rules that bring that about.
    pub fn rules(&self) -> RuleSet {
        let names = Names::of(self.vni);
        let (sets, chains) = (self.sets(), self.chains(&names));
        RuleSet { vni: self.vni, sets, chains, apart: self.apart(&names) }
    }

    /// The sets that the rules refer to.
    fn sets(&self) -> Vec<Set> {
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

    /// The chains with their rules, but for the one that keeps the network apart.
    fn chains(&self, names: &Names) -> Vec<Chain> {
        let led_to = |name: &String, rules| Chain { name: name.clone(), base: None, rules };
        let (filter, nat) = (ChainType::Filter, ChainType::Nat);
        // Each behind those to which its rules lead.
        let mut chains = vec![
            led_to(&names.source, self.source()),
            led_to(&names.vxlan, self.vxlan(names)),
            led_to(&names.path_mtu, self.path_mtu()),
            led_to(&names.pod, self.pod(names)),
            led_to(&names.overlay, self.overlay()),
            raw(&names.prerouting, InetHookNumber::PreRouting, self.prerouting(names)),
            led_to(&names.user, self.user()),
            led_to(&names.program, self.program(names)),
            raw(&names.output, InetHookNumber::LocalOut, self.output(names)),
            base(&names.local, filter, InetHookNumber::LocalOut, PRIORITY_LAST, self.local(names)),
        ];
        if self.fast_path {
            let (hook, rules) = (InetHookNumber::Forward, vec![self.passed()]);
            chains.push(base(&names.fast_path, filter, hook, i32::MAX, rules));
        }
        let (hook, priority) = (InetHookNumber::PostRouting, PRIORITY_SRCNAT - 1);
        chains.push(base(
            &names.landing,
            nat,
            InetHookNumber::LocalIn,
            PRIORITY_SRCNAT,
            self.landing(),
        ));
        chains.push(base(&names.departing, nat, hook, priority, self.departing()));
        if self.masquerades() {
            let rules = self.clusters().flat_map(|cluster| self.masquerade(&cluster)).collect();
            let (hook, priority) = (InetHookNumber::PostRouting, PRIORITY_SRCNAT);
            chains.push(base(&names.postrouting, nat, hook, priority, rules));
        }
        chains
    }

    /// `skb->priority` of what was seen to be the overlay's or for it, in host order.
    fn mark(&self) -> [u8; 4] {
        self.overlay_group.to_ne_bytes()
    }

    fn masquerades(&self) -> bool {
        self.masquerade != Masquerade::Off
    }

    fn rule<const N: usize>(&self, why: &str, parts: [Vec<Expression>; N]) -> Rule {
        Rule { comment: format!("{}: {why}", self.network), expressions: parts.concat() }
    }

    fn drop<const N: usize>(&self, why: &str, parts: [Vec<Expression>; N]) -> Rule {
        let mut rule = self.rule(why, parts);
        rule.expressions.push(verdict(DROP));
        rule
    }
}

/// A chain that packets come into by themselves.
fn base(
    name: &str,
    kind: ChainType,
    hook: InetHookNumber,
    priority: i32,
    rules: Vec<Rule>,
) -> Chain {
    Chain { name: name.to_owned(), base: Some(Base { kind, hook, priority }), rules }
}

/// One that sees packets before conntrack does.
fn raw(name: &str, hook: InetHookNumber, rules: Vec<Rule>) -> Chain {
    base(name, ChainType::Filter, hook, PRIORITY_RAW, rules)
}

#[cfg(test)]
#[path = "rules/nat_tests.rs"]
mod nat_tests;
#[cfg(test)]
#[path = "rules/properties.rs"]
mod properties;
#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
#[cfg(test)]
#[path = "rules/transaction_tests.rs"]
mod transaction_tests;
#[cfg(test)]
#[path = "rules/translated_tests.rs"]
mod translated_tests;
