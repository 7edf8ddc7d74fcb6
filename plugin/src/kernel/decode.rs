//! From rtnetlink messages to our nouns. What is not ours to know becomes `None`.

use std::net::IpAddr;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;
use netlink_packet_core::NlasIterator;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};

use super::{Dev, FdbEntry, Link, LinkKind, Neighbour, PROTOCOL, Path, Route, Vxlan};

/// A device.
pub fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        dev: Dev { index: message.header.index, name: String::new() },
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        alias: None,
        group: 0,
        peer: None,
        kind: LinkKind::Other(String::new()),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.dev.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
            _ => {}
        }
    }
    link
}

fn kind(infos: &[LinkInfo]) -> LinkKind {
    let mut kind = LinkKind::Other(String::new());
    for info in infos {
        match info {
            LinkInfo::Kind(InfoKind::Veth) => kind = LinkKind::Veth,
            LinkInfo::Data(InfoData::Vxlan(data)) => kind = LinkKind::Vxlan(vxlan(data)),
            LinkInfo::Kind(other) => kind = LinkKind::Other(other.to_string()),
            _ => {}
        }
    }
    kind
}

fn vxlan(data: &[InfoVxlan]) -> Vxlan {
    let mut vxlan = Vxlan { vni: 0, local: None, port: 0, source_ports: (0, 0), learning: false };
    for info in data {
        match info {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Local(local) => vxlan.local = Some(IpAddr::V4(*local)),
            InfoVxlan::Local6(local) => vxlan.local = Some(IpAddr::V6(*local)),
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::PortRange(range) => vxlan.source_ports = *range,
            InfoVxlan::Learning(learning) => vxlan.learning = *learning,
            _ => {}
        }
    }
    vxlan
}

/// An address with its prefix length, and the index of its device.
pub fn address(message: &AddressMessage) -> Option<(u32, IpNetwork)> {
    // IFA_LOCAL is the device's own address; IFA_ADDRESS is the far end on a point-to-point link.
    let mut local = None;
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    let network = IpNetwork::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some((message.header.index, network))
}

/// The destination of a route or rule, from `struct rtmsg` or `struct fib_rule_hdr`, which begin
/// alike, and `RTA_DST` or `FRA_DST`, which are one number; `None` if it is every destination.
/// Of ten thousand routes nothing else is looked at, so nothing else is decoded.
///
/// # Errors
/// The message is no such one.
pub fn destination(payload: &[u8]) -> Result<Option<IpNetwork>, String> {
    const HEADER: usize = 12;
    const DST: u16 = 1;
    let (Some(&length), Some(attributes)) = (payload.get(1), payload.get(HEADER..)) else {
        return Err("it is too short".into());
    };
    let dst = NlasIterator::new(attributes).filter_map(Result::ok).find(|nla| nla.kind() == DST);
    let Some(dst) = dst else { return Ok(None) };
    let address = match *dst.value() {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        ref bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).map_err(|e| e.to_string())?),
    };
    IpNetwork::new(address, length).map(Some).map_err(|e| e.to_string())
}

/// One of our routes, and the index of its device.
pub fn route(message: &RouteMessage) -> Option<(u32, Route)> {
    let ours = message.header.protocol == RouteProtocol::Other(PROTOCOL);
    if ours { any_route(message) } else { None }
}

/// A route, whoever made it, and the index of its device.
pub fn any_route(message: &RouteMessage) -> Option<(u32, Route)> {
    let leads_somewhere = message.header.kind == RouteType::Unicast
        && !message.header.flags.contains(RouteFlags::Cloned);
    if !leads_somewhere {
        return None;
    }
    let mut dev = None;
    let mut dst = None;
    let mut metric = 0;
    let (mut gateway, mut source) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => dev = Some(*index),
            RouteAttribute::Destination(address) => dst = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let dst = match dst {
        Some(dst) => dst,
        None if message.header.address_family == AddressFamily::Inet => IpAddr::from([0; 4]),
        None => IpAddr::from([0; 16]),
    };
    let route = Route {
        dst: IpNetwork::new(dst, message.header.destination_prefix_length).ok()?,
        gateway,
        onlink: message.header.flags.contains(RouteFlags::Onlink),
        source,
        metric: (metric != 0).then_some(metric),
    };
    Some((dev?, route))
}

/// The way to a destination.
pub fn path(message: &RouteMessage) -> Option<Path> {
    // Packets to an address of this machine's own are on no link.
    let (mut dev, mut on_link) = (None, message.header.kind == RouteType::Unicast);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => dev = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => on_link = false,
            _ => {}
        }
    }
    Some(Path { dev: dev?, mtu: route_mtu(message), on_link })
}

/// Whether the MTU of a path is one that the kernel has found out (an exception of the route, which
/// expires), not the route's own.
pub fn is_learned(message: &RouteMessage) -> bool {
    match message.header.address_family {
        // IPv4 answers with a clone always; IPv6 routes may expire without being exceptions.
        AddressFamily::Inet => message.attributes.iter().any(
            |attribute| matches!(attribute, RouteAttribute::CacheInfo(info) if info.expires != 0),
        ),
        _ => message.header.flags.contains(RouteFlags::Cloned),
    }
}

/// The MTU of a route.
pub fn route_mtu(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Some(*mtu),
            _ => None,
        }),
        _ => None,
    })
}

/// A permanent neighbour entry that carries our protocol number.
pub fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let protocol = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    });
    if message.header.state != NeighbourState::Permanent || protocol != Some(PROTOCOL) {
        return None;
    }
    let (address, mac) = destination_and_mac(message)?;
    Some(Neighbour { address, mac })
}

/// An entry of a forwarding database.
pub fn fdb(message: &NeighbourMessage) -> Option<FdbEntry> {
    let (vtep, mac) = destination_and_mac(message)?;
    Some(FdbEntry { mac, vtep })
}

fn destination_and_mac(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    let mut address = None;
    let mut link_layer = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            // In a bridge message the decoder leaves the address as it came.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                address = match bytes.len() {
                    4 => <[u8; 4]>::try_from(&bytes[..]).ok().map(IpAddr::from),
                    16 => <[u8; 16]>::try_from(&bytes[..]).ok().map(IpAddr::from),
                    _ => None,
                };
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer = mac(bytes),
            _ => {}
        }
    }
    Some((address?, link_layer?))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().map(Mac)
}
