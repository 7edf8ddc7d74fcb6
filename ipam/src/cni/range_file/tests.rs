//! What is decided before any lease: who the node is, and what it gives to other main plugins.

use super::*;

fn node(ranges: &[&str]) -> Node {
    let ranges = ranges.iter().map(|text| Range::parse(text).unwrap()).collect();
    Node { name: "node-a".to_owned(), vtep: [192, 0, 2, 1].into(), ranges }
}

/// What a node's ranges give, the first few of each, with the gateway.
fn first_given(ranges: &[&str]) -> Vec<(String, String)> {
    let ranges = less_gateways(&node(ranges)).unwrap();
    let first = ranges.iter().filter_map(|range| range.next_after(None));
    let text = |address| {
        let Given { address, gateway } = given(address, &ranges);
        (address.to_string(), gateway.to_string())
    };
    first.map(text).collect()
}

#[test]
fn the_gateway_is_the_first_host_and_no_pods() {
    let text = |(address, gateway): (&str, &str)| (address.to_owned(), gateway.to_owned());
    let expected = [
        ("10.244.1.2/24", "10.244.1.1"),
        ("10.9.0.2/30", "10.9.0.1"),
        ("fd00:10:244:1::2/64", "fd00:10:244:1::1"),
    ];
    let given = first_given(&["10.244.1.0/24", "10.9.0.0/30", "fd00:10:244:1::/64"]);
    assert_eq!(given, expected.map(text));
    let ranges = less_gateways(&node(&["10.244.1.0/24"])).unwrap();
    assert!(!ranges[0].gives([10, 244, 1, 1].into()));
}

#[test]
fn parts_and_exclusions_stay() {
    let subnet = "10.244.1.0/24".parse().unwrap();
    let (start, end) = ([10, 244, 1, 9].into(), [10, 244, 1, 12].into());
    let excluded = "10.244.1.10/31".parse().unwrap();
    let range = Range::new(subnet, Some(start), Some(end), vec![excluded]).unwrap();
    let node = Node { ranges: vec![range], ..node(&[]) };
    let ranges = less_gateways(&node).unwrap();
    let next = |address: &IpAddr| ranges[0].next_after(Some(*address));
    let all: Vec<IpAddr> = std::iter::successors(ranges[0].next_after(None), next).collect();
    assert_eq!(all, [start, end]);
}

#[test]
fn a_range_of_nothing_but_its_gateway_is_refused() {
    // Its first address is the node's own, its last one the broadcast address.
    let subnet = "10.9.0.0/30".parse().unwrap();
    let end = [10, 9, 0, 1].into();
    let range = Range::new(subnet, None, Some(end), Vec::new()).unwrap();
    let error = less_gateways(&Node { ranges: vec![range], ..node(&[]) }).unwrap_err();
    assert_eq!(error.code(), 7);
    assert!(error.to_string().contains("\"10.9.0.0/30\" has no address for a pod"), "{error}");
}

#[test]
fn a_namespace_is_told_from_a_file() {
    assert!(is_namespace(Path::new("/proc/self/ns/net")));
    assert!(!is_namespace(Path::new("/proc/self/status")));
    assert!(!is_namespace(Path::new("/nonexistent")));
    assert!(own_netns().unwrap() > 0);
}

#[test]
fn this_machine_has_its_loopback_address() {
    let own = own_addresses().unwrap();
    assert!(own.contains(&IpAddr::from([127, 0, 0, 1])), "{own:?}");
}
