//! Kubernetes as the source: three watches, and few writes.
//!
//! Each agent watches FlatnetNodes and FlatnetBlocks, which are silent until a node comes or goes, and of all
//! Nodes its own alone. Watches run as tasks beside the agent and keep a few words of each object (see
//! `Seen`); the agent is told that something is new, and looks at all of it.
//!
//! # Whose the objects are, and what happens when the Node goes
//!
//! FlatnetNode and FlatnetBlocks are owned by the Node, by name and uid, so Kubernetes' garbage collector deletes
//! them once no Node of that uid is there. That is right for a node that is gone. It is not for one that lives on:
//! somebody deletes a Node whose kubelet registers it again, while pods live in its blocks.
//!
//! - While there is no Node, the collector deletes both kinds, within a second or so. The agent hears of it from
//!   the watch and claims again at once each block in which pods live, without an owner, as there is none: the
//!   collector leaves these alone. Between the two another node can take the range. It would have to be told to,
//!   by a Node with that `podCIDR`, in that moment; the claim is lost then, which is told as [`Refusal::Taken`].
//! - Once the Node is there again it has another uid. Own objects with the old uid or none are given to it at
//!   once (`Doer::adopt`), whether or not the collector was there before. If it comes in between, the
//!   object is claimed again.
//! - What is left without an owner, because the machine ended while there was no Node, stays until somebody
//!   deletes it: `kubectl get flatnetblocks` shows a node that does not exist. To lose the ranges of living pods
//!   would be worse, and no agent may delete what is another node's.
//!
//! A finalizer would keep the blocks from ever being free in between, but also those of each node that is gone
//! for good, as nothing is there to take it off.

mod ask;
mod client;
mod count;
mod deeds;
mod kind;
mod network;
mod node;
mod notices;
pub mod objects;
mod pace;
mod seen;
mod state;
mod token;

use std::path::Path;
use std::sync::Arc;

use flatnet_conf::matters::Engine;
use hyper::Method;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use crate::backoff::random;
use crate::cluster::Cluster;
use crate::source::{Deed, Notice, OwnNode, Refusal, Source, Traffic};
use crate::turns::{FORGETS, Turns, delay};
use crate::watching::forever;

pub use crate::requests::Requests;
pub use client::ConnectError;
pub use network::Network;

use ask::{BRIEF, ask};
use deeds::Doer;
use kind::AllOf;
use node::OwnWatch;
use state::Shared;

/// The cluster's objects as an API server tells them.
pub struct Kubernetes {
    client: Client,
    node: String,
    network: Network,
    shared: Arc<Shared>,
    counts: Arc<Requests>,
    notices: Sender<Notice>,
    /// They end with this.
    _tasks: JoinSet<()>,
}

impl Kubernetes {
    /// The source for a network, and the node of this name, with the credentials of a kubeconfig, else of the pod. An API
    /// server that does not answer is no error, but trouble.
    pub async fn connect(
        network: Network,
        node: &str,
        kubeconfig: Option<&Path>,
    ) -> Result<Kubernetes, ConnectError> {
        if !is_node_name(node) {
            return Err(ConnectError::NodeName(node.to_owned()));
        }
        if let (Network::Secondary(name), false) = (&network, network.has_label_value()) {
            return Err(ConnectError::NetworkName(name.clone()));
        }
        let counts = Arc::<Requests>::default();
        let (client, server) = client::connect(kubeconfig, &counts).await?;
        let shared = Arc::new(Shared::new(server));
        let (notices, telling) = notices::teller(client.clone(), Arc::clone(&shared), node);
        let mut tasks = JoinSet::new();
        tasks.spawn(telling);
        let owned = (network.clone(), node.to_owned());
        tasks.spawn(adopting(client.clone(), Arc::clone(&shared), owned.0, owned.1));
        watching(&mut tasks, &client, &shared, &network, node);
        Ok(Kubernetes {
            client,
            node: node.to_owned(),
            network,
            shared,
            counts,
            notices,
            _tasks: tasks,
        })
    }

    /// What the API server was asked; it goes on counting.
    pub fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.counts)
    }

    fn doer(&self) -> Doer<'_> {
        let uid = self.shared.state().node().map(|node| node.uid.clone());
        Doer { client: &self.client, node: &self.node, network: &self.network, uid }
    }
}

/// The name goes into paths and selectors.
fn is_node_name(name: &str) -> bool {
    let allowed = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter)
    };
    let ends = |end: Option<char>| end.is_some_and(|letter| letter.is_ascii_alphanumeric());
    name.len() <= 253
        && name.chars().all(allowed)
        && ends(name.chars().next())
        && ends(name.chars().next_back())
}

fn watching(
    tasks: &mut JoinSet<()>,
    client: &Client,
    shared: &Arc<Shared>,
    network: &Network,
    node: &str,
) {
    let turns = Arc::<Turns>::default();
    let (way, known) = (|| client.clone(), || Arc::clone(shared));
    tasks.spawn(forever(OwnWatch::new(way(), known(), node), Arc::clone(&turns)));
    let nodes = AllOf::new(way(), known(), node, String::new(), |state| &mut state.nodes);
    tasks.spawn(forever(nodes, Arc::clone(&turns)));
    let blocks = AllOf::new(way(), known(), node, network.selector(), |state| &mut state.blocks);
    tasks.spawn(forever(blocks, turns));
}

/// Gives own objects to the Node that is there now, for ever.
async fn adopting(client: Client, shared: Arc<Shared>, network: Network, node: String) {
    let mut failures = 0;
    loop {
        match adopt(&client, &shared, &network, &node).await {
            Ok(()) => {
                failures = 0;
                shared.owners.notified().await;
            }
            Err(failure) => {
                log::debug!("giving objects to Node {node}: {failure}");
                failures += 1;
                tokio::time::sleep(delay(failures, random())).await;
            }
        }
    }
}

async fn adopt(
    client: &Client,
    shared: &Shared,
    network: &Network,
    node: &str,
) -> Result<(), ask::Failure> {
    let (uid, nodes, blocks) = {
        let state = shared.state();
        let Some(uid) = state.node().map(|node| node.uid.clone()) else { return Ok(()) };
        let nodes = state.nodes.as_ref().map(|kept| kept.owned_otherwise(&uid));
        let blocks = state.blocks.as_ref().map(|kept| kept.owned_otherwise(&uid));
        (uid, nodes.unwrap_or_default(), blocks.unwrap_or_default())
    };
    let doer = Doer { client, node, network, uid: Some(uid) };
    for (name, uid) in nodes {
        doer.adopt::<crate::cluster::NodeEntry>(&name, &uid).await?;
    }
    for (name, uid) in blocks {
        doer.adopt::<crate::cluster::BlockEntry>(&name, &uid).await?;
    }
    Ok(())
}

impl Source for Kubernetes {
    const ENGINE: Engine = Engine::Kubernetes;

    async fn changed(&mut self) {
        self.shared.news.notified().await;
    }

    fn cluster(&self) -> Option<Cluster> {
        self.shared.state().cluster()
    }

    fn own(&self) -> Option<OwnNode> {
        let state = self.shared.state();
        let node = state.node()?;
        // What a Node is given is of the network that Kubernetes knows.
        let ranges = match self.network {
            Network::Primary => node.ranges.clone(),
            Network::Secondary(_) => Vec::new(),
        };
        Some(OwnNode { addresses: node.addresses.clone(), ranges })
    }

    /// The controller manager does, when it has the time.
    fn gives_ranges(&self) -> bool {
        self.network == Network::Primary
    }

    fn forgets(&self) -> bool {
        self.shared.state().went_back.is_some_and(|at| at.elapsed() < FORGETS)
    }

    fn trouble(&self) -> Option<String> {
        self.shared.state().trouble()
    }

    fn traffic(&self) -> Traffic {
        self.counts.traffic()
    }

    async fn carry_out(&mut self, deed: &Deed) -> Result<(), Refusal> {
        self.doer().carry_out(deed).await
    }

    async fn available(&mut self) -> Result<(), Refusal> {
        if self.network != Network::Primary {
            return Ok(());
        }
        let known = self.shared.state().node().map(|node| (node.uid.clone(), node.available));
        let uid = match known {
            Some((_, true)) => return Ok(()),
            Some((uid, false)) => uid,
            None => return Err(Refusal::Failed(format!("there is no Node {}", self.node))),
        };
        let path = node::path(&self.node, "/status");
        let body = condition(&uid, Timestamp::now());
        let body = Some(("application/strategic-merge-patch+json", &body));
        let set =
            ask::<serde::de::IgnoredAny>(&self.client, Method::PATCH, &path, BRIEF, body).await;
        set.map_err(|failure| {
            Refusal::Failed(format!(
                "setting {} of Node {}: {failure}",
                node::UNAVAILABLE,
                self.node
            ))
        })?;
        self.shared.change(|state| state.now_available(&uid));
        Ok(())
    }

    async fn tell(&mut self, notice: &Notice) {
        // One that finds the queue full is one of too many.
        let _ = self.notices.try_send(notice.clone());
    }
}

/// The patch of one condition of the Node of this uid, and nothing else.
fn condition(uid: &str, now: Timestamp) -> Value {
    let now = format!("{now:.0}");
    json!({
        "metadata": {"uid": uid},
        "status": {"conditions": [{
            "type": node::UNAVAILABLE,
            "status": "False",
            "reason": "FlatnetIsUp",
            "message": "flatnet is running on this node",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_are_checked() {
        for name in ["n1", "a", "node-1.example", "10-0-0-1"] {
            assert!(is_node_name(name), "{name:?}");
        }
        let long = "a".repeat(254);
        for name in ["", "-a", "a.", "A", "a/b", "a&b", "a b", "..", "a%2f", "ä", long.as_str()] {
            assert!(!is_node_name(name), "{name:?}");
        }
    }

    #[test]
    fn one_condition_is_patched() {
        let patch = condition("u1", Timestamp::from_millisecond(1_767_323_045_678).unwrap());
        assert_eq!(patch["metadata"], json!({"uid": "u1"}));
        let condition = &patch["status"]["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["status"]),
            (&json!("NetworkUnavailable"), &json!("False"))
        );
        assert_eq!(condition["lastTransitionTime"], "2026-01-02T03:04:05Z");
    }
}
