use super::*;
use crate::cluster::{label_name, path_name};
use crate::fixture::{cluster, net, network};

/// What is left out, in words, of these objects.
fn rejected(words: &[&str]) -> Vec<String> {
    let cluster = cluster(words);
    let judged = judge(&network(), &cluster);
    judged.rejected().map(|r| format!("{}: {r}", r.reason.word())).collect()
}

#[test]
fn what_is_right_counts() {
    let words =
        ["b 192.0.2.2", "a 192.0.2.1", "10.1.1.0/24 a", "fd00:1::100/120 a", "10.1.9.0/24 x"];
    assert_eq!(rejected(&words), [""; 0]);
    let cluster = cluster(&words);
    let judged = judge(&network(), &cluster);
    assert_eq!(judged.nodes.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(judged.ipv4, Some(true));
    let held: Vec<_> =
        judged.blocks.iter().map(|(r, block)| format!("{r} {}", block.node)).collect();
    assert_eq!(held, ["10.1.1.0/24 a", "10.1.9.0/24 x", "fd00:1::100/120 a"]);
}

#[test]
fn the_older_one_is_right() {
    for (words, expected) in [
        (
            &["a 192.0.2.1", "b 192.0.2.1"][..],
            "taken: node b is left out: its VTEP 192.0.2.1 is that of a, which is older",
        ),
        (
            &["a 192.0.2.1", "b fd00::2"],
            "family: node b is left out: its VTEP fd00::2 is not of the family that the oldest is of; all VTEPs are of one",
        ),
        (
            &["10.1.1.0/24 a", "10.1.1.128/25 b"],
            "taken: block 10-1-1-128-25 is left out: 10.1.1.128/25 overlaps 10.1.1.0/24 of a, which is older",
        ),
        (
            &["10.1.1.128/25 b", "10.1.0.0/16 a"],
            "taken: block 10-1-0-0-16 is left out: 10.1.0.0/16 overlaps 10.1.1.128/25 of b, which is older",
        ),
    ] {
        assert_eq!(rejected(words), [expected]);
    }
}

/// Whoever could choose a VTEP with an older one's MAC would have its packets.
#[test]
fn no_two_nodes_have_one_mac_on_the_overlay() {
    let cluster = cluster(&["a fd50::1:9e:aa7d", "b fd50::1:7a:b9db", "c fd50::3"]);
    let judged = judge(&ClusterNetwork { vni: 4096, ..network() }, &cluster);
    let rejected: Vec<_> = judged.rejected().map(|r| format!("{}: {r}", r.reason.word())).collect();
    assert_eq!(
        rejected,
        [
            "taken: node b is left out: its VTEP fd50::1:7a:b9db has the MAC 82:a0:4e:49:e4:63 on the overlay, as \
          the VTEP fd50::1:9e:aa7d of a has, which is older; give it another address"
        ]
    );
    assert_eq!(judged.nodes.keys().collect::<Vec<_>>(), ["a", "c"]);
    // Of another VNI the MACs are others.
    assert_eq!(judge(&network(), &cluster).rejected().count(), 0);
}

#[test]
fn nonsense_is_left_out_and_told() {
    for (words, expected) in [
        ("a nowhere", r#"malformed: node a is left out: "nowhere" is not an IPv4 or IPv6 address"#),
        (
            "a 127.0.0.1",
            r#"malformed: node a is left out: "127.0.0.1" is among the loopback addresses (127.0.0.0/8); use the node's address on the underlay"#,
        ),
        (
            "A_ 192.0.2.1",
            r#"malformed: node A_ is left out: "A_" must hold only lower-case letters, digits, - and ."#,
        ),
        (
            "a 10.1.2.3",
            "place: node a is left out: its VTEP 10.1.2.3 is inside the pod network 10.1.0.0/16; use an address of the underlay",
        ),
        (
            "10.2.0.0/24 a",
            "place: block 10-2-0-0-24 is left out: 10.2.0.0/24 is not inside any of clusterCIDRs",
        ),
        (
            "10.0.0.0/8 a",
            "place: block 10-0-0-0-8 is left out: 10.0.0.0/8 is not inside any of clusterCIDRs",
        ),
        (
            "10.1.0.1/24 a",
            r#"malformed: block 10-1-0-1-24 is left out: "10.1.0.1/24" has host bits set; write "10.1.0.0/24""#,
        ),
        (
            "10.1.0.0/32 a",
            r#"malformed: block 10-1-0-0-32 is left out: "10.1.0.0/32" has no address for a pod: its first address is the node's own, and broadcast and excluded ones are not given; use a larger subnet or exclude less"#,
        ),
        (
            "10.1.0.0/24 ../a",
            r#"malformed: block 10-1-0-0-24 is left out: node "../a" must be labels of 1 to 63 characters, joined by dots"#,
        ),
    ] {
        assert_eq!(rejected(&[words]), [expected]);
    }
}

#[test]
fn a_block_has_the_name_of_its_range() {
    let mut cluster =
        cluster(&["10.1.1.0/24 a", "10.1.2.0/24 b", "10.1.3.0/24 c", "10.1.4.0/24 d"]);
    let names: [fn(_) -> _; 2] = [label_name, path_name];
    for (place, key, range, name) in [
        (1, "10.1.2.0-24", "10.1.2.0/24", names[1]),
        (2, "10-1-1-0-24", "10.1.3.0/24", names[0]),
        (3, "10-1-4-0-24", "10.1.4.0/24", names[1]),
    ] {
        let BlockEntry { node, born, .. } = BlockEntry::clone(&cluster.blocks[place]);
        let named = BlockEntry::new(key.to_owned(), range, node, false, born, name);
        cluster.blocks.put(Arc::new(named));
    }
    let network = network();
    let judged = judge(&network, &cluster);
    let told: Vec<_> = judged.rejected().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "block 10-1-1-0-24 is left out: its range is 10.1.3.0/24, whose block is called 10-1-3-0-24",
            "block 10-1-4-0-24 is left out: its range is 10.1.4.0/24, whose block is called 10.1.4.0-24",
        ]
    );
    assert!(judged.blocks.overlapping(net("10.1.2.0/24")).is_some());
    assert!(judged.blocks.overlapping(net("10.1.3.0/24")).is_none());
}
