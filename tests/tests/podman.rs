//! podman 4 with its CNI backend on two nodes: run, requested addresses, pods, rm.

use std::net::IpAddr;
use std::path::PathBuf;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::image::{GREETING, IMAGE, archive};
use flatnet_tests::node::Node;
use flatnet_tests::podman::Podman;
use flatnet_tests::{kernel, leftover, probe};
use serde_json::{Value, json};

/// podman on each node.
fn podmans<'a>(cluster: &'a Cluster, behind: &[Value]) -> Vec<Podman<'a>> {
    let image = archive(cluster.folder());
    cluster.nodes.iter().map(|node| Podman::new(cluster, node, behind, &image)).collect()
}

/// Asserts that a node's containers left nothing: not in our state, nor in the kernel.
fn assert_clean(node: &Node, sandboxes: &[PathBuf]) {
    node.assert_no_attachment();
    for sandbox in sandboxes {
        assert!(!sandbox.exists(), "{}", sandbox.display());
    }
}

/// The namespaces of a node's containers.
fn sandboxes(node: &Node) -> Vec<PathBuf> {
    node.leases().iter().map(|lease| lease["sandbox"].as_str().unwrap().into()).collect()
}

#[test]
fn containers_reach_each_other_across_nodes() {
    let cluster = Cluster::new(2);
    let podmans = podmans(&cluster, &[]);
    for podman in &podmans {
        podman.idle("web", "pods");
    }
    let addresses: Vec<_> = podmans.iter().map(|podman| podman.addresses("web")).collect();
    for (node, addresses) in cluster.nodes.iter().zip(&addresses) {
        assert_eq!(node.leases()[0]["addresses"], json!(addresses));
    }
    for (from, to) in [(0, 1), (1, 0)] {
        addresses[to].iter().for_each(|to| podmans[from].ping("web", *to));
    }
    for (node, podman) in cluster.nodes.iter().zip(&podmans) {
        let left = sandboxes(node);
        assert_eq!(left.len(), 1);
        podman.ok(&["rm", "-f", "-t0", "web"]);
        assert_clean(node, &left);
    }
}

#[test]
fn address_and_mac_are_as_asked_for() {
    let cluster = Cluster::new(2);
    let podmans = podmans(&cluster, &[]);
    let peer = cluster.nodes[1].add("peer");
    let podman = &podmans[0];
    podman.idle("asked", "pods:ip=10.244.1.50,mac=02:00:00:00:00:50");
    let attachment = podman.attachment("asked");
    assert_eq!(attachment["IPAddress"], "10.244.1.50", "{attachment}");
    assert_eq!(attachment["MacAddress"], "02:00:00:00:00:50", "{attachment}");
    let node = &cluster.nodes[0];
    let veth = node.leases()[0]["veth"].as_str().unwrap().to_owned();
    let neighbours = kernel::neighbours(&node.netns, &veth);
    let asked: IpAddr = [10, 244, 1, 50].into();
    assert!(neighbours.contains(&(asked, "02:00:00:00:00:50".to_owned())), "{neighbours:?}");
    probe::ping(&peer.netns, asked);

    let taken = ["run", "--rm", "--network", "pods:ip=10.244.1.50", IMAGE, "true"];
    let refused = podman.run(&taken);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("10.244.1.50"), "{said}");
    assert_eq!(node.leases().len(), 1, "the refused one left no lease");
    let left = sandboxes(node);
    podman.ok(&["rm", "-f", "-t0", "asked"]);
    podman.ok(&taken);
    assert_clean(node, &left);
}

#[test]
fn the_containers_of_a_pod_share_one_attachment() {
    let cluster = Cluster::new(2);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let podmans = podmans(&cluster, &[portmap]);
    let (podman, node) = (&podmans[0], &cluster.nodes[0]);
    let infra = ["--infra-image", IMAGE, "--infra-command", "/bin/sleep 3600"];
    let create = ["pod", "create", "--name", "shop", "--network", "pods", "-p", "18096:80"];
    podman.ok(&[&create[..], &infra].concat());
    let serve = ["httpd", "-f", "-p", "80", "-h", "/www"];
    podman.ok(&[&["run", "-d", "--pod", "shop", "--name", "web", IMAGE][..], &serve].concat());
    podman.ok(&["run", "-d", "--pod", "shop", "--name", "side", IMAGE, "sleep", "3600"]);
    assert_eq!(node.leases().len(), 1);
    let address: IpAddr = node.leases()[0]["addresses"][0].as_str().unwrap().parse().unwrap();
    podmans[1].idle("client", "pods");
    podmans[1].ping("client", address);
    // From the next container, from the other node's, and by the port of the node.
    let vtep = format!("{} 18096", node.vtep);
    for (podman, container, target) in [
        (podman, "side", "127.0.0.1 80"),
        (&podmans[1], "client", &format!("{address} 80")),
        (&podmans[1], "client", &vtep),
    ] {
        let page = podman.get(container, target);
        assert!(page.ends_with(GREETING), "{target}: {page}");
    }
    let left = sandboxes(node);
    podman.ok(&["pod", "rm", "-f", "-t0", "shop"]);
    assert_clean(node, &left);
    podmans[1].ok(&["rm", "-f", "-t0", "client"]);
    cluster.nodes[1].assert_no_attachment();
    assert!(!node.netns.exec("nft list ruleset").contains("18096"));
}

#[test]
fn nothing_of_podman_is_left() {
    let cluster = Cluster::new(1);
    let mut podmans = podmans(&cluster, &[]);
    let node = &cluster.nodes[0];
    podmans[0].idle("abandoned", "pods");
    let folder = podmans[0].folder().to_owned();
    let left = sandboxes(node);
    assert!(!leftover::processes(&folder).is_empty() && !leftover::mounts(&folder).is_empty());
    podmans.clear();
    assert!(leftover::processes(&folder).is_empty());
    assert_eq!(leftover::mounts(&folder), Vec::<PathBuf>::new());
    assert!(!folder.exists());
    assert_clean(node, &left);
}
