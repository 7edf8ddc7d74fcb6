//! flannel's daemon with the API server as its store, on a node of its own.

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

const NAME: &str = "flannel";
/// The last part of its node's address.
const NUMBER: u8 = 90;
/// Which of the crowd's ranges is its node's.
const RANGE: u32 = 21_000;

/// Its node.
pub struct Flannel(Host);

/// The daemon, if `.ci/install bench-cluster` could build it.
pub fn program() -> Option<PathBuf> {
    workspace().join("target/tools/flanneld/flanneld").canonicalize().ok()
}

impl Flannel {
    /// A node for it.
    pub fn prepare(site: &Site) -> Self {
        let node = crowd::node(NAME, Host::address(NUMBER), &crowd::range(RANGE));
        site.writer().run(|client| async move { crowd::put(&client, node).await.expect("a Node") });
        Self(Host::new(site, NAME, NUMBER))
    }

    /// Starts it; how long it takes until all routes stand, in seconds.
    pub fn start(&mut self, site: &Site, program: &Path, peers: u32) -> f64 {
        let network = self.0.folder.join("net-conf.json");
        let text = json!({ "Network": NETWORK, "Backend": { "Type": "vxlan" } });
        fs::write(&network, text.to_string()).expect("write flannel's configuration");
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("NODE_NAME", NAME);
        command.args(["-kube-subnet-mgr", "-iptables-forward-rules=false", "-iface", UNDERLAY]);
        command.arg("-kubeconfig-file").arg(site.control.kubectl.kubeconfig());
        command.arg("-net-config-path").arg(network);
        command.arg("-subnet-file").arg(self.0.folder.join("subnet.env"));
        let begun = Instant::now();
        self.0.start(NAME, &mut command);
        self.0.until_routes(peers);
        begun.elapsed().as_secs_f64()
    }

    /// Where it runs.
    pub fn hosts(&self) -> [&Host; 1] {
        [&self.0]
    }
}
