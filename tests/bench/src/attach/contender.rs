//! The plugins that are compared: where their executables are, how each is configured, and on which
//! nodes it works.

use std::fs;
use std::path::{Path, PathBuf};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::netns::Netns;
use flatnet_tests::program::{bin_dir, ours, workspace};
use serde_json::{Value, json};

use crate::cni;
use crate::measure::{FAST, FLATNET};
use crate::process::Program;

/// The reference plugin `ptp` with host-local.
pub const PTP: &str = "ptp";
/// The reference plugin `bridge` with host-local.
pub const BRIDGE: &str = "bridge";
/// flannel's plugin in front of `bridge` with host-local.
pub const FLANNEL: &str = "flannel";

/// A bridge takes no more ports than this (`BR_MAX_PORTS` of the kernel, less the one numbered 0).
const BRIDGE_PORTS: usize = 1023;
/// Room for 4,000 pods, the same for every plugin.
const SUBNETS: [&str; 2] = ["10.244.16.0/20", "10.244.32.0/20"];

/// One plugin, with a node that has no pods but those measured, and one that has many.
#[derive(Debug)]
pub struct Contender {
    /// What tables call it.
    pub name: &'static str,
    /// The executables that an ADD runs, the one that the runtime calls first.
    pub executables: Vec<PathBuf>,
    /// How many pods it can have on a node.
    pub most_pods: usize,
    /// The node without other pods, and the one that is filled.
    pub nodes: [Node; 2],
    // What the nodes stand on.
    _cluster: Option<Cluster>,
}

/// One node of a contender.
#[derive(Debug)]
pub struct Node {
    /// The namespace that plays it.
    pub netns: PathBuf,
    program: PathBuf,
    configuration: String,
    _own: Option<Netns>,
}

impl Node {
    /// The call of a verb for a pod.
    pub fn call(&self, verb: &str, pod: &Path) -> Program {
        cni::call(&self.program, &self.configuration, verb, pod)
    }
}

/// All contenders, flatnet first. The files of the reference plugins go below `folder`.
pub fn all(folder: &Path) -> Vec<Contender> {
    let bridge = json!({ "type": "bridge", "bridge": "cni0", "isGateway": true });
    let ptp = json!({ "type": "ptp" });
    vec![
        flatnet(FLATNET),
        flatnet(FAST),
        reference(PTP, &["ptp", "host-local"], usize::MAX, folder, |place| with_ipam(&ptp, place)),
        reference(BRIDGE, &["bridge", "host-local"], BRIDGE_PORTS, folder, |place| {
            with_ipam(&bridge, place)
        }),
        reference(FLANNEL, &["flannel", "bridge", "host-local"], BRIDGE_PORTS, folder, flannel),
    ]
}

/// flatnet, with the fast path or without, on two nodes of a cluster of three.
fn flatnet(name: &'static str) -> Contender {
    let mut cluster = Cluster::new(3);
    if name == FAST {
        cluster.configure("fastPath", json!(true));
    }
    for (node, subnet) in cluster.nodes.iter_mut().zip(SUBNETS) {
        node.ranges = vec![json!(subnet)];
    }
    cluster.nodes[2].ranges = vec![json!("10.244.48.0/20")];
    cluster.list(&[0, 1, 2]);
    cluster.settle();
    let nodes = [0, 1].map(|index| Node {
        netns: cluster.nodes[index].netns.path(),
        program: ours("flatnet"),
        configuration: cluster.network.configuration.to_string(),
        _own: None,
    });
    Contender {
        name,
        executables: vec![bin_dir().join("flatnet")],
        most_pods: usize::MAX,
        nodes,
        _cluster: Some(cluster),
    }
}

/// Where one node of a reference plugin keeps its files, and its pods' subnet.
struct Place {
    folder: PathBuf,
    subnet: &'static str,
}

/// A plugin that `.ci/install bench` built, on two nodes that have nothing to do with each other.
fn reference(
    name: &'static str,
    executables: &[&str],
    most_pods: usize,
    folder: &Path,
    configuration: impl Fn(&Place) -> Value,
) -> Contender {
    let executables: Vec<PathBuf> = executables.iter().map(|name| tool(name)).collect();
    let nodes = [0, 1].map(|index| {
        let place =
            Place { folder: folder.join(format!("{name}-{index}")), subnet: SUBNETS[index] };
        fs::create_dir(&place.folder).expect("a folder for a node");
        let netns = Netns::new(name);
        let configuration = configuration(&place).to_string();
        let program = executables[0].clone();
        Node { netns: netns.path(), program, configuration, _own: Some(netns) }
    });
    Contender { name, executables, most_pods, nodes, _cluster: None }
}

/// Adds what all reference configurations share: the version, a name, host-local.
fn with_ipam(plugin: &Value, place: &Place) -> Value {
    let mut configuration = plugin.clone();
    configuration["cniVersion"] = json!("1.0.0");
    configuration["name"] = json!("pods");
    configuration["ipam"] = json!({
        "type": "host-local",
        "dataDir": place.folder,
        "subnet": place.subnet,
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    configuration
}

/// The configuration of flannel's own manifest, and the file that its daemon would write.
fn flannel(place: &Place) -> Value {
    let (subnet, prefix) = place.subnet.split_once(".0/").expect("a subnet that ends in .0");
    let lines = format!(
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET={subnet}.1/{prefix}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    );
    let file = place.folder.join("subnet.env");
    fs::write(&file, lines).expect("write subnet.env");
    json!({
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "type": "flannel",
        "subnetFile": file,
        "dataDir": place.folder.join("flannel"),
        "ipam": { "dataDir": place.folder },
        "delegate": { "hairpinMode": true, "isDefaultGateway": true },
    })
}

/// An executable that `.ci/install bench` put into `target/tools`.
pub fn tool(name: &str) -> PathBuf {
    let folder = workspace().join("target/tools").canonicalize().unwrap_or_default();
    let path = folder.join(name);
    assert!(path.is_file(), "{name} is not in target/tools: run `.ci/install bench`");
    path
}
