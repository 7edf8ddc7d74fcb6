//! Devices: what we read of any, and what we ask for when we make one of ours.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use flatnet_conf::Mac;

use super::Dev;

/// `gso_max_segs` of a veth that its ADD has not finished yet: one less than what any other has.
///
/// Of all that can be set of a device that is up, this is what the kernel does not announce: for an alias it walks
/// over every IPv6 route of the node (`rt6_sync_up`), which with ten thousand peers is a third of an ADD.
pub const UNFINISHED: u32 = FINISHED - 1;
/// The kernel's own (`GSO_MAX_SEGS`).
pub const FINISHED: u32 = 65_535;

/// What we read of a device. `ip -d link show`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index and name.
    pub dev: Dev,
    /// Link-layer address, where it is an Ethernet one.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// `IFF_UP`: switched on by the administrator.
    pub up: bool,
    /// `IFLA_IFALIAS`; none where [`Change::Finish`](super::Change::Finish) has not been made yet.
    pub alias: Option<String>,
    /// `IFLA_GROUP`; 0 is the default group.
    pub group: u32,
    /// Index of the other end of a veth pair, in the namespace where that is (`IFLA_LINK`).
    pub peer: Option<u32>,
    /// The number that this namespace has for the one where that is, if it is another
    /// (`IFLA_LINK_NETNSID`).
    pub peer_netns: Option<u32>,
    /// Index of the bridge, bond or VRF that it is part of (`IFLA_MASTER`).
    pub master: Option<u32>,
    /// Whether a program sees what it receives before the kernel does (`IFLA_XDP`).
    pub xdp: bool,
    /// What it is.
    pub kind: LinkKind,
}

/// The kind of a device (`IFLA_INFO_KIND`), as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a veth pair.
    Veth,
    /// A VXLAN device and its parameters.
    Vxlan(Vxlan),
    /// Anything else, by the kernel's word; empty for hardware.
    Other(String),
}

/// Parameters of a VXLAN device that cannot be changed while it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// VXLAN network identifier, RFC 7348.
    pub vni: u32,
    /// Source address of the outer packets: this node's VTEP. `local`
    pub local: Option<IpAddr>,
    /// UDP destination port. `dstport`
    pub port: u16,
    /// UDP source ports, inclusive; one per flow, so that the underlay can spread. `srcport`
    pub source_ports: (u16, u16),
    /// Whether it learns MACs from packets. `learning`
    pub learning: bool,
    /// Whether it receives in another way than ours do: `external`, `gbp`, `gpe`,
    /// `udp6zerocsumrx`, `remcsumrx`. Devices share a UDP port if they are alike in this.
    pub special: bool,
    /// Index of the VRF that outer packets are sent and received in (`IFLA_VXLAN_LINK`); `None` where
    /// the underlay is in none. `dev`
    pub vrf: Option<u32>,
}

impl Vxlan {
    /// Whether it receives IPv4 and IPv6 outer packets. One whose user says for each packet whose it is
    /// (`external`) has no address of its own and receives both.
    fn families(&self) -> (bool, bool) {
        match self.local {
            Some(local) => (local.is_ipv4(), local.is_ipv6()),
            None => (true, self.special),
        }
    }

    /// Whether both need the same UDP port of the same family.
    pub fn meets(&self, other: &Self) -> bool {
        let ((four, six), (other_four, other_six)) = (self.families(), other.families());
        self.port == other.port && ((four && other_four) || (six && other_six))
    }
}

/// A VXLAN device to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanLink {
    /// Device name.
    pub name: String,
    /// MAC address, set at creation so that udev never invents another.
    pub mac: Mac,
    /// Its `IFLA_GROUP`; 0 is the default group.
    pub group: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its fixed parameters.
    pub vxlan: Vxlan,
}

/// A veth pair to be made: one end here, one in another namespace.
#[derive(Clone, Debug)]
pub struct Veth<'a> {
    /// Name of the end in this namespace.
    pub name: &'a str,
    /// Its MAC.
    pub mac: Mac,
    /// Its `IFLA_GROUP`; 0 is the default group.
    pub group: u32,
    /// Name of the other end.
    pub peer_name: &'a str,
    /// The other end's MAC. It must differ: the kernel drops frames from its own address.
    pub peer_mac: Mac,
    /// Where the other end goes.
    pub peer_netns: BorrowedFd<'a>,
    /// MTU of both ends in bytes.
    pub mtu: u32,
}

/// A veth pair that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethPair {
    /// The end in this namespace.
    pub dev: Dev,
    /// The other end, where that is.
    pub peer: Dev,
}

impl Link {
    /// Whether it is of this kind, by the kernel's word for one that we do not know closer.
    pub fn is(&self, kind: &str) -> bool {
        matches!(&self.kind, LinkKind::Other(word) if word == kind)
    }
}

impl VxlanLink {
    /// What makes it, in the words of ip(8).
    pub fn command(&self) -> String {
        let Self { name, mac, group, mtu, vxlan } = self;
        format!(
            "ip link add {name} address {mac} mtu {mtu} group {group} type vxlan id {}{}{} dstport {} srcport {} {} nolearning",
            vxlan.vni,
            vxlan.local.map(|local| format!(" local {local}")).unwrap_or_default(),
            vxlan.vrf.map(|vrf| format!(" dev (index {vrf})")).unwrap_or_default(),
            vxlan.port,
            vxlan.source_ports.0,
            vxlan.source_ports.1,
        )
    }
}

impl Veth<'_> {
    /// What makes it, in the words of ip(8).
    pub fn command(&self) -> String {
        format!(
            "ip link add {} address {} mtu {} group {} type veth peer name {} address {} netns (fd)",
            self.name, self.mac, self.mtu, self.group, self.peer_name, self.peer_mac,
        )
    }
}
