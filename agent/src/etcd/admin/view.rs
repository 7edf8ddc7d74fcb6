//! All keys of a network, as they are now.

use std::collections::{BTreeMap, BTreeSet};

use flatnet_conf::printable;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::super::client::Failure;
use super::super::keys::Entry;
use super::super::list::list;
use super::super::wire::KeyValue;
use super::lease::{Life, life};
use super::site::Site;
use crate::cluster::Cluster;
use crate::rejected::Rejected;

/// Questions at one time.
const AT_ONCE: usize = 32;

/// A key that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub key: Vec<u8>,
    pub entry: Entry,
    pub lease: i64,
    pub modified: i64,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub seen: Vec<Seen>,
    /// Keys that are neither a node's nor a block's.
    pub others: Vec<Vec<u8>>,
    /// The leases that keys hang on; `None` is one that is no more.
    pub leases: BTreeMap<i64, Option<Life>>,
}

impl View {
    /// Reads it.
    pub async fn read(site: &Site) -> Result<Self, String> {
        let mut view = Self::default();
        let read = async {
            list(&site.client, site.keys.prefix(), |kv| view.add(site.keys.read(&kv), kv)).await?;
            let ids: BTreeSet<i64> = view.seen.iter().map(|seen| seen.lease).collect();
            let ids = ids.into_iter().filter(|id| *id != 0);
            let lives = stream::iter(ids)
                .map(|id| async move { life(&site.client, id).await.map(|life| (id, life)) });
            view.leases = lives.buffer_unordered(AT_ONCE).try_collect().await?;
            Ok(())
        };
        let read: Result<(), Failure> = read.await;
        read.map_err(|failure| format!("reading {}: {failure}", site.keys.prefix()))?;
        Ok(view)
    }

    /// A key that was read.
    pub fn add(&mut self, entry: Option<Entry>, kv: KeyValue) {
        let KeyValue { key, lease, mod_revision: modified, .. } = kv;
        match entry {
            Some(entry) => self.seen.push(Seen { key, entry, lease, modified }),
            None => self.others.push(key),
        }
    }

    /// The cluster, as agents see it.
    pub fn cluster(&self) -> Cluster {
        cluster(self.seen.iter().map(|seen| seen.entry.clone()))
    }

    /// What is left of the lease that keys of a node hang on, of that which lives longest.
    pub fn life(&self, node: &str) -> Option<Life> {
        let own = self.seen.iter().filter(|seen| seen.entry.node() == node);
        let lives = own.filter_map(|seen| self.leases.get(&seen.lease).copied().flatten());
        lives.max_by_key(|life| life.left)
    }
}

/// A cluster of these.
pub fn cluster(entries: impl Iterator<Item = Entry>) -> Cluster {
    let mut cluster = Cluster::default();
    for entry in entries {
        match entry {
            Entry::Node(node) => cluster.nodes.put(node),
            Entry::Block(block) => cluster.blocks.put(block),
        }
    }
    cluster
}

/// Whether it is an entry that is left out.
pub fn is_of(rejected: &Rejected, entry: &Entry) -> bool {
    match entry {
        Entry::Node(node) => rejected.kind == "node" && node.name == rejected.name,
        Entry::Block(block) => rejected.kind == "block" && block.key == rejected.name,
    }
}

/// A key for people.
pub fn shown(key: &[u8]) -> String {
    printable(&String::from_utf8_lossy(key))
}
