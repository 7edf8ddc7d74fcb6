//! From rtnetlink messages to our nouns: devices, addresses, routes, neighbours. What is not ours to know
//! becomes `None`.
//!
//! Only the attributes that we use are decoded, and by ourselves: a kind of device, an attribute or a
//! length that a library does not know can then neither hide an object nor fail a verb. It is also
//! faster, which counts where ten thousand entries come at once.

use std::net::{IpAddr, Ipv6Addr};

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;

use super::attribute::{decode as attributes, find};
use super::{Dev, FdbEntry, Link, LinkKind, Neighbour, PROTOCOL, Route, UNFINISHED, Vxlan};

/// A device, from the payload of a `RTM_NEWLINK`; `None` if that is cut short.
pub fn link(payload: &[u8]) -> Option<Link> {
    const IFINFOMSG: usize = 16;
    const IFF_UP: u32 = 1;
    let index = number(payload.get(4..8)?)?;
    let flags = number(payload.get(8..12)?)?;
    let mut link = Link {
        dev: Dev { index, name: String::new() },
        mac: None,
        mtu: 0,
        up: flags & IFF_UP != 0,
        alias: None,
        group: 0,
        peer: None,
        peer_netns: None,
        master: None,
        xdp: false,
        kind: LinkKind::Other(String::new()),
    };
    for (kind, value) in attributes(payload.get(IFINFOMSG..)?) {
        match kind {
            1 => link.mac = mac(value),                    // IFLA_ADDRESS
            3 => link.dev.name = text(value),              // IFLA_IFNAME
            4 => link.mtu = number(value).unwrap_or(0),    // IFLA_MTU
            5 => link.peer = number(value),                // IFLA_LINK
            10 => link.master = number(value),             // IFLA_MASTER
            18 => link.kind = link_kind(value),            // IFLA_LINKINFO
            20 => link.alias = Some(text(value)),          // IFLA_IFALIAS
            27 => link.group = number(value).unwrap_or(0), // IFLA_GROUP
            37 => link.peer_netns = number(value),         // IFLA_LINK_NETNSID
            43 => link.xdp = has_program(value),           // IFLA_XDP
            _ => {}
        }
    }
    const IFLA_GSO_MAX_SEGS: u16 = 40;
    let segments = find(payload.get(IFINFOMSG..)?, IFLA_GSO_MAX_SEGS).and_then(number);
    link.alias.take_if(|_| segments == Some(UNFINISHED));
    Some(link)
}

/// Whether one hangs at the device, in whatever mode.
fn has_program(xdp: &[u8]) -> bool {
    const IFLA_XDP_ATTACHED: u16 = 2;
    find(xdp, IFLA_XDP_ATTACHED).is_some_and(|mode| mode != [0])
}

fn link_kind(info: &[u8]) -> LinkKind {
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;
    let kind = find(info, IFLA_INFO_KIND).map(text).unwrap_or_default();
    match &kind[..] {
        "veth" => LinkKind::Veth,
        "vxlan" => LinkKind::Vxlan(vxlan(find(info, IFLA_INFO_DATA).unwrap_or_default())),
        _ => LinkKind::Other(kind),
    }
}

fn vxlan(data: &[u8]) -> Vxlan {
    let port = |bytes: &[u8]| bytes.try_into().ok().map(u16::from_be_bytes);
    let source_ports = (0, 0);
    let (local, vrf) = (None, None);
    let mut vxlan =
        Vxlan { vni: 0, local, port: 0, source_ports, learning: false, special: false, vrf };
    let mut external = false;
    for (kind, value) in attributes(data) {
        match kind {
            1 => vxlan.vni = number(value).unwrap_or(0), // IFLA_VXLAN_ID
            3 => vxlan.vrf = number(value),              // IFLA_VXLAN_LINK
            4 | 17 => vxlan.local = address_in(value),   // IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6
            7 => vxlan.learning = value != [0],          // IFLA_VXLAN_LEARNING
            // IFLA_VXLAN_PORT_RANGE
            10 => {
                let ends = value.split_at_checked(2);
                let ends = ends.and_then(|(low, high)| Some((port(low)?, port(high)?)));
                vxlan.source_ports = ends.unwrap_or((0, 0));
            }
            15 => vxlan.port = port(value).unwrap_or(0), // IFLA_VXLAN_PORT
            // IFLA_VXLAN_GROUP6: what has no address has a family all the same.
            16 => drop(vxlan.local.get_or_insert(Ipv6Addr::UNSPECIFIED.into())),
            // IFLA_VXLAN_UDP_ZERO_CSUM6_RX, _REMCSUM_RX, _VNIFILTER
            20 | 22 | 30 => vxlan.special |= value != [0],
            // IFLA_VXLAN_GBP, _REMCSUM_NOPARTIAL, _GPE
            23 | 24 | 27 => vxlan.special = true,
            25 => external = value != [0], // IFLA_VXLAN_COLLECT_METADATA
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

/// An address with its prefix length, and the index of its device, from the payload of a
/// `RTM_NEWADDR`.
pub fn address(payload: &[u8]) -> Option<(u32, IpNetwork)> {
    const IFADDRMSG: usize = 8;
    // The far end on a point-to-point link is the one, the device's own address the other.
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let (length, dev) = (*payload.get(1)?, number(payload.get(4..IFADDRMSG)?)?);
    let attributes = payload.get(IFADDRMSG..)?;
    let own = find(attributes, IFA_LOCAL).or_else(|| find(attributes, IFA_ADDRESS))?;
    Some((dev, IpNetwork::new(address_in(own)?, length).ok()?))
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

/// A route, of any program, and the index of its device, from the payload of a `RTM_NEWROUTE`; `None`
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

/// The address of an entry of a neighbour table, whatever its state, from the same payload.
pub fn any_neighbour(payload: &[u8]) -> Option<IpAddr> {
    const NDMSG: usize = 12;
    address_in(find(payload.get(NDMSG..)?, 1)?) // NDA_DST
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

/// A name or other text, as far as it is one: a device may be called by any bytes.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// An address of either family, by its length.
pub(super) fn address_in(bytes: &[u8]) -> Option<IpAddr> {
    match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().map(Mac)
}

#[cfg(test)]
#[path = "decode/tests.rs"]
mod tests;
