//! How much room is left in the cluster's ranges.

use flatnet_conf::ClusterNetwork;
use ipnetwork::IpNetwork;

use crate::held::Held;

/// How many blocks are left at most, IPv4 and IPv6; of IPv6 there may be more than can be counted. Where nodes claim
/// blocks of sizes that the network names, they are of these; else of the smallest that a node holds, as whoever gives
/// nodes their ranges (Kubernetes' podCIDRs) has a size of his own.
pub fn free_blocks<T>(network: &ClusterNetwork, held: &Held<T>) -> [f64; 2] {
    let given = if network.claims { [None, None] } else { smallest(held) };
    let mut free = [0.0, 0.0];
    for cidr in &network.cluster_cidrs {
        let family = usize::from(!cidr.is_ipv4());
        let claimed = network.block_size(*cidr);
        let block = given[family].map_or(claimed, |given| given.max(cidr.prefix()));
        let blocks = |range: &IpNetwork| 2_f64.powi(i32::from(block) - i32::from(range.prefix()));
        // What is smaller than a block takes all of one.
        let taken = held.within(*cidr).map(|range| blocks(&range).max(1.0));
        free[family] += (blocks(cidr) - taken.sum::<f64>()).max(0.0);
    }
    free
}

/// The longest prefixes that are held, IPv4 and IPv6.
fn smallest<T>(held: &Held<T>) -> [Option<u8>; 2] {
    [true, false].map(|ipv4| {
        let of_family = held.iter().filter(|(range, _)| range.is_ipv4() == ipv4);
        of_family.map(|(range, _)| range.prefix()).max()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{net, network};

    #[test]
    fn blocks_are_counted_by_family() {
        let mut held = Held::default();
        let network = ClusterNetwork { claims: true, ..network() };
        assert_eq!(free_blocks(&network, &held), [256.0, 2_f64.powi(56)]);
        for range in ["10.1.0.0/24", "10.1.4.0/22", "10.1.9.128/25"] {
            held.take(net(range), ()).unwrap();
        }
        assert_eq!(free_blocks(&network, &held), [250.0, 2_f64.powi(56)]);
    }

    #[test]
    fn ranges_that_nodes_are_given_are_counted_in_their_own_size() {
        let cidrs = vec![net("10.1.0.0/16"), net("fd00:1::/56")];
        let network = ClusterNetwork { cluster_cidrs: cidrs, ..network() };
        let free = |ranges: &[String]| {
            let mut held = Held::default();
            ranges.iter().for_each(|range| held.take(net(range), ()).unwrap());
            free_blocks(&network, &held)
        };
        // Before there is one, in the size that would be claimed.
        assert_eq!(free(&[]), [256.0, 2_f64.powi(64)]);
        let given = |count: usize| -> Vec<String> {
            let four = (0..count).map(|at| format!("10.1.{}.{}/26", at / 4, at % 4 * 64));
            four.chain((0..count.min(255)).map(|at| format!("fd00:1:0:{at:x}::/64"))).collect()
        };
        assert_eq!(free(&given(256)), [768.0, 1.0]);
        assert_eq!(free(&given(1024)), [0.0, 1.0]);
        // One of another size does not change what is left by more than its own.
        let mut mixed = given(0);
        mixed.extend(["10.1.0.0/24", "10.1.1.0/25"].map(str::to_owned));
        assert_eq!(free(&mixed)[0], 512.0 - 3.0);
    }
}
