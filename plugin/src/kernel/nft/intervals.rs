//! Addresses and networks as elements of nft sets. The kernel refuses intervals that overlap, and
//! `clusterCIDRs` may hold a network inside another, or two halves of one: they become the fewest
//! intervals that cover the same addresses.

use super::objects::{Element, Family};
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;

/// Single addresses; a set has one family, that of the first.
pub(crate) fn addresses(addresses: &[IpAddr]) -> BTreeSet<Element> {
    addresses
        .iter()
        .filter(|address| Some(Family::of(address)) == addresses.first().map(Family::of))
        .map(|address| Element { key: *address, end: false })
        .collect()
}

/// The networks of one family, merged.
pub(crate) fn networks(networks: &[IpNetwork], family: Family) -> BTreeSet<Element> {
    let mut bounds: Vec<(u128, u128)> = networks
        .iter()
        .filter(|network| Family::of(&network.ip()) == family)
        .map(|network| (number(network.network()), number(network.broadcast())))
        .collect();
    bounds.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in bounds {
        match merged.last_mut() {
            // Overlapping, or adjacent.
            Some(previous) if first <= previous.1.saturating_add(1) => {
                previous.1 = previous.1.max(last);
            }
            _ => merged.push((first, last)),
        }
    }
    merged.into_iter().flat_map(|(first, last)| elements(first, last, family)).collect()
}

/// The fewest networks that cover the same addresses as a set's elements.
pub(in crate::kernel) fn covering(elements: &BTreeSet<Element>) -> Vec<IpNetwork> {
    let mut networks = Vec::new();
    // An end that follows no start is not ours.
    let starts = elements.iter().filter(|element| !element.end);
    for start in starts {
        let family = Family::of(&start.key);
        let bits = family.length() * 8;
        let next = elements.range((Bound::Excluded(start), Bound::Unbounded)).next();
        let last = match next {
            Some(end) if end.end => number(end.key).saturating_sub(1),
            _ => u128::MAX >> (128 - bits),
        };
        let mut first = Some(number(start.key)).filter(|first| *first <= last);
        while let Some(from) = first {
            // As large as the first address's place and what is left allow.
            let room = (last - from).checked_add(1).map_or(bits, u128::ilog2);
            let host_bits = from.trailing_zeros().min(room).min(bits);
            let network = address(from, family)
                .and_then(|address| IpNetwork::new(address, (bits - host_bits) as u8).ok());
            networks.extend(network);
            let size = 1_u128.checked_shl(host_bits);
            first = size.and_then(|size| from.checked_add(size)).filter(|next| *next <= last);
        }
    }
    networks
}

fn elements(first: u128, last: u128, family: Family) -> impl Iterator<Item = Element> {
    let start = address(first, family).map(|key| Element { key, end: false });
    // Nothing comes after the last address of all: an interval that reaches it stays open.
    let end = last
        .checked_add(1)
        .and_then(|next| address(next, family))
        .map(|key| Element { key, end: true });
    start.into_iter().chain(end)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address(number: u128, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(number).ok().map(|bits| Ipv4Addr::from(bits).into()),
        Family::V6 => Some(Ipv6Addr::from(number).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cidrs: &[&str], family: Family) -> String {
        let cidrs: Vec<IpNetwork> = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        networks(&cidrs, family)
            .iter()
            .map(|element| format!("{}{}", if element.end { "!" } else { "" }, element.key))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn networks_become_disjoint_intervals() {
        for (cidrs, family, expected) in [
            (vec!["10.244.0.0/16"], Family::V4, "10.244.0.0 !10.245.0.0"),
            (vec!["10.1.0.0/16", "10.0.0.0/16"], Family::V4, "10.0.0.0 !10.2.0.0"),
            (vec!["10.0.0.0/8", "10.9.0.0/16"], Family::V4, "10.0.0.0 !11.0.0.0"),
            (
                vec!["10.0.0.0/24", "10.0.2.0/24"],
                Family::V4,
                "10.0.0.0 !10.0.1.0 10.0.2.0 !10.0.3.0",
            ),
            (vec!["240.0.0.0/4"], Family::V4, "240.0.0.0"),
            (vec!["0.0.0.0/0", "1.0.0.0/8"], Family::V4, "0.0.0.0"),
            (vec!["10.0.0.7/24"], Family::V4, "10.0.0.0 !10.0.1.0"),
            (vec!["10.0.0.0/8", "fd00::/64"], Family::V6, "fd00:: !fd00:0:0:1::"),
            (vec!["::/0", "fd00::/64"], Family::V6, "::"),
            (vec!["10.0.0.0/8"], Family::V6, ""),
        ] {
            assert_eq!(shown(&cidrs, family), expected, "{cidrs:?}");
        }
    }

    #[test]
    fn intervals_become_networks_again() {
        for (cidrs, family, expected) in [
            (vec!["10.244.0.0/16"], Family::V4, vec!["10.244.0.0/16"]),
            (
                vec!["10.0.0.0/24", "10.0.1.0/24", "10.0.4.0/25"],
                Family::V4,
                vec!["10.0.0.0/23", "10.0.4.0/25"],
            ),
            (vec!["10.0.1.0/24", "10.0.2.0/24"], Family::V4, vec!["10.0.1.0/24", "10.0.2.0/24"]),
            (vec!["240.0.0.0/4"], Family::V4, vec!["240.0.0.0/4"]),
            (vec!["0.0.0.0/0"], Family::V4, vec!["0.0.0.0/0"]),
            (
                vec!["fd00::/56", "fd00:0:0:100::/64"],
                Family::V6,
                vec!["fd00::/56", "fd00:0:0:100::/64"],
            ),
            (vec!["::/0"], Family::V6, vec!["::/0"]),
            (vec![], Family::V4, vec![]),
        ] {
            let given: Vec<IpNetwork> = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
            let back = covering(&networks(&given, family));
            let shown: Vec<String> = back.iter().map(IpNetwork::to_string).collect();
            assert_eq!(shown, expected, "{cidrs:?}");
        }
    }

    #[test]
    fn addresses_are_single_and_of_one_family() {
        let some: Vec<IpAddr> = ["192.168.50.2", "192.168.50.1", "192.168.50.2", "fd00::1"]
            .map(|a| a.parse().unwrap())
            .into();
        let keys: Vec<String> = addresses(&some).iter().map(|e| e.key.to_string()).collect();
        assert_eq!(keys, ["192.168.50.1", "192.168.50.2"]);
    }
}
