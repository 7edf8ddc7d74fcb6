//! How many pods a range has an address for, counted without walking through it.

use std::net::IpAddr;

use flatnet_conf::Range;
use serde::Serialize;

/// Pod addresses, by family.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// IPv4 addresses.
    pub ipv4: u64,
    /// IPv6 addresses; what is more than 2^64-1 counts as that.
    pub ipv6: u64,
}

impl Capacity {
    /// Of all these ranges together, but for those that are held for living pods alone.
    pub fn of<'a>(ranges: impl IntoIterator<Item = &'a Range>) -> Self {
        let open = ranges.into_iter().filter(|range| !range.is_retiring());
        open.fold(Self::default(), |sum, range| {
            let given = u64::try_from(given(range)).unwrap_or(u64::MAX);
            if range.subnet().is_ipv4() {
                Self { ipv4: sum.ipv4.saturating_add(given), ..sum }
            } else {
                Self { ipv6: sum.ipv6.saturating_add(given), ..sum }
            }
        })
    }

    /// For people: `254 IPv4, 2^64 IPv6`.
    pub fn words(self) -> String {
        let mut words = Vec::new();
        if self.ipv4 > 0 {
            words.push(format!("{} IPv4", self.ipv4));
        }
        if self.ipv6 > 0 {
            words.push(format!("{} IPv6", short(self.ipv6)));
        }
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}

/// A count as people read it, not twenty digits; from a million on the nearest power of
/// two says it.
pub fn short(count: u64) -> String {
    match count {
        few @ ..1_000_000 => few.to_string(),
        many => format!("2^{:.0}", (many as f64).log2()),
    }
}

/// How many addresses a range gives: from start to end, less what is excluded, the subnet's first
/// address and the IPv4 broadcast address.
fn given(range: &Range) -> u128 {
    let (start, end) = (bits(range.start()), bits(range.end()));
    let subnet = range.subnet();
    let mut holes = vec![(bits(subnet.network()), bits(subnet.network()))];
    if subnet.is_ipv4() {
        holes.push((bits(subnet.broadcast()), bits(subnet.broadcast())));
    }
    holes.extend(range.exclude().iter().map(|net| (bits(net.network()), bits(net.broadcast()))));
    holes.sort_unstable();
    let (mut count, mut next) = (0_u128, start);
    for (first, last) in holes {
        if first > end || last < next {
            continue;
        }
        count += first.saturating_sub(next);
        match last.checked_add(1) {
            Some(after) => next = after,
            None => return count,
        }
    }
    if next > end { count } else { count.saturating_add((end - next).saturating_add(1)) }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_bits().into(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(subnet: &str, start: &str, end: &str, exclude: &[&str]) -> Range {
        let address = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let exclude = exclude.iter().map(|text| text.parse().unwrap()).collect();
        Range::new(subnet.parse().unwrap(), address(start), address(end), exclude).unwrap()
    }

    #[test]
    fn counts_what_the_range_gives() {
        let ranges = [
            range("10.1.0.0/24", "", "", &[]),
            range("10.1.0.0/24", "10.1.0.10", "10.1.0.200", &["10.1.0.50/32"]),
            range("10.1.0.0/24", "10.1.0.10", "", &["10.1.0.8/29", "10.1.0.12/32"]),
            range("10.1.0.0/29", "", "", &["10.1.0.0/30", "10.1.0.2/31"]),
            range("fd00::/120", "fd00::10", "fd00::20", &[]),
        ];
        for range in &ranges {
            let mut walked = 0;
            let mut address = range.next_after(None);
            while let Some(given) = address {
                walked += 1;
                address = range.next_after(Some(given));
            }
            assert_eq!(given(range), walked, "{range:?}");
        }
        assert_eq!(given(&range("fd00::/64", "", "", &[])), u128::from(u64::MAX));
    }

    #[test]
    fn words_are_short() {
        let cases = [
            (Capacity { ipv4: 254, ipv6: 0 }, "254 IPv4"),
            (Capacity { ipv4: 254, ipv6: u64::MAX }, "254 IPv4, 2^64 IPv6"),
            (Capacity { ipv4: 0, ipv6: 255 }, "255 IPv6"),
            (Capacity { ipv4: 0, ipv6: (1 << 48) - 1 }, "2^48 IPv6"),
            (Capacity { ipv4: 0, ipv6: 1 << 48 }, "2^48 IPv6"),
            (Capacity::default(), "none"),
        ];
        for (capacity, words) in cases {
            assert_eq!(capacity.words(), words);
        }
        let retiring = range("10.1.0.0/24", "", "", &[]).retire();
        assert_eq!(Capacity::of([&retiring]), Capacity::default());
        let both = [range("10.1.0.0/24", "", "", &[]), range("fd00::/64", "", "", &[])];
        assert_eq!(Capacity::of(&both), Capacity { ipv4: 254, ipv6: u64::MAX });
    }
}
