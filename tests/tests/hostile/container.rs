//! A container of another program on a node, behind a bridge of its own, whose packets that program
//! masquerades, as Docker does.

use std::net::IpAddr;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::frame::{Mac, ethernet, udp};
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::probe;
use flatnet_tests::raw::{Port, Sink};
use serde_json::json;

use crate::scene::{self, PORT, Scene, at};
use crate::tally::{Shot, Tally};
use crate::vxlan::{outer, shapes};

/// The container.
pub struct Container {
    netns: Netns,
    /// Its own address.
    pub own: IpAddr,
    /// Its interface.
    pub port: Port,
    gateway: Mac,
}

impl Container {
    /// A container on a node, with an address of one family.
    pub fn new(node: &Node, v6: bool) -> Self {
        let netns = Netns::new("container");
        let (own, bridge, prefix) = match v6 {
            false => ("172.17.0.2", "172.17.0.1", "16"),
            true => ("fd00:17::2", "fd00:17::1", "64 nodad"),
        };
        let family = if v6 { "ip6" } else { "ip" };
        let subnet = if v6 { "fd00:17::/64" } else { "172.17.0.0/16" };
        for line in [
            "ip link add docker0 type bridge stp_state 0 forward_delay 0".to_owned(),
            format!("ip addr add {bridge}/{prefix} dev docker0"),
            "ip link set docker0 up".to_owned(),
            format!("ip link add dv0 type veth peer name eth0 netns {}", netns.name()),
            "ip link set dv0 master docker0 up".to_owned(),
            format!("nft add table {family} docker"),
            format!(
                "nft add chain {family} docker post {{ type nat hook postrouting priority 100 ; }}"
            ),
            format!(
                "nft add rule {family} docker post {family} saddr {subnet} oifname != docker0 masquerade"
            ),
        ] {
            node.netns.exec(&line);
        }
        kernel::set_sysctl(&node.netns, "ipv4/ip_forward", "1");
        kernel::set_sysctl(&node.netns, "ipv6/conf/all/forwarding", "1");
        netns.exec(&format!("ip addr add {own}/{prefix} dev eth0"));
        netns.exec("ip link set eth0 up");
        kernel::wait_until_up(&node.netns, "dv0");
        kernel::wait_until_up(&node.netns, "docker0");
        netns.exec(&format!("ip route add default via {bridge}"));
        let [own, bridge] = [own, bridge].map(|text| text.parse().expect("an address"));
        // It is an ordinary container: it reaches its node.
        probe::ping(&netns, bridge);
        let port = Port::open(&netns, "eth0");
        Self { own, port, gateway: Port::open(&node.netns, "docker0").mac, netns }
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A frame to the node.
    pub fn frame(&self, packet: &[u8]) -> Vec<u8> {
        ethernet(self.gateway, self.port.mac, packet)
    }
}

/// A cluster of three, of which the first node has a container, and a pod on each.
#[test]
fn a_container_cannot_inject_under_any_address() {
    let mut tally = Tally::new("VXLAN from a container of another program");
    for v6_underlay in [false, true] {
        let (cluster, pods, _warm) = scene::filled(3, v6_underlay);
        let container = Container::new(&cluster.nodes[0], v6_underlay);
        for node in &cluster.nodes[1..] {
            probe::ping(&container.netns, node.vtep);
        }
        for filter in ["0", "2"] {
            for device in ["all", "docker0", "under0"] {
                let name = format!("ipv4/conf/{device}/rp_filter");
                cluster
                    .nodes
                    .iter()
                    .filter(|n| kernel::link(&n.netns, device).is_some() || device == "all")
                    .for_each(|node| kernel::set_sysctl(&node.netns, &name, filter));
            }
            inject(
                &mut tally,
                &cluster,
                &container,
                &pods.iter().flatten().map(|p| (&*p.netns, p.addresses())).collect::<Vec<_>>(),
            );
        }
        heard_without_rules(&cluster, &container, (&pods[0][0].netns, pods[0][0].addresses()));
    }
    tally.finish();
}

/// Under its own address and every VTEP, to every VTEP and the node's bridge.
fn inject(
    tally: &mut Tally,
    cluster: &Cluster,
    container: &Container,
    pods: &[(&Netns, Vec<IpAddr>)],
) {
    let vteps: Vec<IpAddr> = cluster.nodes.iter().map(|node| node.vtep).collect();
    for (n, (node, (pod, inners))) in cluster.nodes.iter().zip(pods).enumerate() {
        let sink = Sink::frames(pod);
        // An honest packet of another pod, of the other end of the overlay.
        let (friend, own) = &pods[(n + 1) % pods.len()];
        let friend_port = Port::open(friend, "eth0");
        let neighbour = friend.json("ip -j neigh show 169.254.1.1");
        let gateway = flatnet_tests::frame::mac(neighbour[0]["lladdr"].as_str().expect("a MAC"));
        for inner in inners {
            let kinds = shapes(&outer(node.vtep, node.vtep, node, *inner, &[0; 16])).len();
            let sources = vteps.iter().chain([&container.own]);
            let tries = sources.flat_map(|from| (0..kinds).map(|kind| (*from, kind)));
            let shots = tries.map(|(from, kind)| {
                let what = format!("{from} to {} around {inner}, shape {kind}", node.vtep);
                Shot::new(what, |payload| {
                    let packet = outer(from, node.vtep, node, *inner, payload);
                    let packets = shapes(&packet).swap_remove(kind);
                    packets.iter().map(|packet| container.frame(packet)).collect()
                })
            });
            let from = own.iter().find(|own| own.is_ipv4() == inner.is_ipv4()).expect("both");
            let honest = |payload: &[u8]| {
                let (from, to) = ((*from, 4444).into(), (*inner, 4444).into());
                vec![ethernet(gateway, friend_port.mac, &udp(from, to, payload))]
            };
            tally.volley(&container.port, &sink, (&friend_port, honest), shots.collect());
        }
    }
}

/// Where no rules are, a peer's address is enough: the packets are good ones.
fn heard_without_rules(
    cluster: &Cluster,
    container: &Container,
    (pod, inners): (&Netns, Vec<IpAddr>),
) {
    let node = &cluster.nodes[0];
    node.netns.exec("nft delete table inet flatnet");
    for device in ["all", "docker0"] {
        kernel::set_sysctl(&node.netns, &format!("ipv4/conf/{device}/rp_filter"), "0");
    }
    let sink = Sink::frames(pod);
    for inner in inners {
        let good = |payload: &[u8]| {
            vec![container.frame(&outer(cluster.nodes[1].vtep, node.vtep, node, inner, payload))]
        };
        let tally = &mut Tally::new("without rules");
        tally.volley(&container.port, &sink, (&container.port, good), Vec::new());
    }
}

/// To a pod and to the node, under pods' addresses, while peers are heard by the underlay.
#[test]
fn a_container_sends_under_no_pods_address() {
    let mut tally = Tally::new("pods' sources from a container of another program");
    for v6 in [false, true] {
        let scene = Scene::with(false, json!(true));
        let container = Container::new(scene.node(), v6);
        for device in ["all", "docker0"] {
            kernel::set_sysctl(&scene.node().netns, &format!("ipv4/conf/{device}/rp_filter"), "0");
        }
        let of_family = |address: &IpAddr| address.is_ipv6() == v6;
        let one = |addresses: Vec<IpAddr>| addresses.into_iter().find(of_family).expect("both");
        let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
        let [here, there] = [&scene.attacker, &scene.target].map(|pod| one(pod.addresses()));
        let free: IpAddr =
            if v6 { "fd00:10:244:1::77" } else { "10.244.1.77" }.parse().expect("an address");
        let sources = [here, there, free, one(b.vtep_addresses())];
        let sinks = [
            (one(scene.neighbour.addresses()), Sink::frames(&scene.neighbour.netns)),
            (one(a.vtep_addresses()), Sink::udp(&a.netns, !v6, PORT)),
        ];
        let frame = |from: IpAddr, to: IpAddr, payload: &[u8]| {
            vec![container.frame(&udp(at(from), at(to), payload))]
        };
        for (to, sink) in &sinks {
            let shots = sources.iter().map(|from| {
                Shot::new(format!("{from} to {to}"), |payload| frame(*from, *to, payload))
            });
            let honest = |payload: &[u8]| frame(container.own, *to, payload);
            tally.volley(&container.port, sink, (&container.port, honest), shots.collect());
        }
        a.netns.exec("nft delete table inet flatnet");
        for (to, sink) in &sinks {
            let good = |payload: &[u8]| frame(there, *to, payload);
            let tally = &mut Tally::new("without rules");
            tally.volley(&container.port, sink, (&container.port, good), Vec::new());
        }
    }
    tally.finish();
}
