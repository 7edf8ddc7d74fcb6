//! Every wrong range file in `testdata/bad`, with the code and the message that it gets.

mod testdata;

use std::path::Path;

use flatnet_conf::RangeFile;

/// File, code, and message behind the path of the file.
#[rustfmt::skip]
const CASES: &[(&str, u32, &str)] = &[
    ("range-all-excluded", 7, r#"nodes[1].ranges[0]: "10.244.2.0/30" has no address for a pod: its first address is the node's own, and broadcast and excluded ones are not given; use a larger subnet or exclude less"#),
    ("range-cluster-empty", 7, "clusterCIDRs: is empty; list the pod network, or leave it out to take all ranges"),
    ("range-cluster-everything", 7, r#"clusterCIDRs[0]: "0.0.0.0/0" overlaps the unspecified addresses (0.0.0.0/8)"#),
    ("range-cluster-host-bits", 7, r#"clusterCIDRs[0]: "10.244.1.0/16" has host bits set; write "10.244.0.0/16""#),
    ("range-cluster-no-prefix", 7, r#"clusterCIDRs[0]: "10.244.0.0" is not a CIDR, as in "10.244.1.0/24""#),
    ("range-cluster-overlap", 7, r#"clusterCIDRs[2]: "10.0.0.0/8" overlaps clusterCIDRs[0], "10.244.0.0/16""#),
    ("range-deep", 7, "nodes[0]: invalid type: sequence, expected an object at line 1 column 26"),
    ("range-duplicate-key", 7, "duplicate field `vni` at line 4 column 7"),
    ("range-empty", 6, "not valid JSON: EOF while parsing a value at line 1 column 0"),
    ("range-end-outside", 7, r#"nodes[1].ranges[0].rangeEnd: "10.244.3.1" is not inside 10.244.2.0/24"#),
    ("range-end-type", 7, "nodes[1].ranges[0].rangeEnd: invalid type: integer `200`, expected a string at line 24 column 25"),
    ("range-exclude-address", 7, r#"nodes[1].ranges[0].exclude[0]: "10.244.2.9" is not a CIDR, as in "10.244.1.0/24""#),
    ("range-exclude-family", 7, r#"nodes[1].ranges[0].exclude[0]: "fd00::/128" is not inside 10.244.2.0/24"#),
    ("range-exclude-host-bits", 7, r#"nodes[1].ranges[0].exclude[0]: "10.244.2.9/30" has host bits set; write "10.244.2.8/30""#),
    ("range-exclude-larger", 7, r#"nodes[1].ranges[0].exclude[0]: "10.244.0.0/16" is not inside 10.244.2.0/24"#),
    ("range-exclude-outside", 7, r#"nodes[1].ranges[0].exclude[1]: "10.244.3.0/32" is not inside 10.244.2.0/24"#),
    ("range-host-bits", 7, r#"nodes[1].ranges[0]: "10.244.2.1/24" has host bits set; write "10.244.2.0/24""#),
    ("range-huge-number", 6, "not valid JSON: number out of range at line 1 column 18"),
    ("range-link-local", 7, r#"nodes[1].ranges[0]: "fe80::/64" overlaps the link-local addresses (fe80::/10)"#),
    ("range-list", 7, "invalid type: sequence, expected an object at line 1 column 0"),
    ("range-loopback", 7, r#"nodes[1].ranges[0]: "127.0.2.0/24" overlaps the loopback addresses (127.0.0.0/8)"#),
    ("range-mapped", 7, r#"nodes[1].ranges[0]: "::ffff:10.244.2.0/120" is IPv4-mapped IPv6; write it as IPv4, 10.244.2.0"#),
    ("range-multicast", 7, r#"nodes[1].ranges[0]: "ff05::/64" overlaps the multicast addresses (ff00::/8)"#),
    ("range-name-dash", 7, r#"nodes[1].name: "node-b-" must not have a label that begins or ends with -"#),
    ("range-name-dots", 7, r#"nodes[1].name: ".." must be labels of 1 to 63 characters, joined by dots"#),
    ("range-name-duplicate", 7, r#"nodes[1].name: "node-a" is also nodes[0].name; names are unique"#),
    ("range-name-empty", 7, r#"nodes[1].name: "" must have 1 to 253 characters"#),
    ("range-name-underscore", 7, r#"nodes[1].name: "node_b" must hold only lower-case letters, digits, - and ."#),
    ("range-name-upper", 7, r#"nodes[1].name: "Node-B" must hold only lower-case letters, digits, - and ."#),
    ("range-no-address", 7, r#"nodes[1].ranges[0]: "10.244.2.0/31" has no address for a pod: its first address is the node's own, and broadcast and excluded ones are not given; use a larger subnet or exclude less"#),
    ("range-no-prefix", 7, r#"nodes[1].ranges[0]: "10.244.2.0" is not a CIDR, as in "10.244.1.0/24""#),
    ("range-node-list", 7, "nodes[1]: invalid type: sequence, expected an object at line 18 column 4"),
    ("range-node-unknown-key", 7, "nodes[1].label: unknown field `label`, expected one of `name`, `vtep`, `ranges` at line 31 column 13"),
    ("range-nodes-absent", 7, "missing field `nodes` at line 9 column 1"),
    ("range-nodes-empty", 7, "nodes: is empty; list at least one node"),
    ("range-nodes-object", 7, "nodes: invalid type: map, expected a sequence at line 9 column 11"),
    ("range-outside-cluster", 7, r#"nodes[1].ranges[0]: "10.245.2.0/24" is not inside any of clusterCIDRs"#),
    ("range-overlap", 7, r#"nodes[1].ranges[0]: "10.244.1.128/25" overlaps nodes[0].ranges[0], "10.244.1.0/24""#),
    ("range-overlap-larger", 7, r#"nodes[1].ranges[0]: "10.244.0.0/22" overlaps nodes[0].ranges[0], "10.244.1.0/24""#),
    ("range-overlap-own", 7, r#"nodes[1].ranges[2]: "10.244.2.0/25" overlaps nodes[1].ranges[0], "10.244.2.0/24""#),
    ("range-port-large", 7, "port: 65536 is out of range; use 1 to 65535"),
    ("range-port-zero", 7, "port: 0 is out of range; use 1 to 65535"),
    ("range-range-number", 7, "nodes[1].ranges[1]: invalid type: integer `5`, expected a CIDR string, or an object with the key subnet at line 23 column 9"),
    ("range-ranges-empty", 7, "nodes[1].ranges: is empty; give the node at least one range"),
    ("range-start-above-end", 7, r#"nodes[1].ranges[0].rangeStart: "10.244.2.20" is above rangeEnd, "10.244.2.10""#),
    ("range-start-family", 7, r#"nodes[1].ranges[0].rangeStart: "fd00::1" is not inside 10.244.2.0/24"#),
    ("range-start-outside", 7, r#"nodes[1].ranges[0].rangeStart: "10.244.3.1" is not inside 10.244.2.0/24"#),
    ("range-start-text", 7, r#"nodes[1].ranges[0].rangeStart: "first" is not an IPv4 or IPv6 address"#),
    ("range-subnet-absent", 7, "nodes[1].ranges[0]: missing field `subnet` at line 24 column 9"),
    ("range-subnet-host-bits", 7, r#"nodes[1].ranges[0].subnet: "10.244.2.9/24" has host bits set; write "10.244.2.0/24""#),
    ("range-trailing-comma", 6, "not valid JSON: trailing comma at line 3 column 1"),
    ("range-trailing-text", 6, "not valid JSON: trailing characters at line 1 column 99"),
    ("range-truncated", 6, "not valid JSON: EOF while parsing a list at line 4 column 0"),
    ("range-unknown-key", 7, "mtu: unknown field `mtu`, expected one of `version`, `vni`, `port`, `clusterCIDRs`, `directRouting`, `nodes` at line 33 column 7"),
    ("range-unknown-range-key", 7, "nodes[1].ranges[0].gateway: unknown field `gateway`, expected one of `subnet`, `rangeStart`, `rangeEnd`, `exclude`, `retiring` at line 24 column 19"),
    ("range-unspecified", 7, r#"nodes[1].ranges[0]: "::/64" overlaps the unspecified addresses (::)"#),
    ("range-version-2", 7, "version: 2 is not supported; this flatnet reads version 1"),
    ("range-version-absent", 7, "missing field `version` at line 32 column 1"),
    ("range-version-text", 7, r#"version: invalid type: string "1", expected a whole number at line 2 column 16"#),
    ("range-vni-fraction", 7, "vni: invalid type: floating point `1.5`, expected a whole number at line 3 column 12"),
    ("range-vni-large", 7, "vni: 16777216 is out of range; use 1 to 16777215"),
    ("range-vni-negative", 7, "vni: invalid value: integer `-1`, expected a whole number at line 3 column 11"),
    ("range-vni-zero", 7, "vni: 0 is out of range; use 1 to 16777215"),
    ("range-vtep-absent", 7, "nodes[1]: missing field `vtep` at line 30 column 5"),
    ("range-vtep-broadcast", 7, r#"nodes[1].vtep: "255.255.255.255" is among the broadcast addresses (255.255.255.255); use the node's address on the underlay"#),
    ("range-vtep-duplicate", 7, r#"nodes[1].vtep: "192.168.50.1" is also nodes[0].vtep; VTEPs are unique"#),
    ("range-vtep-family", 7, r#"nodes[1].vtep: "fd00:50::2" is IPv6, nodes[0].vtep is IPv4; all VTEPs are of one family"#),
    ("range-vtep-in-cluster", 7, r#"nodes[1].vtep: "10.244.9.1" is inside the pod network 10.244.0.0/16; use an address of the underlay"#),
    ("range-vtep-link-local", 7, r#"nodes[1].vtep: "169.254.0.1" is among the link-local addresses (169.254.0.0/16); use the node's address on the underlay"#),
    ("range-vtep-loopback", 7, r#"nodes[1].vtep: "127.0.0.1" is among the loopback addresses (127.0.0.0/8); use the node's address on the underlay"#),
    ("range-vtep-mac", 7, r#"nodes[1].vtep: "fd50::1:7a:b9db" has the MAC 82:a0:4e:49:e4:63 on the overlay, as nodes[0].vtep has, "fd50::1:9e:aa7d": it is computed from vni and vtep; give one of the two nodes another vtep, or choose another vni"#),
    ("range-vtep-mapped", 7, r#"nodes[1].vtep: "::ffff:192.168.50.2" is IPv4-mapped IPv6; write it as IPv4, 192.168.50.2"#),
    ("range-vtep-multicast", 7, r#"nodes[1].vtep: "224.0.0.1" is among the multicast addresses (224.0.0.0/4); use the node's address on the underlay"#),
    ("range-vtep-prefix", 7, r#"nodes[1].vtep: "192.168.50.2/24" is not an IPv4 or IPv6 address"#),
    ("range-vtep-text", 7, r#"nodes[1].vtep: "node-b" is not an IPv4 or IPv6 address"#),
    ("range-vtep-unspecified", 7, r#"nodes[1].vtep: "0.0.0.0" is among the unspecified addresses (0.0.0.0/8); use the node's address on the underlay"#),
];

#[test]
fn each_gets_its_message() {
    for (name, code, message) in CASES {
        let bytes = testdata::read("bad", name);
        let error = RangeFile::parse(Path::new("/pods.json"), &bytes).unwrap_err();
        assert_eq!(error.to_string(), format!("/pods.json: {message}"), "{name}");
        assert_eq!(error.code(), *code, "{name}");
    }
}

#[test]
fn every_file_is_in_the_table() {
    let listed: Vec<_> = CASES.iter().map(|case| case.0.to_owned()).collect();
    assert_eq!(testdata::names("bad", "range-"), listed);
}

#[test]
fn unreadable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().set_len((64 << 20) + 1).unwrap();
    let cases = [
        (folder.join("testdata/none.json"), "No such file or directory (os error 2)"),
        (folder.join("testdata"), "Is a directory (os error 21)"),
        // Opening a FIFO without a writer, or reading this one, would not come to an end.
        ("/dev/zero".into(), "it is not a regular file"),
        (large.path().to_owned(), "it is longer than 67108864 bytes"),
    ];
    for (path, reason) in cases {
        let error = RangeFile::load(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}: {reason}", path.display()));
        assert_eq!(error.code(), 5);
    }
}
