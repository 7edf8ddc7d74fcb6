//! Several nodes on one underlay: namespaces joined by a bridge in a namespace of its own, with
//! one range file and one network configuration for all of them.
//!
//! Node `n` (from 1) is `node-a`, `node-b` ... (`node-27` after `node-z`) with the underlay address `192.168.50.n` (or
//! `fd00:50::n`) and the ranges `10.244.n.0/24` and `fd00:10:244:n::/64`.

use std::net::IpAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::carrier::Carrier;
use crate::files::replace;
use crate::kernel;
use crate::netns::Netns;
use crate::node::{Network, Node, Pod};

/// The end of the cable in every node; no node's interface may be called `eth0`.
pub const UNDERLAY: &str = "under0";

/// How a cluster is to be.
#[derive(Copy, Clone, Debug)]
pub struct Settings {
    /// How many nodes stand; all of them are in the range file at first.
    pub nodes: u8,
    /// The MTU of the underlay.
    pub mtu: u32,
    /// Whether the nodes' underlay addresses are IPv6.
    pub v6_underlay: bool,
}

/// Nodes, their underlay and their files.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes; index 0 is `node-a`.
    pub nodes: Vec<Node>,
    /// The namespace of the bridge that joins them.
    pub underlay: Netns,
    /// What the nodes share.
    pub network: Network,
    carrier: Carrier,
    folder: TempDir,
}

impl Cluster {
    /// A cluster on an IPv4 underlay with an MTU of 1500.
    pub fn new(nodes: u8) -> Self {
        Self::with(Settings { nodes, mtu: 1500, v6_underlay: false })
    }

    /// A cluster as the settings say, its range file written, nothing of the plugin's done yet.
    pub fn with(settings: Settings) -> Self {
        Self::on(Carrier::Cable, settings)
    }

    /// The same, the underlay addresses being on such devices.
    pub fn on(carrier: Carrier, settings: Settings) -> Self {
        let underlay = Netns::new("underlay");
        // A switch solicits no router, from which nodes would learn a neighbour.
        kernel::set_sysctl(&underlay, "ipv6/conf/default/disable_ipv6", "1");
        underlay.exec("ip link add br0 type bridge stp_state 0 forward_delay 0");
        underlay.exec("ip link set br0 up");
        let folder = tempfile::Builder::new().prefix("ftest-").tempdir().expect("a folder");
        let network = network(folder.path());
        let node = |n| node(n, &settings, &network);
        let nodes: Vec<Node> = (1..=settings.nodes).map(node).collect();
        for node in &nodes {
            carrier.connect(&node.netns, &underlay, &node.name, settings.mtu, node.vtep);
        }
        let cluster = Self { nodes, underlay, network, carrier, folder };
        let all: Vec<usize> = (0..cluster.nodes.len()).collect();
        cluster.list(&all);
        cluster
    }

    /// Writes the range file with these nodes (by index), as an administrator's tool would: the
    /// new file is renamed over the old one.
    pub fn list(&self, indices: &[usize]) {
        let nodes: Vec<Value> = indices.iter().map(|&index| self.nodes[index].entry()).collect();
        self.write_range_file(&json!({
            "version": 1,
            "vni": self.network.vni,
            "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
            "nodes": nodes,
        }));
    }

    /// Has pods get the first addresses of each node: for a test in which others must be free.
    pub fn begin_with_the_first(&self) {
        self.nodes.iter().for_each(|node| node.begin_with_the_first(self.network.name()));
    }

    /// Waits until the range file is older than the clock of file times is coarse: from then on the
    /// plugin takes its times for its content, and an ADD that changes nothing writes nothing.
    pub fn settle(&self) {
        sleep(Duration::from_millis(150));
    }

    /// Replaces the range file.
    pub fn write_range_file(&self, content: &Value) {
        replace(&self.network.range_file, &content.to_string());
    }

    /// Attaches `count` pods on every node; `pods[n]` are those of node `n`.
    pub fn fill(&self, count: usize) -> Vec<Vec<Pod>> {
        let fill = |node: &Node| (0..count).map(|_| node.add("pod")).collect();
        self.nodes.iter().map(fill).collect()
    }

    /// Gives every node other ranges, by its number (from 1), and writes the range file.
    pub fn set_ranges(&mut self, ranges: impl Fn(u8) -> Vec<String>) {
        for (n, node) in (1..).zip(&mut self.nodes) {
            node.ranges = ranges(n).into_iter().map(Value::from).collect();
        }
        self.list(&(0..self.nodes.len()).collect::<Vec<_>>());
    }

    /// A host on the underlay that is no node and knows no route to any pod; `n` is the last part
    /// of its address.
    pub fn outsider(&self, n: u8) -> (Netns, IpAddr) {
        let address: IpAddr = [192, 168, 50, n].into();
        (self.host(address), address)
    }

    /// A host on the underlay with this address, of either family.
    pub fn host(&self, address: IpAddr) -> Netns {
        self.host_called("outside", address)
    }

    /// The same, with a name of its own, as there are several.
    pub fn host_called(&self, name: &str, address: IpAddr) -> Netns {
        let host = Netns::new(name);
        self.carrier.of_outsider().connect(&host, &self.underlay, name, 1500, address);
        host
    }

    /// A host on the underlay, without an address.
    pub fn stranger(&self) -> Netns {
        let netns = Netns::new("outsider");
        self.underlay.exec(&format!(
            "ip link add outsider type veth peer name {UNDERLAY} netns {}",
            netns.name()
        ));
        self.underlay.exec("ip link set outsider master br0 up");
        netns.exec(&format!("ip link set {UNDERLAY} up"));
        kernel::wait_until_up(&self.underlay, "outsider");
        netns
    }

    /// Changes one key of the network configuration on every node; null takes it away.
    pub fn configure(&mut self, key: &str, value: Value) {
        let networks = self.nodes.iter_mut().map(|node| &mut node.network);
        for network in networks.chain([&mut self.network]) {
            let object = network.configuration.as_object_mut().expect("an object");
            if value.is_null() {
                object.remove(key);
            } else {
                object.insert(key.to_owned(), value.clone());
            }
        }
    }

    /// The folder of the range file, the state and whatever else a test writes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The files' places and the configuration of a cluster.
fn network(folder: &Path) -> Network {
    let range_file = folder.join("pods.json");
    let state_dir = folder.join("state");
    let configuration = json!({
        "cniVersion": "1.1.0",
        "name": "pods",
        "type": "flatnet",
        "rangeFile": range_file,
        "stateDir": state_dir,
    });
    Network { configuration, range_file, state_dir, vni: 4096 }
}

/// Node `n` (from 1), in a namespace without a device.
fn node(n: u8, settings: &Settings, network: &Network) -> Node {
    let name = match n {
        1..=26 => format!("node-{}", char::from(b'a' + n - 1)),
        _ => format!("node-{n}"),
    };
    let vtep: IpAddr = if settings.v6_underlay {
        [0xfd00, 0x50, 0, 0, 0, 0, 0, u16::from(n)].into()
    } else {
        [192, 168, 50, n].into()
    };
    let netns = Netns::new(&name);
    let ranges = vec![json!(format!("10.244.{n}.0/24")), json!(format!("fd00:10:244:{n:x}::/64"))];
    Node { netns, name, vtep, ranges, network: network.clone() }
}
