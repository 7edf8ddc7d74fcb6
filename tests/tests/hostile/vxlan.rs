//! VXLAN from inside: a pod that wraps frames for the overlay itself, with the right VNI and the right
//! inner MAC, to every address at which a node could listen.

use std::net::{IpAddr, SocketAddr};

use flatnet_tests::fast_path::Reach;
use flatnet_tests::frame::{self, Mac, behind_extensions, ethernet, fragments, udp, vxlan};
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::raw::Sink;
use serde_json::json;

use crate::REACH;
use crate::scene::{Scene, at};
use crate::tally::{Shot, Tally};

/// The overlay's UDP port.
pub const VXLAN: u16 = 4789;

/// The MAC of a node's overlay device: everyone can compute it.
pub fn vtep_mac(node: &Node) -> Mac {
    kernel::mac(&node.netns, &node.overlay())
}

/// A frame for the overlay of `node` with a datagram to `inner` from an address of another node's range, because what
/// is routed nowhere is not heard anyway.
pub fn inner_frame(node: &Node, inner: IpAddr, payload: &[u8]) -> Vec<u8> {
    let n: u8 = if node.name == "node-a" { 2 } else { 1 };
    // The first pod's, from the node that has it, or one that no pod has, from anywhere.
    let (host, mac) = match REACH {
        Reach::None => (66, [2, 0, 0, 0, 0, 9]),
        _ => (1, peer_mac(node, n)),
    };
    let source: IpAddr = if inner.is_ipv4() {
        [10, 244, n, host].into()
    } else {
        [0xfd00, 0x10, 0x244, n.into(), 0, 0, 0, host.into()].into()
    };
    let packet = udp(at(source), at(inner), payload);
    ethernet(vtep_mac(node), mac, &packet)
}

/// The MAC of the VTEP of the node with this number, as a node that has it for a peer knows it.
fn peer_mac(node: &Node, n: u8) -> Mac {
    let known = node.netns.exec(&format!("ip neigh show 10.244.{n}.0 dev {}", node.overlay()));
    let words: Vec<&str> = known.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "lladdr").expect("an entry for the peer");
    frame::mac(words[place + 1])
}

/// An outer packet around such a frame.
pub fn outer(from: IpAddr, to: IpAddr, node: &Node, inner: IpAddr, payload: &[u8]) -> Vec<u8> {
    let frame = inner_frame(node, inner, payload);
    let source: SocketAddr = (from, 50_000).into();
    udp(source, (to, VXLAN).into(), &vxlan(node.network.vni, &frame))
}

/// The packet whole, in fragments of which the first shows the UDP header but no VNI, and, for IPv6,
/// behind extension headers.
pub fn shapes(packet: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut shapes = vec![vec![packet.to_vec()]];
    shapes.extend([8, 16, 64].map(|first| fragments(packet, first).into()));
    if packet[0] >> 4 == 6 {
        shapes.extend(behind_extensions(packet).map(|packet| vec![packet]));
    }
    shapes
}

#[test]
fn a_pod_cannot_inject_into_the_overlay() {
    let mut tally = Tally::new("VXLAN from a pod");
    for (v6_underlay, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut scene = Scene::new(v6_underlay);
        if masquerade {
            scene.cluster.configure("ipMasq", json!(true));
            scene.cluster.nodes.iter().for_each(|node| drop(node.add("masqueraded")));
        }
        for (node, pod) in scene.cluster.nodes.iter().zip([&scene.neighbour, &scene.target]) {
            // Where a node listens: VTEP, overlay, and an address that no range file knows.
            let (second, prefix): (IpAddr, _) = if v6_underlay {
                ([0xfd00, 0x50, 0, 0, 0, 0, 0, 0x70].into(), "64 nodad")
            } else {
                ([192, 168, 50, 70].into(), "24")
            };
            node.netns.exec(&format!("ip addr add {second}/{prefix} dev under0"));
            let same_family = |address: &IpAddr| address.is_ipv6() == v6_underlay;
            let overlay = node.vtep_addresses().into_iter().find(same_family);
            for to in [node.vtep, second, overlay.expect("both families")] {
                for inner in pod.addresses() {
                    inject(&mut tally, &scene, node, to, (&pod.netns, inner));
                }
            }
            node.netns.exec(&format!("ip addr del {second}/{} dev under0", &prefix[..2]));
        }
        heard_without_rules(&scene);
    }
    tally.finish();
}

/// Every shape of a packet into the overlay of `node`, under the pod's address and a VTEP's.
fn inject(
    tally: &mut Tally,
    scene: &Scene,
    node: &Node,
    to: IpAddr,
    (pod, inner): (&Netns, IpAddr),
) {
    let mut shots = Vec::new();
    let vteps = scene.cluster.nodes.iter().map(|node| node.vtep);
    for from in vteps.chain([scene.own(to)]) {
        for kind in 0..shapes(&outer(from, to, node, inner, &[0; 16])).len() {
            let what = format!("{from} to {to} around {inner}, shape {kind}");
            shots.push(Shot::new(what, |payload| {
                let packet = outer(from, to, node, inner, payload);
                let packets = shapes(&packet).swap_remove(kind);
                packets.iter().map(|packet| scene.frame(packet)).collect()
            }));
        }
    }
    let honest = |payload: &[u8]| vec![scene.datagram(scene.own(inner), inner, payload)];
    tally.volley(&scene.port, &Sink::frames(pod), (&scene.port, honest), shots);
}

/// The same packets in every shape arrive where no rules are: they are good ones.
fn heard_without_rules(scene: &Scene) {
    let node = &scene.cluster.nodes[1];
    for node in &scene.cluster.nodes {
        node.netns.exec("nft flush ruleset");
    }
    let sink = Sink::frames(&scene.target.netns);
    for inner in scene.target.addresses() {
        let from = scene.own(node.vtep);
        for kind in 0..shapes(&outer(from, node.vtep, node, inner, &[0; 16])).len() {
            let honest = |payload: &[u8]| {
                let packet = outer(from, node.vtep, node, inner, payload);
                let packets = shapes(&packet).swap_remove(kind);
                packets.iter().map(|packet| scene.frame(packet)).collect()
            };
            Tally::new("without rules").volley(
                &scene.port,
                &sink,
                (&scene.port, honest),
                Vec::new(),
            );
        }
    }
}
