//! A range file that changes while an ADD is under way: what that ADD leaves is as if it had begun after.

use std::path::Path;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::{cni_path, script};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{ours, said};
use flatnet_tests::{kernel, probe, sync};
use serde_json::{Value, json};

/// Where the delegate looks for the range file that is to come.
const NEXT: &str = "next.json";

/// Two nodes whose addresses come from a plugin that gives one address, after it has put the next range
/// file in its place and had it applied.
fn changing(address: &str) -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.configure("cniVersion", json!("1.1.0"));
    cluster.configure("ipam", json!({ "type": "changing" }));
    let (folder, flatnet) = (cluster.folder().display().to_string(), ours("flatnet"));
    let result = json!({ "cniVersion": "1.1.0", "ips": [{ "address": address }] });
    script(
        &cluster,
        "changing",
        &format!(
            "cat > {folder}/$CNI_COMMAND.stdin
             [ $CNI_COMMAND = ADD ] && [ -e {folder}/{NEXT} ] || exit 0
             mv {folder}/{NEXT} {range_file}
             CNI_COMMAND=STATUS {flatnet} < {folder}/ADD.stdin >&2 || exit 1
             echo '{result}'",
            flatnet = flatnet.display(),
            range_file = range_file(&cluster).display(),
        ),
    );
    cluster
}

fn range_file(cluster: &Cluster) -> &Path {
    let path = cluster.network.configuration["rangeFile"].as_str().expect("a range file");
    Path::new(path)
}

/// The cluster's range file with other values at its top, and other ranges of the first node.
fn next(cluster: &Cluster, changes: &Value, ranges: Option<&[&str]>) {
    let mut nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    if let Some(ranges) = ranges {
        nodes[0]["ranges"] = json!(ranges);
    }
    let mut file = json!({
        "version": 1,
        "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
        "nodes": nodes,
    });
    for (key, value) in changes.as_object().expect("an object") {
        file[key] = value.clone();
    }
    std::fs::write(cluster.folder().join(NEXT), file.to_string()).expect("write a range file");
}

#[test]
fn an_attachment_is_the_new_networks() {
    let mut cluster = changing("10.244.1.40/32");
    for (title, changes, vni) in [
        ("nothing new", json!({}), 4096),
        ("another VNI", json!({ "vni": 5000 }), 5000),
        ("another port", json!({ "vni": 5000, "port": 4999 }), 5000),
        ("the first ones", json!({}), 4096),
    ] {
        next(&cluster, &changes, None);
        let mut pod = Pod::new("pod");
        let add = cluster.nodes[0].call_for("ADD", &pod).env("CNI_PATH", &cni_path(&cluster));
        pod.result = add.run().result();
        let node = &mut cluster.nodes[0];
        node.network.vni = vni;
        let veth = kernel::link(&node.netns, pod.veth()).expect("a veth");
        let group = format!("{}", 0x6600_0000 | vni);
        assert_eq!(veth["group"], group.as_str(), "{title}: {veth}");
        let plan = sync::sync(node, &["--dry-run"]);
        assert_eq!(plan.status.code(), Some(0), "{title}: {}", said(&plan));
        let peer = &mut cluster.nodes[1];
        peer.network.vni = vni;
        sync::apply(peer);
        probe::ping_as(&peer.netns, overlay_address(peer), pod.v4());
        let del = cluster.nodes[0].call_for("DEL", &pod).env("CNI_PATH", &cni_path(&cluster));
        del.run().silent();
        cluster.nodes[0].assert_no_attachment();
    }
}

/// The node's IPv4 address on the overlay.
fn overlay_address(node: &Node) -> std::net::IpAddr {
    node.vtep_addresses().into_iter().find(std::net::IpAddr::is_ipv4).expect("an IPv4 range")
}

#[test]
fn an_address_that_is_the_nodes_no_more_is_given_back() {
    let cluster = changing("10.244.1.40/32");
    let node = &cluster.nodes[0];
    next(&cluster, &json!({}), Some(&["10.244.9.0/24", "fd00:10:244:9::/64"]));
    let pod = Pod::new("pod");
    let add = || node.call_for("ADD", &pod).env("CNI_PATH", &cni_path(&cluster)).run();
    let error = add().error();
    assert_eq!(error.code, 11, "{error:?}");
    assert!(error.msg.contains("10.244.1.40 is not in this node's ranges"), "{error:?}");
    assert!(cluster.folder().join("DEL.stdin").exists(), "the delegate got it back");
    node.assert_no_attachment();
    assert_eq!(kernel::link(&pod.netns, "eth0"), None);
}
