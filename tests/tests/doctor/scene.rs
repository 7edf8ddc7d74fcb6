//! Two nodes with a pod each; the commands are called at the first.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Output;

use flatnet_tests::cli::{findings_in, run};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::bin_dir;
use serde_json::{Value, json};

/// The nodes, and the folders of configurations and plugins of the first.
pub struct Scene {
    pub cluster: Cluster,
    _pods: Vec<Pod>,
}

impl Scene {
    pub fn new() -> Self {
        let cluster = Cluster::new(2);
        let pods = cluster.nodes.iter().map(|node| node.add("pod")).collect();
        let scene = Self { cluster, _pods: pods };
        fs::create_dir(scene.bin()).expect("a plugin folder");
        symlink(bin_dir().join("flatnet"), scene.bin().join("flatnet")).expect("a link");
        fs::create_dir(scene.net_d()).expect("a configuration folder");
        scene.configure(&scene.cluster.network.configuration);
        scene
    }

    pub fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    pub fn bin(&self) -> PathBuf {
        self.cluster.folder().join("cni-bin")
    }

    pub fn net_d(&self) -> PathBuf {
        self.cluster.folder().join("net.d")
    }

    /// The network's own file.
    pub fn conf(&self) -> PathBuf {
        self.net_d().join("10-pods.conflist")
    }

    /// Writes it: a list with this plugin alone.
    pub fn configure(&self, plugin: &Value) {
        let list = json!({
            "cniVersion": plugin["cniVersion"], "name": plugin["name"], "plugins": [plugin],
        });
        fs::write(self.conf(), list.to_string()).expect("write a configuration");
    }

    /// Runs `flatnet COMMAND ARGS` about the folder's networks.
    pub fn flatnet(&self, command: &str, args: &[&str]) -> Output {
        let folder = self.net_d().display().to_string();
        run(self.node(), command, &[&["--conf-dir", &folder], args].concat())
    }

    /// What the doctor finds.
    pub fn findings(&self) -> Vec<Value> {
        findings_in(self.node(), &self.net_d(), &self.bin())
    }

    pub fn assert_healthy(&self) {
        assert_eq!(self.findings(), Vec::<Value>::new());
    }

    /// The one thing that the doctor finds, which has these words; and what mends it.
    pub fn finding(&self, words: &[&str]) -> String {
        let findings = self.findings();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let text = |key: &str| findings[0][key].as_str().map(str::to_owned);
        let what = text("what").expect("what is wrong");
        words.iter().for_each(|words| assert!(what.contains(words), "{words:?} in {what:?}"));
        assert!(text("why").is_some_and(|why| !why.is_empty()));
        text("command").or_else(|| text("advice")).expect("a mend")
    }
}
