//! Two nodes with a pod each; the commands are called at the first.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use flatnet_tests::cli::{findings_in, run};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe;
use flatnet_tests::program::{bin_dir, said};
use serde_json::{Value, json};

/// The nodes, and the folders of configurations and plugins of the first.
pub struct Scene {
    pub cluster: Cluster,
    pub pods: Vec<Pod>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Cluster::new(2))
    }

    pub fn with(cluster: Cluster) -> Self {
        cluster.begin_with_the_first();
        let pods = cluster.nodes.iter().map(|node| node.add("pod")).collect();
        let scene = Self { cluster, pods };
        fs::create_dir(scene.bin()).expect("a plugin folder");
        symlink(bin_dir().join("flatnet"), scene.bin().join("flatnet")).expect("a link");
        fs::create_dir(scene.net_d()).expect("a configuration folder");
        scene.configure(&scene.cluster.network.configuration);
        scene
    }

    pub fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    /// The other node.
    pub fn peer(&self) -> &Netns {
        &self.cluster.nodes[1].netns
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

    /// Changes one key of it, and of the configuration of every node.
    pub fn set(&mut self, key: &str, value: Value) {
        self.cluster.configure(key, value);
        self.configure(&self.cluster.network.configuration);
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

    /// Finds a fault and runs the command that mends it, which begins so.
    pub fn mended_by_command(&self, words: &str, command: &str) {
        let mend = self.finding(&[words]);
        assert!(mend.starts_with(command), "{command:?} is not {mend:?}");
        self.run(&mend);
        self.assert_healthy();
    }

    /// Finds a fault whose mend is a person's, with these words.
    pub fn advised(&self, words: &str, advice: &str) {
        let mend = self.finding(&[words]);
        assert!(mend.contains(advice), "{advice:?} in {mend:?}");
    }

    /// Runs a command that the doctor gave, as an administrator of the node.
    pub fn run(&self, command: &str) {
        let mut shell = Command::new("sh");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin_dir().display());
        shell.env_clear().env("PATH", path).args(["-c", command]);
        let output = self.node().netns.finish(&mut shell, b"");
        assert!(output.status.success(), "{command}: {}", said(&output));
    }

    /// Sets a fault on the node by commands.
    pub fn spoil(&self, commands: &[&str]) {
        commands.iter().for_each(|command| drop(self.node().netns.exec(command)));
    }

    /// A fault that keeps the pods apart in these families: nothing passes until the command that the
    /// doctor gives has run.
    pub fn cut_off_until(&self, families: &[Family], words: &str, command: &str) {
        families.iter().for_each(|family| self.assert_apart(*family));
        self.mended_by_command(words, command);
        self.assert_together();
    }

    pub fn assert_apart(&self, family: Family) {
        let to = family.of(&self.pods[1]);
        assert!(!probe::reaches(&self.pods[0].netns, to), "{to} is reached: no fault was set");
    }

    pub fn assert_together(&self) {
        let to = self.pods[1].addresses();
        to.into_iter().for_each(|to| probe::ping(&self.pods[0].netns, to));
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Family {
    V4,
    V6,
}

/// Both.
pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    fn of(self, pod: &Pod) -> IpAddr {
        match self {
            Self::V4 => pod.v4(),
            Self::V6 => pod.v6(),
        }
    }
}
