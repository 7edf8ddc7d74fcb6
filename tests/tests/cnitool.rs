//! The reference runtime: cnitool calls flatnet with the reference portmap chained behind it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{bin_dir, command, ours, reference_plugins, said};
use flatnet_tests::{kernel, probe, snapshot};
use serde_json::{Value, json};

/// The port on the node that portmap leads to port 80 of the pod.
const HOST_PORT: u16 = 18_080;

/// One configuration list for every node of the cluster, in a folder of its own.
fn conflist(cluster: &Cluster) -> PathBuf {
    ours("flatnet");
    let mut flatnet = cluster.network.configuration.clone();
    flatnet
        .as_object_mut()
        .unwrap()
        .retain(|key, _| !["cniVersion", "name"].contains(&key.as_str()));
    flatnet["capabilities"] = json!({ "ips": true, "mac": true });
    let list = json!({
        // The newest version that the portmap of Debian 12 speaks.
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [flatnet, { "type": "portmap", "capabilities": { "portMappings": true } }],
    });
    let folder = cluster.folder().join("net.d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("pods.conflist"), list.to_string()).unwrap();
    folder
}

/// `cnitool VERB pods /run/netns/POD` on a node.
fn cnitool(node: &Node, net_d: &PathBuf, verb: &str, pod: &Pod, capabilities: &Value) -> Output {
    let namespace = pod.netns.path();
    let mut cnitool: Command = command("cnitool", [verb, "pods"]);
    cnitool
        .arg(namespace)
        .env("NETCONFPATH", net_d)
        .env("CNI_PATH", format!("{}:{}", bin_dir().display(), reference_plugins().display()))
        .env("CAP_ARGS", capabilities.to_string());
    node.netns.finish(&mut cnitool, b"")
}

/// The same, asserting success; returns the result, null where none is printed.
fn succeed(node: &Node, net_d: &PathBuf, verb: &str, pod: &Pod, capabilities: &Value) -> Value {
    let output = cnitool(node, net_d, verb, pod, capabilities);
    assert!(output.status.success(), "cnitool {verb}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[test]
fn pods_of_two_nodes_reach_each_other_and_leave_nothing() {
    let cluster = Cluster::new(2);
    let net_d = conflist(&cluster);
    let mut pods = [Pod::new("tool-a"), Pod::new("tool-b")];
    for (node, pod) in cluster.nodes.iter().zip(&mut pods) {
        pod.result = succeed(node, &net_d, "add", pod, &json!({}));
        assert_eq!(pod.result["cniVersion"], "1.0.0");
    }
    for (from, to) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
        for address in to.addresses() {
            probe::ping(&from.netns, address);
        }
    }
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        for _ in 0..2 {
            succeed(node, &net_d, "del", pod, &json!({}));
            assert_nothing_left(node, pod);
        }
    }
}

/// Asserts that a pod's veth, routes and lease are gone.
fn assert_nothing_left(node: &Node, pod: &Pod) {
    assert_eq!(kernel::link(&node.netns, pod.veth()), None);
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
    let routes = kernel::routes(&node.netns);
    assert!(routes.iter().all(|route| route.dev == node.overlay()), "{routes:?}");
    for (path, (_, content)) in snapshot::folder(&node.state()) {
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains("cnitool-"), "{}: {content}", path.display());
    }
}

#[test]
fn a_host_port_leads_to_the_pod() {
    let cluster = Cluster::new(2);
    let net_d = conflist(&cluster);
    let ports = json!({ "portMappings": [
        { "hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp" },
    ] });
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("web");
    pod.result = succeed(node, &net_d, "add", &pod, &ports);
    let client = cluster.nodes[1].add("client");
    let listener = pod.netns.run(|| TcpListener::bind((pod.v4(), 80))).unwrap();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            stream.unwrap().write_all(b"hello").unwrap();
        }
    });
    // From another node and from a pod there.
    let target = SocketAddr::new(node.vtep, HOST_PORT);
    for from in [&cluster.nodes[1].netns, &client.netns] {
        let connect = || TcpStream::connect_timeout(&target, Duration::from_secs(5));
        let mut stream = from.run(connect).unwrap_or_else(|e| panic!("{}: {e}", from.name()));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
    }
    server.join().unwrap();
    succeed(node, &net_d, "del", &pod, &ports);
    assert_nothing_left(node, &pod);
}

#[test]
fn a_failing_add_says_why_and_leaves_nothing() {
    let cluster = Cluster::new(1);
    let net_d = conflist(&cluster);
    cluster.write_range_file(&json!({ "version": 1, "vni": 0, "nodes": [] }));
    let pod = Pod::new("refused");
    let output = cnitool(&cluster.nodes[0], &net_d, "add", &pod, &json!({}));
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("vni"), "{}", said(&output));
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
    succeed(&cluster.nodes[0], &net_d, "del", &pod, &json!({}));
}
