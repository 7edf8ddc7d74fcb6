//! A range file that is accepted keeps its rules, and is written and read without loss.

use std::iter::successors;
use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{Range, RangeFile, find_node};
use ipnetwork::IpNetwork;

use crate::reply::refusal;

/// How many of a range's addresses are looked at.
const LOOKED_AT: usize = 64;

/// The bytes as a range file, and as one range, as the stamp beside the leases has it.
pub fn range_file(data: &[u8]) {
    let origin = Path::new("/etc/flatnet/pods.json");
    match RangeFile::parse(origin, data) {
        Ok(file) => {
            accepted(&file, origin);
            let again = RangeFile::parse(origin, file.to_json().as_bytes());
            assert_eq!(again.map_err(|error| error.to_string()), Ok(file));
        }
        Err(error) => refusal(error),
    }
    if let Ok(range) = serde_json::from_slice::<Range>(data) {
        gives_only_its_own(&range);
        let text = serde_json::to_string(&range).expect("a range is text");
        assert_eq!(serde_json::from_str::<Range>(&text).ok(), Some(range));
    }
}

fn accepted(file: &RangeFile, origin: &Path) {
    assert!((1..1 << 24).contains(&file.vni) && file.port > 0 && !file.nodes.is_empty());
    let ranges: Vec<&Range> = file.nodes.iter().flat_map(|node| &node.ranges).collect();
    let subnets: Vec<IpNetwork> = ranges.iter().map(|range| range.subnet()).collect();
    assert_disjoint(&subnets);
    assert_disjoint(&file.cluster_cidrs);
    for subnet in &subnets {
        let within = |cluster: &IpNetwork| {
            cluster.prefix() <= subnet.prefix() && cluster.contains(subnet.network())
        };
        assert!(file.cluster_cidrs.iter().any(within), "{subnet} is in no cluster CIDR");
    }
    ranges.iter().for_each(|range| gives_only_its_own(range));
    for (index, node) in file.nodes.iter().enumerate() {
        assert!(!node.ranges.is_empty());
        assert_eq!(node.vtep.is_ipv4(), file.nodes[0].vtep.is_ipv4(), "families of VTEPs");
        assert!(!file.cluster_cidrs.iter().any(|cluster| cluster.contains(node.vtep)));
        for own in node.vtep_addresses() {
            assert!(!ranges.iter().any(|range| range.gives(own)), "{own} is the node's own");
        }
        let found = find_node(file, origin, Some(&node.name), &[], "").expect("by its name");
        assert_eq!(found, node, "the name is another node's");
        let found = find_node(file, origin, None, &[node.vtep], "").expect("by its VTEP");
        assert_eq!(found, node, "the VTEP is another node's");
        // A folder of the state folder has this name.
        let mut parts = Path::new(&node.name).components();
        let normal = matches!(parts.next(), Some(std::path::Component::Normal(_)));
        assert!(normal && parts.next().is_none() && node.name.len() < 254, "node {index}");
    }
    refusal(find_node(file, origin, Some("-"), &[], "").expect_err("no node has this name"));
}

/// Sorted by their first addresses, each ends before the next begins.
fn assert_disjoint(networks: &[IpNetwork]) {
    let mut sorted = networks.to_vec();
    sorted.sort_by_key(IpNetwork::network);
    for pair in sorted.windows(2) {
        assert!(pair[0].broadcast() < pair[1].network(), "{} overlaps {}", pair[0], pair[1]);
    }
    for network in networks {
        assert_eq!(network.ip(), network.network(), "{network} has host bits");
    }
}

fn gives_only_its_own(range: &Range) {
    let subnet = range.subnet();
    let mut before: Option<IpAddr> = None;
    let given = successors(range.next_after(None), |last| range.next_after(Some(*last)));
    let given: Vec<IpAddr> = given.take(LOOKED_AT).collect();
    assert!(!given.is_empty(), "{range:?} has no address");
    for address in given {
        assert!(range.gives(address), "{address} comes out of {range:?} and is not given");
        assert!(before < Some(address), "{address} after {before:?}");
        assert!((range.start()..=range.end()).contains(&address) && subnet.contains(address));
        assert!(!range.exclude().iter().any(|excluded| excluded.contains(address)));
        assert!(address != subnet.network(), "{address} is the VTEP address");
        assert!(subnet.is_ipv6() || address != subnet.broadcast(), "{address} is the broadcast");
        before = Some(address);
    }
}
