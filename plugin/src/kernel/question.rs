//! From our nouns to what rtnetlink is asked. What is told to it is in `encode`.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::LinkUnspec;

use super::{Flow, PROTOCOL};

/// `ip link show dev NAME`, without counters.
pub fn link(name: &str) -> RouteNetlinkMessage {
    let mut message = LinkUnspec::new_with_name(name).build();
    message.attributes.push(skip_stats());
    RouteNetlinkMessage::GetLink(message)
}

/// The same by index.
pub fn link_by_index(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkUnspec::new_with_index(index).build();
    message.attributes.push(skip_stats());
    RouteNetlinkMessage::GetLink(message)
}

/// `ip link show`, without counters.
pub fn links() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(skip_stats());
    RouteNetlinkMessage::GetLink(message)
}

/// `ip link show type vxlan`, without counters; the kernel filters.
pub fn vxlans() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(skip_stats());
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan)]));
    RouteNetlinkMessage::GetLink(message)
}

/// `ip link show master DEV`, without counters; the kernel filters.
pub fn ports(master: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.extend([skip_stats(), LinkAttribute::Controller(master)]);
    RouteNetlinkMessage::GetLink(message)
}

fn skip_stats() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

/// `ip addr show`
pub fn addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

/// `ip addr show to ADDRESS`; for IPv6 only.
pub fn address(address: IpAddr) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_and_length(address).0;
    message.attributes.push(AddressAttribute::Address(address));
    RouteNetlinkMessage::GetAddress(message)
}

/// `ip route show proto 102 table main`; the kernel filters.
pub fn our_routes(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    RouteNetlinkMessage::GetRoute(message)
}

/// `ip route show dev DEV table all`; the kernel filters.
pub fn routes(family: AddressFamily, dev: u32) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.attributes.push(RouteAttribute::Oif(dev));
    RouteNetlinkMessage::GetRoute(message)
}

/// `ip route show table all`
pub fn all_routes(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    RouteNetlinkMessage::GetRoute(message)
}

/// `ip rule show`
pub fn rules(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RuleMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetRule(message)
}

/// `ip route get TO …`
pub fn path(to: IpAddr, flow: &Flow) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetRoute(lookup(to, flow))
}

/// `ip route get fibmatch TO …`: the entry of the table, not the way of a packet.
pub fn matching_route(to: IpAddr, flow: &Flow) -> RouteNetlinkMessage {
    let mut message = lookup(to, flow);
    message.header.flags = RouteFlags::FibMatch;
    RouteNetlinkMessage::GetRoute(message)
}

/// The question of both.
pub fn lookup(to: IpAddr, flow: &Flow) -> RouteMessage {
    const RTA_IP_PROTO: u16 = 27;
    const RTA_DPORT: u16 = 29;
    const UDP: u8 = 17;
    let mut message = RouteMessage::default();
    let (family, length) = family_and_length(to);
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message.attributes.push(RouteAttribute::Destination(route_address(to)));
    if let Some(source) = flow.source {
        message.header.source_prefix_length = length;
        message.attributes.push(RouteAttribute::Source(route_address(source)));
    }
    message.attributes.extend(flow.vrf.map(RouteAttribute::Oif));
    if let Some(port) = flow.port {
        // Kernels before 4.18 pass over what they do not know, and have no rules by port.
        let other = |kind, value| RouteAttribute::Other(DefaultNla::new(kind, value));
        message.attributes.push(other(RTA_IP_PROTO, vec![UDP]));
        message.attributes.push(other(RTA_DPORT, port.to_be_bytes().to_vec()));
    }
    message
}

pub(super) fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

/// `ip neigh show dev DEV` or, with the bridge family, `bridge fdb show dev DEV`; the kernel filters.
pub fn neighbours(family: AddressFamily, dev: u32) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    if family == AddressFamily::Bridge {
        message.header.ifindex = dev;
    } else {
        message.attributes.push(NeighbourAttribute::IfIndex(dev));
    }
    RouteNetlinkMessage::GetNeighbour(message)
}

/// `ip neigh get ADDRESS dev DEV`
pub fn neighbour(dev: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_and_length(address).0;
    message.header.ifindex = dev;
    let to = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(to));
    RouteNetlinkMessage::GetNeighbour(message)
}

pub(super) fn family_and_length(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}
