//! Two networks on the same nodes, each with its VNI and its ranges: their pods do not meet.

use std::net::IpAddr;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::frame::{Mac, ethernet, udp};
use flatnet_tests::kernel;
use flatnet_tests::node::{Network, Node, Pod};
use flatnet_tests::probe;
use flatnet_tests::raw::{Port, Sink};
use serde_json::{Value, json};

use crate::scene::{self, at};
use crate::tally::{Shot, Tally};

/// Another network on all nodes of a cluster.
fn second(cluster: &Cluster) -> Network {
    let range_file = cluster.folder().join("second.json");
    let nodes = cluster.nodes.iter().zip(1..).map(|(node, n): (&Node, u8)| {
        let ranges = [format!("10.245.{n}.0/24"), format!("fd00:10:245:{n}::/64")];
        json!({ "name": node.name, "vtep": node.vtep, "ranges": ranges })
    });
    let content = json!({ "version": 1, "vni": 4097, "nodes": nodes.collect::<Vec<Value>>() });
    std::fs::write(&range_file, content.to_string()).expect("write the second range file");
    let mut configuration = cluster.network.configuration.clone();
    configuration["name"] = json!("second");
    configuration["rangeFile"] = json!(range_file);
    Network { configuration, range_file, vni: 4097, ..cluster.network.clone() }
}

/// Attaches a pod to a network.
fn attach(node: &Node, network: &Network, mut pod: Pod) -> Member {
    let input = network.configuration.to_string();
    pod.result = node.call_for("ADD", &pod).stdin(input.as_bytes()).run().result();
    let port = Port::open(&pod.netns, &pod.ifname);
    let gateway = kernel::mac(&node.netns, pod.veth());
    Member { pod, port, gateway }
}

/// A pod in a network.
struct Member {
    pod: Pod,
    port: Port,
    gateway: Mac,
}

impl Member {
    /// A datagram to an address, from this one's own of that family.
    fn frame(&self, to: IpAddr, payload: &[u8]) -> Vec<u8> {
        self.frame_as(self.own(to), to, payload)
    }

    /// The same from any address.
    fn frame_as(&self, from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
        ethernet(self.gateway, self.port.mac, &udp(at(from), at(to), payload))
    }

    /// Its own address of the family of another.
    fn own(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.pod.v4() } else { self.pod.v6() }
    }
}

/// On each node a pod of the network, and on the first one more.
fn members(cluster: &Cluster, network: &Network) -> Vec<Member> {
    let nodes = [0, 0, 1].map(|n| &cluster.nodes[n]);
    nodes.map(|node| attach(node, network, Pod::new(network.name()))).into()
}

#[test]
fn networks_on_one_node_do_not_meet() {
    let mut tally = Tally::new("packets from one network to another");
    let cluster = scene::cluster(2, false);
    let (first, second) = (cluster.network.clone(), second(&cluster));
    let networks = [members(&cluster, &first), members(&cluster, &second)];
    let of_first: Vec<&Pod> = networks[0].iter().map(|member| &member.pod).collect();
    let _warm = scene::warm(&cluster, &of_first);
    for (attackers, victims) in [(0, 1), (1, 0)] {
        for (n, victim) in networks[victims].iter().enumerate() {
            // A pod of its own network, on its node and on the other.
            for friend in networks[victims].iter().enumerate().filter(|(m, _)| *m != n) {
                let (_, friend) = friend;
                for to in victim.pod.addresses() {
                    for attacker in &networks[attackers] {
                        let shots = [attacker.own(to), friend.own(to)].map(|from| {
                            let what = format!("{from} to {to}");
                            Shot::new(what, |payload| vec![attacker.frame_as(from, to, payload)])
                        });
                        let honest = |payload: &[u8]| vec![friend.frame(to, payload)];
                        let sink = Sink::frames(&victim.pod.netns);
                        tally.volley(&attacker.port, &sink, (&friend.port, honest), shots.into());
                    }
                }
            }
        }
    }
    tally.finish();
    // Without our rules the nodes route between them: the packets were good ones.
    let (attacker, victim) = (&networks[0][0], &networks[1][2]);
    cluster.nodes.iter().for_each(|node| drop(node.netns.exec("nft flush ruleset")));
    for to in victim.pod.addresses() {
        let honest = |payload: &[u8]| vec![attacker.frame(to, payload)];
        let sink = Sink::frames(&victim.pod.netns);
        Tally::new("without rules").volley(&attacker.port, &sink, (&attacker.port, honest), vec![]);
    }
}

#[test]
fn a_pod_in_two_networks_is_no_bridge_between_them() {
    let mut tally = Tally::new("packets to a pod by its other network");
    let cluster = scene::cluster(1, false);
    let node = &cluster.nodes[0];
    let mut second = second(&cluster);
    let (alone, friend) = (Pod::new("alone"), Pod::new("friend"));
    let alone = attach(node, &cluster.network, alone);
    let friend = attach(node, &second, friend);
    let both = attach(node, &cluster.network, Pod::new("both"));
    second.configuration["routes"] =
        json!([{ "dst": "10.245.0.0/16" }, { "dst": "fd00:10:245::/48" }]);
    let also = attach(node, &second, both.pod.again("net1"));
    for (outsider, insider, to) in [(&alone, &friend, &also), (&friend, &alone, &both)] {
        let sink = Sink::frames(&to.pod.netns);
        for to in to.pod.addresses() {
            let what = format!("{} to {to}", outsider.pod.v4());
            let shot = Shot::new(what, |payload| vec![outsider.frame(to, payload)]);
            let honest = |payload: &[u8]| vec![insider.frame(to, payload)];
            tally.volley(&outsider.port, &sink, (&insider.port, honest), vec![shot]);
        }
    }
    tally.finish();
}

#[test]
fn pods_of_before_and_after_a_new_vni_are_of_one_network() {
    let cluster = scene::cluster(2, false);
    let before = cluster.fill(1);
    let nodes: Vec<Value> = cluster.nodes.iter().map(Node::entry).collect();
    cluster.write_range_file(&json!({ "version": 1, "vni": 77, "nodes": nodes }));
    let after = cluster.fill(1);
    let old = &before[0][0];
    for new in [&after[0][0], &after[1][0]] {
        for (old, new) in [(old, new), (new, old)] {
            new.addresses().into_iter().for_each(|address| probe::ping(&old.netns, address));
        }
    }
    // And the rules of the new one watch the old pod.
    let mut tally = Tally::new("false sources of a pod of before a new VNI");
    let gateway = kernel::mac(&cluster.nodes[0].netns, old.veth());
    let port = Port::open(&old.netns, "eth0");
    let sink = Sink::frames(&after[1][0].netns);
    for ((to, own), stolen) in
        after[1][0].addresses().into_iter().zip(old.addresses()).zip(after[0][0].addresses())
    {
        let frame = |from, payload: &[u8]| {
            vec![ethernet(gateway, port.mac, &udp(at(from), at(to), payload))]
        };
        let shot = Shot::new(format!("{stolen} to {to}"), |payload| frame(stolen, payload));
        tally.volley(&port, &sink, (&port, |payload: &[u8]| frame(own, payload)), vec![shot]);
    }
    tally.finish();
}
