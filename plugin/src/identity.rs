//! Names and numbers that are pure functions of what they stand for, so that every node computes
//! the same ones and DEL finds what ADD made without any record.

use std::net::IpAddr;

pub use flatnet_conf::vtep_mac;
use flatnet_conf::{Mac, peer_digest};
use flatnet_ipam::{Holder, Key};

/// Source ports of outer packets, one per flow: IANA's dynamic range, as RFC 7348 section 5 asks. The kernel's default
/// would follow `ip_local_port_range`, which differs from host to host. From none of them do pods' packets come to a node,
/// and of no other is an outer packet heard.
pub const SOURCE_PORTS: (u16, u16) = (49152, 65535);

/// How many hops what a user sends to a VTEP's port, perhaps several datagrams in one packet, has at most. Outer packets begin
/// with four times as many (`ip_default_ttl`), and none is heard that has no more left than this.
pub const HOPS_OF_USERS: u8 = 16;

/// How long the alias of a device may be: `IFALIASZ` is 256 bytes with the final zero, and the kernel takes none of 255
/// with it (`ifla_policy` in net/core/rtnetlink.c).
pub const LONGEST_ALIAS: usize = 254;

/// Name of the overlay device of a VXLAN network: `flat.4096`.
pub fn overlay_name(vni: u32) -> String {
    format!("flat.{vni}")
}

/// Name of the device that tries out what the network's overlay device is to become: one with another
/// port, while the present one still stands.
pub fn trial_name(vni: u32) -> String {
    format!("flat.{vni}~")
}

/// `IFLA_GROUP` of the node's ends of a network's veths: the mark by which rules know a packet
/// that comes from one of its pods. 102 in the top byte, the VNI (24 bits) below.
pub fn veth_group(vni: u32) -> u32 {
    (u32::from(crate::kernel::PROTOCOL) << 24) | vni
}

/// `IFLA_GROUP` of a network's overlay device: 103 in the top byte, so that one mask finds both.
pub fn overlay_group(vni: u32) -> u32 {
    veth_group(vni) | (1 << 24)
}

/// Metric of the routes to the node with this VTEP.
///
/// The kernel finds shared nexthops by a hash that leaves the gateway out, so ten thousand routes
/// of one metric are one chain, walked at each insertion. A metric of its own for each peer makes
/// the chains short. Never 0, which IPv6 takes for its default.
pub fn route_metric(vni: u32, vtep: IpAddr) -> u32 {
    let digest = peer_digest(vni, vtep);
    (u32::from_be_bytes([digest[6], digest[7], digest[8], digest[9]]) >> 1) | 1
}

/// Metric of a network's unreachable routes: behind everybody's, and a mark by which the network
/// knows its own.
pub fn unreachable_metric(vni: u32) -> u32 {
    0xfe00_0000 | vni
}

/// Name and MACs of an attachment's veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethIdentity {
    /// Name of the node's end.
    pub name: String,
    /// MAC of the node's end.
    pub node_mac: Mac,
    /// MAC of the pod's end, unless the runtime asks for another.
    pub pod_mac: Mac,
}

/// Name of the node's end of an attachment's veth pair: `veth` and the first 11 hex digits of the
/// key of its lease, so that each is found by the other.
pub fn veth_name(key: &Key) -> String {
    format!("veth{}", key.head())
}

/// The key of an attachment whose veth pair has a node's end of this name, as far as that tells; `None`
/// if no attachment's end is called so.
pub fn key_of_veth(name: &str) -> Option<Key> {
    Key::from_head(name.strip_prefix("veth")?)
}

/// The key under which an attachment's lease is filed: one that was made again may not know its container.
pub fn key(network: &str, holder: &Holder) -> Key {
    let whole = Key::new(network, &holder.container_id, &holder.ifname);
    match key_of_veth(&holder.veth) {
        Some(head) if head != whole.less_tail() => head,
        _ => whole,
    }
}

/// The veth pair of an attachment.
pub fn veth(key: &Key) -> VethIdentity {
    let mut digest = [0; 16];
    for (byte, digits) in digest.iter_mut().zip(key.as_str().as_bytes().chunks(2)) {
        let text = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(text, 16).unwrap_or_default();
    }
    VethIdentity {
        name: veth_name(key),
        node_mac: Mac::of_digest(&digest[4..]),
        pod_mac: Mac::of_digest(&digest[10..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn peers_are_the_same_in_every_release() {
        // Nodes of two releases must agree on these: a change here is a change of the protocol.
        assert_eq!(vtep_mac(4096, ip("192.168.50.1")).to_string(), "52:12:bd:3c:85:da");
        assert_eq!(vtep_mac(4096, ip("fd00::1")).to_string(), "6e:8b:02:43:aa:fa");
        assert_eq!(route_metric(4096, ip("192.168.50.1")), 1_882_847_715);
    }

    #[test]
    fn a_mac_is_local_and_unicast() {
        for last in 0..=255 {
            let Mac(bytes) = vtep_mac(1, IpAddr::from([192, 0, 2, last]));
            assert_eq!(bytes[0] & 3, 2, "{last}");
        }
    }

    #[test]
    fn an_attachment_has_its_own_names() {
        let key = Key::new("pods", "c1", "eth0");
        let pair = veth(&key);
        assert_eq!(pair.name, format!("veth{}", &key.as_str()[..11]));
        assert_eq!(pair.name.len(), 15, "IFNAMSIZ less the final zero");
        assert_eq!(key_of_veth(&pair.name), Some(key.less_tail()));
        for strange in ["veth", "veth1", "eth0", "vethb06d130bbfx", "vethb06d130bbf95"] {
            assert_eq!(key_of_veth(strange), None, "{strange}");
        }
        assert_ne!(pair.node_mac, pair.pod_mac, "the kernel drops what seems to be its own");
        assert_ne!(pair.node_mac, veth(&Key::new("pods", "c2", "eth0")).node_mac);
        for Mac(bytes) in [pair.node_mac, pair.pod_mac] {
            assert_eq!(bytes[0] & 3, 2, "local and unicast");
        }
    }

    #[test]
    fn a_key_is_as_whole_as_what_is_known() {
        let whole = Key::new("pods", "c1", "eth0");
        let holder = |id: &str, veth: &str| Holder {
            container_id: id.into(),
            ifname: "eth0".into(),
            veth: veth.into(),
            ..Holder::default()
        };
        assert_eq!(key("pods", &holder("c1", &veth_name(&whole))), whole);
        assert_eq!(key("pods", &holder("", &veth_name(&whole))), whole.less_tail());
        assert_eq!(key("pods", &holder("c1", "")), whole, "another main plugin's");
    }

    #[test]
    fn the_names_of_devices_are_short_enough() {
        assert_eq!(trial_name(16_777_215), "flat.16777215~");
        assert!(trial_name(16_777_215).len() < 16, "IFNAMSIZ");
    }

    #[test]
    fn the_rules_and_the_fast_path_ask_for_as_many_hops() {
        let defined = format!("#define HOPS_OF_USERS {HOPS_OF_USERS}\n");
        assert!(include_str!("../bpf/vxlan.h").contains(&defined), "{defined}");
    }

    #[test]
    fn an_unreachable_route_loses_against_a_peers() {
        assert_eq!(unreachable_metric(4096), 0xfe00_1000);
        for last in 0..=255 {
            assert!(route_metric(1, IpAddr::from([192, 0, 2, last])) < unreachable_metric(1));
        }
    }

    #[test]
    fn groups_are_told_apart_by_network() {
        assert_eq!(veth_group(4096), 0x6600_1000);
        assert_ne!(veth_group(16_777_215), 0);
        assert_eq!(overlay_group(4096), 0x6700_1000);
    }
}
