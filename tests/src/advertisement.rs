//! A router of the IPv6 kind: one router advertisement, sent from a namespace by one of its devices.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::sockopt::{BindToDevice, Ipv6MulticastHops};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
    socket,
};

use crate::kernel;
use crate::netns::Netns;

/// All nodes of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Advertises the device's link-local address as a default router, and a prefix of 64 bits to make
/// addresses of (RFC 4861, sections 4.2 and 4.6.2).
pub fn advertise(netns: &Netns, device: &str, prefix: Ipv6Addr) {
    let link = kernel::link(netns, device).unwrap_or_else(|| panic!("no device {device}"));
    let index = link["ifindex"].as_u64().and_then(|index| index.try_into().ok()).expect("an index");
    let lifetime = 1800_u16.to_be_bytes();
    let mut message = vec![134, 0, 0, 0, 64, 0, lifetime[0], lifetime[1]];
    // Reachable time and retransmission timer: unspecified.
    message.extend([0; 8]);
    // Prefix information: on the link, for autonomous configuration; two lifetimes in seconds.
    message.extend([3, 4, 64, 0xc0]);
    message.extend(3600_u32.to_be_bytes());
    message.extend(3600_u32.to_be_bytes());
    message.extend([0; 4]);
    message.extend(prefix.octets());
    netns.run(|| {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Inet6, kind, flags, SockProtocol::IcmpV6)
            .expect("a raw socket; the kernel adds the checksum");
        setsockopt(&socket, BindToDevice, &device.into()).expect("bind to the device");
        // By this a host knows that no router forwarded it.
        setsockopt(&socket, Ipv6MulticastHops, &255).expect("the hop limit");
        let to = SockaddrIn6::from(SocketAddrV6::new(ALL_NODES, 0, 0, index));
        sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty()).expect("advertise");
    });
}

/// The default routers that a namespace has learned from advertisements.
pub fn learned_routers(netns: &Netns) -> BTreeSet<IpAddr> {
    let routes = netns.json("ip -N -j -6 route show default proto 9");
    routes.iter().filter_map(|route| route["gateway"].as_str()?.parse().ok()).collect()
}
