//! A node's ranges grow and shrink, a network goes: what becomes of pods old and new.

use std::process::Output;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Node;
use flatnet_tests::program::{ours, said};
use flatnet_tests::{cli, kernel, probe, snapshot, sync};
use serde_json::{Value, json};

/// `flatnet COMMAND ARGS...` with the cluster's leases.
fn flatnet(node: &Node, command: &str, args: &[&str]) -> Output {
    let state_dir = node.network.state_dir.display().to_string();
    cli::run(node, command, &[args, &["--state-dir", &state_dir]].concat())
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_full_node_takes_its_second_range_at_once() {
    let mut cluster = Cluster::new(2);
    // One address for a pod: .0 is the node's, .3 the broadcast address, .1 excluded.
    let small = json!({ "subnet": "10.244.1.0/30", "exclude": ["10.244.1.1/32"] });
    cluster.nodes[0].ranges = vec![small.clone()];
    cluster.list(&[0, 1]);
    let peer = cluster.nodes[1].add("peer");
    let first = cluster.nodes[0].add("first");
    assert_eq!(first.v4().to_string(), "10.244.1.2");
    let refused = flatnet_tests::node::Pod::new("refused");
    let error = cluster.nodes[0].call_for("ADD", &refused).run().error();
    assert_eq!(error.code, 100, "{error:?}");
    assert!(error.msg.contains("10.244.1.0/30"), "{error:?}");

    cluster.nodes[0].ranges = vec![small, json!("10.244.77.0/24")];
    cluster.list(&[0, 1]);
    let second = cluster.nodes[0].add("second");
    assert_eq!(second.v4().to_string(), "10.244.77.1");
    // The address by which its peers know the node is still that of its first range.
    assert!(kernel::addresses(&cluster.nodes[0].netns, "flat.4096").contains("10.244.1.0/32"));
    sync::apply(&cluster.nodes[1]);
    for pod in [&first, &second] {
        probe::ping(&peer.netns, pod.v4());
        probe::ping(&pod.netns, peer.v4());
    }
    probe::ping(&first.netns, second.v4());
}

#[test]
fn pods_outside_of_a_range_that_shrank_stay_and_are_told() {
    let mut cluster = Cluster::new(2);
    let peer = cluster.nodes[1].add("peer");
    cluster.nodes[0].begin_with_the_first("pods");
    let pods = [cluster.nodes[0].add("first"), cluster.nodes[0].add("second")];
    assert_eq!(pods[1].v4().to_string(), "10.244.1.2");
    let check = |node: &Node| {
        let path = node.network.range_file.display().to_string();
        flatnet(node, "ranges", &["check", &path])
    };
    let output = check(&cluster.nodes[0]);
    assert_eq!(
        (output.status.code(), text(&output).1.as_str()),
        (Some(0), ""),
        "{}",
        said(&output)
    );

    cluster.nodes[0].ranges = vec![
        json!({ "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.9" }),
        json!("fd00:10:244:1::/64"),
    ];
    cluster.list(&[0, 1]);
    let output = check(&cluster.nodes[0]);
    assert!(output.status.success(), "{}", said(&output));
    let warnings = text(&output).1;
    for pod in &pods {
        let told = format!(
            "flatnet: warning: {} of interface eth0 of container {} is in none of the ranges of \
             node-a any more; it keeps the address until it goes\n",
            pod.v4(),
            pod.container_id
        );
        assert!(warnings.contains(&told), "{warnings}");
    }
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
    // They stay, also when the file is applied and when the runtime checks them.
    sync::apply(&cluster.nodes[0]);
    for pod in &pods {
        probe::ping(&peer.netns, pod.v4());
        cluster.nodes[0].check(pod).silent();
    }
    let third = cluster.nodes[0].add("third");
    assert_eq!(third.v4().to_string(), "10.244.1.9");
    // And go as they came.
    for pod in &pods {
        cluster.nodes[0].del(pod).silent();
    }
    assert_eq!(text(&check(&cluster.nodes[0])).1, "");
}

#[test]
fn a_network_goes_with_all_that_it_had() {
    let mut cluster = Cluster::new(2);
    cluster.configure("ipMasq", json!(true));
    let node = &cluster.nodes[0];
    let nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({
        "version": 1, "vni": 4096, "directRouting": true, "nodes": nodes,
    }));
    // A setting of the whole node stays: others may rely on it by now.
    kernel::set_sysctl(&node.netns, "ipv6/conf/all/forwarding", "1");
    let before = snapshot::namespace(&node.netns);
    let pod = node.add("pod");
    let remove = |json: &[&str]| flatnet(node, "remove", &[&["pods"], json].concat());
    let refused = remove(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let why = text(&refused).1;
    assert!(why.contains(&pod.container_id) && why.contains("remove them first"), "{why}");
    probe::ping(&node.netns, pod.v4());

    node.del(&pod).silent();
    cluster.list(&[1]);
    let removed = remove(&[]);
    assert!(removed.status.success(), "{}", said(&removed));
    assert_eq!(text(&removed).0, "pods: removed flat.4096 from node-a\n");
    let left = snapshot::difference(&before, &snapshot::namespace(&node.netns));
    assert_eq!(left, Vec::<String>::new());
    assert!(!node.state().exists());

    let again = remove(&["--json"]);
    assert_eq!(again.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(document, json!({ "network": "pods", "removed": [], "nodes": [] }));
    // And comes again.
    cluster.list(&[0, 1]);
    let pod = node.add("again");
    probe::ping(&node.netns, pod.v4());
}

#[test]
fn ten_thousand_nodes_in_one_file() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let far = (0..9_998u32).map(|n| {
        let (high, low) = (n / 250, n % 250);
        json!({
            "name": format!("far-{n}"),
            "vtep": format!("172.16.{high}.{}", low + 1),
            "ranges": [format!("10.{}.{}.0/24", high + 1, low)],
        })
    });
    let here = [("node-a", a), ("node-b", b)].map(|(name, node)| {
        let last = node.vtep.to_string().replace("192.168.50.", "");
        json!({ "name": name, "vtep": node.vtep, "ranges": [format!("10.250.{last}.0/24")] })
    });
    let nodes: Vec<Value> = here.into_iter().chain(far).collect();
    cluster.write_range_file(&json!({ "version": 1, "vni": 4096, "nodes": nodes }));
    a.netns.exec("ip route add 172.16.0.0/16 via 192.168.50.254");

    let path = cluster.network.range_file.display().to_string();
    let checked = flatnet(a, "ranges", &["check", &path, "--json"]);
    let document: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(document["nodes"].as_array().expect("nodes").len(), 10_000);
    let told = sync::apply(a);
    assert!(told.starts_with("pods on node-a: "), "{told}");
    assert_eq!(kernel::fdb(&a.netns, "flat.4096").len(), 9_999);
    assert_eq!(kernel::routes(&a.netns).len(), 9_999);
    assert_eq!(sync::apply(a), "pods on node-a: in sync\n");
    let (left, right) = (a.add("left"), b.add("right"));
    probe::ping(&left.netns, right.v4());

    // An ADD does not open the file again.
    cluster.settle();
    sync::apply(a);
    let pod = flatnet_tests::node::Pod::new("traced");
    let trace = cluster.folder().join("trace");
    let mut strace =
        flatnet_tests::program::command("strace", ["-f", "-e", "trace=open,openat", "-o"]);
    strace.arg(&trace).arg(ours("flatnet")).env_clear();
    for (key, value) in [
        ("CNI_COMMAND", "ADD"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/"),
        ("CNI_CONTAINERID", &pod.container_id),
        ("CNI_NETNS", pod.netns.path().to_str().expect("a text path")),
    ] {
        strace.env(key, value);
    }
    let output = a.netns.finish(&mut strace, cluster.network.configuration.to_string().as_bytes());
    assert!(output.status.success(), "{}", said(&output));
    let opened = std::fs::read_to_string(&trace).expect("a trace");
    assert!(opened.contains("overlay.json"), "the trace shows what is opened: {opened}");
    assert!(!opened.contains("pods.json"), "{opened}");
}
