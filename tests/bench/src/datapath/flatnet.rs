//! Two nodes with flatnet, called as a runtime calls it.

use std::fs;
use std::net::IpAddr;

use flatnet_tests::fast_path::Reach;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Network, Node};
use flatnet_tests::program::ours;
use serde_json::json;

use super::Setting;
use crate::cni;
use crate::pods::Pods;
use crate::scratch::Scratch;

/// What each node has room for: some thousand pods.
const RANGES: [&str; 2] = ["10.244.16.0/20", "10.244.32.0/20"];

/// The nodes, and their files.
pub struct Overlay {
    nodes: Vec<Node>,
    files: Scratch,
}

impl Overlay {
    /// Configures flatnet on two nodes; nothing stands yet.
    pub fn new(nodes: [Netns; 2], setting: Setting, fast: Reach) -> Self {
        let files = Scratch::new();
        let range_file = files.path().join("pods.json");
        let state_dir = files.path().join("state");
        let mut configuration = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "flatnet",
            "ipMasq": setting != Setting::Plain, "rangeFile": range_file, "stateDir": state_dir,
        });
        if fast != Reach::None {
            configuration["fastPath"] = fast.value();
        }
        let network = Network { configuration, range_file, state_dir, vni: 4096 };
        let nodes = (1..).zip(nodes).zip(RANGES).map(|((n, netns), range)| Node {
            netns,
            name: format!("node-{n}"),
            vtep: [192, 168, 50, n].into(),
            ranges: vec![json!(range)],
            network: network.clone(),
        });
        let nodes: Vec<Node> = nodes.collect();
        let entries: Vec<_> = nodes.iter().map(Node::entry).collect();
        let content = json!({ "version": 1, "clusterCIDRs": ["10.244.0.0/16"], "nodes": entries });
        fs::write(&network.range_file, content.to_string()).expect("write the range file");
        Self { nodes, files }
    }

    /// Attaches a pod to the node of this index.
    pub fn attach(&self, node: usize) -> (Netns, IpAddr) {
        let pod = self.nodes[node].add("pod");
        let address = pod.v4();
        (std::sync::Arc::into_inner(pod.netns).expect("the only owner"), address)
    }

    /// Attaches so many pods more to the first node, which stand as long as they are held.
    pub fn crowd(&self, count: usize) -> Pods {
        let pods = Pods::new(count);
        let node = &self.nodes[0];
        let configuration = node.network.configuration.to_string();
        node.netns.run(|| {
            for pod in pods.paths() {
                cni::call(&ours("flatnet"), &configuration, "ADD", pod).run();
            }
        });
        pods
    }

    /// Whether programs of the fast path stand on the overlay device; once a pod is attached.
    pub fn is_fast(&self) -> bool {
        let node = &self.nodes[0];
        let shown = node.netns.exec(&format!("tc filter show dev {} ingress", node.overlay()));
        !shown.trim().is_empty()
    }

    /// What it stands on.
    pub fn into_parts(self) -> (Vec<Netns>, Scratch) {
        (self.nodes.into_iter().map(|node| node.netns).collect(), self.files)
    }
}
