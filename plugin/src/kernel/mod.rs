//! The one place that talks to the kernel.
//!
//! The rest of the plugin speaks of links, addresses, routes, neighbours and FDB entries; what a
//! netlink library calls them, and in which release, stays behind this door. [`Observe`] has the
//! questions, [`Kernel`] the changes. Both have two implementations: [`Netlink`], a socket in one
//! network namespace, and a stateful fake that the unit tests of decisions use. [`Journal`] stands
//! before either; to plan, it is given the questions only.

mod alter;
mod astray;
mod attribute;
mod change;
mod decision;
mod decode;
mod encode;
mod error;
mod event;
#[cfg(test)]
pub mod fake;
pub mod fast_path;
mod foreign_chains;
mod gro;
mod ipsec;
mod journal;
mod legacy;
mod link;
mod lookup;
mod message;
mod monitor;
mod netlink;
pub mod netns;
pub(crate) mod nft;
mod nowhere;
mod nsid;
mod observe;
mod question;
pub mod removal;
mod route_socket;
mod settings;
mod socket;
mod sysctl;
mod traffic;
mod ways;
mod xtables;

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;

pub use alter::Kernel;
pub use change::{Change, ReversePath};
pub use decision::{Decision, Origin};
pub use error::KernelError;
pub use event::Event;
pub use fast_path::program::Program;
pub use fast_path::{FastPath, PathSettings};
pub use foreign_chains::{
    Asks, ChainFamily, Condition, End, ForwardChain, Keeper, NamePattern, Rule, STATE_NEW,
};
pub use journal::{Changes, Journal, Listener, Mode};
#[cfg(test)]
pub use legacy::parse as rules_of_iptables;
pub use link::{FINISHED, Link, LinkKind, UNFINISHED, Veth, VethPair, Vxlan, VxlanLink};

pub use monitor::{Heard, Monitor};
pub use netlink::Netlink;
pub use nft::{Redirect, RuleSet};
pub use nowhere::{DeadEnd, OurRoute, OurRoutes, Unreachable};
pub use nsid::Numbers;
pub use observe::Observe;
pub use settings::Settings;
pub use traffic::{Filter, Filters, Hook, Standing};

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
