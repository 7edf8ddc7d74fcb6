//! The one place that talks to the kernel.
//!
//! The rest of the plugin speaks of links, addresses, routes, neighbours and FDB entries; what a
//! netlink library calls them, and in which release, stays behind this door. [`Kernel`] has two
//! implementations: [`Netlink`], a socket in one network namespace, and a stateful fake that the
//! unit tests of decisions use.

mod astray;
mod attribute;
mod change;
mod decode;
mod encode;
mod error;
mod event;
#[cfg(test)]
pub mod fake;
mod forward;
mod gro;
mod journal;
mod legacy;
mod link;
mod lookup;
mod message;
mod monitor;
mod netlink;
pub mod netns;
mod nft;
mod nowhere;
mod nsid;
mod question;
pub mod removal;
mod route_socket;
mod settings;
mod socket;
mod sysctl;
mod ways;
mod xtables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;

pub use change::{Change, ReversePath};
pub use error::KernelError;
pub use event::Event;
pub use forward::{
    Asks, ChainFamily, Condition, End, ForwardChain, Keeper, NamePattern, Rule, STATE_NEW,
};
pub use journal::{Journal, Listener, Mode, Record};
#[cfg(test)]
pub use legacy::parse as rules_of_iptables;
pub use link::{FINISHED, Link, LinkKind, UNFINISHED, Veth, Vxlan, VxlanLink};
pub use lookup::{Origin, Verdict};
pub use monitor::{Heard, Monitor};
pub use netlink::Netlink;
pub use nft::{Masquerade, Redirect, RuleSet};
pub use nowhere::{DeadEnd, OurRoute, OurRoutes, Unreachable};
pub use nsid::Numbers;
pub use settings::Settings;

/// Route protocol number (`rtm_protocol`, `NDA_PROTOCOL`) of everything flatnet puts into a routing
/// or neighbour table: `ip route show proto 102`. What carries another number is not ours.
pub const PROTOCOL: u8 = 102;

/// A network device, by the two names the kernel has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dev {
    /// `ifindex`: what messages carry.
    pub index: u32,
    /// `IFLA_IFNAME`: what people read.
    pub name: String,
}

impl Dev {
    /// In the place of a device, for changes that are on none.
    pub fn none() -> Self {
        Self { index: 0, name: String::new() }
    }
}

/// A route on one device. `ip route`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// Destination prefix; a length of 0 is the default route.
    pub dst: IpNetwork,
    /// Next hop; `None` for a destination on the link itself (scope link).
    pub gateway: Option<IpAddr>,
    /// The next hop is reached on this link whatever the routing table says. `onlink`
    pub onlink: bool,
    /// Preferred source address of packets that this node sends. `src`
    pub source: Option<IpAddr>,
    /// Priority; lower wins. `None` leaves the kernel's default (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
}

/// A permanent entry of the neighbour table of one device. `ip neigh`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Protocol address.
    pub address: IpAddr,
    /// Link-layer address.
    pub mac: Mac,
}

/// An entry of a VXLAN device's forwarding database: frames for `mac` go to `vtep`. `bridge fdb`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FdbEntry {
    /// Inner destination MAC.
    pub mac: Mac,
    /// Outer destination address.
    pub vtep: IpAddr,
}

/// How the kernel would send to a destination now. `ip route get`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Index of the output device.
    pub dev: u32,
    /// The route's own MTU in bytes (`RTAX_MTU`), where it has one; not one that was found out.
    pub mtu: Option<u32>,
    /// Whether the destination is on the link itself, with no router between.
    pub on_link: bool,
}

/// What has an address, so that nothing else can have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The machine itself, on whatever device, or as a broadcast address of a network that it is in.
    Machine,
    /// What a host route of any program leads to, by the device of this index.
    Route(u32),
}

/// What the kernel chooses a way by, besides the destination: whose packets are to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Their source; `None` if that follows from the way. `from`
    pub source: Option<IpAddr>,
    /// Their UDP destination port; `None` for any protocol. `ipproto udp dport`
    pub port: Option<u16>,
    /// Index of the VRF in which they are sent. `vrf`
    pub vrf: Option<u32>,
}

/// What the routing tables and rules of one family say of where packets may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Destinations of rules. `ip rule show`
    pub rules: Vec<IpNetwork>,
    /// Routes, without ours. `ip route show table all`
    pub routes: Vec<Way>,
    /// The tables that rules lead to; those of VRFs are not among them.
    pub tables: BTreeSet<u32>,
}

/// A route, as far as it says where packets may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its destination.
    pub dst: IpNetwork,
    /// Its table.
    pub table: u32,
    /// The devices that packets leave by, by index, and whether a router stands behind each; none
    /// of a route that refuses, or that is to the machine itself.
    pub hops: Vec<(u32, bool)>,
    /// Whether a router advertisement brought it. (IPv6)
    pub advertised: bool,
}

/// What flatnet asks of one network namespace.
///
/// Errors name the equivalent `ip` command, the errno and the kernel's own words.
pub trait Kernel {
    /// The device of that name; `None` if there is none. `ip -d link show dev NAME`
    fn link(&mut self, name: &str) -> Result<Option<Link>, KernelError>;
    /// The device of that name and its settings; `None` if there is none. `ip -d link show dev NAME`
    fn device(&mut self, name: &str) -> Result<Option<(Link, Settings)>, KernelError>;
    /// The device of that index; `None` if there is none.
    fn link_by_index(&mut self, index: u32) -> Result<Option<Link>, KernelError>;
    /// Every device. `ip -d link`
    fn links(&mut self) -> Result<Vec<Link>, KernelError>;
    /// Every address, with the index of its device. `ip addr`
    fn addresses(&mut self) -> Result<Vec<(u32, IpNetwork)>, KernelError>;
    /// The addresses of one device. `ip addr show dev DEV`
    fn addresses_on(&mut self, dev: u32) -> Result<Vec<IpNetwork>, KernelError> {
        let all = self.addresses()?.into_iter();
        Ok(all.filter(|(on, _)| *on == dev).map(|(_, address)| address).collect())
    }
    /// Every VXLAN device; an old kernel tells of others, too. `ip -d link show type vxlan`
    fn vxlans(&mut self) -> Result<Vec<Link>, KernelError>;
    /// Every route of ours. `ip route show proto 102 table main`
    fn our_routes(&mut self) -> Result<OurRoutes, KernelError>;
    /// Everybody else's routes that lead nowhere. `ip route show table all type blackhole`, and the
    /// like
    fn dead_ends(&mut self) -> Result<Vec<DeadEnd>, KernelError>;
    /// Everybody's routes on one device. `ip route show dev DEV table all`
    fn routes(&mut self, dev: u32) -> Result<Vec<Route>, KernelError>;
    /// Our permanent neighbour entries on one device. `ip neigh show dev DEV nud permanent`
    fn neighbours(&mut self, dev: u32) -> Result<Vec<Neighbour>, KernelError>;
    /// What leads to each of these addresses by one device, without a look at any other: the route, if
    /// packets take one by it, and our permanent neighbour entry.
    /// `ip route get fibmatch ADDRESS`, `ip neigh get ADDRESS dev DEV`
    fn leads(
        &mut self,
        dev: u32,
        to: &[IpAddr],
    ) -> Result<(Vec<Route>, Vec<Neighbour>), KernelError>;
    /// The forwarding database of one VXLAN device. `bridge fdb show dev DEV`
    fn fdb(&mut self, dev: u32) -> Result<Vec<FdbEntry>, KernelError>;
    /// The ports of a bridge, and whatever else has this device for a master. `ip link show master`
    fn ports(&mut self, master: u32) -> Result<Vec<Link>, KernelError>;
    /// Where the packets of a family may go. `ip rule show`, `ip route show table all`
    fn ways(&mut self, ipv4: bool) -> Result<Ways, KernelError>;
    /// Whether a device puts received packets together before it passes them on (generic receive
    /// offload); `None` if the kernel is too old to tell. `ethtool -k DEV`
    fn gro(&mut self, dev: &Dev) -> Result<Option<bool>, KernelError>;
    /// Switches that off; nothing happens if the kernel is too old. `ethtool -K DEV gro off`
    fn switch_off_gro(&mut self, dev: &Dev) -> Result<(), KernelError>;
    /// The path of a flow to each destination; `None` where there is no route. `ip route get`
    fn paths(&mut self, to: &[IpAddr], flow: &Flow) -> Result<Vec<Option<Path>>, KernelError>;
    /// What has an address already; `None` if nothing has. `ip addr show to`, `ip route get`,
    /// `ip route get fibmatch`
    fn claim(&mut self, to: IpAddr) -> Result<Option<Claim>, KernelError>;
    /// The route of ours by which packets to an address go, and the index of its device; `None` if
    /// they go nowhere, whatever errno that has, or by another program's.
    /// `ip route get fibmatch ADDRESS`
    fn our_route(&mut self, to: IpAddr) -> Result<Option<(u32, Route)>, KernelError>;
    /// Makes a VXLAN device, down. `ip link add NAME type vxlan …`
    fn create_vxlan(&mut self, link: &VxlanLink) -> Result<Dev, KernelError>;
    /// Makes a VXLAN device, switches it on, and removes it again: whether it can be had.
    fn try_vxlan(&mut self, link: &VxlanLink) -> Result<(), KernelError> {
        let dev = self.create_vxlan(link)?;
        let outcome = self.apply(&dev, &[Change::Up]);
        self.delete_link(&link.name)?;
        outcome
    }
    /// Makes a veth pair with one message, each end where it belongs, both down.
    /// `ip link add NAME type veth peer name PEER netns FD`
    fn create_veth(&mut self, veth: &Veth<'_>) -> Result<Dev, KernelError>;
    /// Removes a device; `false` if there was none. `ip link delete NAME`
    fn delete_link(&mut self, name: &str) -> Result<bool, KernelError>;
    /// Makes changes to one device's objects, in order, in batches. All are tried; the first
    /// failure is returned. Addresses added are usable when it returns.
    fn apply(&mut self, dev: &Dev, changes: &[Change]) -> Result<(), KernelError>;
    /// What [`Kernel::put_rules`] would change, in words close to nft(8).
    fn rule_changes(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError>;
    /// Makes a network's packet filter rules exactly these; returns what that changed.
    /// `nft list table inet flatnet`
    fn put_rules(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError>;
    /// Adds addresses to the VTEPs that a network's rules know, and takes others away, without a look
    /// at what they are now. `nft add element`, `nft delete element`
    fn change_vteps(
        &mut self,
        vni: u32,
        new: &[IpAddr],
        gone: &[IpAddr],
    ) -> Result<Vec<String>, KernelError>;
    /// Removes the rules of the network with this VNI; `false` if there were none.
    fn remove_rules(&mut self, vni: u32) -> Result<bool, KernelError>;
    /// Whether the network with this VNI has rules: what a glance tells, not whether all are right.
    /// `nft list chain inet flatnet prerouting-VNI`
    fn has_rules(&mut self, vni: u32) -> Result<bool, KernelError>;
    /// The cluster ranges of each network that has rules here, by its VNI; adjacent ones are one.
    /// `nft list sets inet`
    fn cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, KernelError>;
    /// Other programs' chains that what is forwarded comes through. `nft list chains`,
    /// `iptables-legacy -S`
    fn forward_chains(&mut self) -> Result<Vec<ForwardChain>, KernelError>;
    /// Reads a setting of `/proc/sys/net` in this namespace; `None` if the kernel has no such one.
    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError>;
    /// Writes a setting of `/proc/sys/net` in this namespace, unless it has that value already.
    /// `false` if the kernel has no such setting (IPv6 switched off). `sysctl -w KEY=VALUE`
    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError>;
}
