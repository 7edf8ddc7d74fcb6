//! VXLAN of a user while another program keeps what the node sends in a queue (NFQUEUE), as an intrusion prevention
//! does. When the packet goes on its socket may be closed, and then nothing says that it is a user's.

use std::net::{IpAddr, UdpSocket};

use flatnet_tests::frame::vxlan;
use flatnet_tests::raw::{Sink, Token};
use nfq::{Queue, Verdict};
use nix::libc;
use nix::sys::socket::setsockopt;
use serde_json::json;

use crate::scene::Scene;
use crate::tally::Tally;
use crate::vxlan::{VXLAN, inner_frame};

nix::setsockopt_impl!(
    NoChecksum,
    libc::SOL_SOCKET,
    libc::SO_NO_CHECK,
    i32,
    nix::sys::socket::sockopt::SetStruct<i32>
);

/// Datagrams of IPv4 without a checksum, which show that they are whole.
#[derive(Copy, Clone, Debug)]
struct NoChecksum;

/// The queue's number.
const NUMBER: u16 = 7;

/// Lets packets go on, up to the one that has this payload in it.
fn pass(queue: &mut Queue, last: Token) {
    let last = last.payload();
    loop {
        let mut packet = queue.recv().expect("a packet in the queue");
        let is_last = packet.get_payload().windows(last.len()).any(|bytes| bytes == last);
        packet.set_verdict(Verdict::Accept);
        queue.verdict(packet).expect("a verdict");
        if is_last {
            return;
        }
    }
}

/// Sends VXLAN to the target's node as a user, with the socket closed at once, and then an honest packet of a pod; lets both
/// pass the queue. Says whether the target got the first.
fn is_heard(scene: &Scene, queue: &mut Queue, inner: IpAddr) -> bool {
    let (node, peer) = (scene.node(), &scene.cluster.nodes[1]);
    let sink = Sink::frames(&scene.target.netns);
    let (token, marker) = (Token::new(), Token::new());
    let message = vxlan(node.network.vni, &inner_frame(peer, inner, &token.payload()));
    let any: IpAddr = if node.vtep.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = node.netns.bound(|| UdpSocket::bind((any, 50_000)));
    setsockopt(&socket, NoChecksum, &1).expect("no checksum");
    // A refusal is one way to keep it out.
    drop(socket.send_to(&message, (peer.vtep, VXLAN)));
    drop(socket);
    scene.port.send(&scene.datagram(scene.own(inner), inner, &marker.payload()));
    pass(queue, marker);
    sink.until(marker).contains(&token)
}

#[test]
fn a_queue_makes_no_users_packet_the_overlays() {
    let mut tally = Tally::new("VXLAN of a user in another program's queue");
    for (v6, masquerade) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = Scene::with(v6, json!(masquerade));
        let node = &scene.node().netns;
        let open = || {
            let mut queue = Queue::open()?;
            queue.bind(NUMBER)?;
            Ok::<_, std::io::Error>(queue)
        };
        let mut queue = node.run(open).expect("a queue");
        let iptables = if v6 { "ip6tables" } else { "iptables" };
        let rule = format!("OUTPUT -p udp --dport {VXLAN} -j NFQUEUE --queue-num {NUMBER}");
        node.exec(&format!("{iptables} -A {rule}"));
        for inner in scene.target.addresses() {
            tally.count(&format!("around {inner}"), is_heard(&scene, &mut queue, inner));
        }
        // The same datagrams arrive where no rules are.
        for node in &scene.cluster.nodes {
            node.netns.exec("nft delete table inet flatnet");
        }
        for inner in scene.target.addresses() {
            assert!(is_heard(&scene, &mut queue, inner), "around {inner}, without rules");
        }
    }
    tally.finish();
}
