//! From rtnetlink messages to our nouns. What is not ours to know becomes `None`.

use std::net::{IpAddr, Ipv6Addr};

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};

use super::attribute::{decode as attributes, find};
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
    let source_ports = (0, 0);
    let mut vxlan =
        Vxlan { vni: 0, local: None, port: 0, source_ports, learning: false, special: false };
    let mut external = false;
    for info in data {
        match info {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Local(local) => vxlan.local = Some(IpAddr::V4(*local)),
            InfoVxlan::Local6(local) => vxlan.local = Some(IpAddr::V6(*local)),
            // What has no address has a family all the same.
            InfoVxlan::Group6(_) => {
                vxlan.local.get_or_insert(Ipv6Addr::UNSPECIFIED.into());
            }
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::PortRange(range) => vxlan.source_ports = *range,
            InfoVxlan::Learning(learning) => vxlan.learning = *learning,
            InfoVxlan::CollectMetadata(on) => external = *on,
            InfoVxlan::UDPZeroCsumRX(on) | InfoVxlan::RemCsumRX(on) | InfoVxlan::Vnifilter(on) => {
                vxlan.special |= *on
            }
            InfoVxlan::Gbp | InfoVxlan::Gpe | InfoVxlan::RemCsumNoPartial => vxlan.special = true,
            _ => {}
        }
    }
    if external {
        // Its user says for each packet whose it is.
        vxlan.local = None;
        vxlan.special = true;
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
    let Some(dst) = find(attributes, DST) else { return Ok(None) };
    let address = address_in(dst).ok_or("its destination is no address")?;
    IpNetwork::new(address, length).map(Some).map_err(|e| e.to_string())
}

/// One of our routes, and the index of its device; see [`any_route`].
pub fn route(payload: &[u8]) -> Option<(u32, Route)> {
    if is_ours(payload) { any_route(payload) } else { None }
}

/// Whether a route carries our protocol number.
pub fn is_ours(payload: &[u8]) -> bool {
    const RTM_PROTOCOL: usize = 5;
    payload.get(RTM_PROTOCOL) == Some(&PROTOCOL)
}

/// A number of 32 bits.
pub fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// The address of the default route.
pub fn anywhere(family: u8) -> IpAddr {
    match family {
        2 => IpAddr::from([0; 4]), // AF_INET
        _ => IpAddr::from([0; 16]),
    }
}

/// A route, whoever made it, and the index of its device, from the payload of a `RTM_NEWROUTE`; `None`
/// if it leads nowhere. Of ten thousand routes no more is decoded than is needed.
pub fn any_route(payload: &[u8]) -> Option<(u32, Route)> {
    const RTMSG: usize = 12;
    const RTN_UNICAST: u8 = 1;
    const RTM_F_CLONED: u32 = 0x200;
    const RTNH_F_ONLINK: u32 = 4;
    let &[family, length, _, _, _, _, _, kind, a, b, c, d] = payload.first_chunk::<RTMSG>()?;
    let flags = u32::from_ne_bytes([a, b, c, d]);
    if kind != RTN_UNICAST || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let mut dst = anywhere(family);
    let (mut dev, mut metric, mut gateway, mut source) = (None, None, None, None);
    for (kind, value) in attributes(payload.get(RTMSG..)?) {
        match kind {
            1 => dst = address_in(value)?,    // RTA_DST
            4 => dev = number(value),         // RTA_OIF
            5 => gateway = address_in(value), // RTA_GATEWAY
            6 => metric = number(value),      // RTA_PRIORITY
            7 => source = address_in(value),  // RTA_PREFSRC
            _ => {}
        }
    }
    let route = Route {
        dst: IpNetwork::new(dst, length).ok()?,
        gateway,
        onlink: flags & RTNH_F_ONLINK != 0,
        source,
        metric: metric.filter(|metric| *metric != 0),
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

/// A permanent neighbour entry on a device that carries our protocol number, from the payload of a
/// `RTM_NEWNEIGH`; `None` for other entries. Ten thousand come at once, so no more is decoded than
/// is needed.
pub fn neighbour(payload: &[u8], dev: u32) -> Option<Neighbour> {
    const PERMANENT: u16 = 0x80; // NUD_PERMANENT
    const STATE: usize = 8;
    const NDA_PROTOCOL: u16 = 12;
    let state = payload.get(STATE..)?.first_chunk().copied().map(u16::from_ne_bytes)?;
    let attributes = entry_on(payload, dev)?;
    if state != PERMANENT || find(attributes, NDA_PROTOCOL) != Some(&[PROTOCOL]) {
        return None;
    }
    let (address, mac) = destination_and_mac(attributes)?;
    Some(Neighbour { address, mac })
}

/// An entry of a device's forwarding database, from the payload of a `RTM_NEWNEIGH`.
pub fn fdb(payload: &[u8], dev: u32) -> Option<FdbEntry> {
    let (vtep, mac) = destination_and_mac(entry_on(payload, dev)?)?;
    Some(FdbEntry { mac, vtep })
}

/// The attributes behind `struct ndmsg`, if that is of this device.
fn entry_on(payload: &[u8], dev: u32) -> Option<&[u8]> {
    const NDMSG: usize = 12;
    const IFINDEX: usize = 4;
    let index = payload.get(IFINDEX..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
    payload.get(NDMSG..).filter(|_| index == dev)
}

fn destination_and_mac(attributes: &[u8]) -> Option<(IpAddr, Mac)> {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    Some((address_in(find(attributes, NDA_DST)?)?, mac(find(attributes, NDA_LLADDR)?)?))
}

/// An address of either family.
pub fn address_in(bytes: &[u8]) -> Option<IpAddr> {
    match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().map(Mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attribute::Attribute;

    /// `struct ndmsg` of device 7, and attributes.
    fn entry(state: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 7, 0, 0, 0];
        bytes.extend_from_slice(&state.to_ne_bytes());
        bytes.extend_from_slice(&[0, 1]);
        for (kind, value) in attributes {
            Attribute::Value(*kind, value.to_vec()).encode(&mut bytes);
        }
        bytes
    }

    #[test]
    fn an_entry_is_ours_by_device_state_and_protocol() {
        let (to, lladdr): (&[u8], &[u8]) = (&[10, 1, 2, 0], &[2, 0, 0, 0, 0, 1]);
        let ours = entry(0x80, &[(1, to), (2, lladdr), (12, &[102])]);
        let expected = Neighbour { address: [10, 1, 2, 0].into(), mac: Mac([2, 0, 0, 0, 0, 1]) };
        assert_eq!(neighbour(&ours, 7), Some(expected));
        assert_eq!(neighbour(&ours, 8), None, "another device");
        for (why, bytes) in [
            ("reachable", entry(0x02, &[(1, to), (2, lladdr), (12, &[102])])),
            ("another protocol", entry(0x80, &[(1, to), (2, lladdr), (12, &[4])])),
            ("no protocol", entry(0x80, &[(1, to), (2, lladdr)])),
            ("no MAC", entry(0x80, &[(1, to), (12, &[102])])),
            ("no address", entry(0x80, &[(1, &[10]), (2, lladdr), (12, &[102])])),
        ] {
            assert_eq!(neighbour(&bytes, 7), None, "{why}");
        }
        // The last three bytes are padding.
        (0..ours.len() - 3).for_each(|end| assert_eq!(neighbour(&ours[..end], 7), None, "{end}"));
    }

    #[test]
    fn a_route_is_ours_by_protocol_and_leads_somewhere() {
        let bytes = |protocol, kind, flags: u32, attributes: &[(u16, &[u8])]| {
            let mut bytes = vec![2, 24, 0, 0, 254, protocol, 0, kind];
            bytes.extend_from_slice(&flags.to_ne_bytes());
            for (kind, value) in attributes {
                Attribute::Value(*kind, value.to_vec()).encode(&mut bytes);
            }
            bytes
        };
        let (dev, metric) = (7_u32.to_ne_bytes(), 9_u32.to_ne_bytes());
        let (dst, source): (&[u8], &[u8]) = (&[10, 1, 2, 0], &[10, 1, 1, 0]);
        let to_peer = [(15, &[9][..]), (1, dst), (7, source), (5, dst), (4, &dev), (6, &metric)];
        let expected = Route {
            dst: "10.1.2.0/24".parse().unwrap(),
            gateway: Some([10, 1, 2, 0].into()),
            onlink: true,
            source: Some([10, 1, 1, 0].into()),
            metric: Some(9),
        };
        let ours = bytes(102, 1, 4, &to_peer);
        assert_eq!(route(&ours), Some((7, expected.clone())));
        let theirs = bytes(3, 1, 4, &to_peer);
        assert_eq!((route(&theirs), any_route(&theirs)), (None, Some((7, expected))));
        let plain = any_route(&bytes(3, 1, 0, &[(4, &dev), (6, &[0; 4])]));
        let (dst, gateway, onlink) = ("0.0.0.0/24".parse().unwrap(), None, false);
        let expected = Route { dst, gateway, onlink, source: None, metric: None };
        assert_eq!(plain, Some((7, expected)));
        for (why, bytes) in [
            ("unreachable", bytes(102, 7, 0, &to_peer)),
            ("learned", bytes(102, 1, 0x200, &to_peer)),
            ("without a device", bytes(102, 1, 0, &to_peer[..4])),
            ("a strange destination", bytes(102, 1, 0, &[(1, &[10]), (4, &dev)])),
            ("cut short", ours[..11].to_vec()),
        ] {
            assert_eq!(route(&bytes), None, "{why}");
        }
    }

    #[test]
    fn a_forwarding_entry_has_a_vtep_of_either_family() {
        let (v6, lladdr) = (std::net::Ipv6Addr::LOCALHOST, [2, 0, 0, 0, 0, 1]);
        let found = fdb(&entry(0x80, &[(2, &lladdr), (1, &v6.octets())]), 7);
        assert_eq!(found, Some(FdbEntry { mac: Mac(lladdr), vtep: v6.into() }));
        assert_eq!(fdb(&entry(0x80, &[(2, &lladdr)]), 7), None, "a device's own address");
    }
}
