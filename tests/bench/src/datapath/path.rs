//! The ways a packet can go that are compared: each with nodes of its own, joined by one veth pair
//! that stands for the wire.

use std::net::IpAddr;
use std::path::PathBuf;

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::fast_path::Reach;
use flatnet_tests::kernel::wait_until_up;
use flatnet_tests::netns::Netns;

use super::flatnet::Overlay;
use super::{Setting, flannel};
use crate::measure::{FAST, FLATNET, UPLINK};
use crate::pods::Pods;
use crate::scratch::Scratch;

/// From node to node without any overlay: the most that can be had.
pub const HOST: &str = "host to host";
/// The same on nodes that track connections and may translate them, as each does beside kube-proxy.
pub const TRACKED: &str = "host with conntrack";
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
    nodes: Vec<Netns>,
    _pods: Vec<Netns>,
    _crowd: Option<Pods>,
    _files: Option<Scratch>,
}

/// A server to talk to.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its namespace.
    pub netns: PathBuf,
    /// Its address.
    pub address: IpAddr,
}

impl Path {
    /// The two nodes, the client's first.
    pub fn nodes(&self) -> &[Netns] {
        &self.nodes
    }
}

/// Those without the fast path.
pub fn all() -> Vec<Path> {
    let mut paths = vec![host(), tracked()];
    for setting in [Setting::Masquerade, Setting::Plain, Setting::Frames] {
        paths.push(flannel(setting));
        paths.push(flatnet(setting, 0));
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
    of_nodes(HOST, Setting::Plain)
}

/// The nodes themselves, with the hooks that kube-proxy's rules bring, and no rule that is met.
pub fn tracked() -> Path {
    let path = of_nodes(TRACKED, Setting::Masquerade);
    for node in &path.nodes {
        node.exec("iptables -w -t nat -N KUBE-SERVICES");
        for hook in ["PREROUTING", "OUTPUT", "POSTROUTING"] {
            node.exec(&format!("iptables -w -t nat -A {hook} -j KUBE-SERVICES"));
        }
    }
    path
}

/// The nodes themselves, on which pods have the fast path so far, or none; `None` if that does not stand on this kernel.
pub fn beside(reach: Reach) -> Option<Path> {
    let setting = Setting::Masquerade;
    let overlay = Overlay::new(wired(setting), setting, reach);
    let pods = [0, 1].map(|node| overlay.attach(node).0);
    let stands = reach == Reach::None || overlay.is_fast();
    let (nodes, files) = overlay.into_parts();
    let path = between(name_of(reach), setting, nodes);
    stands.then_some(Path { _pods: pods.into(), _files: Some(files), ..path })
}

fn name_of(reach: Reach) -> &'static str {
    match reach {
        Reach::None => FLATNET,
        Reach::Own => FAST,
        Reach::Uplink => UPLINK,
    }
}

fn of_nodes(name: &'static str, setting: Setting) -> Path {
    between(name, setting, wired(setting).into())
}

fn between(name: &'static str, setting: Setting, nodes: Vec<Netns>) -> Path {
    Path {
        name,
        setting,
        client: nodes[0].path(),
        far: Server { netns: nodes[1].path(), address: [192, 168, 50, 2].into() },
        near: None,
        nodes,
        _pods: Vec::new(),
        _crowd: None,
        _files: None,
    }
}

/// What flannel sets up.
pub fn flannel(setting: Setting) -> Path {
    let nodes = wired(setting);
    for (n, node) in (1..).zip(&nodes) {
        flannel::set_up(node, n, setting != Setting::Plain);
    }
    let pods = [(0, 2), (1, 2), (0, 3)].map(|(node, last)| {
        let pod = Netns::new("pod");
        let address = flannel::attach(&nodes[node], node as u8 + 1, &pod, last);
        (pod, address)
    });
    of_pods(FLANNEL, setting, pods, nodes.into())
}

/// flatnet with so many pods more on the client's node.
pub fn flatnet(setting: Setting, crowd: usize) -> Path {
    let overlay = Overlay::new(wired(setting), setting, Reach::None);
    of_overlay(FLATNET, setting, overlay, crowd).0
}

/// The same with the fast path, so far; none if that does not stand on this kernel.
pub fn fast(setting: Setting, crowd: usize, reach: Reach) -> Option<Path> {
    let overlay = Overlay::new(wired(setting), setting, reach);
    let (path, is_fast) = of_overlay(name_of(reach), setting, overlay, crowd);
    is_fast.then_some(path)
}

/// What to say of it then.
pub const NOT_FAST: &str = "flatnet, fast path: none of its programs stands on the overlay device";

fn of_overlay(
    name: &'static str,
    setting: Setting,
    overlay: Overlay,
    crowd: usize,
) -> (Path, bool) {
    let pods = [0, 1, 0].map(|node| overlay.attach(node));
    let crowd = (crowd > 0).then(|| overlay.crowd(crowd));
    let is_fast = overlay.is_fast();
    let (nodes, files) = overlay.into_parts();
    let path = of_pods(name, setting, pods, nodes);
    (Path { _crowd: crowd, _files: Some(files), ..path }, is_fast)
}

/// The path of a client, a server on the other node and one on its own.
fn of_pods(
    name: &'static str,
    setting: Setting,
    pods: [(Netns, IpAddr); 3],
    nodes: Vec<Netns>,
) -> Path {
    let server = |(pod, address): &(Netns, IpAddr)| Server { netns: pod.path(), address: *address };
    Path {
        name,
        setting,
        client: pods[0].0.path(),
        far: server(&pods[1]),
        // Nothing goes over the wire there.
        near: (setting != Setting::Frames).then(|| server(&pods[2])),
        nodes,
        _pods: pods.map(|(pod, _)| pod).into(),
        _crowd: None,
        _files: None,
    }
}
