//! What is known of the cluster: a few words of each key. The watch writes it, the agent reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::keys::{Entry, Keys};
use super::wire::KeyValue;
use crate::cluster::Cluster;
use crate::trouble::Troubles;

/// What an own key holds, and what it hangs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub value: Vec<u8>,
    pub lease: i64,
    pub modified: i64,
}

/// All keys of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    keys: Keys,
    node: String,
    entries: BTreeMap<Vec<u8>, Entry>,
    /// What they say.
    cluster: Cluster,
    own: BTreeMap<Vec<u8>, Own>,
}

impl Objects {
    /// None yet; `node` is whose are the own ones.
    pub fn none_of(keys: &Keys, node: &str) -> Self {
        let (entries, own) = (BTreeMap::new(), BTreeMap::new());
        let (keys, node, cluster) = (keys.clone(), node.to_owned(), Cluster::default());
        Self { keys, node, entries, cluster, own }
    }

    /// A key as it is now. Says whether that is news.
    pub fn put(&mut self, kv: KeyValue) -> bool {
        let Some(entry) = self.keys.read(&kv) else { return false };
        let KeyValue { key, value, lease, mod_revision: modified, .. } = kv;
        if entry.node() == self.node {
            // What was done here is known before the watch tells of it.
            if self.own.get(&key).is_some_and(|own| own.modified > modified) {
                return false;
            }
            self.own.insert(key.clone(), Own { value, lease, modified });
        } else {
            self.own.remove(&key);
        }
        if self.entries.get(&key) == Some(&entry) {
            return false;
        }
        // It may be another of the name, made at another time.
        self.forget(&key);
        match &entry {
            Entry::Node(node) => self.cluster.nodes.put(Arc::clone(node)),
            Entry::Block(block) => self.cluster.blocks.put(Arc::clone(block)),
        }
        self.entries.insert(key, entry);
        true
    }

    /// A key is no more. Says whether that is news.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.own.remove(key);
        self.forget(key)
    }

    fn forget(&mut self, key: &[u8]) -> bool {
        let entry = self.entries.remove(key);
        match &entry {
            Some(Entry::Node(node)) => self.cluster.nodes.remove(&node.born),
            Some(Entry::Block(block)) => self.cluster.blocks.remove(&block.born),
            None => {}
        }
        entry.is_some()
    }

    /// What they say.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Own ones by their keys.
    pub fn own(&self) -> &BTreeMap<Vec<u8>, Own> {
        &self.own
    }

    /// An own key hangs on another lease now.
    pub fn hung(&mut self, key: &[u8], lease: i64, modified: i64) {
        if let Some(own) = self.own.get_mut(key) {
            (own.lease, own.modified) = (lease, modified);
        }
    }
}

/// What the watch knows.
#[derive(Debug, Default)]
pub struct State {
    /// All keys; `None` until they were listed.
    pub objects: Option<Objects>,
    /// When the store was last found to have gone back.
    pub went_back: Option<Instant>,
    /// What keeps the watch, or the lease, from etcd.
    pub troubles: Troubles,
}

impl State {
    /// All of them, once they were listed.
    pub fn cluster(&self) -> Option<Cluster> {
        self.objects.as_ref().map(|objects| objects.cluster().clone())
    }
}

/// The state, and who is told of changes.
#[derive(Debug, Default)]
pub struct Shared {
    state: Mutex<State>,
    /// For the agent.
    pub news: Notify,
    /// For the task that sees to it that own keys hang on the lease.
    pub own: Notify,
}

impl Shared {
    /// To look at it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change what is known of the keys: the change says whether there is something new.
    pub fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        if change(&mut self.state()) {
            self.news.notify_one();
        }
        // What a key hangs on is no news.
        self.own.notify_one();
    }

    /// A part has trouble, or none any more.
    pub fn trouble(&self, of: &'static str, trouble: Option<String>) {
        if self.state().troubles.set(of, trouble) {
            self.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{block_value, node_value};
    use super::*;
    use crate::fixture::{net, network};
    use crate::judge::judge;

    fn kv(key: Vec<u8>, value: Vec<u8>, modified: i64, lease: i64) -> KeyValue {
        KeyValue { key, value, create_revision: 2, mod_revision: modified, lease }
    }

    #[test]
    fn own_keys_are_known_with_their_leases() {
        let keys = Keys::of("pods");
        let mut objects = Objects::none_of(&keys, "a");
        let block = keys.block(net("10.1.1.0/24"));
        let value = |node| block_value(net("10.1.1.0/24"), node, false);
        assert!(objects.put(kv(keys.node("a"), node_value("192.0.2.1"), 3, 7)));
        assert!(!objects.put(kv(keys.node("a"), node_value("192.0.2.1"), 3, 7)), "it is known");
        assert!(objects.put(kv(keys.node("a"), node_value("192.0.2.1"), 4, 8)), "it is younger");
        assert!(objects.put(kv(keys.node("b"), node_value("192.0.2.2"), 5, 9)));
        assert!(objects.put(kv(block.clone(), value("a"), 6, 7)));
        assert!(!objects.put(kv(b"/flatnet/pods/notes".to_vec(), b"x".to_vec(), 7, 0)));
        let leases = |objects: &Objects| {
            objects.own().values().map(|own| (own.lease, own.modified)).collect::<Vec<_>>()
        };
        assert_eq!(leases(&objects), [(7, 6), (8, 4)]);
        objects.hung(&block, 8, 10);
        assert!(!objects.put(kv(block.clone(), value("a"), 6, 7)), "an old one");
        assert!(!objects.put(kv(block.clone(), value("a"), 10, 8)), "a block is as old as its key");
        assert_eq!(leases(&objects), [(8, 10), (8, 4)]);
        assert_eq!(objects.len(), 3);

        assert!(objects.put(kv(block.clone(), value("b"), 11, 9)));
        assert_eq!(objects.own().len(), 1, "it is another's");
        assert!(objects.remove(&keys.node("a")) && !objects.remove(&keys.node("a")));
        assert!(objects.own().is_empty());
        let cluster = objects.cluster();
        assert_eq!((cluster.nodes.len(), cluster.blocks[0].node.as_str()), (1, "b"));
    }

    #[test]
    fn who_writes_over_a_nodes_key_puts_out_no_other_node() {
        let (keys, network) = (Keys::of("pods"), network());
        let three = [("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")];
        let fleet = || {
            let mut objects = Objects::none_of(&keys, "a");
            for (at, (name, vtep)) in (3..).zip(three) {
                objects.put(kv(keys.node(name), node_value(vtep), at, 7));
            }
            objects
        };
        let all = judge(&network, fleet().cluster()).nodes;
        assert_eq!(all.len(), 3);
        let others = ["fd00:77::1", "10.1.2.3", "nonsense"];
        for (written, own) in three {
            for wrong in three.map(|(_, vtep)| vtep).into_iter().chain(others) {
                let mut objects = fleet();
                objects.put(kv(keys.node(written), node_value(wrong), 9, 0));
                let mut expected = all.clone();
                if wrong != own {
                    expected.remove(written);
                }
                let counts = judge(&network, objects.cluster()).nodes;
                assert_eq!(counts, expected, "{written} at {wrong}");
            }
        }
    }

    #[tokio::test]
    async fn who_waits_is_told_of_what_is_new() {
        let shared = Shared::default();
        shared.change(|_| false);
        let quiet = tokio::time::timeout(std::time::Duration::ZERO, shared.news.notified()).await;
        assert!(quiet.is_err());
        shared.trouble("watch", Some("refused".to_owned()));
        shared.news.notified().await;
    }
}
