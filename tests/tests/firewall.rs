//! The rules of the node: who may send what, what is masqueraded, and that the overlay's own packets
//! stay out of connection tracking.

use std::net::IpAddr;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::probe::{self, Counter};
use serde_json::json;

#[test]
fn what_leaves_the_cluster_is_masqueraded_when_asked() {
    let mut cluster = Cluster::new(2);
    let (outside, address) = cluster.outsider(200);
    let plain = cluster.nodes[0].add("plain");
    assert!(!probe::reaches(&plain.netns, address), "the outside knows no way back to a pod");
    cluster.configure("ipMasq", json!(true));
    let masqueraded = cluster.nodes[1].add("masqueraded");
    probe::ping(&masqueraded.netns, address);
    drop(outside);
}

#[test]
fn a_pod_cannot_send_under_another_address() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(2);
    let (liar, victim, target) = (&pods[0][0], &pods[0][1], &pods[1][0]);
    for (stolen, to) in victim.addresses().into_iter().zip(target.addresses()) {
        let (family, prefix) = if stolen.is_ipv4() { ("ip", "32") } else { ("ip6", "128 nodad") };
        let arrived = Counter::new(&target.netns, "input", &format!("{family} saddr {stolen}"));
        let address = format!("{stolen}/{prefix}");
        liar.netns.exec(&format!("ip addr add {address} dev eth0"));
        liar.netns.attempt(&format!("ping -n -c 3 -i 0.01 -W 1 -I {stolen} {to}"));
        assert_eq!(arrived.packets(), 0, "{stolen} sent by another pod");
        let own = if stolen.is_ipv4() { liar.v4() } else { liar.v6() };
        liar.netns.exec(&format!("ping -n -c 1 -W 5 -I {own} {to}"));
        victim.netns.exec(&format!("ping -n -c 1 -W 5 -I {stolen} {to}"));
        assert_eq!(arrived.packets(), 1, "{stolen} sent by its own pod");
    }
}

/// Gives a namespace a VXLAN device with a VNI, the cluster's or another one, and a route through it to
/// the pods of `target`: what an intruder would do. Its packets leave by the source ports of overlays. Its addresses
/// are of the other node, and far from the first.
fn intrude(from: &Netns, local: IpAddr, target: &Node, vni: u32) {
    intrude_by(from, local, target, vni, "49152 65535");
}

fn intrude_by(from: &Netns, local: IpAddr, target: &Node, vni: u32, source_ports: &str) {
    let mac = kernel::link(&target.netns, &target.overlay()).expect("a device")["address"].clone();
    let (mac, vtep) = (mac.as_str().expect("a MAC"), target.vtep);
    for line in [
        format!(
            "ip link add vx0 type vxlan id {vni} local {local} remote {vtep} dstport 4789 \
             srcport {source_ports}"
        ),
        "ip link set vx0 up".to_owned(),
        "ip addr add 10.244.2.66/32 dev vx0".to_owned(),
        format!("ip neigh add 10.244.2.67 lladdr {mac} dev vx0 nud permanent"),
        "ip route add 10.244.1.0/24 via 10.244.2.67 dev vx0 onlink src 10.244.2.66".to_owned(),
    ] {
        from.exec(&line);
    }
}

#[test]
fn only_known_vteps_are_heard() {
    let cluster = Cluster::new(2);
    cluster.begin_with_the_first();
    let pods = cluster.fill(1);
    let (node, pod) = (&cluster.nodes[0], &pods[0][0]);
    let (outsider, address) = cluster.outsider(200);
    intrude(&outsider, address, node, cluster.network.vni);
    let arrived = Counter::new(&pod.netns, "input", "ip saddr 10.244.2.66");
    let knock = || outsider.attempt(&format!("ping -n -c 3 -i 0.01 -W 1 {}", pod.v4()));
    knock();
    assert_eq!(arrived.packets(), 0, "an unknown VTEP is heard");
    // Without our rules it would be: the packets were good ones.
    node.netns.exec("nft delete table inet flatnet");
    knock();
    assert_eq!(arrived.packets(), 3);
}

/// What a pod sends to a node never has one of those ports, whatever becomes of its destination port on the way.
#[test]
fn a_known_vtep_is_heard_from_the_ports_of_overlays_only() {
    let cluster = Cluster::new(2);
    cluster.begin_with_the_first();
    let pods = cluster.fill(1);
    let ([node, peer], pod) = ([&cluster.nodes[0], &cluster.nodes[1]], &pods[0][0]);
    peer.netns.exec("nft flush ruleset");
    peer.netns.exec(&format!("ip link del {}", peer.overlay()));
    for (source_ports, heard) in [("49152 65535", 3), ("1024 49152", 0), ("49152 49153", 3)] {
        let arrived = Counter::new(&pod.netns, "input", "ip saddr 10.244.2.66");
        intrude_by(&peer.netns, peer.vtep, node, cluster.network.vni, source_ports);
        peer.netns.attempt(&format!("ping -n -c 3 -i 0.01 -W 1 {}", pod.v4()));
        assert_eq!(arrived.packets(), heard, "from {source_ports}");
        peer.netns.exec("ip link del vx0");
    }
}

#[test]
fn a_pod_cannot_send_vxlan() {
    let mut cluster = Cluster::new(2);
    cluster.begin_with_the_first();
    // Masqueraded, a pod's packet would look like one of its node.
    cluster.configure("ipMasq", json!(true));
    let pods = cluster.fill(1);
    let (node, pod) = (&cluster.nodes[1], &pods[1][0]);
    let target = &cluster.nodes[0];
    intrude(&pod.netns, pod.v4(), target, cluster.network.vni);
    let left = Counter::new(&node.netns, "postrouting", "udp dport 4789");
    let arrived = Counter::new(&target.netns, "prerouting", "udp dport 4789");
    pod.netns.attempt(&format!("ping -n -c 3 -i 0.01 -W 1 {}", pods[0][0].v4()));
    assert_eq!((left.packets(), arrived.packets()), (0, 0));
}

#[test]
fn a_container_of_others_cannot_send_vxlan_either() {
    let cluster = Cluster::new(2);
    cluster.begin_with_the_first();
    let pods = cluster.fill(1);
    let (node, target) = (&cluster.nodes[1], &cluster.nodes[0]);
    // Masqueraded by the program that runs it, its packets would come from a known VTEP.
    let container = Netns::new("container");
    for line in [
        format!("ip link add other0 type veth peer name eth0 netns {}", container.name()),
        "ip addr add 172.31.0.1/24 dev other0".to_owned(),
        "ip link set other0 up".to_owned(),
        "nft add table inet other".to_owned(),
        "nft add chain inet other nat { type nat hook postrouting priority 100 ; }".to_owned(),
        "nft add rule inet other nat ip saddr 172.31.0.0/24 masquerade".to_owned(),
    ] {
        node.netns.exec(&line);
    }
    kernel::set_sysctl(&node.netns, "ipv4/ip_forward", "1");
    container.exec("ip addr add 172.31.0.2/24 dev eth0");
    container.exec("ip link set eth0 up");
    kernel::wait_until_up(&node.netns, "other0");
    kernel::wait_until_up(&container, "eth0");
    container.exec("ip route add default via 172.31.0.1");
    probe::ping(&container, target.vtep);
    intrude(&container, [172, 31, 0, 2].into(), target, cluster.network.vni);
    let arrived = Counter::new(&target.netns, "prerouting", "udp dport 4789");
    container.attempt(&format!("ping -n -c 3 -i 0.01 -W 1 {}", pods[0][0].v4()));
    assert_eq!(arrived.packets(), 0);
}

#[test]
fn other_users_of_the_port_are_left_alone() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    let (outsider, address) = cluster.outsider(200);
    intrude(&outsider, address, &cluster.nodes[0], 99);
    let counter = Counter::new(
        &cluster.nodes[0].netns,
        "input",
        &format!("ip saddr {address} udp dport 4789"),
    );
    outsider.attempt(&format!("ping -n -c 3 -i 0.01 -W 1 {}", pods[0][0].v4()));
    // The three, and what an IPv6 stack sends on a new device.
    assert!(counter.packets() >= 3);
}

#[test]
fn rules_that_drifted_are_put_right() {
    let mut cluster = Cluster::new(2);
    cluster.configure("ipMasq", json!(true));
    let node = &cluster.nodes[0];
    let _first = node.add("first");
    // Sorted: what is put back stands behind what stayed.
    let rules = || -> Vec<String> {
        let listed = node.netns.exec("nft list table inet flatnet");
        let mut lines: Vec<String> = listed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = rules();
    for (n, drift) in [
        "nft flush table inet flatnet",
        "nft flush set inet flatnet vteps-4096",
        "nft add rule inet flatnet vxlan-4096 accept",
        "nft delete chain inet flatnet postrouting-4096",
        "nft delete table inet flatnet",
    ]
    .into_iter()
    .enumerate()
    {
        node.netns.exec(drift);
        node.forget_overlay();
        let next = node.add(&format!("next{n}"));
        assert_eq!(rules(), before, "{drift}");
        node.del(&next).silent();
    }
}

#[test]
fn outer_packets_are_not_tracked() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    let node = &cluster.nodes[0];
    let count =
        |hook, state| Counter::new(&node.netns, hook, &format!("udp dport 4789 ct state {state}"));
    let untracked = [count("input", "untracked"), count("postrouting", "untracked")];
    let tracked = [count("input", "!= untracked"), count("postrouting", "!= untracked")];
    for address in pods[1][0].addresses() {
        probe::ping(&pods[0][0].netns, address);
    }
    assert!(untracked.iter().all(|counter| counter.packets() >= 2));
    assert!(tracked.iter().all(|counter| counter.packets() == 0));
}

#[test]
fn rules_of_others_stay() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let foreign = |line: &str| node.netns.exec(&format!("nft {line}"));
    foreign("add table inet other");
    foreign("add chain inet other forward { type filter hook forward priority 5 ; }");
    foreign("add rule inet other forward counter comment \"keep\"");
    let before = node.netns.exec("nft -a list table inet other");
    let pod = node.add("pod");
    assert!(node.netns.exec("nft list tables").contains("table inet flatnet"));
    node.del(&pod).silent();
    assert_eq!(node.netns.exec("nft -a list table inet other"), before);
}
