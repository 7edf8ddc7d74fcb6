//! flannel's daemon on a node of its own, with the API server or an etcd as its store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use flatnet_cluster::machine::PATH;
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::program::workspace;
use serde_json::json;

use super::crowd::{self, NETWORK};
use super::host::Host;
use super::site::Site;
use super::store::Store;

const NAME: &str = "flannel";
/// The last part of its node's address.
const NUMBER: u8 = 90;
/// Which of the crowd's ranges is its node's.
const RANGE: u32 = 21_000;

/// Its node, and how it is called there.
pub struct Flannel {
    host: Host,
    command: Command,
}

/// The daemon, if `.ci/install bench-cluster` could build it.
pub fn program() -> Option<PathBuf> {
    workspace().join("target/tools/flanneld/flanneld").canonicalize().ok()
}

impl Flannel {
    /// A node of a Kubernetes for it.
    pub fn of_kubernetes(site: &Site, program: &Path) -> Self {
        let node = crowd::node(NAME, Host::address(NUMBER), &crowd::range(RANGE));
        site.writer().run(|client| async move { crowd::put(&client, node).await.expect("a Node") });
        let host = Host::new(&site.ground, NAME, NUMBER, &[site.server()]);
        let network = host.folder.join("net-conf.json");
        let text = json!({ "Network": NETWORK, "Backend": { "Type": "vxlan" } });
        fs::write(&network, text.to_string()).expect("write flannel's configuration");
        let mut flannel = Self::new(host, program);
        let command = flannel.command.env("NODE_NAME", NAME).arg("-kube-subnet-mgr");
        command.arg("-kubeconfig-file").arg(site.control.kubectl.kubeconfig());
        command.arg("-net-config-path").arg(network);
        flannel
    }

    /// The same with an etcd.
    pub fn of_etcd(store: &Store, program: &Path) -> Self {
        let host = Host::new(&store.ground, NAME, NUMBER, &store.etcd.addresses());
        let mut flannel = Self::new(host, program);
        flannel.command.arg("-etcd-endpoints").arg(store.etcd.endpoints());
        for (option, file) in [
            ("-etcd-cafile", "ca.crt"),
            ("-etcd-certfile", "agent.crt"),
            ("-etcd-keyfile", "agent.key"),
        ] {
            flannel.command.arg(option).arg(store.etcd.certificates.file(file));
        }
        flannel
    }

    fn new(host: Host, program: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH);
        command.args(["-iptables-forward-rules=false", "-iface", UNDERLAY]);
        command.arg("-subnet-file").arg(host.folder.join("subnet.env"));
        Self { host, command }
    }

    /// Starts it; how long it takes until all routes stand, in seconds.
    pub fn start(&mut self, peers: u32) -> f64 {
        let begun = Instant::now();
        self.host.start(NAME, &mut self.command);
        self.host.until_routes(peers);
        begun.elapsed().as_secs_f64()
    }

    /// Where it runs.
    pub fn hosts(&self) -> [&Host; 1] {
        [&self.host]
    }
}
