//! Nodes whose agents go by an etcd: the real executables.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use flatnet_tests::cluster::{Cluster, Settings};
use flatnet_tests::files::replace;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::reaches;
use flatnet_tests::program::{bin_dir, finish, ours, said};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::members::Etcd;
use crate::daemon::Daemon;
use crate::patience::until;

/// What the network is called.
pub const NETWORK: &str = "pods";
/// Where agents are asked how they are.
const LISTEN: u16 = 9449;

/// Nodes, their etcd, and the agents that run.
#[derive(Debug)]
pub struct Fleet {
    // Ended before what they ask.
    agents: BTreeMap<String, Daemon>,
    /// What they ask.
    pub etcd: Etcd,
    /// The nodes.
    pub cluster: Cluster,
    /// What all nodes have in common.
    pub network: Value,
    /// Further options of each agent.
    pub options: Vec<String>,
}

impl Fleet {
    /// So many nodes, none with an agent yet; these are further options of each member of the etcd.
    pub fn new(nodes: u8, etcd: &[&str]) -> Self {
        let mut cluster = Cluster::with(Settings { nodes, mtu: 1500, v6_underlay: false });
        let network = json!({
            "name": NETWORK,
            "vni": 4096,
            "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
        });
        let folder = cluster.folder().to_owned();
        for node in &mut cluster.nodes {
            let own = folder.join(&node.name);
            for part in ["net.d", "bin"] {
                fs::create_dir_all(own.join(part)).expect("a folder of a node");
            }
            node.network.range_file = own.join("pods.json");
            node.network.configuration["rangeFile"] = json!(node.network.range_file);
            node.network.state_dir = own.join("state");
            node.network.configuration["stateDir"] = json!(node.network.state_dir);
            node.network.configuration["node"] = json!(node.name);
        }
        let etcd = Etcd::start(&cluster, etcd);
        Self { agents: BTreeMap::new(), etcd, cluster, network, options: Vec::new() }
    }

    /// So many nodes, of which the first two have an agent that is ready, and a pod each that reaches the other's.
    pub fn with_two(nodes: u8, etcd: &[&str]) -> (Self, [Pod; 2]) {
        let mut fleet = Self::new(nodes, etcd);
        fleet.start(0);
        fleet.start(1);
        fleet.until_ready(0);
        fleet.until_ready(1);
        fleet.until_listed(0, &["node-a", "node-b"]);
        let pods = [fleet.node(0).add("near"), fleet.node(1).add("far")];
        Self::until_reached(&pods[0], &pods[1]);
        (fleet, pods)
    }

    /// A node.
    pub fn node(&self, index: usize) -> &Node {
        &self.cluster.nodes[index]
    }

    /// The options that say where etcd is, and who asks.
    pub fn access(&self) -> Vec<String> {
        self.etcd.access()
    }

    /// The file of what all nodes have in common, on a node.
    fn network_file(&self, index: usize) -> PathBuf {
        let node = self.node(index);
        let mut network = self.network.clone();
        let plugin = json!({ "type": "flatnet", "stateDir": node.network.state_dir });
        network["conflist"] = json!({ "plugins": [plugin] });
        let file = self.cluster.folder().join(&node.name).join("network.json");
        replace(&file, &network.to_string());
        file
    }

    /// Starts the agent of a node.
    pub fn start(&mut self, index: usize) {
        let access = self.access();
        self.start_with(index, &access);
    }

    /// The same, with other options that say where etcd is and who asks.
    pub fn start_with(&mut self, index: usize, access: &[String]) {
        let network = self.network_file(index);
        let node = &self.cluster.nodes[index];
        let own = self.cluster.folder().join(&node.name);
        let mut agent = Command::new(ours("flatnet-agent"));
        agent.args(["etcd", "--node", &node.name, "--vtep", &node.vtep.to_string()]);
        for (option, path) in [
            ("--network", network),
            ("--range-file", node.network.range_file.clone()),
            ("--conf-dir", own.join("net.d")),
            ("--cni-bin-dir", own.join("bin")),
            ("--from", bin_dir()),
        ] {
            agent.arg(option).arg(path);
        }
        agent.args(access).args(&self.options).env_remove("ETCDCTL_PASSWORD");
        let daemon = node.netns.run(|| Daemon::start("agent", &own, &mut agent));
        self.agents.insert(node.name.clone(), daemon);
    }

    /// Starts those of all nodes, and waits until each is ready.
    pub fn start_all(&mut self) {
        let all = 0..self.cluster.nodes.len();
        all.clone().for_each(|index| self.start(index));
        for index in all {
            self.until_ready(index);
        }
    }

    /// Kills one.
    pub fn kill(&mut self, index: usize) {
        let daemon = self.agents.remove(&self.cluster.nodes[index].name);
        drop(daemon.expect("an agent that runs"));
    }

    /// Has one not run for a while, as the machine that it is on is frozen.
    pub fn signal(&self, index: usize, signal: Signal) {
        kill(self.agents[&self.node(index).name].pid(), signal).expect("signal an agent");
    }

    /// Waits until the agent of a node says that the node is up.
    pub fn until_ready(&mut self, index: usize) {
        let netns = &self.cluster.nodes[index].netns;
        let daemon = self.agents.get_mut(&self.cluster.nodes[index].name).expect("an agent");
        until("ready agent", || {
            daemon.check()?;
            match ask(netns, "/readyz")? {
                (200, _) => Ok(()),
                (code, text) => Err(format!("{code} {text}")),
            }
        });
    }

    /// A number that an agent counts.
    pub fn metric(&self, index: usize, name: &str) -> f64 {
        let netns = &self.node(index).netns;
        // Where the disk is busy, an agent that writes a file may answer late.
        let (_, text) = until("metrics", || ask(netns, "/metrics"));
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    }

    /// That an agent has ended, or else what it has said; for messages.
    pub fn said(&mut self, index: usize) -> String {
        let name = &self.cluster.nodes[index].name;
        let ended = self.agents.get_mut(name).and_then(|agent| agent.check().err());
        ended.unwrap_or_else(|| format!("it runs, and said {}", self.log(index)))
    }

    /// What an agent has said.
    pub fn log(&self, index: usize) -> String {
        let file = self.cluster.folder().join(&self.node(index).name).join("agent.log");
        fs::read_to_string(file).unwrap_or_default()
    }

    /// Waits until an agent has said something.
    pub fn until_said(&self, index: usize, words: &str) {
        until(&format!("word of {words:?}"), || match self.log(index) {
            log if log.contains(words) => Ok(()),
            log => Err(log),
        });
    }

    /// What an agent tells the plugin's tools.
    pub fn matters(&self, index: usize) -> Value {
        let file = self.node(index).network.state_dir.join(NETWORK).join("agent.json");
        let text = fs::read_to_string(file).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The range file of a node: each node's ranges by its name.
    pub fn ranges(&self, index: usize) -> BTreeMap<String, Vec<String>> {
        let text = fs::read_to_string(&self.node(index).network.range_file).unwrap_or_default();
        let file: Value = serde_json::from_str(&text).unwrap_or_default();
        let nodes = file["nodes"].as_array().cloned().unwrap_or_default();
        let text = |range: &Value| range.as_str().map_or(range.to_string(), str::to_owned);
        let entry = |node: &Value| {
            let ranges = node["ranges"].as_array().into_iter().flatten().map(text).collect();
            (node["name"].as_str().unwrap_or_default().to_owned(), ranges)
        };
        nodes.iter().map(entry).collect()
    }

    /// Waits until the range file of a node lists just these nodes.
    pub fn until_listed(&self, index: usize, names: &[&str]) {
        until("range file", || {
            let ranges = self.ranges(index);
            let listed: Vec<&str> = ranges.keys().map(String::as_str).collect();
            if listed == names { Ok(()) } else { Err(format!("{ranges:?}")) }
        });
    }

    /// Waits until one pod reaches another at both its addresses.
    pub fn until_reached(from: &Pod, to: &Pod) {
        for address in to.addresses() {
            until("way between pods", || match reaches(&from.netns, address) {
                true => Ok(()),
                false => Err(format!("{address} does not answer")),
            });
        }
    }

    /// Cuts a node off from etcd, but not from other nodes; or takes that back.
    pub fn cut_off(&self, index: usize, cut: bool) {
        let netns = &self.node(index).netns;
        if !cut {
            netns.exec("nft delete table ip cut");
            return;
        }
        netns.exec("nft add table ip cut");
        for (chain, hook, end) in [("in", "input", "saddr"), ("out", "output", "daddr")] {
            netns.exec(&format!(
                "nft add chain ip cut {chain} {{ type filter hook {hook} priority 0; }}"
            ));
            for address in self.etcd.addresses() {
                netns.exec(&format!("nft add rule ip cut {chain} ip {end} {address} drop"));
            }
        }
    }

    /// `flatnet-agent etcd COMMAND`, as an administrator calls it on a member's machine.
    pub fn administer(&self, args: &[&str]) -> Output {
        let mut agent = self.administration(args);
        self.cluster.nodes[0].netns.run(|| finish(&mut agent, b""))
    }

    /// The same, with another standard output.
    pub fn administer_to(&self, args: &[&str], stdout: impl Into<Stdio>) -> Output {
        let mut agent = self.administration(args);
        agent.stdout(stdout);
        self.cluster.nodes[0].netns.run(|| agent.output()).expect("run flatnet-agent")
    }

    fn administration(&self, args: &[&str]) -> Command {
        let mut agent = Command::new(ours("flatnet-agent"));
        agent.arg("etcd").args(args).args(self.access()).arg("--network").arg(self.network_file(0));
        agent
    }

    /// The same, which succeeds; returns what it printed.
    pub fn administers(&self, args: &[&str]) -> String {
        let output = self.administer(args);
        assert!(output.status.success(), "flatnet-agent etcd {args:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Asks an agent by HTTP: the code of the answer, and its text.
fn ask(netns: &Netns, path: &str) -> Result<(u16, String), String> {
    let mut text = String::new();
    netns
        .run(|| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, LISTEN))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
            stream.read_to_string(&mut text)
        })
        .map_err(|error| format!("asking for {path}: {error}"))?;
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or_else(|| text.clone())?, text))
}
