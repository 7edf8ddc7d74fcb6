//! VXLAN from a user of the node who needs no privilege for it: an ordinary UDP socket.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use flatnet_tests::frame::vxlan;
use flatnet_tests::netns::Netns;
use flatnet_tests::raw::{Sink, Token};
use flatnet_tests::wait::PATIENCE;
use serde_json::json;

use crate::scene::Scene;
use crate::tally::Tally;
use crate::translated::{scene, second, ways};
use crate::vxlan::{VXLAN, inner_frame};

/// Everywhere a node could listen: by itself, and through the Services of [`scene`]; and the number
/// of the node that it is.
pub fn targets(scene: &Scene, v6: bool) -> Vec<(SocketAddr, usize)> {
    let loopback: IpAddr = if v6 { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 1].into() };
    let mut targets = vec![((loopback, VXLAN).into(), 0)];
    for (n, node) in scene.cluster.nodes.iter().enumerate() {
        let overlay = node.vtep_addresses().into_iter().filter(|ip| ip.is_ipv6() == v6);
        let all = overlay.chain([node.vtep, second(n as u16, v6)]);
        targets.extend(all.map(|to| (SocketAddr::from((to, VXLAN)), n)));
    }
    targets.extend(ways(scene, v6));
    if !v6 {
        for all in [[192, 168, 50, 255], [255, 255, 255, 255], [224, 0, 0, 1]] {
            targets.push(((all, VXLAN).into(), 1));
        }
    }
    targets
}

/// Sends one datagram from a socket of the node's. A refusal is one way to keep it out.
fn send(node: &Netns, to: SocketAddr, payload: &[u8]) {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    node.run(|| {
        let socket = UdpSocket::bind((any, 0)).expect("a socket");
        socket.set_broadcast(true).expect("a socket for broadcasts");
        drop(socket.send_to(payload, to));
    });
}

#[test]
fn a_user_of_a_node_cannot_inject_into_the_overlay() {
    let mut tally = Tally::new("VXLAN from a user of a node");
    for (v6, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = scene(v6, masquerade);
        let node = &scene.node().netns;
        let pods = [&scene.neighbour, &scene.target];
        let message = |n: usize, inner, token: Token| {
            let node = &scene.cluster.nodes[n];
            vxlan(node.network.vni, &inner_frame(node, inner, &token.payload()))
        };
        for (to, n) in targets(&scene, v6) {
            for inner in pods[n].addresses() {
                let sink = Sink::frames(&pods[n].netns);
                let (token, marker) = (Token::new(), Token::new());
                send(node, to, &message(n, inner, token));
                scene.port.send(&scene.datagram(scene.own(inner), inner, &marker.payload()));
                let arrived = sink.until(marker);
                tally.count(&format!("{to} around {inner}"), arrived.contains(&token));
            }
        }
        heard_without_rules(&scene, message);
    }
    tally.finish();
}

/// The same datagrams arrive where no rules are, and nodes listen at every address.
fn heard_without_rules(scene: &Scene, message: impl Fn(usize, IpAddr, Token) -> Vec<u8>) {
    for node in &scene.cluster.nodes {
        node.netns.exec("nft delete table inet flatnet");
    }
    let sink = Sink::frames(&scene.target.netns);
    let to = (scene.cluster.nodes[1].vtep, VXLAN).into();
    for inner in scene.target.addresses() {
        let token = Token::new();
        send(&scene.node().netns, to, &message(1, inner, token));
        sink.until(token);
    }
}

/// What is no VXLAN of this network is a user's own business.
#[test]
fn other_datagrams_of_a_user_pass() {
    let scene = Scene::with(false, json!(true));
    let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
    let sink = Sink::frames(&b.netns);
    let other_vni = |token: Token| vxlan(99, &token.payload());
    let short = |token: Token| token.payload()[..].to_vec();
    for (port, payload) in [(VXLAN, &other_vni as &dyn Fn(Token) -> Vec<u8>), (VXLAN + 1, &short)] {
        let token = Token::new();
        send(&a.netns, (b.vtep, port).into(), &payload(token));
        sink.until(token);
    }
}

/// Straight and through a Service, by UDP and by TCP: what they send is wrapped with their sockets.
#[test]
fn programs_of_a_node_reach_pods_of_other_nodes() {
    for masquerade in [false, true] {
        let scene = Scene::with(false, json!(masquerade));
        let node = &scene.node().netns;
        let target = &scene.target;
        node.exec("nft add table inet kube-proxy");
        node.exec("nft add chain inet kube-proxy o { type nat hook output priority -100 ; }");
        node.exec("nft add chain inet kube-proxy p { type nat hook postrouting priority 100 ; }");
        let services: [IpAddr; 2] = [[10, 96, 0, 7].into(), "fd00:96::7".parse().expect("v6")];
        node.exec("ip route add 10.96.0.0/16 dev under0");
        node.exec("ip route add fd00:96::/64 dev under0");
        for (service, to) in services.into_iter().zip(target.addresses()) {
            let (family, shown) = match to {
                IpAddr::V4(_) => ("ip", format!("{to}:5353")),
                IpAddr::V6(_) => ("ip6", format!("[{to}]:5353")),
            };
            for protocol in ["udp", "tcp"] {
                node.exec(&format!(
                    "nft add rule inet kube-proxy o {family} daddr {service} {protocol} dport 53 \
                     dnat {family} to {shown}"
                ));
            }
            node.exec(&format!("nft add rule inet kube-proxy p {family} daddr {to} masquerade"));
            for (address, port) in [(to, 5353), (service, 53)] {
                let sink = Sink::udp(&target.netns, to.is_ipv4(), 5353);
                let token = Token::new();
                send(node, (address, port).into(), &token.payload());
                sink.until(token);
                let listener = target.netns.bound(|| TcpListener::bind((to, 5353)));
                let connect = || TcpStream::connect_timeout(&(address, port).into(), PATIENCE);
                let stream = node.run(connect);
                let _stream = stream.unwrap_or_else(|e| panic!("{address}, {masquerade}: {e}"));
                listener.accept().expect("a connection");
            }
        }
    }
}
