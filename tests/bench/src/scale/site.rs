//! A node, and a range file with as many peers as one likes. Only the node stands; what it knows of
//! its peers is the same as if they did.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::netns::inside;
use flatnet_tests::node::Node;
use flatnet_tests::program::{ours, system};
use serde_json::{Value, json};

use super::upkeep::another;
use crate::cni;
use crate::pods::Pods;
use crate::process::{Program, rest};

/// Where the peers' VTEPs are: one hop behind the node's own subnet.
const PEERS: &str = "172.16.0.0/12";

/// One node alone on its underlay, with one pod's namespace.
#[derive(Debug)]
pub struct Site {
    cluster: Cluster,
    configuration: PathBuf,
    pod: Pods,
}

impl Site {
    /// A fresh node; its range file has so many peers.
    pub fn new(peers: u32) -> Self {
        let cluster = Cluster::new(1);
        let node = &cluster.nodes[0];
        node.netns.exec(&format!("ip route add {PEERS} via 192.168.50.254 dev {UNDERLAY}"));
        let configuration = cluster.folder().join("pods.conf");
        fs::write(&configuration, cluster.network.configuration.to_string())
            .expect("write the configuration");
        let site = Self { cluster, configuration, pod: Pods::new(1) };
        site.list(peers, 0);
        site
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    /// Writes the range file. The VTEP of the first peer is another one for each `move_of_first`.
    pub fn list(&self, peers: u32, move_of_first: u32) {
        let entry = |n: u32| {
            let moved = if n == 1 { move_of_first << 16 } else { 0 };
            json!({
                "name": format!("peer-{n}"),
                "vtep": Ipv4Addr::from(0xac10_0000 + n + moved),
                "ranges": [format!("{}/24", Ipv4Addr::from(0x0a00_0000 + (n << 8)))],
            })
        };
        let own = json!({
            "name": self.node().name, "vtep": self.node().vtep,
            // The second has room for a thousand pods.
            "ranges": ["10.0.0.0/24", "10.255.0.0/20"],
        });
        let nodes: Vec<Value> = [own].into_iter().chain((1..=peers).map(entry)).collect();
        self.cluster.write_range_file(&json!({
            "version": 1,
            "vni": self.cluster.network.vni,
            "clusterCIDRs": ["10.0.0.0/8"],
            "nodes": nodes,
        }));
    }

    /// Puts the range file in its place again: what it says is the same, and its bytes are not.
    pub fn reword(&self) {
        let path = &self.cluster.network.range_file;
        let text = fs::read_to_string(path).expect("read the range file");
        let new = path.with_extension("new");
        fs::write(&new, text + "\n").expect("write the range file");
        fs::rename(&new, path).expect("rename the range file");
    }

    /// Attaches so many pods more, which stand as long as they are held.
    pub fn attach(&self, count: u32) -> Pods {
        let pods = Pods::new(count as usize);
        let configuration = self.cluster.network.configuration.to_string();
        for path in pods.paths() {
            let call = cni::call(&ours("flatnet"), &configuration, "ADD", path);
            self.node().netns.run(|| call.run());
        }
        pods
    }

    /// Writes the files of so many networks more; returns their configurations.
    pub fn more_networks(&self, count: u32) -> Vec<PathBuf> {
        let node = self.node();
        let write = |n| {
            let (mut network, range_file) = another(&node.name, node.vtep, n);
            let path = |kind: &str| self.cluster.folder().join(format!("net-{n}.{kind}"));
            network["rangeFile"] = json!(path("json"));
            network["stateDir"] = json!(node.network.state_dir);
            fs::write(path("json"), range_file.to_string()).expect("write a range file");
            fs::write(path("conf"), network.to_string()).expect("write a configuration");
            path("conf")
        };
        (0..count).map(write).collect()
    }

    /// Waits until an ADD takes the range file's times for its content.
    pub fn settle(&self) {
        self.cluster.settle();
    }

    /// The call of a verb for the pod.
    pub fn call(&self, verb: &str) -> Program {
        let configuration = self.cluster.network.configuration.to_string();
        cni::call(&ours("flatnet"), &configuration, verb, &self.pod.paths()[0])
    }

    /// What iproute2 takes for a veth pair to the pod that is up, with a route. It goes again.
    pub fn veth(&self) -> Duration {
        let pod = &self.pod.paths()[0];
        let name = pod.file_name().expect("a name").to_string_lossy();
        let ip = |lines: &str| {
            let mut program = Program::new(&system("ip"), ["-batch", "-"]);
            program.stdin = lines.into();
            program
        };
        let node = ip(&format!(
            "link add byip numtxqueues 1 numrxqueues 1 type veth \
             peer name byip netns {name} numtxqueues 1 numrxqueues 1\n\
             link set byip addrgenmode none\nlink set byip up\nroute add 10.255.15.250 dev byip\n"
        ));
        let inside_pod = ip("link set byip up\n");
        let elapsed = self.node().netns.run(|| node.run()) + inside(pod, || inside_pod.run());
        self.run(&ip("link del byip\n"));
        elapsed
    }

    /// Runs a program on the node, and lets the kernel finish.
    pub fn run(&self, program: &Program) -> Duration {
        let elapsed = self.node().netns.run(|| program.run());
        rest();
        elapsed
    }

    /// What makes flatnet apply the range file.
    pub fn sync(&self) -> Program {
        Program::new(&ours("flatnet"), ["sync", &self.configuration.display().to_string()])
    }
}
