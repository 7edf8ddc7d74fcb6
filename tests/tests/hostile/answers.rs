//! VXLAN as an answer. What NAT leads to a pod or container is answered under the node's address, to the port that asked; and
//! answers pass no chain of type nat.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use flatnet_tests::frame::vxlan;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::raw::{Sink, Token};
use flatnet_tests::wait::PATIENCE;
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use serde_json::json;

use crate::container::Container;
use crate::pieces::behind_another;
use crate::scene::Scene;
use crate::tally::Tally;
use crate::vxlan::{VXLAN, inner_frame};

/// Ports of a node from which overlays send, too, and the one behind them.
const PUBLISHED: [u16; 2] = [50_001, 50_002];
const INSIDE: u16 = 7000;

/// One who asks, and who is asked at a port of a node.
struct Exchange<'a> {
    asker: &'a Netns,
    at: SocketAddr,
    asked: &'a Netns,
}

impl Exchange<'_> {
    fn ask(&self, from: u16, payload: &[u8]) {
        let bind = || UdpSocket::bind((any(self.at), from));
        self.asker.bound(bind).send_to(payload, self.at).expect("a question");
    }

    /// Asks from a VTEP's port and then from another, which is heard; answers what comes before that.
    fn answer(&self, answer: &[u8], pieces: bool) {
        let socket = self.asked.bound(|| UdpSocket::bind((any(self.at), INSIDE)));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        if pieces {
            let length = answer.len() as i32 / 2;
            setsockopt(&socket, UdpGsoSegment, &length).expect("pieces of that length");
        }
        self.ask(VXLAN, b"go on");
        self.ask(40_000, b"that is all");
        let mut asked = [0; 16];
        loop {
            let (length, by) = socket.recv_from(&mut asked).expect("the last question");
            if &asked[..length] == b"that is all" {
                return;
            }
            drop(socket.send_to(answer, by));
        }
    }
}

/// Any address of the family.
fn any(like: SocketAddr) -> IpAddr {
    if like.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() }
}

/// What kube-proxy makes of a node port whose pod is here, and Docker of a published port.
fn publish(node: &Node, v6: bool, pod: IpAddr, container: IpAddr) {
    let family = if v6 { "ip6" } else { "ip" };
    let [to_pod, to_container] = [pod, container].map(|to| SocketAddr::from((to, INSIDE)));
    let [first, second] = PUBLISHED;
    for line in [
        "add table F published".to_owned(),
        "add chain F published in { type nat hook prerouting priority -100 ; }".to_owned(),
        format!("add rule F published in udp dport {first} meta mark set 0x4000 dnat to {to_pod}"),
        format!("add rule F published in udp dport {second} dnat to {to_container}"),
        "add chain F published out { type nat hook postrouting priority 100 ; }".to_owned(),
        "add rule F published out meta mark 0x4000 masquerade fully-random".to_owned(),
    ] {
        node.netns.exec(&format!("nft {}", line.replace(" F ", &format!(" {family} "))));
    }
}

#[test]
fn no_answer_is_vxlan() {
    let mut tally = Tally::new("VXLAN as an answer");
    for (v6, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = Scene::with(v6, json!(masquerade));
        let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
        let (asker, container) = (Container::new(b, v6), Container::new(a, v6));
        publish(a, v6, scene.own(a.vtep), container.own);
        let answerers = [&*scene.attacker.netns, container.netns()];
        let exchanges = answerers.into_iter().zip(PUBLISHED);
        let exchanges: Vec<Exchange<'_>> = exchanges
            .map(|(asked, port)| {
                let at = (a.vtep, port).into();
                Exchange { asker: asker.netns(), at, asked }
            })
            .collect();
        let sink = Sink::frames(&scene.target.netns);
        let answered = |exchange: &Exchange<'_>, inner: IpAddr, pieces: bool| {
            let token = Token::new();
            let frame = inner_frame(b, inner, &token.payload());
            let answer = match pieces {
                true => behind_another(b, &frame),
                false => vxlan(b.network.vni, &frame),
            };
            exchange.answer(&answer, pieces);
            token
        };
        for exchange in &exchanges {
            for inner in scene.target.addresses() {
                for pieces in [false, true] {
                    let token = answered(exchange, inner, pieces);
                    let marker = Token::new();
                    let honest = scene.datagram(scene.own(inner), inner, &marker.payload());
                    scene.port.send(&honest);
                    let what = format!("around {inner} from {}, pieces: {pieces}", exchange.at);
                    tally.count(&what, sink.until(marker).contains(&token));
                }
            }
        }
        // Where only the node of those who are asked has no rules. The other's rules keep its conntrack from leading the answer
        // back to the container.
        a.netns.exec("nft delete table inet flatnet");
        for exchange in &exchanges {
            for inner in scene.target.addresses() {
                sink.until(answered(exchange, inner, false));
            }
        }
    }
    tally.finish();
}
