//! Networks in order, so that overlaps among ten thousand of them are found without comparing
//! every pair.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::address::bits;

/// Networks sorted by family and first address, each with the caller's tag.
pub(crate) struct Spans<T> {
    sorted: Vec<Span<T>>,
}

struct Span<T> {
    key: (bool, u128),
    last: u128,
    network: IpNetwork,
    tag: T,
}

impl<T: Copy + Ord> Spans<T> {
    pub(crate) fn new(networks: impl Iterator<Item = (IpNetwork, T)>) -> Spans<T> {
        let span = |(network, tag): (IpNetwork, T)| Span {
            key: (network.is_ipv6(), bits(network.network())),
            last: bits(network.broadcast()),
            network,
            tag,
        };
        let mut sorted: Vec<_> = networks.map(span).collect();
        sorted.sort_unstable_by_key(|span| (span.key, span.network.prefix(), span.tag));
        Spans { sorted }
    }

    /// The first two networks that overlap, lower tag first. Neighbours are enough: up to the
    /// first overlap all are apart, so the one before is the one that reaches highest.
    pub(crate) fn overlap(&self) -> Option<[(IpNetwork, T); 2]> {
        self.sorted.windows(2).find_map(|pair| match pair {
            [a, b] if a.key.0 == b.key.0 && a.last >= b.key.1 => {
                let mut found = [(a.network, a.tag), (b.network, b.tag)];
                found.sort_by_key(|(_, tag)| *tag);
                Some(found)
            }
            _ => None,
        })
    }

    /// The network that holds all of `inner`; right only where none overlap.
    pub(crate) fn covering(&self, inner: IpNetwork) -> Option<IpNetwork> {
        let key = (inner.is_ipv6(), bits(inner.network()));
        let after = self.sorted.partition_point(|span| span.key <= key);
        let span = self.sorted.get(after.checked_sub(1)?)?;
        (span.key.0 == key.0 && bits(inner.broadcast()) <= span.last).then_some(span.network)
    }
}

/// Two ranges of addresses, each with its first and last, that overlap, by the caller's tags, the
/// lower tag first. Neighbours are enough here too; every IPv4 address sorts before every IPv6 one.
pub(crate) fn overlap<T: Copy + Ord>(
    ranges: impl Iterator<Item = (T, IpAddr, IpAddr)>,
) -> Option<[T; 2]> {
    let mut sorted: Vec<_> = ranges.collect();
    sorted.sort_unstable_by_key(|(tag, first, _)| (*first, *tag));
    sorted.windows(2).find_map(|pair| match pair {
        [a, b] if b.1 <= a.2 => Some([a.0.min(b.0), a.0.max(b.0)]),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(networks: &[&str]) -> Spans<usize> {
        Spans::new(networks.iter().enumerate().map(|(i, text)| (text.parse().unwrap(), i)))
    }

    #[test]
    fn overlaps() {
        let cases: [(&[&str], Option<[usize; 2]>); 6] = [
            (&[], None),
            (&["10.0.1.0/24", "10.0.0.0/24", "10.0.2.0/24"], None),
            (&["10.0.1.0/24", "10.0.0.0/24", "10.0.1.0/24"], Some([0, 2])),
            (&["10.0.1.0/24", "10.0.0.0/16"], Some([0, 1])),
            (&["10.0.0.0/16", "10.1.0.0/24", "10.0.255.255/32"], Some([0, 2])),
            // The same bits in the other family.
            (&["0.0.0.10/32", "::a/128"], None),
        ];
        for (networks, expected) in cases {
            let found = spans(networks).overlap().map(|pair| pair.map(|(_, tag)| tag));
            assert_eq!(found, expected, "{networks:?}");
        }
    }

    #[test]
    fn overlaps_of_ranges() {
        let cases = [
            ("", None),
            ("10.0.0.5-10.0.0.9 10.0.0.1-10.0.0.4 ::a-::f", None),
            ("10.0.0.5-10.0.0.9 10.0.0.1-10.0.0.5", Some([0, 1])),
            ("::1-::1 10.0.0.1-10.0.0.1 ::1-::1", Some([0, 2])),
            // The same bits in the other family.
            ("0.0.0.1-255.255.255.255 ::1-::ffff:ffff", None),
        ];
        for (ranges, expected) in cases {
            let range = |(place, range): (usize, &str)| {
                let (first, last) = range.split_once('-').unwrap();
                (place, first.parse().unwrap(), last.parse().unwrap())
            };
            let found = overlap(ranges.split_whitespace().enumerate().map(range));
            assert_eq!(found, expected, "{ranges}");
        }
    }

    #[test]
    fn coverage() {
        let spans = spans(&["10.1.0.0/16", "10.3.0.0/16", "fd00::/48"]);
        let cases = [
            ("10.1.0.0/16", Some("10.1.0.0/16")),
            ("10.1.255.255/32", Some("10.1.0.0/16")),
            ("10.3.4.0/24", Some("10.3.0.0/16")),
            ("10.2.0.0/24", None),
            ("10.0.0.0/8", None),
            ("10.0.0.0/24", None),
            ("fd00::/64", Some("fd00::/48")),
            ("fd00:0:1::/64", None),
        ];
        for (inner, expected) in cases {
            let found = spans.covering(inner.parse().unwrap()).map(|network| network.to_string());
            assert_eq!(found.as_deref(), expected, "{inner}");
        }
    }
}
