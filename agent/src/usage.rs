//! Which of a node's addresses its pods have.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// The addresses of all leases, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage(Vec<IpAddr>);

impl Usage {
    /// How many lie in a range.
    pub fn of(&self, range: IpNetwork) -> u64 {
        let from = self.0.partition_point(|address| *address < range.network());
        let to = self.0.partition_point(|address| *address <= range.broadcast());
        to.saturating_sub(from) as u64
    }
}

impl FromIterator<IpAddr> for Usage {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable();
        Self(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_by_range() {
        let addresses = ["10.1.0.7", "fd00::1", "10.1.1.0", "10.1.0.255", "10.0.255.255"];
        let usage: Usage = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
        for (range, count) in [
            ("10.1.0.0/24", 2),
            ("10.1.1.0/24", 1),
            ("10.2.0.0/24", 0),
            ("::/0", 1),
            ("0.0.0.0/0", 4),
        ] {
            assert_eq!(usage.of(range.parse().unwrap()), count, "{range}");
        }
    }
}
