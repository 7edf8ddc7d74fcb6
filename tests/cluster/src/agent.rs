//! The agent's view of a cluster, without the rest of the agent: its source, with the token that a pod of it on a node
//! would have.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flatnet_agent::cluster::{BlockEntry, Cluster as Objects, NodeEntry};
use flatnet_agent::kubernetes::objects::{FlatnetBlock, FlatnetNode};
use flatnet_agent::kubernetes::{Kubernetes, Network};
use flatnet_agent::source::{Deed, Notice, Refusal, Source as _};
use flatnet_tests::program::workspace;
use kube::CustomResourceExt as _;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::patience::PATIENCE;
use crate::plan::{CONTROL, addresses};

/// Installs what the agents of a cluster need there: their objects, from the types, and what an agent may.
pub fn install(cluster: &Cluster) {
    install_into(&cluster.control);
}

/// The same, where there is a control plane and no more.
pub fn install_into(control: &ControlPlane) {
    let crds = [FlatnetNode::crd(), FlatnetBlock::crd()].map(|crd| json!(crd));
    control.kubectl.apply(&crds);
    control.kubectl.wait("condition=Established", &["crds", "--all"]);
    for file in ["rbac", "admission"] {
        let file = workspace().join(format!("packaging/kubernetes/base/{file}.yaml"));
        control.kubectl.must(&["apply", "--filename", &file.display().to_string()]);
    }
}

/// A kubeconfig with the token of an agent's pod on a node.
pub fn kubeconfig(cluster: &Cluster, node: &str) -> PathBuf {
    kubeconfig_of(&cluster.control, cluster.folder(), node)
}

/// The same, into a folder, where there is a control plane and no more.
pub fn kubeconfig_of(control: &ControlPlane, folder: &Path, node: &str) -> PathBuf {
    let of_node = ["--bound-object-kind=Node", &format!("--bound-object-name={node}")];
    let token = ["--namespace=kube-system", "create", "token", "flatnet-agent", "--duration=1h"];
    let token = control.kubectl.must(&[&token[..], &of_node[..]].concat());
    let [address, _] = addresses(CONTROL);
    let file = folder.join(format!("{node}.conf"));
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {
            "server": format!("https://{address}:6443"),
            "certificate-authority": control.pki.file("ca.crt"),
        }}],
        "users": [{"name": "agent", "user": {"token": token.trim()}}],
        "contexts": [{"name": "agent", "context": {"cluster": "here", "user": "agent"}}],
        "current-context": "agent",
    });
    fs::write(&file, text.to_string()).expect("write a kubeconfig");
    file
}

/// The sources of several nodes, which see changes while one of them is waited for.
#[derive(Debug)]
pub struct Agents(Runtime);

impl Default for Agents {
    fn default() -> Self {
        Self(Builder::new_current_thread().enable_all().build().expect("a runtime"))
    }
}

impl Agents {
    /// The source of a node in the cluster's own network.
    pub fn source(&self, node: &str, kubeconfig: &Path) -> Kubernetes {
        self.source_in(Network::Primary, node, kubeconfig)
    }

    /// The source of a node in a network.
    pub fn source_in(&self, network: Network, node: &str, kubeconfig: &Path) -> Kubernetes {
        let connected = self.0.block_on(Kubernetes::connect(network, node, Some(kubeconfig)));
        connected.unwrap_or_else(|error| panic!("{node}: {error}"))
    }

    /// Waits until a source shows something; fails with what it shows if it never does.
    pub fn until<T>(
        &self,
        what: &str,
        source: &mut Kubernetes,
        look: impl Fn(&Kubernetes) -> Option<T>,
    ) -> T {
        let seen = self.0.block_on(async {
            let waiting = async {
                loop {
                    if let Some(found) = look(source) {
                        return found;
                    }
                    source.changed().await;
                }
            };
            tokio::time::timeout(PATIENCE, waiting).await
        });
        seen.unwrap_or_else(|_| {
            panic!("no {what}: {:?} {:?} {:?}", source.cluster(), source.own(), source.trouble())
        })
    }

    /// Carries out one deed.
    pub fn carry_out(&self, source: &mut Kubernetes, deed: Deed) -> Result<(), Refusal> {
        self.0.block_on(source.carry_out(&deed))
    }

    /// Carries out two, each of another node, at one time.
    pub fn race(
        &self,
        one: (&mut Kubernetes, Deed),
        other: (&mut Kubernetes, Deed),
    ) -> [Result<(), Refusal>; 2] {
        let both = async { tokio::join!(one.0.carry_out(&one.1), other.0.carry_out(&other.1)) };
        self.0.block_on(both).into()
    }

    /// Says that the node's network stands.
    pub fn available(&self, source: &mut Kubernetes) -> Result<(), Refusal> {
        self.0.block_on(source.available())
    }

    /// Tells something, and looks on until that has come.
    pub fn tell(&self, source: &mut Kubernetes, notice: &Notice, mut came: impl FnMut() -> bool) {
        self.0.block_on(async {
            source.tell(notice).await;
            let coming = async {
                while !came() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(PATIENCE, coming).await.expect("what was told");
        });
    }
}

/// The nodes of a cluster's objects as `NAME VTEP`, in order, or what is wrong with one.
pub fn nodes(objects: &Objects) -> Vec<String> {
    let show = |node: &NodeEntry| match &node.vtep {
        Ok(vtep) => format!("{} {vtep}", node.name),
        Err(problem) => format!("{}: {problem}", node.name),
    };
    let mut nodes: Vec<_> = objects.nodes.iter().map(|node| show(node)).collect();
    nodes.sort();
    nodes
}

/// Its blocks as `RANGE NODE`, in order, with a `!` at one that retires, or what is wrong with one.
pub fn blocks(objects: &Objects) -> Vec<String> {
    let show = |block: &BlockEntry| match (&block.range, block.retiring) {
        (Ok(range), false) => format!("{} {}", range.subnet(), block.node),
        (Ok(range), true) => format!("{} {}!", range.subnet(), block.node),
        (Err(problem), _) => format!("{}: {problem}", block.key),
    };
    let mut blocks: Vec<_> = objects.blocks.iter().map(|block| show(block)).collect();
    blocks.sort();
    blocks
}
