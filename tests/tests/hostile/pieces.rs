//! Several datagrams by one call (`UDP_SEGMENT` of udp(7)), which needs no privilege: the kernel carries them as one packet,
//! of which all rules see the first VNI, and takes it apart behind them: on the wire, or before it is unwrapped.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::frame::{udp, vxlan};
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::raw::{Sink, Token};
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use crate::container::Container;
use crate::local::targets;
use crate::scene::Scene;
use crate::tally::{Shot, Tally};
use crate::translated::scene;
use crate::vxlan::{VXLAN, inner_frame};

/// Another network's.
const OTHER_VNI: u32 = 99;

/// Two datagrams: of another network, and behind it one for the overlay of that node.
pub fn behind_another(node: &Node, frame: &[u8]) -> Vec<u8> {
    [OTHER_VNI, node.network.vni].map(|vni| vxlan(vni, frame)).concat()
}

/// Sends two such from a source port of overlays. A refusal is one way to keep it out.
fn send(from: &Netns, to: SocketAddr, scene: &Scene, n: usize, inner: IpAddr, token: Token) {
    static PORT: AtomicU16 = AtomicU16::new(50_000);
    let node = &scene.cluster.nodes[n];
    let frame = inner_frame(node, inner, &token.payload());
    let pieces = behind_another(node, &frame);
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    from.run(|| {
        let socket =
            UdpSocket::bind((any, PORT.fetch_add(1, Ordering::Relaxed))).expect("a socket");
        socket.set_broadcast(true).expect("a socket for broadcasts");
        let length = pieces.len() as i32 / 2;
        setsockopt(&socket, UdpGsoSegment, &length).expect("pieces of that length");
        drop(socket.send_to(&pieces, to));
    });
}

/// A host between the nodes that is none.
fn outsider(scene: &Scene, v6: bool) -> Netns {
    let outsider = scene.cluster.stranger();
    let own = if v6 { "fd00:50::c8/64 nodad" } else { "192.168.50.200/24" };
    outsider.exec(&format!("ip addr add {own} dev {UNDERLAY}"));
    outsider
}

#[test]
fn none_is_hidden_behind_another() {
    let mut tally = Tally::new("VXLAN behind another datagram");
    for (v6, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = scene(v6, masquerade);
        let container = Container::new(scene.node(), v6);
        let outsider = outsider(&scene, v6);
        let senders = [
            ("a user", &scene.node().netns),
            ("a pod", &*scene.attacker.netns),
            ("a container", container.netns()),
            ("an outsider", &outsider),
        ];
        let pods = [&scene.neighbour, &scene.target];
        for wire in ["on", "off"] {
            scene.node().netns.exec(&format!("ethtool -K {UNDERLAY} tx-udp-segmentation {wire}"));
            for (to, n) in targets(&scene, v6) {
                for inner in pods[n].addresses() {
                    let sink = Sink::frames(&pods[n].netns);
                    let shots = senders.map(|(who, from)| {
                        let token = Token::new();
                        send(from, to, &scene, n, inner, token);
                        (who, token)
                    });
                    let marker = Token::new();
                    scene.port.send(&scene.datagram(scene.own(inner), inner, &marker.payload()));
                    let arrived = sink.until(marker);
                    for (who, token) in shots {
                        let what = format!("{who} to {to} around {inner}, segmentation {wire}");
                        tally.count(&what, arrived.contains(&token));
                    }
                }
            }
        }
        heard_without_rules(&scene, &senders);
    }
    tally.finish();
}

/// The same datagrams arrive where no rules are.
fn heard_without_rules(scene: &Scene, senders: &[(&str, &Netns)]) {
    for node in &scene.cluster.nodes {
        node.netns.exec("nft delete table inet flatnet");
    }
    let sink = Sink::frames(&scene.target.netns);
    let to = (scene.cluster.nodes[1].vtep, VXLAN).into();
    for inner in scene.target.addresses() {
        for (_, from) in senders {
            let token = Token::new();
            send(from, to, scene, 1, inner, token);
            sink.until(token);
        }
    }
}

/// What another program sends on to a VTEP shows nothing of what is behind it, so it ends here, under whatever address.
#[test]
fn a_container_sends_no_vxlan_on_to_a_peer() {
    let mut tally = Tally::new("VXLAN of another VNI that is sent on");
    for (v6, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = scene(v6, masquerade);
        let container = Container::new(scene.node(), v6);
        let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
        let sink = Sink::frames(&b.netns);
        let packet = |from: IpAddr, payload: &[u8]| {
            let message = vxlan(OTHER_VNI, payload);
            vec![container.frame(&udp((from, 50_000).into(), (b.vtep, VXLAN).into(), &message))]
        };
        let honest = |payload: &[u8]| {
            let from = (container.own, 50_000).into();
            vec![container.frame(&udp(from, (b.vtep, VXLAN + 1).into(), payload))]
        };
        let shots = [container.own, b.vtep]
            .map(|from| Shot::new(from.to_string(), |payload| packet(from, payload)));
        tally.volley(&container.port, &sink, (&container.port, honest), shots.into());
        a.netns.exec("nft delete table inet flatnet");
        let good = |payload: &[u8]| packet(container.own, payload);
        let tally = &mut Tally::new("without rules");
        tally.volley(&container.port, &sink, (&container.port, good), Vec::new());
    }
    tally.finish();
}
