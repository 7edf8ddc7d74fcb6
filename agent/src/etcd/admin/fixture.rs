//! Keys for tests, in the words of the clusters of other tests.

use std::sync::Arc;

use super::lease::Life;
use super::view::{Seen, View};
use crate::cluster::{BlockEntry, Cluster, path_name};
use crate::etcd::keys::{Entry, Keys};
use crate::fixture;

/// Keys that hang on no lease.
pub fn view(words: &[&str]) -> View {
    let keys = Keys::of("pods");
    let Cluster { nodes, blocks } = fixture::cluster(words);
    let nodes = nodes.iter().map(|node| (keys.node(&node.name), Entry::Node(Arc::clone(node))));
    let blocks = blocks.iter().map(|block| {
        let range = block.subnet().unwrap();
        let (node, born) = (block.node.clone(), block.born.clone());
        let (key, retiring) = (path_name(range), block.retiring);
        let block = BlockEntry::new(key, &range.to_string(), node, retiring, born, path_name);
        (keys.block(range), Entry::Block(Arc::new(block)))
    });
    let seen = nodes.chain(blocks).map(|(key, entry)| Seen { key, entry, lease: 0, modified: 1 });
    View { seen: seen.collect(), ..View::default() }
}

/// The keys of a node hang on a lease.
pub fn lives(view: &mut View, node: &str, granted: i64, left: i64) {
    let id = i64::try_from(view.leases.len()).unwrap() + 1;
    view.leases.insert(id, Some(Life { granted, left }));
    view.seen.iter_mut().filter(|seen| seen.entry.node() == node).for_each(|seen| seen.lease = id);
}
