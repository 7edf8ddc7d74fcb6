//! netavark on a node, driven as podman drives it: a network is made once, and then set up and torn down for each
//! container. Needs `.ci/install runtimes`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::cnitool::{CHAIN_VERSION, entry};
use crate::node::{Node, Pod};
use crate::program::{ours, said, system};

/// netavark with the networks that were made on one node.
#[derive(Debug)]
pub struct Netavark<'a> {
    node: &'a Node,
    folder: TempDir,
    networks: Vec<Value>,
}

impl<'a> Netavark<'a> {
    /// Sets it up for a node, with the network of the cluster and these plugins behind ours.
    pub fn new(cluster: &Cluster, node: &'a Node, behind: &[Value]) -> Self {
        let folder = tempfile::Builder::new().prefix("ftest-").tempdir().expect("a folder");
        for name in ["plugins", "config"] {
            fs::create_dir(folder.path().join(name)).expect("make a folder");
        }
        // As a distribution has it: the plugin's own folder is another.
        let link = folder.path().join("plugins/flatnet");
        symlink(ours("flatnet"), link).expect("link the plugin");
        let mut netavark = Self { node, folder, networks: Vec::new() };
        let plugins: Vec<Value> =
            [entry(cluster)].into_iter().chain(behind.iter().cloned()).collect();
        let name = cluster.network.name();
        let file = netavark.write(name, &json!(plugins));
        let made = netavark.create(name, json!({ "conf": file }));
        netavark.networks.push(made.unwrap_or_else(|why| panic!("{why}")));
        netavark
    }

    /// Writes the configuration of a network; returns the file.
    pub fn write(&self, name: &str, plugins: &Value) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.conflist"));
        let list = json!({ "cniVersion": CHAIN_VERSION, "name": name, "plugins": plugins });
        fs::write(&file, list.to_string()).expect("write the list");
        file
    }

    /// The file of the cluster's network.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{}.conflist", self.node.network.name()))
    }

    /// `podman network create` with these options.
    ///
    /// # Errors
    /// What netavark said.
    pub fn create(&self, name: &str, options: Value) -> Result<Value, String> {
        let network = json!({
            "name": name, "id": format!("{:0>64}", self.networks.len()), "driver": "flatnet",
            "ipv6_enabled": false, "internal": false, "dns_enabled": true, "options": options,
        });
        let input = json!({
            "network": network,
            "used": { "interfaces": [], "names": {}, "subnets": [] },
            "options": { "subnet_pools": [], "check_used_subnets": true },
        });
        let output = self.run(&["create"], &input);
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
            false => Err(said(&output)),
        }
    }

    /// Adds a network to those that containers can be in.
    pub fn add(&mut self, network: Value) {
        self.networks.push(network);
    }

    /// What podman says of a container that is in the first networks, as many as there are interfaces.
    pub fn options(&self, pod: &Pod, interfaces: &[Value], ports: &Value) -> Value {
        let (mut networks, mut info) = (json!({}), json!({}));
        for (index, (wants, network)) in interfaces.iter().zip(&self.networks).enumerate() {
            let name = network["name"].as_str().expect("a name");
            let mut wanted = json!({ "interface_name": format!("eth{index}"), "aliases": [] });
            wanted
                .as_object_mut()
                .expect("an object")
                .extend(wants.as_object().expect("an object").clone());
            networks[name] = wanted;
            info[name] = network.clone();
        }
        json!({
            "container_id": pod.container_id, "container_name": "web", "container_hostname": "web",
            "networks": networks, "network_info": info, "port_mappings": ports, "dns_servers": [],
        })
    }

    /// `netavark setup` or `teardown`, whatever its end.
    pub fn call(&self, verb: &str, pod: &Pod, options: &Value) -> Output {
        self.run(&[verb, &pod.netns.path().display().to_string()], options)
    }

    /// Sets a container up in the cluster's network; returns what netavark tells of it.
    pub fn setup(&self, pod: &Pod, wants: Value) -> Value {
        let output = self.call("setup", pod, &self.options(pod, &[wants], &json!([])));
        assert!(output.status.success(), "setup: {}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Takes it out of there.
    pub fn teardown(&self, pod: &Pod) {
        let output = self.call("teardown", pod, &self.options(pod, &[json!({})], &json!([])));
        assert!(output.status.success(), "teardown: {}", said(&output));
    }

    /// The plugin itself, as netavark calls it for the cluster's network.
    pub fn plugin(&self, verb: &str, pod: &Pod) -> (Command, Vec<u8>) {
        let input = json!({
            "container_id": pod.container_id, "container_name": "web", "port_mappings": [],
            "network": self.networks[0], "network_options": { "interface_name": "eth0" },
        });
        let mut command = Command::new(self.folder.path().join("plugins/flatnet"));
        command.arg(verb).arg(pod.netns.path());
        (command, input.to_string().into_bytes())
    }

    fn run(&self, args: &[&str], input: &Value) -> Output {
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let mut netavark = Command::new(system("netavark"));
        netavark.arg("--config").arg(path("config")).arg("--plugin-directory").arg(path("plugins"));
        netavark.args(["--rootless", "false", "--aardvark-binary", "/nonexistent"]).args(args);
        // What it makes of the firewall is for bridges.
        netavark.env("NETAVARK_FW", "none");
        self.node.netns.finish(&mut netavark, input.to_string().as_bytes())
    }

    /// Where everything of it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
