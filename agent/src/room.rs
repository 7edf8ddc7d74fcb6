//! How much room is left in the cluster's ranges.

use flatnet_conf::ClusterNetwork;
use ipnetwork::IpNetwork;

use crate::held::Held;

/// How many blocks of the claimed sizes are left at most, IPv4 and IPv6; of IPv6 there may be more than can be
/// counted.
pub fn free_blocks<T>(network: &ClusterNetwork, held: &Held<T>) -> [f64; 2] {
    let mut free = [0.0, 0.0];
    for cidr in &network.cluster_cidrs {
        let block = network.block_size(*cidr);
        let blocks = |range: &IpNetwork| 2_f64.powi(i32::from(block) - i32::from(range.prefix()));
        // What is smaller than a block takes all of one.
        let taken = held.within(*cidr).map(|range| blocks(&range).max(1.0));
        let [ipv4, ipv6] = &mut free;
        *(if cidr.is_ipv4() { ipv4 } else { ipv6 }) += (blocks(cidr) - taken.sum::<f64>()).max(0.0);
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{net, network};

    #[test]
    fn blocks_are_counted_by_family() {
        let mut held = Held::default();
        assert_eq!(free_blocks(&network(), &held), [256.0, 2_f64.powi(56)]);
        for range in ["10.1.0.0/24", "10.1.4.0/22", "10.1.9.128/25"] {
            held.take(net(range), ()).unwrap();
        }
        assert_eq!(free_blocks(&network(), &held), [250.0, 2_f64.powi(56)]);
    }
}
