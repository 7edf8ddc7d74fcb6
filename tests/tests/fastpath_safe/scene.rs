//! Nodes with the fast path, and pods on them that talk.

use std::net::IpAddr;

use flatnet_tests::cluster::{Cluster, Settings};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::stream::Stream;
use serde_json::Value;

use crate::REACH;

/// A cluster on an IPv4 underlay whose nodes have the fast path.
pub fn cluster(nodes: u8) -> Cluster {
    with(nodes, false, &[])
}

/// The same, with more of the configuration.
pub fn with(nodes: u8, v6_underlay: bool, configuration: &[(&str, Value)]) -> Cluster {
    let mut cluster = Cluster::with(Settings { nodes, mtu: 1500, v6_underlay });
    cluster.configure("fastPath", REACH.value());
    for (key, value) in configuration {
        cluster.configure(key, value.clone());
    }
    cluster
}

/// Three pods: two on the first node, one on the second.
pub struct Scene {
    pub cluster: Cluster,
    pub near: Pod,
    pub beside: Pod,
    pub far: Pod,
}

impl Scene {
    pub fn new() -> Self {
        Self::of(cluster(2))
    }

    pub fn of(cluster: Cluster) -> Self {
        let [near, beside] = ["near", "beside"].map(|label| cluster.nodes[0].add(label));
        let far = cluster.nodes[1].add("far");
        Self { cluster, near, beside, far }
    }

    pub fn nodes(&self) -> [&Node; 2] {
        let [a, b] = &self.cluster.nodes[..] else { panic!("two nodes") };
        [a, b]
    }

    /// Each kind of flow that takes the fast path: to a pod of the same node and of the other one, of both
    /// families, with the nodes that it passes.
    pub fn flows(&self) -> Vec<(&Pod, IpAddr, Vec<&Node>)> {
        let [a, b] = self.nodes();
        let of = |pod: &Pod| pod.addresses();
        let same = of(&self.beside).into_iter().map(|to| (&self.beside, to, vec![a]));
        let other = of(&self.far).into_iter().map(|to| (&self.far, to, vec![a, b]));
        same.chain(other).collect()
    }

    /// One stream of each kind, all on the fast path.
    pub fn warm_streams(&self) -> Vec<Stream> {
        let [a, b] = self.nodes();
        let same = self.warm_streams_to(&self.beside, &[a]);
        same.into_iter().chain(self.warm_streams_to(&self.far, &[a, b])).collect()
    }

    /// One to each address of a pod, all on the fast path of the nodes that they pass.
    pub fn warm_streams_to(&self, pod: &Pod, nodes: &[&Node]) -> Vec<Stream> {
        let start = |to| {
            let stream = Stream::udp(&self.near.netns, &pod.netns, to);
            stream.warm(nodes);
            stream
        };
        pod.addresses().into_iter().map(start).collect()
    }
}
