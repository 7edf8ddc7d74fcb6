//! The reference runtime: cnitool calls flatnet with the reference portmap chained behind it, and
//! with every verb there is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::{Tool, entry};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, probe};
use serde_json::json;

/// The port on the node that portmap leads to port 80 of the pod.
const HOST_PORT: u16 = 18_080;

/// `cnitool` with the configuration list of the README.
fn tool(cluster: &Cluster) -> Tool {
    Tool::behind(cluster, &[json!({ "type": "portmap", "capabilities": { "portMappings": true } })])
}

/// Asserts that nothing of a pod is left: on the node, or inside.
fn assert_nothing_left(node: &Node, pod: &Pod) {
    node.assert_no_attachment();
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
}

#[test]
fn pods_of_two_nodes_reach_each_other_and_leave_nothing() {
    let cluster = Cluster::new(2);
    let tool = tool(&cluster);
    let pods = [0, 1].map(|n| tool.add(&cluster.nodes[n], "tool", &json!({})));
    for pod in &pods {
        assert_eq!(pod.result["cniVersion"], "1.0.0");
    }
    for (from, to) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
        for address in to.addresses() {
            probe::ping(&from.netns, address);
        }
    }
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        for _ in 0..2 {
            tool.call(node, "del", pod).succeed();
            assert_nothing_left(node, pod);
        }
    }
}

#[test]
fn a_host_port_leads_to_the_pod() {
    let cluster = Cluster::new(2);
    let tool = tool(&cluster);
    let ports = json!({ "portMappings": [
        { "hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp" },
    ] });
    let node = &cluster.nodes[0];
    let pod = tool.add(node, "web", &ports);
    let client = cluster.nodes[1].add("client");
    let listener = pod.netns.run(|| TcpListener::bind((pod.v4(), 80))).unwrap();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            stream.unwrap().write_all(b"hello").unwrap();
        }
    });
    // From another node, from a pod there, and from the node itself.
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let ways = [
        (&cluster.nodes[1].netns, node.vtep),
        (&*client.netns, node.vtep),
        (&node.netns, localhost),
    ];
    for (from, address) in ways {
        let target = SocketAddr::new(address, HOST_PORT);
        let connect = || TcpStream::connect_timeout(&target, Duration::from_secs(5));
        let mut stream = from.run(connect).unwrap_or_else(|e| panic!("{}: {e}", from.name()));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
    }
    server.join().unwrap();
    tool.call(node, "del", &pod).capabilities(&ports).succeed();
    assert_nothing_left(node, &pod);
}

#[test]
fn a_failing_add_says_why_and_leaves_nothing() {
    let cluster = Cluster::new(1);
    let tool = tool(&cluster);
    cluster.write_range_file(&json!({ "version": 1, "vni": 0, "nodes": [] }));
    let pod = Pod::new("refused");
    let said = tool.call(&cluster.nodes[0], "add", &pod).fail();
    assert!(said.contains("vni"), "{said}");
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
    tool.call(&cluster.nodes[0], "del", &pod).succeed();
}

/// The verbs through the reference library, in the version that has them all.
#[test]
fn cnitool_knows_all_verbs() {
    let mut cluster = Cluster::new(2);
    // Its GC ends every attachment of a network of that name that it has in its cache.
    cluster.configure("name", json!(format!("pods-{}", cluster.underlay.name())));
    let tool = Tool::new(&cluster, "1.1.0", &[entry(&cluster)]);
    let pods = [0, 1].map(|n| tool.add(&cluster.nodes[n], "tool", &json!({})));
    let lost = tool.add(&cluster.nodes[0], "lost", &json!({}));
    probe::ping(&pods[0].netns, pods[1].v4());
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        tool.call(node, "status", pod).succeed();
        tool.call(node, "check", pod).succeed();
    }
    pods[0].netns.exec("ip -4 route del default");
    let said = tool.call(&cluster.nodes[0], "check", &pods[0]).fail();
    assert!(said.contains("0.0.0.0/0"), "{said}");
    for (node, pod) in cluster.nodes.iter().zip(&pods) {
        tool.call(node, "del", pod).succeed();
    }
    assert_eq!(cluster.nodes[0].leases().len(), 1);
    tool.call(&cluster.nodes[0], "gc", &lost).succeed();
    for node in &cluster.nodes {
        node.assert_no_attachment();
    }
    fs::write(&cluster.network.range_file, "{").unwrap();
    let said = tool.call(&cluster.nodes[0], "status", &lost).fail();
    assert!(said.contains("pods.json"), "{said}");
}
