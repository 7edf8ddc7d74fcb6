//! The addresses of a lab: the underlay's, and how the pod networks are cut for so many nodes.

use std::iter;
use std::net::{IpAddr, Ipv4Addr};

use flatnet_conf::{Node, RangeFile};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::cli::allot::{NodeAt, Prefixes, allot};
use crate::cli::error::CommandError;

/// Ports of one bridge (`BR_MAX_PORTS` is 1024, and number 0 is none).
const MOST_NODES: usize = 1023;
/// 10.244.0.0/16
const PODS_V4: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 0);
const PODS_V4_LENGTH: u8 = 16;
/// fd00:10:244::/56
const PODS_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0);
const PODS_V6_LENGTH: u8 = 56;
/// The underlay is 172.31.0.0/16.
const UNDERLAY_LENGTH: u8 = 16;

/// Node `number`'s address on the underlay, with its prefix length; numbers start at 1.
pub fn underlay(number: usize) -> (IpAddr, u8) {
    // At most 1023 nodes: two bytes hold the number.
    let [high, low] = (number as u16).to_be_bytes();
    (Ipv4Addr::new(172, 31, high, low).into(), UNDERLAY_LENGTH)
}

/// The range file of a lab: nodes `node-1`, `node-2` and so on, each with an IPv4 subnet and, where
/// the kernel has IPv6, one of that.
pub fn range_file(nodes: usize, pods: usize, ipv6: bool) -> Result<RangeFile, CommandError> {
    let prefixes = prefixes(nodes, pods)?;
    let mut clusters: Vec<IpNetwork> =
        Ipv4Network::new(PODS_V4, PODS_V4_LENGTH).into_iter().map(IpNetwork::V4).collect();
    if ipv6 {
        clusters.extend(Ipv6Network::new(PODS_V6, PODS_V6_LENGTH).into_iter().map(IpNetwork::V6));
    }
    let nodes: Vec<NodeAt> = (1..=nodes)
        .map(|number| NodeAt { name: format!("node-{number}"), vtep: underlay(number).0 })
        .collect();
    allot(&clusters, &nodes, prefixes)
}

/// What the pods of a node ask for, in their order: the first addresses, so that a script knows them.
pub fn of_pods(node: &Node) -> impl Iterator<Item = Vec<IpAddr>> + '_ {
    let next = |last: &[Option<IpAddr>]| {
        let ranges = node.ranges.iter().zip(last);
        ranges.map(|(range, last)| range.next_after(*last)).collect::<Vec<_>>()
    };
    let first = next(&vec![None; node.ranges.len()]);
    let all = iter::successors(Some(first), move |last| Some(next(last)));
    all.map_while(|addresses| addresses.into_iter().collect())
}

/// A /24 for each node; longer where there are more than 256 nodes, shorter where a node has more
/// pods than that and there is room.
fn prefixes(nodes: usize, pods: usize) -> Result<Prefixes, CommandError> {
    if !(1..=MOST_NODES).contains(&nodes) {
        return Err(CommandError::Refused(format!(
            "--nodes {nodes}: a lab has 1 to {MOST_NODES} nodes, the ports of its one bridge"
        )));
    }
    let fits = |length: u8| nodes <= 1 << (length - PODS_V4_LENGTH);
    // Without the VTEP address and the broadcast address.
    let room = |length: u8| (1_usize << (32 - length)) - 2;
    let mut length = Prefixes::default().v4;
    while !fits(length) {
        length += 1;
    }
    while room(length) < pods && length > PODS_V4_LENGTH && fits(length - 1) {
        length -= 1;
    }
    if room(length) < pods {
        return Err(CommandError::Refused(format!(
            "--pods {pods}: with {nodes} nodes each has room for {} pods in its part of \
             {PODS_V4}/{PODS_V4_LENGTH}",
            room(length)
        )));
    }
    // IPv6 has room for any number of pods; the count of nodes alone decides.
    let extra = length.saturating_sub(Prefixes::default().v4);
    Ok(Prefixes { v4: length, v6: Prefixes::default().v6 + extra })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_follow_the_counts() {
        let cases = [
            (3, 2, 24, 64),
            (256, 254, 24, 64),
            (257, 2, 25, 65),
            (1023, 62, 26, 66),
            (1, 1000, 22, 64),
            (128, 255, 23, 64),
            (1, 65534, 16, 64),
            (3, 0, 24, 64),
        ];
        for (nodes, pods, v4, v6) in cases {
            assert_eq!(prefixes(nodes, pods).unwrap(), Prefixes { v4, v6 }, "{nodes} x {pods}");
        }
        let cases = [
            (0, 2, "--nodes 0: a lab has 1 to 1023 nodes, the ports of its one bridge"),
            (1024, 2, "--nodes 1024: a lab has 1 to 1023 nodes, the ports of its one bridge"),
            (
                1023,
                63,
                "--pods 63: with 1023 nodes each has room for 62 pods in its part of 10.244.0.0/16",
            ),
        ];
        for (nodes, pods, expected) in cases {
            assert_eq!(prefixes(nodes, pods).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn pods_have_addresses_by_their_numbers() {
        let file = range_file(2, 65, true).unwrap();
        let pods: Vec<_> = of_pods(&file.nodes[1]).take(65).map(|a| format!("{a:?}")).collect();
        assert_eq!(pods[0], "[10.244.1.1, fd00:10:244:1::1]");
        assert_eq!(pods[64], "[10.244.1.65, fd00:10:244:1::41]");
        let most = range_file(MOST_NODES, 62, false).unwrap();
        assert_eq!(of_pods(&most.nodes[0]).count(), 62);
    }

    #[test]
    fn the_range_file_is_a_valid_one() {
        let file = range_file(300, 2, true).unwrap();
        let last = &file.nodes[299];
        let ranges: Vec<String> = last.ranges.iter().map(|r| r.subnet().to_string()).collect();
        assert_eq!((last.name.as_str(), last.vtep.to_string()), ("node-300", "172.31.1.44".into()));
        assert_eq!(ranges, ["10.244.149.128/25", "fd00:10:244:95:8000::/65"]);
        let v4 = range_file(1, 1, false).unwrap();
        assert_eq!(v4.nodes[0].ranges.len(), 1);
        let most = range_file(MOST_NODES, 62, true).unwrap();
        assert_eq!(most.nodes.len(), MOST_NODES);
    }
}
