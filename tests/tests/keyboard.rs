//! The commands for people on a node: what they tell when all is well, and when it is not.

use flatnet_tests::cli::{document, flatnet, text};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Pod;
use serde_json::{Value, json};

/// A pod with the names that Kubernetes gives.
fn named(cluster: &Cluster, namespace: &str, name: &str) -> Pod {
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("pod");
    let args = format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};IgnoreUnknown=1");
    pod.result = node.call_for("ADD", &pod).env("CNI_ARGS", &args).run().result();
    pod
}

#[test]
fn status_tells_what_stands_and_why() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let before = text(&flatnet(node, "status", &[]), 1);
    assert!(before.contains("flat.4096, missing, VNI 4096, UDP port 4789"), "{before}");

    let _pods = (node.add("one"), node.add("two"));
    assert_eq!(
        text(&flatnet(node, "status", &[]), 0),
        "pods on node-a: in sync\n\
         \x20 overlay  flat.4096, up, VNI 4096, UDP port 4789\n\
         \x20 VTEP     192.168.50.1 on under0\n\
         \x20 MTU      1450: under0 carries 1500 toward 192.168.50.2, less 50 of outer headers\n\
         \x20 peers    1, in sync\n\
         \x20 pods     2\n\
         \x20 RANGE               USED  FREE\n\
         \x20 10.244.1.0/24          2   252\n\
         \x20 fd00:10:244:1::/64     2  2^64\n"
    );

    node.netns.exec("ip neigh del 10.244.2.0 dev flat.4096");
    let drifted = text(&flatnet(node, "status", &[]), 1);
    assert!(drifted.starts_with("pods on node-a: drifted, 1 change to make"), "{drifted}");
    assert!(drifted.contains("peers    1, 1 drifted: node-b"), "{drifted}");
    let document = document(&flatnet(node, "status", &["--json"]), 1);
    let network = &document["networks"][0];
    assert_eq!(network["peers"], json!({ "total": 1, "drifted": ["node-b"] }));
    assert_eq!(network["ranges"][0], json!({ "subnet": "10.244.1.0/24", "used": 2, "free": 252 }));
}

#[test]
fn what_cannot_be_looked_at_is_an_exit_code_of_its_own() {
    let mut cluster = Cluster::new(1);
    cluster.configure("node", json!("node-x"));
    let node = &cluster.nodes[0];
    for command in ["status", "list"] {
        let output = flatnet(node, command, &[]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("network pods: ") && said.contains("\"node-x\""), "{said}");
    }
    let document = document(&flatnet(node, "status", &["--json"]), 2);
    assert!(document["networks"][0]["error"].is_string(), "{document}");
}

#[test]
fn list_tells_of_each_attachment_whether_it_is_whole() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    assert_eq!(
        text(&flatnet(node, "list", &[]), 0),
        "POD  INTERFACE  ADDRESSES  VETH  AGE  STATE\n"
    );
    let whole = named(&cluster, "default", "web-0");
    let drifted = named(&cluster, "default", "web-1");
    let in_pod = named(&cluster, "default", "web-2");
    let lost = named(&cluster, "default", "web-3");
    let _unnamed = node.add("unnamed");
    let listed = text(&flatnet(node, "list", &[]), 0);
    assert_eq!(listed.lines().count(), 6, "{listed}");
    assert!(listed.lines().skip(1).all(|line| line.ends_with("  whole")), "{listed}");

    node.netns.exec(&format!("ip neigh del {} dev {}", drifted.v4(), drifted.veth()));
    in_pod.netns.exec("ip link set eth0 mtu 1500");
    node.netns.exec(&format!("ip link del {}", lost.veth()));
    let document = document(&flatnet(node, "list", &["--json"]), 1);
    let of = |name: &str| -> Value {
        let all = document["attachments"].as_array().expect("a list");
        let found = all.iter().find(|entry| entry["pod"]["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {document}")).clone()
    };
    assert_eq!((&of("web-0")["state"], &of("web-0")["whole"]), (&json!("whole"), &json!(true)));
    assert_eq!(of("web-0")["addresses"], json!(whole.addresses()));
    assert_eq!(of("web-0")["veth"], whole.veth());
    assert_eq!(of("web-1")["state"], "drifted: 1 change to make");
    assert_eq!(of("web-2")["state"], "drifted: 1 change to make");
    assert_eq!(of("web-3")["state"], "lost: the node's end of the veth pair is gone");
    let listed = text(&flatnet(node, "list", &[]), 1);
    let row = listed.lines().find(|line| line.starts_with("default/web-3 ")).expect("a row");
    assert!(row.ends_with("lost: the node's end of the veth pair is gone"), "{row}");
}
