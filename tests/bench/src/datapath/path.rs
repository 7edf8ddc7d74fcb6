//! The ways a packet can go that are compared: each with nodes of its own, joined by one veth pair
//! that stands for the wire.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::kernel::wait_until_up;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Network, Node};
use serde_json::json;

use super::{Setting, flannel};
use crate::measure::FLATNET;
use crate::scratch::Scratch;

/// From node to node without any overlay: the most that can be had.
pub const HOST: &str = "host to host";
/// What flannel sets up in the kernel.
pub const FLANNEL: &str = "flannel's objects";

/// A client and the two servers that it talks to.
#[derive(Debug)]
pub struct Path {
    /// What tables call it.
    pub name: &'static str,
    /// What is asked of its nodes.
    pub setting: Setting,
    /// The namespace of the client.
    pub client: PathBuf,
    /// A server on the other node.
    pub far: Server,
    /// A server on the client's node; none where the nodes themselves talk.
    pub near: Option<Server>,
    _stands_on: Vec<Netns>,
    _files: Scratch,
}

/// A server to talk to.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its namespace.
    pub netns: PathBuf,
    /// Its address.
    pub address: IpAddr,
}

/// All of them.
pub fn all() -> Vec<Path> {
    let mut paths = vec![host()];
    for setting in [Setting::Masquerade, Setting::Plain, Setting::Frames] {
        paths.push(flannel(setting));
        paths.push(flatnet(setting));
    }
    paths
}

/// Two nodes, `192.168.50.1` and `.2`, with nothing between them but a wire.
fn wired(setting: Setting) -> [Netns; 2] {
    let nodes = [Netns::new("node-a"), Netns::new("node-b")];
    let other = nodes[1].name();
    nodes[0].exec(&format!("ip link add {UNDERLAY} type veth peer name {UNDERLAY} netns {other}"));
    for (n, node) in (1..).zip(&nodes) {
        node.exec(&format!("ip addr add 192.168.50.{n}/24 dev {UNDERLAY}"));
        node.exec(&format!("ip link set {UNDERLAY} addrgenmode none up"));
    }
    if setting == Setting::Frames {
        for node in &nodes {
            node.exec(&format!("ethtool -K {UNDERLAY} tso off gso off gro on"));
            node.exec(&format!("ethtool -K {UNDERLAY} tx-udp_tnl-segmentation off"));
        }
    }
    nodes.iter().for_each(|node| wait_until_up(node, UNDERLAY));
    nodes
}

fn host() -> Path {
    let nodes = wired(Setting::Plain);
    Path {
        name: HOST,
        setting: Setting::Plain,
        client: nodes[0].path(),
        far: Server { netns: nodes[1].path(), address: [192, 168, 50, 2].into() },
        near: None,
        _stands_on: nodes.into(),
        _files: Scratch::new(),
    }
}

fn flannel(setting: Setting) -> Path {
    let nodes = wired(setting);
    for (n, node) in (1..).zip(&nodes) {
        flannel::set_up(node, n, setting != Setting::Plain);
    }
    let pods = [(0, 2), (1, 2), (0, 3)].map(|(node, last)| {
        let pod = Netns::new("pod");
        let address = flannel::attach(&nodes[node], node as u8 + 1, &pod, last);
        (pod, address)
    });
    of_pods(FLANNEL, setting, pods, nodes.into(), Scratch::new())
}

fn flatnet(setting: Setting) -> Path {
    let files = Scratch::new();
    let range_file = files.path().join("pods.json");
    let state_dir = files.path().join("state");
    let configuration = json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "flatnet", "ipMasq": setting != Setting::Plain,
        "rangeFile": range_file, "stateDir": state_dir,
    });
    let network = Network { configuration, range_file, state_dir, vni: 4096 };
    let nodes = (1..).zip(wired(setting)).map(|(n, netns)| Node {
        netns,
        name: format!("node-{n}"),
        vtep: [192, 168, 50, n].into(),
        ranges: vec![json!(format!("10.244.{n}.0/24"))],
        network: network.clone(),
    });
    let nodes: Vec<Node> = nodes.collect();
    let entries: Vec<_> = nodes.iter().map(Node::entry).collect();
    let content = json!({ "version": 1, "clusterCIDRs": ["10.244.0.0/16"], "nodes": entries });
    fs::write(&network.range_file, content.to_string()).expect("write the range file");
    let pods = [0, 1, 0].map(|node| {
        let pod = nodes[node].add("pod");
        let address = pod.v4();
        (std::sync::Arc::into_inner(pod.netns).expect("the only owner"), address)
    });
    let nodes = nodes.into_iter().map(|node| node.netns).collect();
    of_pods(FLATNET, setting, pods, nodes, files)
}

/// The path of a client, a server on the other node and one on its own.
fn of_pods(
    name: &'static str,
    setting: Setting,
    pods: [(Netns, IpAddr); 3],
    nodes: Vec<Netns>,
    files: Scratch,
) -> Path {
    let server = |(pod, address): &(Netns, IpAddr)| Server { netns: pod.path(), address: *address };
    Path {
        name,
        setting,
        client: pods[0].0.path(),
        far: server(&pods[1]),
        // Nothing goes over the wire there.
        near: (setting != Setting::Frames).then(|| server(&pods[2])),
        _stands_on: nodes.into_iter().chain(pods.map(|(pod, _)| pod)).collect(),
        _files: files,
    }
}
