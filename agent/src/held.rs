//! Ranges that are apart, each with what holds it: a question costs the logarithm of their number.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// Ranges by their first addresses; every IPv4 address sorts before every IPv6 one.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<T>(BTreeMap<IpAddr, (IpNetwork, T)>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Held<T> {
    /// Takes a range, unless one that overlaps it is held: which is that, then.
    pub fn take(&mut self, range: IpNetwork, holding: T) -> Result<(), (IpNetwork, &T)> {
        // Asked twice, as one answer that is returned keeps the map borrowed on the other way too.
        if self.overlapping(range).is_none() {
            self.0.insert(range.network(), (range, holding));
            return Ok(());
        }
        self.overlapping(range).map_or(Ok(()), Err)
    }

    /// One that overlaps the range. All are apart, so the one that begins last before the range's end
    /// reaches highest.
    pub fn overlapping(&self, range: IpNetwork) -> Option<(IpNetwork, &T)> {
        let (_, (held, holding)) = self.0.range(..=range.broadcast()).next_back()?;
        (held.broadcast() >= range.network()).then_some((*held, holding))
    }

    /// All, in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (IpNetwork, &T)> {
        self.0.values().map(|(range, holding)| (*range, holding))
    }

    /// Those in a network.
    pub fn within(&self, network: IpNetwork) -> impl Iterator<Item = IpNetwork> {
        let inside = self.0.range(network.network()..=network.broadcast());
        inside.map(|(_, (range, _))| *range)
    }

    /// The blocks of a prefix length in a network that nothing overlaps, lowest first. What is held is
    /// stepped over as a whole.
    pub fn free(&self, within: IpNetwork, prefix: u8) -> impl Iterator<Item = IpNetwork> {
        let mut next = block(within.network(), prefix);
        std::iter::from_fn(move || {
            loop {
                let candidate = next.filter(|next| within.contains(next.network()))?;
                let Some((held, _)) = self.overlapping(candidate) else {
                    next = after(candidate.broadcast()).and_then(|first| block(first, prefix));
                    return Some(candidate);
                };
                let end = held.broadcast().max(candidate.broadcast());
                next = after(end).and_then(|first| block(first, prefix));
            }
        })
    }
}

/// The block that an address is in.
fn block(address: IpAddr, prefix: u8) -> Option<IpNetwork> {
    let around = IpNetwork::new(address, prefix).ok()?;
    IpNetwork::new(around.network(), prefix).ok()
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(four) => four.to_bits().checked_add(1).map(|n| Ipv4Addr::from_bits(n).into()),
        IpAddr::V6(six) => six.to_bits().checked_add(1).map(|n| Ipv6Addr::from_bits(n).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    fn held(ranges: &[&str]) -> Held<usize> {
        let mut held = Held::default();
        for (place, range) in ranges.iter().enumerate() {
            held.take(net(range), place).unwrap();
        }
        held
    }

    #[test]
    fn what_overlaps_is_not_taken() {
        let mut held = held(&["10.0.1.0/24", "10.0.4.0/22", "fd00::/64", "0.0.0.10/32"]);
        for (range, other) in [
            ("10.0.1.0/24", Some(("10.0.1.0/24", 0))),
            ("10.0.1.128/25", Some(("10.0.1.0/24", 0))),
            ("10.0.0.0/16", Some(("10.0.4.0/22", 1))),
            ("10.0.7.255/32", Some(("10.0.4.0/22", 1))),
            ("fd00::/48", Some(("fd00::/64", 2))),
            // The same bits in the other family.
            ("::a/128", None),
            ("10.0.8.0/24", None),
            ("10.0.0.0/24", None),
        ] {
            let expected = other.map(|(range, place)| (net(range), place));
            let found = held.overlapping(net(range)).map(|(range, place)| (range, *place));
            assert_eq!(found, expected, "{range}");
            let taken = held.take(net(range), 9).map_err(|(range, place)| (range, *place));
            assert_eq!(taken, expected.map_or(Ok(()), Err), "{range}");
        }
    }

    #[test]
    fn free_blocks_are_found_around_what_is_held() {
        let held = held(&["10.0.0.0/25", "10.0.2.0/23", "10.0.5.7/32", "fd00::/120"]);
        let free = |within: &str, prefix| -> Vec<String> {
            held.free(net(within), prefix).take(4).map(|range| range.to_string()).collect()
        };
        assert_eq!(
            free("10.0.0.0/21", 24),
            ["10.0.1.0/24", "10.0.4.0/24", "10.0.6.0/24", "10.0.7.0/24"]
        );
        assert_eq!(free("10.0.0.0/24", 26), ["10.0.0.128/26", "10.0.0.192/26"]);
        assert_eq!(free("10.0.2.0/24", 24), [""; 0]);
        assert_eq!(free("255.255.255.0/24", 25), ["255.255.255.0/25", "255.255.255.128/25"]);
        let six = free("fd00::/56", 120);
        assert_eq!(six, ["fd00::100/120", "fd00::200/120", "fd00::300/120", "fd00::400/120"]);
    }
}
