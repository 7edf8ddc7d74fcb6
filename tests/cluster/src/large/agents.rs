//! The agents that are measured: the real executable on real nodes. In a Kubernetes each has the token of its own node's
//! pod.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use flatnet_cluster::agent;
use flatnet_cluster::patience::until;
use flatnet_tests::program::{bin_dir, ours};
use serde_json::{Value, json};

use super::crowd::{self, NETWORK};
use super::host::Host;
use super::site::Site;
use super::store::{NAME, Store};

/// The first of the crowd's ranges that are these nodes'.
const RANGES: u32 = 20_000;

/// Some agents.
pub struct Agents(Vec<Agent>);

struct Agent {
    host: Host,
    name: String,
    /// What it goes by.
    engine: Vec<OsString>,
}

/// The name of a node with an agent.
pub fn name(index: u8) -> String {
    format!("agent-{index:02}")
}

impl Agents {
    /// Nodes of a Kubernetes for so many; none of the agents runs.
    pub fn of_kubernetes(site: &Site, count: u8) -> Self {
        let prepare = |index| {
            let (name, number) = (name(index), index + 1);
            let node =
                crowd::node(&name, Host::address(number), &crowd::range(RANGES + u32::from(index)));
            site.writer()
                .run(|client| async move { crowd::put(&client, node).await.expect("a Node") });
            let host = Host::new(&site.ground, &name, number, &[site.server()]);
            let kubeconfig = agent::kubeconfig_of(&site.control, &host.folder, &name);
            let engine = ["kubernetes".into(), "--kubeconfig".into(), kubeconfig.into_os_string()];
            Agent { host, name, engine: engine.into() }
        };
        Self((0..count).map(prepare).collect())
    }

    /// The same with an etcd, where they claim their ranges themselves.
    pub fn of_etcd(store: &Store, count: u8) -> Self {
        let prepare = |index| {
            let (name, number) = (name(index), index + 1);
            let host = Host::new(&store.ground, &name, number, &store.etcd.addresses());
            let vtep = Host::address(number).to_string();
            let engine = ["etcd".to_owned(), "--vtep".to_owned(), vtep].into_iter();
            let engine = engine.chain(store.etcd.access()).map(OsString::from).collect();
            Agent { host, name, engine }
        };
        Self((0..count).map(prepare).collect())
    }

    /// Starts the first; how long it takes until all routes stand, in seconds.
    pub fn start_first(&mut self, peers: u32) -> f64 {
        let begun = Instant::now();
        self.0[0].start();
        self.0[0].host.until_routes(peers);
        begun.elapsed().as_secs_f64()
    }

    /// Starts the others, and waits until all know each other.
    pub fn start_others(&mut self, peers: u32) {
        self.0.iter_mut().skip(1).for_each(Agent::start);
        let peers = peers + u32::try_from(self.0.len()).expect("few") - 1;
        for agent in &mut self.0 {
            agent.host.until_routes(peers);
        }
    }

    /// Where they run.
    pub fn hosts(&self) -> Vec<&Host> {
        self.0.iter().map(|agent| &agent.host).collect()
    }

    /// Fails unless the range file of each has a node.
    pub fn check(&self, node: &str) {
        for agent in &self.0 {
            let text = fs::read_to_string(agent.range_file()).expect("a range file");
            assert!(text.contains(&format!("\"{node}\"")), "{} does not know {node}", agent.name);
        }
    }

    /// The first two hosts with the plugin's configuration on each; the agent of the second is ended.
    pub fn with_and_without(&mut self) -> [(&Host, Value); 2] {
        self.0[1].host.stop();
        [0, 1].map(|index| (&self.0[index].host, self.0[index].configuration()))
    }
}

impl Agent {
    fn start(&mut self) {
        let folder = &self.host.folder;
        let network = folder.join("network.json");
        let text = json!({
            "name": NAME,
            "clusterCIDRs": [NETWORK],
            "conflist": { "cniVersion": "1.0.0", "plugins": [{ "type": "flatnet", "stateDir": folder.join("state") }] },
        });
        fs::write(&network, text.to_string()).expect("write what the network is");
        let mut command = Command::new(ours("flatnet-agent"));
        command.args(&self.engine).args(["--node", &self.name]);
        for (option, path) in [
            ("--network", network),
            ("--range-file", self.range_file()),
            ("--conf-dir", folder.join("net.d")),
            ("--cni-bin-dir", folder.join("bin")),
            ("--from", bin_dir()),
        ] {
            command.arg(option).arg(path);
        }
        fs::create_dir_all(folder.join("net.d")).expect("a folder of configurations");
        fs::create_dir_all(folder.join("bin")).expect("a folder of plugins");
        self.host.start("agent", &mut command);
    }

    fn range_file(&self) -> PathBuf {
        self.host.folder.join("ranges.json")
    }

    /// As a runtime hands it to the plugin, of the list that the agent has installed.
    fn configuration(&self) -> Value {
        let folder = self.host.folder.join("net.d");
        let list = until("configuration list", || {
            let entry = fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten().next();
            let text = fs::read(entry.ok_or("none")?.path()).map_err(|error| error.to_string())?;
            serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string())
        });
        let mut plugin = list["plugins"][0].clone();
        for key in ["name", "cniVersion"] {
            plugin[key] = list[key].clone();
        }
        plugin
    }
}
