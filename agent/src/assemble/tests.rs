use std::path::Path;
use std::sync::Arc;

use flatnet_conf::{Range, RangeFile};
use proptest::prelude::*;

use super::*;
use crate::cluster::Cluster;
use crate::fixture::{add, cluster, net, network};
use crate::judge::judge;

fn file(cluster: &Cluster) -> Option<RangeFile> {
    let network = network();
    range_file(&network, &judge(&network, cluster), &|_| false)
}

/// The nodes with their ranges, a line each.
fn nodes(file: &Option<RangeFile>) -> Vec<String> {
    let nodes = file.iter().flat_map(|file| &file.nodes);
    let ranges = |node: &Node| -> String {
        let mark = |range: &Range| if range.is_retiring() { "!" } else { "" };
        node.ranges.iter().map(|range| format!(" {}{}", range.subnet(), mark(range))).collect()
    };
    nodes.map(|node| format!("{} {}{}", node.name, node.vtep, ranges(node))).collect()
}

#[test]
fn the_file_is_the_join_of_nodes_and_blocks() {
    let file = file(&cluster(&[
        "b 192.0.2.2",
        "a 192.0.2.1",
        "no-block 192.0.2.3",
        "10.1.2.0/24 b",
        "fd00:1::100/120 a",
        "10.1.1.0/24 a",
        "10.1.3.0/24 no-node",
    ]));
    assert_eq!(
        nodes(&file),
        ["a 192.0.2.1 fd00:1::100/120 10.1.1.0/24", "b 192.0.2.2 10.1.2.0/24"]
    );
    let file = file.unwrap();
    assert_eq!((file.vni, file.port, file.direct_routing), (7, 4789, false));
    assert_eq!(file.cluster_cidrs, [net("10.1.0.0/16"), net("fd00:1::/64")]);
}

#[test]
fn nothing_is_no_file() {
    for words in [&[][..], &["a 192.0.2.1"], &["10.1.1.0/24 a"], &["a x", "10.1.1.0/24 a"]] {
        assert_eq!(file(&cluster(words)), None, "{words:?}");
    }
}

#[test]
fn the_oldest_block_comes_first_and_those_for_living_pods_alone_are_marked() {
    let words = ["a 192.0.2.1", "10.1.5.0/24 a retiring", "10.1.9.0/24 a", "10.1.1.0/24 a"];
    let file = file(&cluster(&words));
    assert_eq!(nodes(&file), ["a 192.0.2.1 10.1.5.0/24! 10.1.9.0/24 10.1.1.0/24"]);
}

#[test]
fn a_range_of_this_node_can_be_left_out() {
    let network = network();
    let cluster = cluster(&["a 192.0.2.1", "10.1.5.0/24 a", "10.1.9.0/24 a"]);
    let judged = judge(&network, &cluster);
    let file = range_file(&network, &judged, &|range| range == net("10.1.5.0/24"));
    assert_eq!(nodes(&file), ["a 192.0.2.1 10.1.9.0/24"]);
    assert_eq!(range_file(&network, &judged, &|_| true), None);
}

/// Objects as anybody might write them: many are right, many contradict each other.
fn objects() -> impl Strategy<Value = Vec<String>> {
    let name = || "[a-h]";
    let vtep = prop_oneof![
        8 => (1u8..12).prop_map(|last| format!("192.0.2.{last}")),
        1 => (1u8..4).prop_map(|last| format!("2001:db8::{last}")),
        1 => Just("10.1.0.9".to_owned()),
        1 => "[ -~&&[^ /]]{1,8}",
    ];
    let range = prop_oneof![
        6 => (0u8..8, 22u8..27).prop_map(|(third, prefix)| format!("10.1.{third}.0/{prefix}")),
        2 => (0u8..4, 118u8..122).prop_map(|(block, prefix)| format!("fd00:1::{block}00/{prefix}")),
        1 => Just("10.9.0.0/24".to_owned()),
        1 => "[ -~&&[^ ]]{1,4}/[0-9]{1,3}",
    ];
    let node = (name(), vtep).prop_map(|(name, vtep)| format!("{name} {vtep}"));
    let block = (range, name(), prop::bool::weighted(0.2)).prop_map(|(range, name, retiring)| {
        format!("{range} {name}{}", if retiring { " retiring" } else { "" })
    });
    prop::collection::vec(prop_oneof![node, block], 0..40)
}

/// Those that an engine can have: a name exists once. Of some moments there are two.
fn engine(objects: &[String]) -> Cluster {
    let mut cluster = Cluster::default();
    for (at, words) in (0i64..).zip(objects) {
        let mut one = Cluster::default();
        add(&mut one, words, at / 2);
        join(&mut cluster, &one);
    }
    cluster
}

/// Adds those whose names are free.
fn join(cluster: &mut Cluster, more: &Cluster) {
    for node in more.nodes.iter() {
        if cluster.nodes.iter().all(|other| other.name != node.name) {
            cluster.nodes.put(Arc::clone(node));
        }
    }
    for block in more.blocks.iter() {
        if cluster.blocks.iter().all(|other| other.key != block.key) {
            cluster.blocks.put(Arc::clone(block));
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_can_be_read(objects in objects()) {
        if let Some(file) = file(&engine(&objects)) {
            let again = RangeFile::parse(Path::new("r.json"), file.to_json().as_bytes());
            prop_assert_eq!(again.map_err(|e| e.to_string()), Ok(file));
        }
    }

    #[test]
    fn every_node_finds_the_same_whatever_it_heard_first(
        objects in objects(),
        seed in any::<prop::sample::Index>(),
    ) {
        let cluster = engine(&objects);
        let mut shuffled = Cluster::default();
        cluster.nodes.iter().rev().for_each(|node| shuffled.nodes.put(Arc::clone(node)));
        let (first, last) = cluster.blocks.split_at(seed.index(cluster.blocks.len() + 1));
        last.iter().chain(first).for_each(|block| shuffled.blocks.put(Arc::clone(block)));
        let network = network();
        prop_assert_eq!(judge(&network, &cluster), judge(&network, &shuffled));
    }

    /// What is judged is kept from one state of the cluster to the next.
    #[test]
    fn what_was_judged_before_makes_no_difference(
        objects in objects(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
    ) {
        let all = engine(&objects);
        let network = network();
        let (mut cluster, mut judged) = (Cluster::default(), Judged::default());
        let count = all.nodes.len() + all.blocks.len();
        // First one after the other as they were made, then any, which come and go.
        let in_order = (0..count).map(|place| (place, true));
        let any = changes.iter().filter(|_| count > 0).map(|(place, comes)| (place.index(count), *comes));
        for (place, comes) in in_order.chain(any) {
            match (place.checked_sub(all.nodes.len()), comes) {
                (None, true) => cluster.nodes.put(Arc::clone(&all.nodes[place])),
                (None, false) => cluster.nodes.remove(&all.nodes[place].born),
                (Some(place), true) => cluster.blocks.put(Arc::clone(&all.blocks[place])),
                (Some(place), false) => cluster.blocks.remove(&all.blocks[place].born),
            }
            judged.renew(&network, &cluster);
            prop_assert_eq!(&judged, &judge(&network, &cluster));
        }
    }

    #[test]
    fn what_comes_takes_nothing_away(objects in objects(), newer in objects()) {
        let mut cluster = engine(&objects);
        let before = file(&cluster);
        for words in newer {
            let mut more = Cluster::default();
            add(&mut more, &words, 1000);
            join(&mut cluster, &more);
        }
        let after = file(&cluster);
        for node in before.iter().flat_map(|file| &file.nodes) {
            let same = after.as_ref().and_then(|file| file.node(&node.name));
            prop_assert_eq!(same.map(|same| same.vtep), Some(node.vtep));
            for range in &node.ranges {
                prop_assert!(same.is_some_and(|same| same.ranges.contains(range)), "{:?}", range);
            }
        }
    }

    #[test]
    fn nothing_is_left_out_without_a_word(objects in objects()) {
        let cluster = engine(&objects);
        let network = network();
        let judged = judge(&network, &cluster);
        let count = judged.nodes.len() + judged.blocks.iter().count() + judged.rejected().count();
        prop_assert_eq!(count, cluster.nodes.len() + cluster.blocks.len());
    }
}
