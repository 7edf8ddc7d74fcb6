//! The addresses of a cluster. They are the same in each: clusters do not see each other.

use std::net::IpAddr;

/// The ranges of all pods.
pub const POD_CIDRS: &str = "10.244.0.0/16,fd00:10:244::/56";
/// The ranges of all services.
pub const SERVICE_CIDRS: &str = "10.96.0.0/16,fd00:10:96::/112";
/// The first of them, at which pods find the API server.
pub const API_SERVICE: &str = "10.96.0.1";
/// Where pods would ask for names.
pub const DNS_SERVICE: &str = "10.96.0.10";
/// The last part of the control plane's underlay addresses.
pub const CONTROL: u8 = 100;
/// The last part of those of the host outside, which is also the router of all others.
pub const OUTSIDE: u8 = 200;

/// The underlay addresses of a host, IPv4 first.
pub fn addresses(host: u8) -> [IpAddr; 2] {
    [[192, 168, 50, host].into(), [0xfd00, 0x50, 0, 0, 0, 0, 0, u16::from(host)].into()]
}
