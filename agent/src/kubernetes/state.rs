//! What is known of the cluster: a few words of each object. Watches write it, the agent reads it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnetwork::IpNetwork;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::aged::Aged;
use crate::cluster::{BlockEntry, Cluster, NodeEntry};
use crate::trouble::Troubles;

use super::ask::Failure;
use super::seen::{Kind, Seen};

/// An object: what it says, and of an own one whose it is.
#[derive(Clone, Debug, PartialEq)]
struct Object<T> {
    entry: Arc<T>,
    own: Option<Box<Own>>,
}

/// Of an own object, what is asked before it is given to another owner.
#[derive(Clone, Debug, PartialEq)]
struct Own {
    uid: String,
    owners: Vec<String>,
    going: bool,
}

/// All objects of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<T> {
    node: String,
    objects: HashMap<String, Object<T>>,
    /// What each says.
    entries: Aged<T>,
}

impl<T: Kind> Kept<T> {
    /// None yet; `node` is whose are the own ones.
    pub fn none_of(node: &str) -> Kept<T> {
        Kept { node: node.to_owned(), objects: HashMap::new(), entries: Aged::default() }
    }

    /// An object as it is now. Says whether that is news.
    pub fn put(&mut self, seen: &Seen) -> bool {
        let entry = T::read(seen);
        let own = (entry.node() == self.node).then(|| Box::new(own(seen)));
        let object = Object { entry: Arc::new(entry), own };
        if self.objects.get(&seen.metadata.name) == Some(&object) {
            return false;
        }
        // It may be another of the name, made at another time.
        self.remove(seen);
        self.entries.put(Arc::clone(&object.entry));
        self.objects.insert(seen.metadata.name.clone(), object);
        true
    }

    /// An object is no more. Says whether that is news.
    pub fn remove(&mut self, seen: &Seen) -> bool {
        let known = self.objects.remove(&seen.metadata.name);
        known.inspect(|known| self.entries.remove(known.entry.born())).is_some()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// One of the own ones, if there is any: name and uid.
    pub fn own(&self) -> Option<(String, String)> {
        let mut objects = self.objects.iter();
        objects.find_map(|(name, object)| Some((name.clone(), object.own.as_ref()?.uid.clone())))
    }

    /// Own objects that another than the Node of this uid owns, or no object: name and uid.
    pub fn owned_otherwise(&self, node_uid: &str) -> Vec<(String, String)> {
        let objects = self.objects.iter();
        objects
            .filter_map(|(name, object)| {
                let own =
                    object.own.as_ref().filter(|own| !own.going && own.owners != [node_uid])?;
                Some((name.clone(), own.uid.clone()))
            })
            .collect()
    }
}

fn own(seen: &Seen) -> Own {
    let owners = seen.metadata.owner_references.iter().map(|owner| owner.uid.clone());
    Own {
        uid: seen.metadata.uid.clone(),
        owners: owners.collect(),
        going: seen.metadata.deletion_timestamp.is_some(),
    }
}

/// What is kept of the Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Tells it from one of the same name before or after it.
    pub uid: String,
    /// Its InternalIPs.
    pub addresses: Vec<IpAddr>,
    /// Its `podCIDRs`.
    pub ranges: Vec<IpNetwork>,
    /// Whether its condition says so already.
    pub available: bool,
}

/// The Node of this node's name.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OwnNode {
    /// Not asked for yet.
    #[default]
    Unread,
    /// There is none.
    Absent,
    /// This one.
    Is(Node),
}

/// What each watch knows.
#[derive(Debug, Default)]
pub struct State {
    /// FlatnetNodes; `None` until all were listed.
    pub nodes: Option<Kept<NodeEntry>>,
    /// FlatnetBlocks; `None` until all were listed.
    pub blocks: Option<Kept<BlockEntry>>,
    /// The own Node.
    pub own: OwnNode,
    /// When the store was found to have been put back to an older copy.
    pub went_back: Option<Instant>,
    /// What keeps watches from the server.
    troubles: Troubles,
}

impl State {
    /// Both kinds, once both were listed.
    pub fn cluster(&self) -> Option<Cluster> {
        let (nodes, blocks) = (self.nodes.as_ref()?, self.blocks.as_ref()?);
        Some(Cluster { nodes: nodes.entries.clone(), blocks: blocks.entries.clone() })
    }

    /// The Node, if it is there.
    pub fn node(&self) -> Option<&Node> {
        match &self.own {
            OwnNode::Is(node) => Some(node),
            _ => None,
        }
    }

    /// The Node of this uid has its condition now. Nothing waits to hear it.
    pub fn now_available(&mut self, uid: &str) -> bool {
        if let OwnNode::Is(node) = &mut self.own {
            node.available |= node.uid == uid;
        }
        false
    }

    /// What keeps watches from the server.
    pub fn trouble(&self) -> Option<String> {
        self.troubles.text()
    }
}

/// The state, and who is told of changes.
#[derive(Debug, Default)]
pub struct Shared {
    server: String,
    state: Mutex<State>,
    /// For the agent.
    pub news: Notify,
    /// For the task that sees to it that own objects are the Node's.
    pub owners: Notify,
}

impl Shared {
    /// Nothing is known yet; `server` is for messages.
    pub fn new(server: String) -> Shared {
        Shared { server, ..Shared::default() }
    }

    /// To look at it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change it: the change says whether there is something new.
    pub fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        let news = change(&mut self.state());
        if news {
            self.news.notify_one();
            self.owners.notify_one();
        }
    }

    /// A watch has trouble, or has none any more. A server that cannot be reached is the same trouble for all.
    pub fn trouble(&self, of: &'static str, failure: Option<&Failure>) {
        let trouble = failure.map(|failure| match failure.code() {
            // A Node that is missing is no trouble of its watch, which selects it.
            Some(404) => format!(
                "the API server knows no {of} ({failure}): apply the manifest, whose \
                 CustomResourceDefinitions are absent"
            ),
            Some(_) => format!("watching {of}: {failure}"),
            None => format!("asking the API server {}: {failure}", self.server),
        });
        self.change(|state| state.troubles.set(of, trouble));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(object: Value) -> Seen {
        serde_json::from_value(object).unwrap()
    }

    fn block(name: &str, node: &str, owners: &[&str]) -> Seen {
        let owners: Vec<_> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        seen(json!({
            "metadata": {"name": name, "uid": format!("u-{name}"), "ownerReferences": owners},
            "spec": {"range": name, "node": node},
        }))
    }

    #[test]
    fn a_kind_that_the_server_does_not_know_is_named() {
        let shared = Shared::new("https://192.0.2.1".to_owned());
        let refused = |code: u16| {
            let said = json!({"status": "Failure", "message": "no", "reason": "", "code": code});
            Failure::Refused(serde_json::from_value(said).unwrap())
        };
        let told = |failure: &Failure| {
            shared.trouble("flatnetblocks.flatnet.dev", Some(failure));
            shared.state().trouble().unwrap()
        };
        assert!(told(&refused(404)).starts_with(
            "the API server knows no flatnetblocks.flatnet.dev (no (HTTP 404)): apply the manifest"
        ));
        assert_eq!(told(&refused(403)), "watching flatnetblocks.flatnet.dev: no (HTTP 403)");
    }

    #[test]
    fn only_what_is_kept_can_be_news() {
        let mut kept = Kept::<NodeEntry>::none_of("n1");
        let node = |vtep: &str, version: &str| {
            seen(
                json!({"metadata": {"name": "n2", "resourceVersion": version}, "spec": {"vtep": vtep}}),
            )
        };
        assert!(kept.put(&node("192.0.2.2", "1")));
        assert!(!kept.put(&node("192.0.2.2", "2")), "somebody wrote a label");
        assert!(kept.put(&node("192.0.2.3", "3")));
        assert_eq!(kept.entries[0].vtep, Ok("192.0.2.3".parse().unwrap()));
        assert!(kept.remove(&node("", "4")));
        assert!(!kept.remove(&node("", "4")));
        assert!(kept.entries.is_empty());
    }

    #[test]
    fn own_objects_of_another_owner_are_found() {
        let mut kept = Kept::<BlockEntry>::none_of("n1");
        kept.put(&block("right", "n1", &["now"]));
        kept.put(&block("old", "n1", &["before"]));
        kept.put(&block("both", "n1", &["before", "now"]));
        kept.put(&block("nobody", "n1", &[]));
        kept.put(&block("foreign", "n2", &["before"]));
        let mut going = block("going", "n1", &["before"]);
        going.metadata.deletion_timestamp = Some("2026-01-02T03:04:05Z".to_owned());
        kept.put(&going);
        let mut found = kept.owned_otherwise("now");
        found.sort();
        let with_uid = |name: &str| (name.to_owned(), format!("u-{name}"));
        assert_eq!(found, ["both", "nobody", "old"].map(with_uid));
    }

    #[test]
    fn a_cluster_is_known_once_both_kinds_are() {
        let mut state = State { nodes: Some(Kept::none_of("n1")), ..State::default() };
        assert_eq!(state.cluster(), None);
        state.blocks = Some(Kept::none_of("n1"));
        assert_eq!(state.cluster(), Some(Cluster::default()));
    }

    #[tokio::test]
    async fn trouble_is_news_when_it_changes() {
        let shared = Shared::new("https://192.0.2.1".to_owned());
        let refused = Failure::Unreachable("refused".to_owned());
        shared.trouble("nodes", Some(&refused));
        shared.news.notified().await;
        shared.trouble("nodes", Some(&refused));
        shared.trouble("blocks", Some(&refused));
        shared.trouble("nodes", None);
        let quiet = tokio::time::timeout(std::time::Duration::ZERO, shared.news.notified()).await;
        assert!(quiet.is_err(), "the same was told twice");
        let said = shared.state().trouble();
        assert_eq!(said.as_deref(), Some("asking the API server https://192.0.2.1: refused"));
        shared.trouble("blocks", None);
        shared.news.notified().await;
        assert_eq!(shared.state().trouble(), None);
    }
}
