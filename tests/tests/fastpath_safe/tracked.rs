//! Connection tracking beside the fast path, of which it sees one packet a second.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use flatnet_tests::fast_path::{all_fast, counts, fast_during};
use flatnet_tests::kernel::set_sysctl;
use flatnet_tests::node::Node;
use flatnet_tests::probe::{Counter, transfer};
use flatnet_tests::stream::{Stream, now};
use nix::libc::linger;
use nix::sys::socket::sockopt::{Linger, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};

use crate::scene::Scene;

/// The times after which conntrack forgets a connection, here.
const FORGETS: [&str; 7] = [
    "udp_timeout",
    "udp_timeout_stream",
    "tcp_timeout_established",
    "tcp_timeout_fin_wait",
    "tcp_timeout_close_wait",
    "tcp_timeout_last_ack",
    "tcp_timeout_close",
];
/// Seconds of each of them: a little more than it takes until all packets go the slow way.
const SHORT: u64 = 4;
/// Longer than conntrack keeps a connection of which it sees nothing, three times.
const LONG: Duration = Duration::from_secs(3 * SHORT + 1);

/// So many packets that nearly all of them can be said to take the fast path, however slow the machine is.
const ENOUGH: u64 = 2000;

fn forget_soon(nodes: &[&Node]) {
    for node in nodes {
        for what in FORGETS {
            set_sysctl(&node.netns, &format!("netfilter/nf_conntrack_{what}"), &SHORT.to_string());
        }
    }
}

/// Packets that conntrack takes for the first of a connection, and those that it can make nothing of.
fn strange<'a>(nodes: &[&'a Node], protocol: &str) -> Vec<Counter<'a>> {
    let count = |node: &&'a Node| {
        ["new", "invalid"].map(|state| {
            Counter::new(
                &node.netns,
                "forward",
                &format!("meta l4proto {protocol} ct state {state}"),
            )
        })
    };
    nodes.iter().flat_map(count).collect()
}

#[test]
fn a_flow_is_not_forgotten_while_it_lasts() {
    let scene = Scene::new();
    let nodes = scene.nodes();
    forget_soon(&nodes);
    let streams = scene.warm_streams();
    let tcp: Vec<Stream> = scene
        .flows()
        .into_iter()
        .map(|(pod, to, nodes)| {
            let stream = Stream::tcp(&scene.near.netns, &pod.netns, to);
            stream.warm(&nodes);
            stream
        })
        .collect();
    let counters = ["udp", "tcp"].map(|protocol| strange(&nodes, protocol));
    let begin = now();
    let asked = counts(nodes[0])["asked"];
    for stream in streams.iter().chain(&tcp) {
        stream.sends_until(begin, LONG);
        stream.goes_on();
    }
    assert!(counts(nodes[0])["asked"] > asked + 10, "it went by the stack now and then");
    counters.iter().flatten().for_each(|counter| assert_eq!(counter.packets(), 0, "{counter:?}"));
    streams.iter().chain(&tcp).for_each(|stream| stream.warm(&nodes[..1]));
}

#[test]
fn streams_go_on_where_what_is_invalid_is_dropped() {
    let scene = Scene::new();
    for node in scene.nodes() {
        node.netns.exec("nft add table inet strict");
        node.netns
            .exec("nft add chain inet strict forward { type filter hook forward priority 0 ; }");
        node.netns.exec("nft add rule inet strict forward ct state invalid drop");
    }
    for (pod, to, nodes) in scene.flows() {
        let counted =
            fast_during(nodes[0], || transfer(&scene.near.netns, &pod.netns, to, 50_000_000));
        let fast = all_fast(&counted);
        assert!(fast > 500, "{counted:?}");
    }
}

#[test]
fn half_a_connection_lasts_as_long_as_it_is_used() {
    let scene = Scene::new();
    forget_soon(&scene.nodes());
    for (pod, to, nodes) in scene.flows() {
        let listener = pod.netns.run(|| TcpListener::bind((to, 0))).expect("listen");
        let target = listener.local_addr().expect("an address");
        let mut asking = scene.near.netns.run(|| TcpStream::connect(target)).expect("connect");
        let (mut answering, _) = listener.accept().expect("accept");
        asking.shutdown(Shutdown::Write).expect("the end of one half");
        assert_eq!(answering.read(&mut [0; 1]).expect("the end"), 0);
        let counted = fast_during(nodes[0], || {
            let begin = Instant::now();
            let mut sent = 0_u64;
            let reader = thread::spawn(move || {
                let mut bytes = Vec::new();
                asking.read_to_end(&mut bytes).map(|_| bytes)
            });
            while begin.elapsed() < LONG || sent < ENOUGH {
                answering.write_all(&sent.to_be_bytes()).expect("write");
                sent += 1;
                thread::sleep(Duration::from_millis(5));
            }
            drop(answering.shutdown(Shutdown::Both));
            let bytes = reader.join().expect("the reader").expect("all of it");
            let expected: Vec<u8> = (0..sent).flat_map(u64::to_be_bytes).collect();
            assert!(bytes == expected, "{} of {} bytes", bytes.len(), expected.len());
        });
        let fast = all_fast(&counted);
        assert!(fast > ENOUGH / 2, "{to}: {counted:?}");
    }
}

#[test]
fn the_same_ports_serve_one_connection_after_another() {
    let scene = Scene::new();
    for (pod, to, nodes) in scene.flows() {
        let listener = pod.netns.run(|| TcpListener::bind((to, 0))).expect("listen");
        let target = listener.local_addr().expect("an address");
        let own = SocketAddr::from((scene.near.like(to), 40_000));
        let counted = fast_during(nodes[0], || {
            for n in 0..20_u8 {
                let mut asking = scene.near.netns.run(|| from(own, target));
                let (mut answering, peer) = listener.accept().expect("accept");
                assert_eq!(peer, own);
                for _ in 0..30 {
                    asking.write_all(&[n]).expect("write");
                    answering.read_exact(&mut [0]).expect("read");
                    answering.write_all(&[n + 1]).expect("write");
                    let mut answer = [0];
                    asking.read_exact(&mut answer).expect("read");
                    assert_eq!(answer, [n + 1]);
                }
                // A reset: the ports are free at once.
                let now = linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&asking, Linger, &now).expect("a setting");
                drop(asking);
                drop(answering.read(&mut [0]));
            }
        });
        let fast = all_fast(&counted);
        assert!(fast > 600, "{to}: {counted:?}");
    }
}

/// A connection from an address and port.
fn from(own: SocketAddr, to: SocketAddr) -> TcpStream {
    let family = if own.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    setsockopt(&stream, ReuseAddr, &true).expect("a setting");
    bind(stream.as_raw_fd(), &SockaddrStorage::from(own)).expect("bind");
    connect(stream.as_raw_fd(), &SockaddrStorage::from(to)).expect("connect");
    stream.into()
}
