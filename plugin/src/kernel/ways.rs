//! Routes and rules, from rtnetlink messages to our nouns. As with devices, only what we use is
//! decoded: a route may have attributes that no library knows yet (an encapsulation, a nexthop
//! object), and says all the same where packets go.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use super::attribute::find;
use super::decode::{address_in, number};
use super::{Decision, PROTOCOL, Path, Way};

/// `struct rtmsg` and `struct fib_rule_hdr`, which begin alike.
const HEADER: usize = 12;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTM_F_CLONED: u32 = 0x200;
/// `RTA_DST` and `FRA_DST`.
const DST: u16 = 1;
const OIF: u16 = 4;
const GATEWAY: u16 = 5;
const CACHEINFO: u16 = 12;
/// `RTA_TABLE` and `FRA_TABLE`.
const TABLE: u16 = 15;
/// A next hop of the other family.
const VIA: u16 = 18;

/// What both begin with.
struct Head {
    ipv4: bool,
    length: u8,
    table: u32,
    protocol: u8,
    /// `rtm_type`, or the action of a rule.
    kind: u8,
    flags: u32,
}

fn head(payload: &[u8]) -> Option<(Head, &[u8])> {
    let &[family, length, _, _, table, protocol, _, kind, a, b, c, d] = payload.first_chunk()?;
    let flags = u32::from_ne_bytes([a, b, c, d]);
    // AF_INET
    let head = Head { ipv4: family == 2, length, table: table.into(), protocol, kind, flags };
    Some((head, payload.get(HEADER..)?))
}

/// The destination, which is every one if none is named.
fn destination(head: &Head, attributes: &[u8]) -> Option<IpNetwork> {
    let address = match find(attributes, DST) {
        Some(dst) => address_in(dst)?,
        None if head.ipv4 => IpAddr::from([0; 4]),
        None => IpAddr::from([0; 16]),
    };
    IpNetwork::new(address, head.length).ok()
}

/// The destination of a rule, and the table that it leads to; `None` if it is no rule.
pub fn rule(payload: &[u8]) -> Option<(IpNetwork, Option<u32>)> {
    const FR_ACT_TO_TBL: u8 = 1;
    let (head, attributes) = head(payload)?;
    let table = find(attributes, TABLE).and_then(number).unwrap_or(head.table);
    let leads = head.kind == FR_ACT_TO_TBL && table != 0;
    Some((destination(&head, attributes)?, leads.then_some(table)))
}

/// What a route of another program's or the kernel's own says about where packets go. Ours lead to
/// pods, where no VTEP is.
pub fn way(payload: &[u8]) -> Option<Way> {
    const RTM_PROTOCOL: usize = 5;
    const RTA_MULTIPATH: u16 = 9;
    const RTPROT_KERNEL: u8 = 2;
    const RTPROT_RA: u8 = 9;
    if payload.get(RTM_PROTOCOL) == Some(&PROTOCOL) {
        return None;
    }
    let (head, all) = head(payload)?;
    let mut way = Way {
        dst: destination(&head, all)?,
        table: find(all, TABLE).and_then(number).unwrap_or(head.table),
        hops: Vec::new(),
        advertised: false,
    };
    if head.kind != RTN_UNICAST || head.flags & RTM_F_CLONED != 0 {
        return Some(way);
    }
    // The route to a prefix that was advertised is the kernel's own and expires.
    way.advertised = !head.ipv4
        && (head.protocol == RTPROT_RA || head.protocol == RTPROT_KERNEL && expires(all));
    match find(all, RTA_MULTIPATH) {
        Some(hops) => way.hops = next_hops(hops),
        None => way.hops.extend(find(all, OIF).and_then(number).map(|dev| (dev, has_gateway(all)))),
    }
    Some(way)
}

/// The devices in a list of `struct rtnexthop`, and whether a router stands behind each.
fn next_hops(mut list: &[u8]) -> Vec<(u32, bool)> {
    const RTNEXTHOP: usize = 8;
    let mut hops = Vec::new();
    while let Some(&[low, high, _, _, a, b, c, d]) = list.first_chunk::<RTNEXTHOP>() {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(attributes) = list.get(RTNEXTHOP..length) else { break };
        hops.push((u32::from_ne_bytes([a, b, c, d]), has_gateway(attributes)));
        list = list.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn has_gateway(all: &[u8]) -> bool {
    find(all, GATEWAY).or_else(|| find(all, VIA)).is_some()
}

/// `rta_expires` of `struct rta_cacheinfo`.
fn expires(all: &[u8]) -> bool {
    let expires = find(all, CACHEINFO).and_then(|info| number(info.get(8..12)?));
    expires.is_some_and(|expires| expires != 0)
}

/// The way to a destination, from the answer to a question for one; `None` if packets to it go
/// nowhere.
pub fn path(payload: &[u8]) -> Option<Path> {
    let (head, all) = head(payload)?;
    // Packets to an address of this machine's own are on no link. Of a route that refuses, IPv6
    // answers with the route itself.
    let on_link = match head.kind {
        RTN_UNICAST => !has_gateway(all),
        RTN_LOCAL => false,
        _ => return None,
    };
    Some(Path { dev: find(all, OIF).and_then(number)?, mtu: route_mtu(payload), on_link })
}

/// Whether the MTU of a path is one that the kernel has found out (an exception of the route, which
/// expires), not the route's own.
pub fn is_learned(payload: &[u8]) -> bool {
    // IPv4 answers with a clone always; IPv6 routes may expire without being exceptions.
    head(payload).is_some_and(|(head, all)| match head.ipv4 {
        true => expires(all),
        false => head.flags & RTM_F_CLONED != 0,
    })
}

/// The MTU of a route.
pub fn route_mtu(payload: &[u8]) -> Option<u32> {
    const RTA_METRICS: u16 = 8;
    const RTAX_MTU: u16 = 2;
    let (_, all) = head(payload)?;
    find(find(all, RTA_METRICS)?, RTAX_MTU).and_then(number)
}

/// Whether an answer says that the machine takes packets to an address itself.
pub fn is_taken(payload: &[u8]) -> bool {
    const RTN_BROADCAST: u8 = 3;
    const RTN_ANYCAST: u8 = 4;
    // Another device's network may make an address of ours an anycast address (RFC 4291, 2.6.1).
    let taken = [RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST];
    head(payload).is_some_and(|(head, _)| taken.contains(&head.kind))
}

/// What becomes of a packet, by the answer to a question for its way.
pub fn verdict(payload: &[u8]) -> Option<Decision> {
    const RTN_BLACKHOLE: u8 = 6;
    const RTN_PROHIBIT: u8 = 8;
    let (head, all) = head(payload)?;
    let gateway = find(all, GATEWAY).and_then(address_in).or_else(|| via(find(all, VIA)?));
    Some(match (head.kind, find(all, OIF).and_then(number)) {
        (RTN_LOCAL, _) => Decision::Local,
        (RTN_UNICAST, Some(dev)) => Decision::Send { dev, gateway },
        (RTN_PROHIBIT, _) => Decision::Drop(Errno::EACCES),
        (RTN_BLACKHOLE, _) => Decision::Drop(Errno::EINVAL),
        _ => Decision::Drop(Errno::ENETUNREACH),
    })
}

/// The address in a `struct rtvia`.
fn via(value: &[u8]) -> Option<IpAddr> {
    address_in(value.get(2..)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attribute::numbered;

    const DEV: [u8; 4] = 7_u32.to_ne_bytes();
    const ROUTER: &[u8] = &[192, 0, 2, 9];

    /// `struct rtmsg` or `struct fib_rule_hdr` of 10.1.0.0/16, and attributes.
    fn message(protocol: u8, kind: u8, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![2, 16, 0, 0, 254, protocol, 0, kind];
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend(numbered(&[(1, &[10, 1, 0, 0])]));
        bytes.extend(numbered(attributes));
        bytes
    }

    /// The same of every IPv6 destination.
    fn message_v6(protocol: u8, kind: u8, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![10, 0, 0, 0, 254, protocol, 0, kind];
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend(numbered(attributes));
        bytes
    }

    #[test]
    fn a_route_tells_by_which_devices_packets_leave() {
        let hops = |bytes: &[u8]| way(bytes).unwrap().hops;
        let via: &[u8] = &[10, 0, 0xfe, 0x80];
        assert_eq!(hops(&message(2, 1, 0, &[(4, &DEV)])), [(7, false)]);
        assert_eq!(hops(&message(3, 1, 0, &[(4, &DEV), (5, ROUTER)])), [(7, true)]);
        assert_eq!(hops(&message(3, 1, 0, &[(4, &DEV), (18, via)])), [(7, true)]);
        for (why, bytes) in [
            ("local", message(2, 2, 0, &[(4, &DEV)])),
            ("blackhole", message(3, 6, 0, &[])),
            ("unreachable", message(3, 7, 0, &[(4, &DEV)])),
            ("learned about a path", message(3, 1, 0x200, &[(4, &DEV)])),
            (
                "of a nexthop object that the kernel does not spell out",
                message(3, 1, 0, &[(30, &DEV)]),
            ),
        ] {
            assert_eq!(hops(&bytes), [], "{why}");
        }
        let found = way(&message(3, 1, 0, &[(4, &DEV), (15, &52_u32.to_ne_bytes())])).unwrap();
        assert_eq!((found.dst.to_string(), found.table), ("10.1.0.0/16".to_owned(), 52));
        assert_eq!(way(&message(PROTOCOL, 1, 0, &[(4, &DEV)])), None, "ours");
        assert_eq!(way(&message(3, 1, 0, &[(4, &DEV)])[..11]), None, "cut short");
    }

    #[test]
    fn each_next_hop_counts() {
        let hop = |dev: u32, attributes: &[(u16, &[u8])]| {
            let attributes = numbered(attributes);
            let length = (8 + attributes.len()) as u16;
            [&length.to_ne_bytes()[..], &[0, 0], &dev.to_ne_bytes(), &attributes].concat()
        };
        let list = [hop(7, &[(5, ROUTER)]), hop(8, &[(5, ROUTER), (22, &[1, 2, 3])]), hop(9, &[])];
        let expected = [(7, true), (8, true), (9, false)];
        let bytes = message(3, 1, 0, &[(9, &list.concat())]);
        assert_eq!(way(&bytes).unwrap().hops, expected);
        // What is cut short ends the list.
        let all = list.concat();
        for end in 0..all.len() {
            let found = next_hops(&all[..end]);
            assert!(expected.starts_with(&found) && found.len() < 3, "{end}: {found:?}");
        }
        assert_eq!(next_hops(&[0; 16]), [], "an entry without a length");
    }

    #[test]
    fn what_an_advertisement_brought_is_known() {
        let mut info = [0; 28];
        info[8] = 100;
        let advertised = |protocol, attributes: &[(u16, &[u8])]| {
            way(&message_v6(protocol, 1, 0, attributes)).unwrap().advertised
        };
        assert!(advertised(9, &[(4, &DEV)]), "by a router, RTPROT_RA");
        assert!(advertised(2, &[(4, &DEV), (12, &info)]), "the kernel's for an advertised prefix");
        assert!(!advertised(2, &[(4, &DEV), (12, &[0; 28])]), "the kernel's for an address");
        assert!(!advertised(3, &[(4, &DEV), (12, &info)]), "another program's");
        assert!(!way(&message(9, 1, 0, &[(4, &DEV)])).unwrap().advertised, "of IPv4");
    }

    #[test]
    fn a_rule_leads_to_a_table() {
        let of = |action, attributes: &[(u16, &[u8])]| {
            let (dst, table) = rule(&message(0, action, 0, attributes)).unwrap();
            (dst.to_string(), table)
        };
        let dst = "10.1.0.0/16".to_owned();
        assert_eq!(of(1, &[]), (dst.clone(), Some(254)));
        assert_eq!(of(1, &[(15, &1000_u32.to_ne_bytes())]), (dst.clone(), Some(1000)));
        assert_eq!(of(1, &[(15, &[0; 4]), (19, &[1])]), (dst.clone(), None), "l3mdev");
        assert_eq!(of(7, &[]), (dst, None), "unreachable");
    }

    #[test]
    fn an_answer_is_a_path_or_none() {
        let metrics = numbered(&[(2, &1400_u32.to_ne_bytes()), (99, &[1])]);
        let on_link = path(&message(0, 1, 0x200, &[(4, &DEV), (8, &metrics)]));
        assert_eq!(on_link, Some(Path { dev: 7, mtu: Some(1400), on_link: true }));
        let routed = path(&message(0, 1, 0x200, &[(4, &DEV), (5, ROUTER)]));
        assert_eq!(routed, Some(Path { dev: 7, mtu: None, on_link: false }));
        assert!(path(&message(0, 2, 0, &[(4, &DEV)])).is_some_and(|path| !path.on_link), "local");
        // IPv6 answers with the route that refuses, by way of lo.
        for kind in [6, 7, 8, 9] {
            assert_eq!(path(&message_v6(0, kind, 0, &[(4, &DEV)])), None, "{kind}");
        }
    }

    #[test]
    fn what_was_found_out_is_no_route() {
        let mut info = [0; 28];
        info[8] = 100;
        assert!(is_learned(&message(0, 1, 0x200, &[(12, &info)])));
        assert!(!is_learned(&message(0, 1, 0x200, &[(12, &[0; 28])])));
        assert!(is_learned(&message_v6(0, 1, 0x200, &[])));
        assert!(!is_learned(&message_v6(0, 1, 0, &[(12, &info)])));
    }

    #[test]
    fn a_verdict_is_one_of_three() {
        let of = |kind, attributes: &[(u16, &[u8])]| verdict(&message(0, kind, 0, attributes));
        let gateway = Some(IpAddr::from([192, 0, 2, 9]));
        assert_eq!(of(1, &[(4, &DEV), (5, ROUTER)]), Some(Decision::Send { dev: 7, gateway }));
        let v6 = std::net::Ipv6Addr::LOCALHOST;
        let via = [&[10, 0][..], &v6.octets()].concat();
        let gateway = Some(IpAddr::from(v6));
        assert_eq!(of(1, &[(4, &DEV), (18, &via)]), Some(Decision::Send { dev: 7, gateway }));
        assert_eq!(of(2, &[(4, &DEV)]), Some(Decision::Local));
        assert_eq!(of(6, &[]), Some(Decision::Drop(Errno::EINVAL)));
        assert_eq!(of(8, &[]), Some(Decision::Drop(Errno::EACCES)));
        assert_eq!(of(7, &[]), Some(Decision::Drop(Errno::ENETUNREACH)));
        for (kind, taken) in [(1, false), (2, true), (3, true), (4, true), (7, false)] {
            assert_eq!(is_taken(&message(0, kind, 0, &[])), taken, "{kind}");
        }
    }
}
