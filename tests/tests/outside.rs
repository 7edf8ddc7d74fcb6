//! A node whose ranges change under its living pods, as when a Kubernetes Node is deleted and registered
//! again: no other node reaches these pods any more, and all that tells of pods says so.

use flatnet_tests::cli::{self, document, flatnet};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{probe, sync};
use serde_json::{Value, json};

/// The state of a pod in `flatnet list`.
fn state(node: &Node, code: i32, pod: &Pod) -> String {
    let listed = document(&flatnet(node, "list", &["--json"]), code);
    let rows = listed["attachments"].as_array().expect("a list").clone();
    let row = rows.iter().find(|row| row["veth"] == pod.veth());
    row.unwrap_or_else(|| panic!("{} in {rows:#?}", pod.veth()))["state"]
        .as_str()
        .expect("a state")
        .to_owned()
}

/// What `flatnet status` complains of.
fn problems(node: &Node, code: i32) -> Vec<Value> {
    let status = document(&flatnet(node, "status", &["--json"]), code);
    status["networks"][0]["problems"].as_array().expect("a list").clone()
}

/// What the doctor finds wrong with pods' ranges.
fn findings(node: &Node) -> Vec<Value> {
    let of_pods = |finding: &Value| {
        finding["what"].as_str().is_some_and(|what| what.contains("of pods on node-a in"))
    };
    cli::findings(node).into_iter().filter(of_pods).collect()
}

fn ranges(n: u8) -> Vec<Value> {
    vec![json!(format!("10.244.{n}.0/24")), json!(format!("fd00:10:244:{n}::/64"))]
}

#[test]
fn pods_whose_range_went_to_another_node_are_named() {
    let mut cluster = Cluster::new(2);
    let pod = cluster.nodes[0].add("pod");
    let peer = cluster.nodes[1].add("peer");
    probe::ping(&peer.netns, pod.v4());
    assert_eq!(state(&cluster.nodes[0], 0, &pod), "whole");
    assert_eq!(problems(&cluster.nodes[0], 0), Vec::<Value>::new());
    assert_eq!(findings(&cluster.nodes[0]), Vec::<Value>::new());

    cluster.nodes[0].ranges = ranges(7);
    cluster.nodes[1].ranges.extend(ranges(1));
    cluster.list(&[0, 1]);
    cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    let node = &cluster.nodes[0];
    let (v4, v6) = (pod.v4(), pod.v6());
    let why = format!("{v4} is in a range of node-b now, {v6} is in a range of node-b now");
    assert_eq!(state(node, 1, &pod), format!("cut off: {why}"));
    let told = problems(node, 1);
    let words = told.iter().map(|problem| problem.as_str().expect("words"));
    let of = |address| format!("{} is in a range of node-b now: `flatnet doctor`", address);
    for (words, address) in words.zip([v4, v6]) {
        assert!(words.contains(&pod.container_id) && words.ends_with(&of(address)), "{words}");
    }
    assert_eq!(told.len(), 2);
    let found = findings(node);
    assert_eq!(found.len(), 1, "{found:#?}");
    let what = found[0]["what"].as_str().expect("words");
    assert!(what.starts_with("2 addresses of pods on node-a in ranges of node-b: "), "{what}");
    assert!(what.contains(&format!("({v4})")), "{what}");
    assert_eq!(found[0]["command"], Value::Null, "no command takes a pod away");

    // A pod that comes now is whole, and reached.
    let next = node.add("next");
    assert_eq!(state(node, 1, &next), "whole");
    probe::ping(&peer.netns, next.v4());
    probe::ping(&peer.netns, next.v6());
    node.del(&pod).silent();
    assert_eq!(problems(node, 0), Vec::<Value>::new());
    assert_eq!(findings(node), Vec::<Value>::new());
}

#[test]
fn pods_in_no_nodes_range_are_named() {
    let mut cluster = Cluster::new(1);
    let pod = cluster.nodes[0].add("pod");
    cluster.nodes[0].ranges = ranges(7);
    cluster.list(&[0]);
    let node = &cluster.nodes[0];
    sync::apply(node);
    let state = state(node, 1, &pod);
    let gone = format!("{} is in no node's range any more", pod.v6());
    assert!(state.starts_with("cut off: ") && state.ends_with(&gone), "{state}");
    let found = findings(node);
    assert!(found[0]["what"].as_str().expect("words").contains("in no node's ranges"), "{found:?}");
}
