//! How full a node's ranges are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatnet_conf::Range;
use ipnetwork::IpNetwork;

use super::capacity::Capacity;

/// One range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its subnet.
    pub subnet: IpNetwork,
    /// Addresses that leases hold.
    pub used: u64,
    /// Addresses that are left.
    pub free: u64,
}

/// Of each range, in order.
pub fn of(ranges: &[Range], held: &BTreeSet<IpAddr>) -> Vec<Usage> {
    let usage = |range: &Range| {
        let used = held.iter().filter(|address| range.gives(**address)).count() as u64;
        let Capacity { ipv4, ipv6 } = Capacity::of([range]);
        Usage { subnet: range.subnet(), used, free: (ipv4 + ipv6).saturating_sub(used) }
    };
    ranges.iter().map(usage).collect()
}

/// The subnets of a family of which no range has an address left. A node without any range of a
/// family gives none and lacks none.
pub fn full(ranges: &[Usage]) -> Vec<Vec<IpNetwork>> {
    [true, false]
        .into_iter()
        .map(|ipv4| ranges.iter().filter(|range| range.subnet.is_ipv4() == ipv4).collect())
        .filter(|family: &Vec<&Usage>| family.iter().all(|range| range.free == 0))
        .map(|family| family.iter().map(|range| range.subnet).collect::<Vec<_>>())
        .filter(|family| !family.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(ranges: &[&str], held: &[&str]) -> Vec<Usage> {
        let ranges: Vec<_> = ranges.iter().map(|text| Range::parse(text).unwrap()).collect();
        of(&ranges, &held.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn an_address_counts_for_the_range_that_gives_it() {
        let found = usages(
            &["10.1.1.0/30", "10.1.2.0/24", "fd00::/64"],
            &["10.1.1.1", "10.1.1.2", "10.1.9.9", "fd00::7"],
        );
        let numbers: Vec<_> = found.iter().map(|usage| (usage.used, usage.free)).collect();
        assert_eq!(numbers, [(2, 0), (0, 254), (1, u64::MAX - 1)]);
    }

    #[test]
    fn a_family_is_full_when_all_its_ranges_are() {
        let held = ["10.1.1.1", "10.1.1.2"];
        assert_eq!(full(&usages(&["10.1.1.0/30", "10.1.2.0/24"], &held)), [[]; 0]);
        let of_four = vec!["10.1.1.0/30".parse().unwrap()];
        assert_eq!(full(&usages(&["10.1.1.0/30", "fd00::/64"], &held)), [of_four]);
        assert_eq!(full(&usages(&["10.1.1.0/30"], &["10.1.1.1"])), [[]; 0]);
    }
}
