//! Good range files: what they say, and that writing them loses nothing.

use super::*;

const DESIGN: &str = include_str!("../../testdata/good/range-design.json");
const MINIMAL: &str = include_str!("../../testdata/good/range-minimal.json");

fn parse(text: &str) -> RangeFile {
    RangeFile::parse(Path::new("/pods.json"), text.as_bytes()).unwrap()
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn every_field() {
    let file = parse(DESIGN);
    assert_eq!((file.vni, file.port), (4096, 4789));
    assert_eq!(texts(&file.cluster_cidrs), ["10.244.0.0/16", "fd00:10:244::/56"]);
    let part = Range::new(
        "10.244.2.0/24".parse().unwrap(),
        Some("10.244.2.10".parse().unwrap()),
        Some("10.244.2.200".parse().unwrap()),
        vec!["10.244.2.50/32".parse().unwrap()],
    );
    let whole = |text| Range::parse(text).unwrap();
    let expected = [
        Node {
            name: "node-a".to_owned(),
            vtep: "192.168.50.1".parse().unwrap(),
            ranges: vec![whole("10.244.1.0/24"), whole("fd00:10:244:1::/64")],
        },
        Node {
            name: "node-b".to_owned(),
            vtep: "192.168.50.2".parse().unwrap(),
            ranges: vec![part.unwrap()],
        },
    ];
    assert_eq!(file.nodes, expected);
    assert_eq!(file.node("node-b"), Some(&expected[1]));
    assert_eq!(file.node("node-c"), None);
}

#[test]
fn direct_routing_is_said_and_written_back() {
    let text = MINIMAL.replace("\"nodes\"", "\"directRouting\": true, \"nodes\"");
    let file = parse(&text);
    assert!(file.direct_routing);
    assert_eq!(parse(&file.to_json()), file);
}

#[test]
fn defaults() {
    let file = parse(MINIMAL);
    assert_eq!((file.vni, file.port, file.direct_routing), (4096, 4789, false));
    assert_eq!(texts(&file.cluster_cidrs), ["fd00:1::/64", "10.0.0.0/30", "10.0.1.0/24"]);
}

#[test]
fn null_is_absent() {
    let text = MINIMAL.replace("\"nodes\"", "\"vni\": null, \"clusterCIDRs\": null, \"nodes\"");
    assert_eq!(parse(&text), parse(MINIMAL));
}

#[test]
fn vtep_addresses_are_the_first_of_each_family() {
    assert_eq!(texts(&parse(MINIMAL).nodes[0].vtep_addresses()), ["10.0.0.0", "fd00:1::"]);
    let nodes = parse(DESIGN).nodes;
    assert_eq!(texts(&nodes[0].vtep_addresses()), ["10.244.1.0", "fd00:10:244:1::"]);
    assert_eq!(texts(&nodes[1].vtep_addresses()), ["10.244.2.0"]);
}

#[test]
fn a_line_for_each_node() {
    let expected = r#"{
  "version": 1,
  "vni": 4096,
  "port": 4789,
  "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
  "nodes": [
    { "name": "node-a", "vtep": "192.168.50.1", "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] },
    { "name": "node-b", "vtep": "192.168.50.2", "ranges": [{ "subnet": "10.244.2.0/24", "rangeStart": "10.244.2.10", "rangeEnd": "10.244.2.200", "exclude": ["10.244.2.50/32"] }] }
  ]
}
"#;
    assert_eq!(parse(DESIGN).to_json(), expected);
}

#[test]
fn default_cluster_stays_a_default() {
    let expected = r#"{
  "version": 1,
  "vni": 4096,
  "port": 4789,
  "nodes": [
    { "name": "a", "vtep": "fd00:50::1", "ranges": ["fd00:1::/64", "10.0.0.0/30", "10.0.1.0/24"] }
  ]
}
"#;
    assert_eq!(parse(MINIMAL).to_json(), expected);
    assert_eq!(parse(expected), parse(MINIMAL));
}
