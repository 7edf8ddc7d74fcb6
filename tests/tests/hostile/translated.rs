//! VXLAN that shows where it goes only when its destination has been translated: through what
//! kube-proxy makes of a Service or a node port whose endpoint is a VTEP's port.

use std::net::{IpAddr, SocketAddr};

use flatnet_tests::frame::{ethernet, udp, vxlan};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::raw::{Port, Sink};
use serde_json::json;

use crate::container::Container;
use crate::scene::{Scene, at};
use crate::tally::{Shot, Tally};
use crate::vxlan::{VXLAN, inner_frame, shapes};

/// The ports of a Service and of a node port, each of which leads to one endpoint.
const SERVICES: [u16; 4] = [53, 54, 55, 56];
const NODE_PORTS: [u16; 2] = [30_000, 30_001];

/// The address of the Services.
pub fn service(v6: bool) -> IpAddr {
    if v6 { "fd00:96::7".parse().expect("an address") } else { [10, 96, 0, 7].into() }
}

/// Another address of a node on the underlay, at which VXLAN listens, too.
pub fn second(n: u16, v6: bool) -> IpAddr {
    if v6 {
        [0xfd00, 0x50, 0, 0, 0, 0, 0, 0x70 + n].into()
    } else {
        [192, 168, 50, 70 + n as u8].into()
    }
}

/// What kube-proxy makes of Services without a selector whose endpoints were written by hand: rules of `node`
/// that lead to both VTEPs and to the further addresses, and, masqueraded as for node ports, to the VTEPs.
fn translate(node: &Node, vteps: [IpAddr; 2], v6: bool) {
    let (family, service) = (if v6 { "ip6" } else { "ip" }, service(v6));
    let shown = |to: IpAddr| SocketAddr::from((to, VXLAN)).to_string();
    let endpoints = vteps.into_iter().chain([second(0, v6), second(1, v6)]);
    let services = SERVICES.into_iter().zip(endpoints).map(|(port, to)| {
        format!("{family} daddr {service} udp dport {port} dnat to {}", shown(to))
    });
    let node_ports = NODE_PORTS.into_iter().zip(vteps).map(|(port, to)| {
        format!("fib daddr type local udp dport {port} meta mark set 0x4000 dnat to {}", shown(to))
    });
    let rules: Vec<String> = services.chain(node_ports).collect();
    node.netns.exec(&format!("nft add table {family} kube-proxy"));
    for (chain, hook, priority) in [
        ("prerouting", "prerouting", "-100"),
        ("output", "output", "-100"),
        ("post", "postrouting", "100"),
    ] {
        node.netns.exec(&format!(
            "nft add chain {family} kube-proxy {chain} {{ type nat hook {hook} priority {priority} ; }}"
        ));
    }
    for rule in &rules {
        for chain in ["prerouting", "output"] {
            node.netns.exec(&format!("nft add rule {family} kube-proxy {chain} {rule}"));
        }
    }
    node.netns.exec(&format!(
        "nft add rule {family} kube-proxy post meta mark & 0x4000 == 0x4000 masquerade"
    ));
}

/// Where a packet is sent to be translated, and whose overlay it is made for.
pub fn ways(scene: &Scene, v6: bool) -> Vec<(SocketAddr, usize)> {
    let services = SERVICES.into_iter().zip([0, 1, 0, 1]);
    let services = services.map(|(port, node)| ((service(v6), port).into(), node));
    let node_ports = NODE_PORTS.into_iter().zip([0, 1]);
    let here = scene.node().vtep;
    services.chain(node_ports.map(|(port, node)| ((here, port).into(), node))).collect()
}

/// A scene with these rules on the attacker's node.
pub fn scene(v6: bool, masquerade: bool) -> Scene {
    let scene = Scene::with(v6, json!(masquerade));
    let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
    for (n, node) in (0..).zip([a, b]) {
        let prefix = if v6 { "64 nodad" } else { "24" };
        node.netns.exec(&format!("ip addr add {}/{prefix} dev under0", second(n, v6)));
        // As every real uplink has one: without, the kernel asks for no neighbour of what it forwards.
        node.netns.exec(&format!("ip addr add fe80::50:{n}/64 dev under0 nodad"));
    }
    translate(a, [a.vtep, b.vtep], v6);
    scene
}

/// The frames of a forged packet to `to`, whole or in fragments, into the overlay of `node`.
fn packets(
    from: IpAddr,
    to: SocketAddr,
    node: &Node,
    inner: IpAddr,
    kind: usize,
    payload: &[u8],
) -> Vec<Vec<u8>> {
    let message = vxlan(node.network.vni, &inner_frame(node, inner, payload));
    let from = (from, 50_000).into();
    // What begins a connection may look like anything.
    let opening =
        [vec![udp(from, to, b"open")], vec![udp(from, to, &vxlan(99, &[0; 64]))]].concat();
    [opening, shapes(&udp(from, to, &message)).swap_remove(kind)].concat()
}

fn kinds(v6: bool) -> usize {
    if v6 { 6 } else { 4 }
}

#[test]
fn a_pod_cannot_inject_through_a_service() {
    let mut tally = Tally::new("VXLAN from a pod through NAT");
    for (v6, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = scene(v6, masquerade);
        let pods = [&scene.neighbour, &scene.target];
        let shoot = |tally: &mut Tally, honest_too: bool| {
            for (to, node) in ways(&scene, v6) {
                let pod = pods[node];
                let sink = Sink::frames(&pod.netns);
                for inner in pod.addresses() {
                    let from = scene.own(to.ip());
                    let frames = |kind, payload: &[u8]| -> Vec<Vec<u8>> {
                        let node = &scene.cluster.nodes[node];
                        let packets = packets(from, to, node, inner, kind, payload);
                        packets.iter().map(|packet| scene.frame(packet)).collect()
                    };
                    let plain =
                        |payload: &[u8]| vec![scene.datagram(scene.own(inner), inner, payload)];
                    if honest_too {
                        let good = |payload: &[u8]| frames(0, payload);
                        tally.volley(&scene.port, &sink, (&scene.port, good), Vec::new());
                        continue;
                    }
                    let shots = (0..kinds(v6)).map(|kind| {
                        let what = format!("{to} around {inner}, shape {kind}");
                        Shot::new(what, |payload| frames(kind, payload))
                    });
                    tally.volley(&scene.port, &sink, (&scene.port, plain), shots.collect());
                }
            }
        };
        shoot(&mut tally, false);
        // The same packets arrive where our rules are not: they are good ones.
        for node in &scene.cluster.nodes {
            node.netns.exec("nft delete table inet flatnet");
        }
        shoot(&mut Tally::new("without rules"), true);
    }
    tally.finish();
}

#[test]
fn a_pod_of_another_node_cannot_inject_through_a_node_port() {
    let mut tally = Tally::new("VXLAN through another node's NAT");
    for v6 in [false, true] {
        let scene = scene(v6, false);
        let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
        // From the pod of node-b over the overlay to node-a, which sends it on to either VTEP.
        let port = Port::open(&scene.target.netns, "eth0");
        let gateway = Port::open(&b.netns, scene.target.veth()).mac;
        let of_family = |address: &IpAddr| address.is_ipv6() == v6;
        let from = scene.target.addresses().into_iter().find(of_family).expect("both families");
        let overlay = a.vtep_addresses().into_iter().find(of_family).expect("both families");
        let beside = b.add("beside");
        for (n, node, victim) in [(0, a, &scene.neighbour), (1, b, &beside)] {
            let sink = Sink::frames(&victim.netns);
            let to = SocketAddr::from((overlay, NODE_PORTS[n]));
            for inner in victim.addresses() {
                let frames = |kind, payload: &[u8]| -> Vec<Vec<u8>> {
                    let packets = packets(from, to, node, inner, kind, payload);
                    packets.iter().map(|packet| ethernet(gateway, port.mac, packet)).collect()
                };
                let shots = (0..kinds(v6)).map(|kind| {
                    let what = format!("{to} around {inner}, shape {kind}");
                    Shot::new(what, |payload| frames(kind, payload))
                });
                let honest =
                    |payload: &[u8]| vec![scene.datagram(scene.own(inner), inner, payload)];
                tally.volley(&port, &sink, (&scene.port, honest), shots.collect());
            }
        }
    }
    tally.finish();
}

#[test]
fn a_container_cannot_inject_through_a_service() {
    let mut tally = Tally::new("VXLAN from a container through NAT");
    for v6 in [false, true] {
        let scene = scene(v6, true);
        let container = Container::new(scene.node(), v6);
        let pods = [&scene.neighbour, &scene.target];
        for (to, node) in ways(&scene, v6) {
            let sink = Sink::frames(&pods[node].netns);
            for inner in pods[node].addresses() {
                let shots = (0..kinds(v6)).map(|kind| {
                    let what = format!("{to} around {inner}, shape {kind}");
                    Shot::new(what, |payload| {
                        let node = &scene.cluster.nodes[node];
                        let packets = packets(container.own, to, node, inner, kind, payload);
                        packets.iter().map(|packet| container.frame(packet)).collect()
                    })
                });
                let honest =
                    |payload: &[u8]| vec![scene.datagram(scene.own(inner), inner, payload)];
                tally.volley(&container.port, &sink, (&scene.port, honest), shots.collect());
            }
        }
    }
    tally.finish();
}

/// Lets every packet to a node's loopback in, as portmap and kube-proxy do.
fn route_localnet(netns: &Netns, veth: &str) {
    for device in ["all", veth] {
        let name = format!("ipv4/conf/{device}/route_localnet");
        flatnet_tests::kernel::set_sysctl(netns, &name, "1");
    }
}

#[test]
fn a_node_s_loopback_is_not_reached_whatever_route_localnet_says() {
    let mut tally = Tally::new("datagrams to a node's loopback with route_localnet");
    for masquerade in [false, true] {
        let scene = Scene::with(false, json!(masquerade));
        let node = scene.node();
        route_localnet(&node.netns, scene.attacker.veth());
        node.netns.exec("nft add table inet kube-proxy");
        node.netns
            .exec("nft add chain inet kube-proxy c { type nat hook prerouting priority -100 ; }");
        for rule in [
            "ip daddr 10.96.0.7 udp dport 53 dnat ip to 127.0.0.1:4444",
            "ip6 daddr fd00:96::7 udp dport 53 dnat ip6 to [::1]:4444",
        ] {
            node.netns.exec(&format!("nft add rule inet kube-proxy c {rule}"));
        }
        let ways: [(SocketAddr, IpAddr); 4] = [
            (at([127, 0, 0, 1].into()), node.vtep),
            (at([127, 7, 7, 7].into()), node.vtep),
            ((service(false), 53).into(), node.vtep),
            ((service(true), 53).into(), node.vtep_addresses()[1]),
        ];
        let forged = |to: SocketAddr, payload: &[u8]| {
            let own: SocketAddr = (scene.own(to.ip()), 50_000).into();
            vec![scene.frame(&udp(own, to, payload))]
        };
        for (to, own) in ways.iter().copied() {
            let sink = Sink::udp(&node.netns, to.is_ipv4(), crate::scene::PORT);
            let shot = Shot::new(format!("{to}"), |payload| forged(to, payload));
            let honest = |payload: &[u8]| vec![scene.datagram(scene.own(own), own, payload)];
            tally.volley(&scene.port, &sink, (&scene.port, honest), vec![shot]);
        }
        node.netns.exec("nft delete table inet flatnet");
        for (to, _) in ways.iter().filter(|(to, _)| to.is_ipv4()) {
            let sink = Sink::udp(&node.netns, to.is_ipv4(), crate::scene::PORT);
            let good = |payload: &[u8]| forged(*to, payload);
            Tally::new("without rules").volley(&scene.port, &sink, (&scene.port, good), Vec::new());
        }
    }
    tally.finish();
}
