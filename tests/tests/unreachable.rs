//! What no node has: a packet to a free address of the cluster ends at once and does not circle between
//! the node and a router; and routes of others that end packets are told, not stumbled over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::{self, Counter};
use flatnet_tests::{cli, kernel, sync};
use serde_json::json;

/// 0xfe in the first byte, the VNI (4096) in the others.
const METRIC: u64 = 0xfe00_1000;

/// What every node of a cluster of the usual ranges ends, node `n` for its own part.
fn expected(n: u8) -> BTreeSet<(String, u64)> {
    let own = [format!("10.244.{n}.0/24"), format!("fd00:10:244:{n:x}::/64")];
    let cluster = ["10.244.0.0/16", "fd00:10:244::/56"].map(str::to_owned);
    own.into_iter().chain(cluster).map(|dst| (dst, METRIC)).collect()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

/// Whether a ping is refused by an ICMP message, and not only left without an answer.
fn ends_at_once(from: &flatnet_tests::netns::Netns, to: IpAddr) -> bool {
    let said = from.attempt(&format!("ping -n -c 1 -W 5 {to}"));
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    !said.status.success() && (text.contains("nreachable") || text.contains("No route to host"))
}

/// A default route of each family to a router that knows no better.
fn router(cluster: &Cluster) -> flatnet_tests::netns::Netns {
    let (router, address) = cluster.outsider(250);
    router.exec(&format!("ip addr add fd00:50::fa/64 dev {UNDERLAY} nodad"));
    let node = &cluster.nodes[0].netns;
    node.exec(&format!("ip addr add fd00:50::1/64 dev {UNDERLAY} nodad"));
    node.exec(&format!("ip route add default via {address}"));
    node.exec("ip -6 route add default via fd00:50::fa");
    router
}

#[test]
fn a_packet_to_a_free_address_ends_at_once() {
    let cluster = Cluster::new(2);
    let _router = router(&cluster);
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    let (pod, near, far) = (node.add("pod"), node.add("near"), cluster.nodes[1].add("far"));
    assert_eq!(kernel::unreachable(&node.netns), expected(1));
    assert_eq!(kernel::unreachable(&cluster.nodes[1].netns), expected(2));

    let free = addresses(&["10.244.1.99", "10.244.77.7", "fd00:10:244:1::99", "fd00:10:244:77::7"]);
    let counter = |to: IpAddr| {
        let family = if to.is_ipv4() { "ip" } else { "ip6" };
        Counter::new(&node.netns, "postrouting", &format!("oifname {UNDERLAY} {family} daddr {to}"))
    };
    let (mut tried, mut through) = (0, 0);
    for to in &free {
        let leaves = counter(*to);
        for from in [&*pod.netns, &node.netns] {
            tried += 1;
            if !ends_at_once(from, *to) || leaves.packets() > 0 {
                through += 1;
                eprintln!("{} to {to}", from.name());
            }
        }
    }
    println!("packets to free addresses: {tried} tried, {through} got through");
    assert_eq!(through, 0);

    // Who is there is reached, and so is the world.
    for peer in near.addresses().into_iter().chain(far.addresses()) {
        probe::ping(&pod.netns, peer);
    }
    for world in addresses(&["203.0.113.9", "2001:db8::9"]) {
        let leaves = counter(world);
        probe::reaches(&pod.netns, world);
        assert!(leaves.packets() > 0, "{world}");
    }
    // And without the route it would leave.
    for (to, dst) in [(free[1], "10.244.0.0/16"), (free[3], "fd00:10:244::/56")] {
        node.netns.exec(&format!("ip route del unreachable {dst} proto 102 metric {METRIC}"));
        let leaves = counter(to);
        probe::reaches(&pod.netns, to);
        assert!(leaves.packets() > 0, "{to}");
    }
}

#[test]
fn they_are_kept_and_go_with_the_network() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    assert_eq!(sync::plan(node), [""; 0]);
    for dst in ["10.244.1.0/24", "fd00:10:244::/56"] {
        let words = format!("unreachable {dst} proto 102 metric {METRIC}");
        node.netns.exec(&format!("ip route del {words}"));
        assert_eq!(sync::plan(node), [format!("ip route replace {words}")]);
        sync::apply(node);
        assert_eq!(kernel::unreachable(&node.netns), expected(1));
        // One that is not wanted, with this network's mark, goes; another network's does not.
        node.netns
            .exec(&format!("ip route add unreachable 10.66.0.0/16 proto 102 metric {METRIC}"));
        let other = METRIC + 1;
        node.netns.exec(&format!("ip route add unreachable 10.67.0.0/16 proto 102 metric {other}"));
        let gone = format!("ip route delete unreachable 10.66.0.0/16 proto 102 metric {METRIC}");
        assert_eq!(sync::plan(node), [gone]);
        sync::apply(node);
        node.netns.exec(&format!("ip route del unreachable 10.67.0.0/16 proto 102 metric {other}"));
    }
    assert_eq!(sync::plan(node), [""; 0]);
    // Another program's route that leads somewhere is better.
    node.netns.exec(&format!("ip route add 10.244.0.0/16 dev {UNDERLAY} metric 4000000000"));
    assert!(node.netns.exec("ip route get 10.244.77.7").contains(UNDERLAY));
    node.netns.exec("ip route del 10.244.0.0/16");

    node.del(&pod).silent();
    assert_eq!(kernel::unreachable(&node.netns), expected(1), "free addresses stay free");
    let folder = node.network.state_dir.display().to_string();
    cli::text(&cli::run(node, "remove", &["pods", "--force", "--state-dir", &folder]), 0);
    assert_eq!(kernel::unreachable(&node.netns), BTreeSet::new());
    assert_eq!(kernel::unreachable(&cluster.nodes[1].netns), BTreeSet::new(), "never made");
}

/// Without `clusterCIDRs` the pod network is the union of all ranges, which has no rest.
#[test]
fn a_peers_range_has_none() {
    let cluster = Cluster::new(3);
    let nodes: Vec<_> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({ "version": 1, "vni": 4096, "nodes": nodes }));
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    let pod = node.add("pod");
    let own = ["10.244.1.0/24", "fd00:10:244:1::/64"].map(|dst| (dst.to_owned(), METRIC));
    assert_eq!(kernel::unreachable(&node.netns), own.into());
    assert!(ends_at_once(&pod.netns, "10.244.1.99".parse().expect("an address")));
}

/// `flatnet trace` tells what it told before: who should have the address.
#[test]
fn the_trace_says_whose_the_address_would_be() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    node.begin_with_the_first("pods");
    let pod = node.add("pod");
    for (to, what) in [
        ("10.244.1.99", "no pod of this node has 10.244.1.99"),
        ("fd00:10:244:1::99", "no pod of this node has fd00:10:244:1::99"),
        ("10.244.77.7", "10.244.77.7 is in the cluster's ranges, but in no node's"),
        ("fd00:10:244:77::7", "fd00:10:244:77::7 is in the cluster's ranges, but in no node's"),
    ] {
        let (_, end) = cli::trace(node, &pod.container_id, to, 1);
        assert_eq!((end["at"].as_str(), end["what"].as_str()), (Some("route"), Some(what)));
    }
    // A peer's route that is missing is still told as such.
    node.netns.exec("ip route del 10.244.2.0/24");
    let (_, end) = cli::trace(node, &pod.container_id, "10.244.2.7", 1);
    assert!(end["mend"].as_str().is_some_and(|mend| mend.contains("flatnet sync")), "{end}");
}

/// The pods' address and the peer's, by family.
fn both<'a>(pod: &'a Pod, peer: &'a Pod, ipv4: bool) -> (IpAddr, IpAddr) {
    let of = |pod: &Pod| if ipv4 { pod.v4() } else { pod.v6() };
    (of(pod), of(peer))
}

#[test]
fn a_dead_end_of_another_program_is_an_answer() {
    let cluster = Cluster::new(2);
    let (node, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let peer = other.add("peer");
    let (mut tried, mut bad) = (0, 0);
    for kind in ["blackhole", "unreachable", "prohibit", "throw"] {
        for (ipv4, dst) in [(true, "10.244.2.0/24"), (false, "fd00:10:244:2::/64")] {
            tried += 1;
            // IPv6 routes have a metric in any case.
            let words =
                if ipv4 { format!("{kind} {dst}") } else { format!("{kind} {dst} metric 5") };
            node.netns.exec(&format!("ip route add {words}"));
            let mut pod = Pod::new("pod");
            let added = node.call_for("ADD", &pod).run();
            pod.result = added.result();
            let (from, to) = both(&pod, &peer, ipv4);
            let mut wrong = Vec::new();
            if probe::reaches(&pod.netns, to) {
                wrong.push("it ends nothing: the test shows nothing".to_owned());
            }
            // No command is blind.
            assert_eq!(sync::plan(node), [""; 0], "{words}");
            cli::text(&cli::flatnet(node, "status", &[]), 0);
            let findings = cli::document(&cli::flatnet(node, "doctor", &["--json"]), 1).to_string();
            if !findings.contains(&format!("ip route del {words}")) {
                wrong.push(findings);
            }
            let (_, end) = cli::trace(node, &from.to_string(), &to.to_string(), 1);
            if !end["mend"].to_string().contains(&format!("ip route del {words}")) {
                wrong.push(end.to_string());
            }
            // The mend mends.
            node.netns.exec(&format!("ip route del {words}"));
            probe::ping(&pod.netns, to);
            node.del(&pod).silent();
            node.assert_no_attachment();
            bad += usize::from(!wrong.is_empty());
            wrong.iter().for_each(|wrong| eprintln!("{words}: {wrong}"));
        }
    }
    println!("dead ends of others: {tried} tried, {bad} left something behind");
    assert_eq!(bad, 0);
}

/// The first ADD, which compares all, warns of it and how to remove it.
#[test]
fn the_log_names_a_dead_end() {
    let mut cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    node.netns.exec("ip route add blackhole 10.244.2.0/24");
    let log = cluster.folder().join("log").display().to_string();
    cluster.configure("logFile", json!(log));
    cluster.nodes[0].add("pod");
    let said = std::fs::read_to_string(&log).expect("a log");
    let words = "packets to 10.244.2.0/24 end in another program's route; \
                 `ip route del blackhole 10.244.2.0/24` removes it";
    assert!(said.contains(words), "{said}");
}

/// A pod whose namespace is gone is found dead although its range ends in another program's route.
#[test]
fn the_dead_are_found_behind_a_dead_end() {
    for (range, dst, metric) in [
        ("10.244.1.0/30", "10.244.1.0/30", ""),
        ("fd00:10:244:1::/126", "fd00:10:244:1::/126", "metric 5"),
    ] {
        for kind in ["blackhole", "prohibit", "unreachable"] {
            let mut cluster = Cluster::new(1);
            cluster.set_ranges(|_| vec![range.to_owned()]);
            let node = &cluster.nodes[0];
            let mut pods = Vec::new();
            let full = loop {
                let pod = Pod::new("pod");
                let outcome = node.call_for("ADD", &pod).run();
                if !outcome.status().success() {
                    break outcome.error();
                }
                pods.push(pod);
            };
            assert!(!pods.is_empty() && full.code != 0, "{full:?}");
            node.netns.exec(&format!("ip route add {kind} {dst} {metric}"));
            let alive = node.call_for("ADD", &Pod::new("more")).run();
            assert!(!alive.status().success(), "those who live keep their addresses");
            // Without a DEL: with its namespace the last pod's veth and routes go.
            let dead = pods.pop().expect("a pod");
            let veth = node.leases().into_iter().find(|l| l["containerID"] == dead.container_id);
            let veth = veth.expect("a lease")["veth"].as_str().expect("a name").to_owned();
            drop(dead);
            kernel::wait_until_gone(&node.netns, &veth);
            node.add("next");
        }
    }
}
