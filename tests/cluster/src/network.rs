//! The network that pods need: flatnet, installed on every node.

use std::fs;
use std::process::Command;

use flatnet_tests::files::replace;
use flatnet_tests::image;
use flatnet_tests::program::{finish, said, workspace};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::containerd;
use crate::machine::PATH;
use crate::node::{Node, Program};
use crate::patience::until;
use crate::plan::POD_CIDRS;
use crate::tools;

/// The overlay for a cluster in both families.
pub const DUAL_STACK: &str = "dual-stack";
const OVERLAYS: &str = "packaging/kubernetes/overlays";
/// Where a node has flatnet's configuration, whoever put it there.
const CONFIGURATIONS: &str = "etc/cni/net.d";

/// Installs flatnet as a user of Kubernetes does: the image on every node, and the manifest. Waits until all nodes
/// are ready; those that came since the last time get it, too.
pub fn install(cluster: &Cluster) {
    install_overlay(cluster, DUAL_STACK);
}

/// The same by another of the shipped overlays.
pub fn install_overlay(cluster: &Cluster, overlay: &str) {
    let image = image::ours();
    for node in cluster.nodes.iter().filter(|node| !is_installed(node)) {
        containerd::import(node.machine(), &image);
    }
    cluster.kubectl().must(&["apply", "--kustomize", &kustomization(overlay)]);
    cluster.kubectl().rolled_out_in("kube-system", "daemonset/flatnet");
    wait_until_ready(cluster);
}

/// The kustomization that is shipped for a cluster in both families.
pub fn manifest() -> String {
    kustomization(DUAL_STACK)
}

fn kustomization(overlay: &str) -> String {
    workspace().join(OVERLAYS).join(overlay).display().to_string()
}

/// Takes it off the cluster and its nodes, as docs/kubernetes.md has it.
pub fn remove(cluster: &Cluster, overlay: &str) {
    // Agents go first: one that sees the others' objects vanish would believe it.
    let daemon_set = ["daemonset", "flatnet", "--namespace=kube-system", "--cascade=foreground"];
    cluster.kubectl().delete(&daemon_set);
    let objects = kustomization(overlay);
    cluster.kubectl().must(&["delete", "--kustomize", &objects, "--ignore-not-found"]);
    for node in &cluster.nodes {
        run_documented(node, "/flatnet remove pods\n");
    }
}

/// Runs on a node, as root, the commands of docs/kubernetes.md that have these words among them.
pub fn run_documented(node: &Node, words: &str) {
    let mut shell = Command::new("bash");
    shell.env_clear().env("PATH", PATH);
    shell.args(["-euc", &commands("docs/kubernetes.md", words)]);
    let output = node.machine().finish(&mut shell);
    assert!(output.status.success(), "{}: {}", node.name, said(&output));
}

/// Runs commands as the administrator of the cluster.
pub fn administer(cluster: &Cluster, commands: &str) {
    let path = format!("{}:/usr/bin:/bin", tools::kubernetes().display());
    let mut shell = Command::new("bash");
    shell.env_clear().env("PATH", path).env("KUBECONFIG", cluster.kubectl().kubeconfig());
    shell.env("HOME", cluster.folder()).args(["-euo", "pipefail", "-c", commands]);
    let output = cluster.control.netns.run(|| finish(&mut shell, b""));
    assert!(output.status.success(), "{commands}: {}", said(&output));
}

/// The name of the agent's pod on a node.
pub fn agent(cluster: &Cluster, node: &str) -> String {
    let on = format!("--field-selector=spec.nodeName={node}");
    let ours = "--selector=app.kubernetes.io/name=flatnet";
    let pod = &cluster.kubectl().objects(&["pods", "--namespace=kube-system", &on, ours])[0];
    pod["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// The commands of the block of a document that has these words.
pub fn commands(document: &str, words: &str) -> String {
    let document = fs::read_to_string(workspace().join(document)).expect("a document");
    let block = document.split("```").find(|block| block.contains(words));
    let (_, commands) = block.and_then(|block| block.split_once('\n')).expect("a block");
    commands.to_owned()
}

/// Installs it without an agent, as an administrator does: a range file made of the Nodes on each node, `flatnet
/// install`, and the service that keeps the network. Nodes that have it get the range file.
pub fn install_by_hand(cluster: &mut Cluster) {
    let ranges = ranges(cluster);
    for node in &mut cluster.nodes {
        write_range_file(node, &ranges);
        if !is_installed(node) {
            run_install(node);
            node.start_program(Program::Sync);
        }
    }
    wait_until_ready(cluster);
}

fn is_installed(node: &Node) -> bool {
    fs::read_dir(node.file(CONFIGURATIONS)).is_ok_and(|mut files| files.next().is_some())
}

fn wait_until_ready(cluster: &Cluster) {
    cluster.kubectl().wait("condition=Ready", &["nodes", "--all"]);
}

/// The range file of all Nodes there are, as docs/runtimes.md makes it.
fn ranges(cluster: &Cluster) -> Value {
    let nodes = until("range of every node", || {
        let list = cluster.kubectl().get(&["nodes"])?;
        list["items"].as_array().into_iter().flatten().map(entry).collect::<Result<Vec<_>, _>>()
    });
    let cidrs: Vec<&str> = POD_CIDRS.split(',').collect();
    json!({ "version": 1, "clusterCIDRs": cidrs, "nodes": nodes })
}

/// What the range file says of a Node.
fn entry(node: &Value) -> Result<Value, String> {
    let name = &node["metadata"]["name"];
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let vtep = addresses
        .filter(|address| address["type"] == "InternalIP")
        .map(|address| &address["address"])
        .next()
        .ok_or_else(|| format!("{name} has no address"))?;
    let ranges = &node["spec"]["podCIDRs"];
    if ranges.as_array().is_none_or(Vec::is_empty) {
        return Err(format!("{name} has no podCIDRs"));
    }
    Ok(json!({ "name": name, "vtep": vtep, "ranges": ranges }))
}

/// Replaces a node's range file, by renaming.
fn write_range_file(node: &Node, ranges: &Value) {
    replace(&node.file("etc/flatnet/pods.json"), &ranges.to_string());
}

fn run_install(node: &Node) {
    // Behind flatnet, hostPort is portmap's.
    let list = json!({
        "cniVersion": "1.1.0",
        "name": "pods",
        "plugins": [
            {
                "type": "flatnet",
                "rangeFile": "/etc/flatnet/pods.json",
                "ipMasq": true,
                "logLevel": "info",
                "logFile": "/var/log/flatnet.log",
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let file = node.file("10-pods.conflist");
    fs::write(&file, list.to_string()).expect("write the configuration");
    let mut install = Command::new("/opt/flatnet/flatnet");
    install.env_clear().env("PATH", PATH).args(["install", "--conf"]).arg(&file);
    let output = node.machine().finish(&mut install);
    assert!(output.status.success(), "flatnet install on {}: {}", node.name, said(&output));
}
