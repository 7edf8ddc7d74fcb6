//! The pods' gateways: the same in every pod of every network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The pod's IPv4 gateway: link-local, the same in every pod, on no device of the node.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The pod's IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The gateway of a family.
pub fn gateway(ipv4: bool) -> IpAddr {
    if ipv4 { GATEWAY_V4.into() } else { GATEWAY_V6.into() }
}

/// The gateways of a pod with these addresses.
pub fn gateways(addresses: &[IpAddr]) -> Vec<IpAddr> {
    addresses.iter().map(|address| gateway(address.is_ipv4())).collect()
}
