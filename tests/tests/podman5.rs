//! podman 5 itself, whose networks netavark makes with our plugin: containers on two nodes, what is asked for, ports,
//! pods, names, several networks, and a podman that is killed half way.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cnitool::entry;
use flatnet_tests::image::{GREETING, IMAGE, archive};
use flatnet_tests::node::Node;
use flatnet_tests::podman::Podman;
use flatnet_tests::program::said;
use flatnet_tests::{cli, kernel, leftover, probe};
use serde_json::{Value, json};

/// podman on each node.
fn podmans<'a>(cluster: &'a Cluster, behind: &[Value]) -> Vec<Podman<'a>> {
    let image = archive(cluster.folder());
    cluster.nodes.iter().map(|node| Podman::five(cluster, node, behind, &image)).collect()
}

fn portmap() -> Value {
    json!({ "type": "portmap", "capabilities": { "portMappings": true } })
}

/// The namespaces of a node's containers.
fn sandboxes(node: &Node) -> Vec<PathBuf> {
    node.leases().iter().map(|lease| lease["sandbox"].as_str().unwrap().into()).collect()
}

/// Asserts that a node's containers left nothing: not in our state, nor in the kernel.
fn assert_clean(node: &Node, sandboxes: &[PathBuf]) {
    node.assert_no_attachment();
    for sandbox in sandboxes {
        assert!(!sandbox.exists(), "{}", sandbox.display());
    }
}

#[test]
fn containers_reach_each_other_across_nodes() {
    let cluster = Cluster::new(2);
    let podmans = podmans(&cluster, &[]);
    let pod = cluster.nodes[1].add("pod");
    podmans.iter().for_each(|podman| podman.idle("web", "pods"));
    let addresses: Vec<_> = podmans.iter().map(|podman| podman.addresses("web")).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        addresses[to].iter().for_each(|to| podmans[from].ping("web", *to));
    }
    pod.addresses().into_iter().for_each(|to| podmans[0].ping("web", to));
    addresses[0].iter().for_each(|to| probe::ping(&pod.netns, *to));
    // The same books as for CNI, under the container's name, and the overlay's MTU.
    let node = &cluster.nodes[0];
    assert_eq!(node.leases()[0]["addresses"], json!(addresses[0]));
    let listed = cli::document(&cli::flatnet(node, "list", &["--json"]), 0);
    let listed = &listed["attachments"][0];
    assert_eq!((&listed["whole"], &listed["pod"]["name"]), (&json!(true), &json!("web")));
    let mtu = podmans[0].ok(&["exec", "web", "cat", "/sys/class/net/eth0/mtu"]);
    let overlay = kernel::link(&node.netns, &node.overlay()).unwrap()["mtu"].to_string();
    assert_eq!(mtu, overlay);
    let used = podmans[0].run(&["network", "rm", "pods"]);
    assert!(!used.status.success() && said(&used).contains("being used"), "{}", said(&used));
    cluster.nodes[1].del(&pod).silent();
    for (node, podman) in cluster.nodes.iter().zip(&podmans) {
        let left = sandboxes(node);
        podman.ok(&["rm", "-f", "-t0", "web"]);
        podman.ok(&["network", "rm", "pods"]);
        assert!(!podman.ok(&["network", "ls", "-q"]).contains("pods"));
        assert_clean(node, &left);
    }
}

#[test]
fn address_and_mac_are_as_asked_for() {
    let cluster = Cluster::new(2);
    let (podmans, peer) = (podmans(&cluster, &[]), cluster.nodes[1].add("peer"));
    let (podman, node) = (&podmans[0], &cluster.nodes[0]);
    let wants = ["--network", "pods", "--ip", "10.244.1.50", "--mac-address", "02:00:00:00:00:50"];
    podman.ok(&[&["run", "-d", "--name", "asked"][..], &wants, &[IMAGE, "sleep", "3600"]].concat());
    let asked = IpAddr::from([10, 244, 1, 50]);
    assert_eq!(podman.addresses("asked")[0], asked);
    assert_eq!(podman.attachment("asked")["MacAddress"], "02:00:00:00:00:50");
    probe::ping(&peer.netns, asked);

    let taken = ["run", "--rm", "--network", "pods:ip=10.244.1.50", IMAGE, "true"];
    let refused = podman.run(&taken);
    let why = said(&refused);
    assert!(!refused.status.success() && why.contains("10.244.1.50 is taken"), "{why}");
    assert_eq!(node.leases().len(), 1, "the refused one left no lease");
    let left = sandboxes(node);
    podman.ok(&["rm", "-f", "-t0", "asked"]);
    podman.ok(&taken);
    assert_clean(node, &left);
}

#[test]
fn the_containers_of_a_pod_share_one_attachment() {
    let cluster = Cluster::new(2);
    let podmans = podmans(&cluster, &[portmap()]);
    let (podman, node) = (&podmans[0], &cluster.nodes[0]);
    let infra = ["--infra-image", IMAGE, "--infra-command", "/bin/sleep 3600"];
    let create = ["pod", "create", "--name", "shop", "--network", "pods", "-p", "18099:80"];
    podman.ok(&[&create[..], &infra].concat());
    let serve = ["httpd", "-f", "-p", "80", "-h", "/www"];
    podman.ok(&[&["run", "-d", "--pod", "shop", "--name", "web", IMAGE][..], &serve].concat());
    podman.ok(&["run", "-d", "--pod", "shop", "--name", "side", IMAGE, "sleep", "3600"]);
    assert_eq!(node.leases().len(), 1);
    podmans[1].idle("client", "pods");
    let address = node.leases()[0]["addresses"][0].as_str().unwrap().to_owned();
    let at_address = format!("{address} 80");
    for (podman, container, server) in [
        (podman, "side", "127.0.0.1 80"),
        (&podmans[1], "client", &at_address),
        (&podmans[1], "client", &format!("{} 18099", node.vtep)),
    ] {
        let page = podman.get(container, server);
        assert!(page.ends_with(GREETING), "{server}: {page}");
    }
    let left = sandboxes(node);
    podman.ok(&["pod", "rm", "-f", "-t0", "shop"]);
    assert_clean(node, &left);
    podmans[1].ok(&["rm", "-f", "-t0", "client"]);
    assert!(!node.netns.exec("nft list ruleset").contains("18099"));
}

#[test]
fn a_reload_gives_back_what_a_container_had() {
    let cluster = Cluster::new(2);
    let podmans = podmans(&cluster, &[portmap()]);
    let (podman, node) = (&podmans[0], &cluster.nodes[0]);
    let run = ["run", "-d", "--name", "web", "--network", "pods", "-p", "18100:80", IMAGE];
    podman.ok(&[&run[..], &["httpd", "-f", "-p", "80", "-h", "/www"]].concat());
    podmans[1].idle("client", "pods");
    let (before, server) = (podman.attachment("web"), format!("{} 18100", node.vtep));
    let assert_served = || assert!(podmans[1].get("client", &server).ends_with(GREETING));
    assert_served();
    // As a firewall does that begins anew.
    node.netns.exec("nft flush ruleset");
    podman.ok(&["network", "reload", "web"]);
    let after = podman.attachment("web");
    for key in ["IPAddress", "GlobalIPv6Address", "MacAddress"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_served();
    assert_eq!(node.leases().len(), 1);
    let left = sandboxes(node);
    podman.ok(&["rm", "-f", "-t0", "web"]);
    assert_clean(node, &left);
    podmans[1].ok(&["rm", "-f", "-t0", "client"]);
}

#[test]
fn a_running_container_joins_and_leaves() {
    let cluster = Cluster::new(1);
    let (podman, node) = (&podmans(&cluster, &[])[0], &cluster.nodes[0]);
    let peer = node.add("peer");
    let mut second = entry(&cluster);
    let range_file = cluster.folder().join("second.json");
    let text = json!({ "version": 1, "vni": 5000, "port": 4790, "nodes": [
        { "name": "node-a", "vtep": node.vtep, "ranges": ["10.99.1.0/24"] } ] });
    fs::write(&range_file, text.to_string()).unwrap();
    second["rangeFile"] = json!(range_file);
    second["routes"] = json!([{ "dst": "10.99.0.0/16" }]);
    let list = json!({ "cniVersion": "1.0.0", "name": "second", "plugins": [second] });
    let file = podman.list().with_file_name("second.conflist");
    fs::write(&file, list.to_string()).unwrap();
    podman.create("second", &format!("conf={}", file.display()));

    podman.idle("web", "second");
    podman.ok(&["network", "connect", "pods", "web"]);
    let addresses = podman.addresses("web");
    addresses.iter().for_each(|to| probe::ping(&peer.netns, *to));
    peer.addresses().into_iter().for_each(|to| podman.ping("web", to));
    let links = podman.ok(&["exec", "web", "ls", "/sys/class/net"]);
    assert!(links.contains("eth0") && links.contains("eth1"), "{links}");
    podman.ok(&["network", "disconnect", "pods", "web"]);
    assert_eq!(node.leases().len(), 1, "the peer's");
    let links = podman.ok(&["exec", "web", "ls", "/sys/class/net"]);
    assert!(links.contains("eth0") && !links.contains("eth1"), "{links}");
    podman.ok(&["rm", "-f", "-t0", "web"]);
    node.del(&peer).silent();
    node.assert_no_attachment();
}

/// What the documents say of names.
#[test]
fn names_are_those_of_hosts_files() {
    let cluster = Cluster::new(2);
    let podmans = podmans(&cluster, &[]);
    podmans.iter().for_each(|podman| podman.idle("web", "pods"));
    let host = format!("other:{}", podmans[1].addresses("web")[0]);
    let run = ["run", "--rm", "--network", "pods", "--add-host", &host, IMAGE];
    let ping = |name| podmans[0].run(&[&run[..], &["ping", "-c", "1", "-W", "5", name]].concat());
    assert!(ping("other").status.success());
    let unknown = ping("web");
    assert!(!unknown.status.success() && said(&unknown).contains("bad address"), "{unknown:?}");
    podmans.iter().for_each(|podman| drop(podman.ok(&["rm", "-f", "-t0", "web"])));
    cluster.nodes.iter().for_each(Node::assert_no_attachment);
}

#[test]
fn what_a_killed_podman_leaves_is_in_nobodys_way() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let podman = Podman::five(&cluster, node, &[], &archive(cluster.folder())).apart();
    let wants = ["--network", "pods:ip=10.244.1.50", IMAGE, "sleep", "3600"];
    let create = [&["create", "--name", "web"][..], &wants].concat();
    let mut killed = 0;
    for step in 0..200_u32 {
        podman.ok(&create);
        let mut start = podman.command(&["start", "web"]);
        start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut start = node.netns.run(|| start.spawn()).unwrap();
        sleep(Duration::from_millis(8) * step);
        let ended = start.try_wait().unwrap().is_some();
        start.kill().unwrap();
        start.wait().unwrap();
        // The same container, which podman may set up in another namespace now.
        let again = podman.run(&["start", "web"]);
        match again.status.success() {
            true => {
                assert_eq!(podman.addresses("web")[0], IpAddr::from([10, 244, 1, 50]));
                assert_eq!(node.leases().len(), 1);
            }
            // Of runc podman may have forgotten something, too.
            false => assert!(!said(&again).contains("netavark"), "{}", said(&again)),
        }
        podman.ok(&["rm", "-f", "-t0", "web"]);
        node.assert_no_attachment();
        if ended {
            break;
        }
        killed += 1;
    }
    assert!(killed > 5, "podman was killed {killed} times");
}

#[test]
fn nothing_of_podman_is_left() {
    let cluster = Cluster::new(1);
    let mut podmans = podmans(&cluster, &[]);
    let node = &cluster.nodes[0];
    podmans[0].idle("abandoned", "pods");
    let (folder, left) = (podmans[0].folder().to_owned(), sandboxes(node));
    assert!(!leftover::processes(&folder).is_empty() && !leftover::mounts(&folder).is_empty());
    podmans.clear();
    assert!(leftover::processes(&folder).is_empty());
    assert_eq!(leftover::mounts(&folder), Vec::<PathBuf>::new());
    assert!(!folder.exists());
    assert_clean(node, &left);
}
