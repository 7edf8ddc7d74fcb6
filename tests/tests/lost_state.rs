//! What a node's pods are worth without their leases, and under another name of the node.

use std::fs;

use flatnet_tests::cli::{document, findings, flatnet};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{probe, sync};
use serde_json::{Value, json};

/// What `list` says of each attachment.
fn states(node: &Node, code: i32) -> Vec<Value> {
    let found = document(&flatnet(node, "list", &["--json"]), code);
    let all = found["attachments"].as_array().expect("attachments").clone();
    all.into_iter().map(|attachment| attachment["state"].clone()).collect()
}

#[test]
fn an_address_whose_lease_is_lost_is_passed_by() {
    let cluster = Cluster::new(2);
    let [node, peer] = &cluster.nodes[..] else { unreachable!() };
    let (first, second, far) = (node.add("first"), node.add("second"), peer.add("far"));
    fs::remove_dir_all(&node.network.state_dir).expect("remove the state");
    // The overlay is brought about again, and the same ADD goes on to the third addresses.
    let third = node.add("third");
    let held: Vec<_> = [&first, &second].into_iter().flat_map(Pod::addresses).collect();
    assert!(third.addresses().iter().all(|address| !held.contains(address)), "{third:?}");
    for pod in [&first, &second, &third] {
        for address in far.addresses() {
            probe::ping(&pod.netns, address);
        }
    }
    let lost = json!("lost: it has no lease");
    assert_eq!(states(node, 1), [json!("whole"), lost.clone(), lost]);
    let found = findings(node);
    assert_eq!(found.len(), 1, "{found:#?}");
    let what = found[0]["what"].as_str().expect("what");
    assert!(what.starts_with("2 pods have no lease: "), "{what}");
    assert!(what.contains(&first.container_id) && what.contains(&second.container_id), "{what}");

    // As advised: the runtime makes them anew.
    let (mut first, mut second) = (first, second);
    for pod in [&mut first, &mut second] {
        node.del(pod).silent();
        node.attach(pod);
    }
    assert_eq!(findings(node), Vec::<Value>::new());
    assert_eq!(states(node, 0), [json!("whole"), json!("whole"), json!("whole")]);
}

#[test]
fn a_node_with_another_name_keeps_its_pods() {
    let mut cluster = Cluster::new(2);
    let (pod, far) = (cluster.nodes[0].add("pod"), cluster.nodes[1].add("far"));
    cluster.nodes[0].name = "web-7".into();
    cluster.list(&[0, 1]);
    let node = &cluster.nodes[0];
    let later = node.add("later");
    assert!(later.addresses().iter().all(|address| !pod.addresses().contains(address)));
    assert_eq!(states(node, 0), [json!("whole"), json!("whole")]);
    assert_eq!(findings(node), Vec::<Value>::new());
    // Sync looks at it under its earlier name, too.
    pod.netns.exec("ip route del default");
    assert!(!probe::reaches(&pod.netns, far.v4()));
    assert_ne!(sync::plan(node), [""; 0]);
    sync::apply(node);
    probe::ping(&pod.netns, far.v4());
    node.check(&pod).silent();
    node.del(&pod).silent();
    node.del(&later).silent();
    node.assert_no_attachment();
}
