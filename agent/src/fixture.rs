//! Clusters for tests, in few words.

use std::path::Path;
use std::sync::Arc;

use flatnet_conf::ClusterNetwork;
use ipnetwork::IpNetwork;

use crate::aged::Born;
use crate::cluster::{BlockEntry, Cluster, NodeEntry, label_name};

/// What the tests' nodes have in common.
pub fn network() -> ClusterNetwork {
    let text = br#"{"name":"pods","vni":7,"clusterCIDRs":["10.1.0.0/16","fd00:1::/64"]}"#;
    ClusterNetwork::parse(Path::new("n.json"), text).unwrap()
}

pub fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

/// `NAME VTEP` for a node, `RANGE NODE` for a block, with ` retiring` or not; each younger than the one before.
pub fn cluster(words: &[&str]) -> Cluster {
    let mut cluster = Cluster::default();
    for (at, words) in words.iter().enumerate() {
        add(&mut cluster, words, i64::try_from(at).unwrap());
    }
    cluster
}

/// Adds one of those.
pub fn add(cluster: &mut Cluster, words: &str, at: i64) {
    let words: Vec<_> = words.split(' ').collect();
    match words[..] {
        [range, node, ref rest @ ..] if range.contains('/') => {
            let key = range.parse().map_or_else(|_| range.to_owned(), label_name);
            let born = Born { at, name: key.clone() };
            let (node, retiring) = (node.to_owned(), !rest.is_empty());
            let block = BlockEntry::new(key, range, node, retiring, born, label_name);
            cluster.blocks.put(Arc::new(block));
        }
        [name, vtep] => {
            let born = Born { at, name: name.to_owned() };
            cluster.nodes.put(Arc::new(NodeEntry::new(name.to_owned(), vtep, born)));
        }
        _ => unreachable!("{words:?}"),
    }
}
