//! Names and files that are wrong.

use std::fs;
use std::os::unix::fs::symlink;

use flatnet_tests::cli::trace;
use flatnet_tests::program::reference_plugins;
use flatnet_tests::sync;
use serde_json::json;

use super::scene::{BOTH, Scene};

#[test]
fn wrong_node_name() {
    let mut scene = Scene::new();
    scene.assert_healthy();
    scene.set("node", json!("node-x"));
    scene.advised(
        "no node is named \"node-x\", as node in the network configuration says; its nodes are \
         node-a (192.168.50.1), node-b (192.168.50.2)",
        "set node in the configuration of network pods to this node's name",
    );
    scene.set("node", json!("node-a"));
    scene.assert_healthy();
}

#[test]
fn another_nodes_name() {
    let mut scene = Scene::new();
    scene.set("node", json!("node-b"));
    let findings = scene.findings();
    let named =
        "this node is taken for node-b, but 192.168.50.2, the VTEP of node-b, is on no device";
    let found =
        findings.iter().find(|found| found["what"].as_str().is_some_and(|w| w.starts_with(named)));
    let advice = &found.unwrap_or_else(|| panic!("{findings:#?}"))["advice"];
    let advice = advice.as_str().expect("advice");
    assert!(advice.starts_with("correct node in the network configuration"), "{advice}");
}

#[test]
fn missing_portmap() {
    let scene = Scene::new();
    let plugin = &scene.cluster.network.configuration;
    let list = json!({
        "cniVersion": "1.0.0", "name": "pods", "plugins": [plugin, { "type": "portmap" }],
    });
    fs::write(scene.conf(), list.to_string()).expect("write a configuration");
    scene.advised("the plugin \"portmap\" that ", "install it into ");
    let reference = reference_plugins().join("portmap");
    symlink(reference, scene.bin().join("portmap")).expect("a link");
    scene.assert_healthy();
}

#[test]
fn corrupt_range_file() {
    let scene = Scene::new();
    scene.assert_healthy();
    let path = &scene.cluster.network.range_file;
    let whole = fs::read(path).expect("the range file");
    fs::write(path, &whole[..whole.len() / 2]).expect("half a range file");
    let check = format!("`flatnet ranges check {}`", path.display());
    scene.advised("pods.json: not valid JSON", &check);
    fs::write(path, &whole).expect("the range file");
    scene.assert_healthy();
}

/// A cloud's public address, which is on no device of the node: the cloud translates it.
#[test]
fn a_vtep_that_a_router_translates() {
    let mut scene = Scene::new();
    let vtep = scene.cluster.nodes[0].vtep;
    scene.set("node", json!("node-a"));
    scene.assert_healthy();
    scene.cluster.nodes[0].vtep = [203, 0, 113, 1].into();
    scene.cluster.list(&[0, 1]);
    let words =
        "this node is taken for node-a, but 203.0.113.1, the VTEP of node-a, is on no device here";
    scene.advised(words, "behind NAT: the address that this node has itself");
    // Also where the file was applied, as by an ADD.
    sync::apply(scene.node());
    scene.advised(words, "behind NAT: the address that this node has itself");
    BOTH.iter().for_each(|family| scene.assert_apart(*family));
    let [from, to] = [0, 1].map(|n: usize| scene.pods[n].v4().to_string());
    let (_, end) = trace(scene.node(), &from, &to, 1);
    assert_eq!(end["what"], "the VTEP of this node, 203.0.113.1, is on no device here");
    scene.cluster.nodes[0].vtep = vtep;
    scene.cluster.list(&[0, 1]);
    sync::apply(scene.node());
    scene.assert_healthy();
    scene.assert_together();
}
