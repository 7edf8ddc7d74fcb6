//! What a pod or another program can do to packets on the node's own paths: it teaches nothing.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use flatnet_tests::fast_path::counts;
use flatnet_tests::frame::{Mac, ethernet, udp};
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::raw::{Port, Sink, Token, stay_on_one_processor};
use flatnet_tests::stream::Stream;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Mark, Priority};

use crate::scene::Scene;

/// `PASSED` in `plugin/bpf/maps.h`: what the rule of ours sets when all filters have let a packet through.
const PASSED: u32 = 1 << 31;

/// Datagrams that nobody answers, with what a socket can put on them.
fn unanswered(from: &Netns, to: &Netns, address: IpAddr) {
    let heard = to.run(|| UdpSocket::bind((address, 0))).expect("bind");
    let target = heard.local_addr().expect("an address");
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = from.run(|| UdpSocket::bind((any, 0))).expect("bind");
    setsockopt(&socket, Priority, &(PASSED as i32)).expect("SO_PRIORITY");
    setsockopt(&socket, Mark, &PASSED).expect("SO_MARK");
    for n in 0..100_u8 {
        socket.send_to(&[n], target).expect("send");
        let mut room = [0; 2];
        assert_eq!(heard.recv(&mut room).expect("it"), 1);
        assert_eq!(room[0], n);
    }
}

#[test]
fn a_priority_or_mark_of_a_sender_teaches_nothing() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let learned = || [a, b].map(|node| counts(node)["learned"]);
    let before = learned();
    for (pod, to, _) in scene.flows() {
        unanswered(&scene.near.netns, &pod.netns, to);
        // Programs of the node itself.
        unanswered(&a.netns, &pod.netns, to);
    }
    assert_eq!(learned(), before);
    // And answered ones of the node are not learned either: no pod is at the other end.
    for (pod, to, nodes) in scene.flows() {
        let stream = Stream::udp(&a.netns, &pod.netns, to);
        stream.goes_on();
        stream.goes_on();
        drop(stream);
        let before = learned();
        Stream::udp(&scene.near.netns, &pod.netns, to).warm(&nodes);
        assert!(learned() > before, "what both pods say is");
    }
}

/// Every frame that is not exactly as the flow's own goes the slow way and ends where it always did.
#[test]
fn a_frame_of_a_flow_to_another_mac_goes_nowhere() {
    stay_on_one_processor();
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let port = Port::open(&scene.near.netns, "eth0");
    let of = |name: &str| kernel::mac(&a.netns, name);
    let gateway = of(scene.near.veth());
    let others: [Mac; 5] = [
        of(scene.beside.veth()),
        of(&a.overlay()),
        kernel::mac(&scene.beside.netns, "eth0"),
        [0xff; 6],
        [0x33, 0x33, 0, 0, 0, 1],
    ];
    for (pod, to, _) in scene.flows() {
        let stream = Stream::udp(&scene.near.netns, &pod.netns, to);
        stream.warm(&[a, b][..if to == scene.far.v4() || to == scene.far.v6() { 2 } else { 1 }]);
        let sink = Sink::frames(&pod.netns);
        let own = (scene.near.like(to), stream.client.port()).into();
        let send = |to_mac: Mac| {
            let token = Token::new();
            port.send(&ethernet(to_mac, port.mac, &udp(own, stream.server, &token.payload())));
            token
        };
        let forged = others.map(send);
        // The honest frame takes the fast path, and may overtake: so two.
        let mut seen = sink.until(send(gateway));
        seen.extend(sink.until(send(gateway)));
        let through: Vec<_> = forged.iter().filter(|token| seen.contains(token)).collect();
        assert!(through.is_empty(), "{} of {} to {to}", through.len(), others.len());
    }
}

/// IPv6 that bears the addresses of a flow of IPv4 in the way in which the programs keep those: no node takes such a source.
#[test]
fn a_flow_of_one_family_opens_no_way_to_the_other() {
    stay_on_one_processor();
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let port = Port::open(&scene.near.netns, "eth0");
    let gateway = kernel::mac(&a.netns, scene.near.veth());
    let send = |from: SocketAddr, to: SocketAddr| {
        let token = Token::new();
        port.send(&ethernet(gateway, port.mac, &udp(from, to, &token.payload())));
        token
    };
    for (pod, nodes) in [(&scene.beside, &[a][..]), (&scene.far, &[a, b])] {
        let stream = Stream::udp(&scene.near.netns, &pod.netns, pod.v4());
        stream.warm(nodes);
        let [from, to] = [(scene.near.v4(), stream.client), (pod.v4(), stream.server)]
            .map(|(address, end)| (address, end.port()));
        let mapped = |(address, port): (IpAddr, u16)| match address {
            IpAddr::V4(address) => SocketAddr::from((address.to_ipv6_mapped(), port)),
            IpAddr::V6(_) => panic!("{address}"),
        };
        let sink = Sink::frames(&pod.netns);
        let forged: Vec<Token> = (0..10).map(|_| send(mapped(from), mapped(to))).collect();
        // The honest ones take the fast path, and may overtake: so several.
        let mut seen = sink.until(send(from.into(), to.into()));
        seen.extend(sink.until(send(from.into(), to.into())));
        let through = forged.iter().filter(|token| seen.contains(token)).count();
        assert_eq!(through, 0, "to {}", stream.server);
    }
}
