//! The reference runtime: `cnitool` with configuration lists, so that the reference library itself
//! hands results down a chain, checks them and keeps them for DEL.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::{Node, Pod};
use crate::program::{bin_dir, command, executable, ours, reference_plugins, said};
use crate::wait::wait_for;

/// The newest version that the reference plugins of Debian 12 speak.
pub const CHAIN_VERSION: &str = "1.0.0";

/// `cnitool` with one configuration list.
#[derive(Debug)]
pub struct Tool {
    network: String,
    net_d: PathBuf,
    path: String,
}

impl Tool {
    /// Writes a configuration list of these plugins, in a folder of its own.
    pub fn new(cluster: &Cluster, version: &str, plugins: &[Value]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let network = cluster.network.name().to_owned();
        let list = json!({ "cniVersion": version, "name": network, "plugins": plugins });
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let net_d = cluster.folder().join(format!("net.d-{n}"));
        fs::create_dir(&net_d).expect("make the folder of a list");
        fs::write(net_d.join("list.conflist"), list.to_string()).expect("write a list");
        Self { network, net_d, path: cni_path(cluster) }
    }

    /// A list of flatnet as the cluster configures it, with these plugins behind it.
    pub fn behind(cluster: &Cluster, plugins: &[Value]) -> Self {
        let all: Vec<Value> = [entry(cluster)].into_iter().chain(plugins.iter().cloned()).collect();
        Self::new(cluster, CHAIN_VERSION, &all)
    }

    /// `cnitool VERB NETWORK NAMESPACE` on a node, ready to run.
    pub fn call<'a>(&self, node: &'a Node, verb: &'a str, pod: &Pod) -> ToolCall<'a> {
        let mut command = command("cnitool", [verb, &self.network]);
        command
            .arg(pod.netns.path())
            .env("NETCONFPATH", &self.net_d)
            .env("CNI_PATH", &self.path)
            .env("CNI_IFNAME", &pod.ifname);
        ToolCall { node, verb, command }
    }

    /// The container ID that `cnitool` makes up for an attached pod, from its lease.
    pub fn container_id(node: &Node, pod: &Pod) -> String {
        let leases = node.leases();
        let here = json!(pod.netns.path());
        let lease = leases.iter().find(|lease| lease["sandbox"] == here);
        let lease = lease.unwrap_or_else(|| panic!("no lease of {here} in {leases:?}"));
        lease["containerID"].as_str().expect("a container ID").to_owned()
    }

    /// Attaches a fresh pod.
    pub fn add(&self, node: &Node, label: &str, capabilities: &Value) -> Pod {
        let mut pod = Pod::new(label);
        pod.result = self.call(node, "add", &pod).capabilities(capabilities).succeed();
        pod
    }
}

/// One call of `cnitool`.
#[derive(Debug)]
pub struct ToolCall<'a> {
    node: &'a Node,
    verb: &'a str,
    command: Command,
}

impl ToolCall<'_> {
    /// What the runtime says by capability (`CAP_ARGS`).
    pub fn capabilities(mut self, capabilities: &Value) -> Self {
        self.command.env("CAP_ARGS", capabilities.to_string());
        self
    }

    /// `CNI_ARGS`, as `cnitool` takes them from its own environment.
    pub fn args(mut self, args: &str) -> Self {
        self.command.env("CNI_ARGS", args);
        self
    }

    /// Runs it, whatever its end.
    pub fn run(mut self) -> Output {
        self.node.netns.finish(&mut self.command, b"")
    }

    /// Starts it and kills it after a while: it alone, as a runtime dies. What it had started ends
    /// by itself, and has ended when this returns.
    pub fn kill_after(mut self, after: Duration) {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = self.node.netns.run(|| command.spawn()).expect("start cnitool");
        sleep(after);
        child.kill().expect("kill cnitool");
        child.wait().expect("wait for cnitool");
        wait_for("the end of the plugins", || self.node.netns.processes().is_empty().then_some(()));
    }

    /// Runs it, asserting success; returns the result, null where none is printed.
    pub fn succeed(self) -> Value {
        let verb = self.verb.to_owned();
        let output = self.run();
        assert!(output.status.success(), "cnitool {verb}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Runs it, asserting failure; returns what it said.
    pub fn fail(self) -> String {
        let verb = self.verb.to_owned();
        let output = self.run();
        assert!(!output.status.success(), "cnitool {verb} succeeded: {}", said(&output));
        said(&output)
    }
}

/// Our entry of a list's `plugins`, as the cluster configures it.
pub fn entry(cluster: &Cluster) -> Value {
    let mut entry = cluster.network.configuration.clone();
    let object = entry.as_object_mut().expect("an object");
    object.retain(|key, _| !["cniVersion", "name"].contains(&key.as_str()));
    entry
}

/// Ours, the reference plugins, and what [`script`] wrote.
pub fn cni_path(cluster: &Cluster) -> String {
    ours("flatnet");
    let folders = [cluster.folder().join("bin"), bin_dir(), reference_plugins()];
    folders.map(|folder| folder.display().to_string()).join(":")
}

/// Writes a plugin that is a shell script, for what no real plugin does.
pub fn script(cluster: &Cluster, name: &str, text: &str) -> PathBuf {
    let folder = cluster.folder().join("bin");
    fs::create_dir_all(&folder).expect("make the folder of scripts");
    let path = folder.join(name);
    executable(&path, format!("#!/bin/sh\n{text}\n"));
    path
}
