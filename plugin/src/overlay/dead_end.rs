//! Routes of others that lead nowhere, as far as they take what ours should: a blackhole of a router, a
//! `prohibit` of a firewall. The kernel answers a question for such a way with an errno.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::kernel::{DeadEnd, Observe};

/// `RT_TABLE_MAIN`, where ours are.
const MAIN: u32 = 254;

/// The one that takes packets to an address from a route of ours with this destination and metric, or,
/// without one, from whatever else would.
///
/// # Errors
/// The kernel cannot be asked.
pub fn before(
    kernel: &mut dyn Observe,
    to: IpAddr,
    ours: Option<(IpNetwork, u32)>,
) -> Result<Option<DeadEnd>, Error> {
    let ends = kernel.dead_ends()?.into_iter().filter(|end| end.dst.contains(to));
    let before = ends.filter(|end| ours.is_none_or(|(dst, metric)| takes(end, dst, metric)));
    Ok(before.max_by_key(|end| end.dst.prefix()))
}

/// Whether it may win over a route for some of its destinations: in another table a rule decides.
pub fn takes(end: &DeadEnd, dst: IpNetwork, metric: u32) -> bool {
    let covers = |wide: IpNetwork, narrow: IpNetwork| {
        wide.is_ipv4() == narrow.is_ipv4() && wide.contains(narrow.network())
    };
    if end.table != MAIN {
        return covers(end.dst, dst) || covers(dst, end.dst);
    }
    match end.dst == dst {
        true => end.metric < metric,
        false => end.dst.prefix() > dst.prefix() && covers(dst, end.dst),
    }
}

/// It in the words of ip(8), as behind `ip route`.
pub fn words(end: &DeadEnd) -> String {
    let DeadEnd { kind, dst, metric, table } = end;
    let metric = if *metric == 0 { String::new() } else { format!(" metric {metric}") };
    let table = if *table == MAIN { String::new() } else { format!(" table {table}") };
    format!("{kind} {dst}{metric}{table}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::Fake;

    fn end(dst: &str, metric: u32, table: u32) -> DeadEnd {
        DeadEnd { kind: "blackhole", dst: dst.parse().unwrap(), metric, table }
    }

    #[test]
    fn one_that_wins_takes() {
        let ours: IpNetwork = "10.1.2.0/24".parse().unwrap();
        for (other, wins) in [
            (end("10.1.2.0/24", 0, MAIN), true),
            (end("10.1.2.0/24", 2_000, MAIN), false),
            (end("10.1.2.128/25", 2_000, MAIN), true),
            (end("10.1.0.0/16", 0, MAIN), false),
            (end("0.0.0.0/0", 0, MAIN), false),
            (end("fd00::/8", 0, MAIN), false),
            (end("10.1.0.0/16", 2_000, 500), true),
            (end("10.1.2.9/32", 2_000, 500), true),
            (end("10.1.3.0/24", 0, 500), false),
        ] {
            assert_eq!(takes(&other, ours, 1_000), wins, "{other:?}");
        }
    }

    #[test]
    fn the_narrowest_is_named() {
        let mut kernel = Fake::default();
        let to = "10.1.2.7".parse().unwrap();
        let ours = ("10.1.2.0/24".parse().unwrap(), 1_000);
        kernel.dead_ends = vec![end("10.0.0.0/8", 0, MAIN)];
        assert_eq!(before(&mut kernel, to, Some(ours)).unwrap(), None);
        assert_eq!(words(&before(&mut kernel, to, None).unwrap().unwrap()), "blackhole 10.0.0.0/8");
        kernel.dead_ends.push(end("10.1.2.0/24", 9, 500));
        let found = before(&mut kernel, to, Some(ours)).unwrap().unwrap();
        assert_eq!(words(&found), "blackhole 10.1.2.0/24 metric 9 table 500");
    }
}
