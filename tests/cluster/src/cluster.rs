//! A cluster: control plane, nodes and the network below, made in a few seconds and removed when dropped.

use std::path::{Path, PathBuf};
use std::thread;

use flatnet_tests::netns::Netns;
use flatnet_tests::program::require_root;
use tempfile::TempDir;

use crate::control_plane::ControlPlane;
use crate::kube_proxy::Mode;
use crate::kubectl::Kubectl;
use crate::node::{Node, Program};
use crate::patience::{interrupted, until};
use crate::plan::{CONTROL, POD_CIDRS};
use crate::underlay::Underlay;
use crate::{containerd, image, logs, remains};

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What its logs are found under if something fails.
    pub name: String,
    /// How many nodes there are at first.
    pub nodes: u8,
    /// What kube-proxy makes its rules of.
    pub proxy: Mode,
    /// Whether Nodes get `podCIDRs`.
    pub pod_cidrs: bool,
}

impl Settings {
    /// As kubeadm makes a cluster, with kube-proxy in nftables mode.
    pub fn new(name: &str, nodes: u8) -> Self {
        Self { name: name.to_owned(), nodes, proxy: Mode::Nftables, pod_cidrs: true }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its nodes; index 0 is `node-a`.
    pub nodes: Vec<Node>,
    /// What they are nodes of.
    pub control: ControlPlane,
    /// The network below.
    pub underlay: Underlay,
    settings: Settings,
    images: Vec<PathBuf>,
    /// How many nodes were ever made: a number is one node's alone.
    made: u8,
    folder: TempDir,
}

impl Cluster {
    /// Starts one. Its nodes are registered when this returns; without a network they are not ready.
    pub fn start(settings: &Settings) -> Self {
        require_root();
        remains::sweep();
        let folder =
            tempfile::Builder::new().prefix(&remains::prefix()).tempdir().expect("a folder");
        let starting = logs::Starting { folder: folder.path(), name: &settings.name };
        let underlay = Underlay::new();
        let (control, images, nodes) = thread::scope(|scope| {
            let control = scope.spawn(|| {
                let netns = Netns::new("control");
                underlay.connect(&netns, "control", CONTROL);
                ControlPlane::start(netns, &folder.path().join("control"), settings.pod_cidrs)
            });
            let images = vec![image::archive(folder.path())];
            let nodes = start_nodes(settings.nodes, folder.path(), &underlay, &images);
            (joined(control), images, nodes)
        });
        // From here on, the cluster does it itself.
        drop(starting);
        let settings = settings.clone();
        let made = settings.nodes;
        let mut cluster = Self { nodes, control, underlay, settings, images, made, folder };
        for index in 0..cluster.nodes.len() {
            cluster.register(index);
        }
        cluster
    }

    /// The administrator's kubectl.
    pub fn kubectl(&self) -> &Kubectl {
        &self.control.kubectl
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("no node {name}"))
    }

    /// Another node, registered, without a network.
    pub fn add_node(&mut self) -> &Node {
        self.made += 1;
        let node = Node::start(self.made, self.folder.path(), &self.underlay, &self.images);
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        self.register(index);
        &self.nodes[index]
    }

    /// Takes the power of a node away for good. Its Node object stays.
    pub fn take_away(&mut self, name: &str) {
        let index = self.nodes.iter().position(|node| node.name == name);
        let node = self.nodes.remove(index.unwrap_or_else(|| panic!("no node {name}")));
        drop(node);
        self.underlay.unplug(name);
    }

    /// Loads the images of an archive on all nodes, and on those that come.
    pub fn import(&mut self, archive: PathBuf) {
        for node in &self.nodes {
            containerd::import(node.machine(), &archive);
        }
        self.images.push(archive);
    }

    /// Starts kubelet and kube-proxy of a node, and waits until the API server knows it.
    fn register(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.configure(&self.control.pki, self.settings.proxy);
        node.start_program(Program::Kubelet);
        node.start_program(Program::KubeProxy);
        until("Node", || self.control.kubectl.get(&["node", &node.name]));
    }

    /// Takes a node's power away and gives it back.
    pub fn reboot(&mut self, index: usize) {
        self.nodes[index].reboot(&self.underlay);
    }

    /// Lets the API server reach pods (`kubectl proxy`, webhooks): its machine has no overlay, the first node leads it.
    pub fn route_to_pods(&self) {
        let routers = self.nodes[0].addresses();
        for (pods, router) in POD_CIDRS.split(',').zip(routers) {
            self.control.netns.exec(&format!("ip route add {pods} via {router}"));
        }
    }

    /// Copies what was logged to where it outlives the cluster; returns that folder.
    pub fn keep_logs(&self) -> PathBuf {
        logs::keep(self, &self.settings.name)
    }

    /// The folder of all its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() && !interrupted() {
            eprintln!("logs: {}", self.keep_logs().display());
        }
    }
}

/// All at once: each waits for its containerd most of the time.
fn start_nodes(count: u8, folder: &Path, underlay: &Underlay, images: &[PathBuf]) -> Vec<Node> {
    thread::scope(|scope| {
        let start = |number| scope.spawn(move || Node::start(number, folder, underlay, images));
        let threads: Vec<_> = (1..=count).map(start).collect();
        threads.into_iter().map(joined).collect()
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
