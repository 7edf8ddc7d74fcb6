//! Packets of every size and kind within a flow that was learned: they arrive, or end, as without the fast path.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::fast_path::{Reach, counts};
use flatnet_tests::frame::{UDP, ethernet, ip, udp};
use flatnet_tests::kernel;
use flatnet_tests::probe::Counter;
use flatnet_tests::raw::Port;
use flatnet_tests::stream::Stream;
use flatnet_tests::wait::wait_for;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4Tos, Ipv4Ttl, Ipv6TClass, Ipv6Ttl, UdpGsoSegment};

use crate::REACH;
use crate::scene::{Scene, with};

/// Bytes.
const UDP_HEADER: usize = 8;

/// A payload that repeats nowhere near.
fn payload(length: usize, n: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 + place / 251 + n * 31) as u8).collect()
}

/// Sends this beside the flow until it has arrived; none of the first few is lost but by chance.
fn arrives(stream: &Stream, what: &[u8]) {
    let name = format!("{} bytes from {} to {}", what.len(), stream.client, stream.server);
    wait_for(&name, || {
        // It may be too large for what was found out about the path meanwhile; the next one is not.
        let _ = stream.socket().send(what);
        sleep(Duration::from_millis(20));
        stream.heard(what).then_some(())
    });
}

#[test]
fn datagrams_that_are_segmented_late_or_fragmented_arrive_whole() {
    for v6_underlay in [false, true] {
        let scene = Scene::of(with(2, v6_underlay, &[]));
        for (stream, (_, to, nodes)) in scene.warm_streams().iter().zip(scene.flows()) {
            for (n, length) in [1449, 1500, 4000, 20_000].into_iter().enumerate() {
                arrives(stream, &payload(length, n));
            }
            // UDP_SEGMENT: many datagrams in one, which the device or the receiver takes apart.
            let many: Vec<Vec<u8>> = (0..30).map(|n| payload(1000, 100 + n)).collect();
            let socket = segmenting(stream.socket(), 1000);
            wait_for("all segments", || {
                drop(socket.send(&many.concat()));
                sleep(Duration::from_millis(50));
                many.iter().all(|one| stream.heard(one)).then_some(())
            });
            segmenting(stream.socket(), 0);
            stream.warm(&nodes);
            println!("{to}: {:?}", counts(nodes[0]));
            nodes.iter().for_each(|node| assert_eq!(counts(node)["failed"], 0));
        }
    }
}

/// UDP says itself where it ends: data behind that (RFC 9868) its checksum is not of.
#[test]
fn datagrams_with_data_behind_their_end_arrive() {
    for v6_underlay in [false, true] {
        let scene = Scene::of(with(2, v6_underlay, &[]));
        let port = Port::open(&scene.near.netns, "eth0");
        let gateway = kernel::mac(&scene.nodes()[0].netns, scene.near.veth());
        for (stream, (_, to, _)) in scene.warm_streams().iter().zip(scene.flows()) {
            let own = SocketAddr::from((scene.near.like(to), stream.client.port()));
            // The first is a control: of a whole packet nothing is behind the end.
            for behind in [&b""[..], b"behind the end"] {
                // One of them may be the one of this second that goes the usual way.
                let all: Vec<Vec<u8>> = (0..20).map(|n| payload(100 + behind.len(), n)).collect();
                for what in &all {
                    let whole = udp(own, stream.server, what);
                    let header = whole.len() - UDP_HEADER - what.len();
                    let datagram = [&whole[header..], behind].concat();
                    let packet = ip(own.ip(), to, UDP, 64, &datagram);
                    port.send(&ethernet(gateway, port.mac, &packet));
                }
                wait_for(&format!("{} bytes behind datagrams to {to}", behind.len()), || {
                    all.iter().all(|what| stream.heard(what)).then_some(())
                });
            }
        }
    }
}

fn segmenting(socket: &UdpSocket, size: i32) -> &UdpSocket {
    setsockopt(socket, UdpGsoSegment, &size).expect("UDP_SEGMENT");
    socket
}

fn set_hops(socket: &UdpSocket, to: IpAddr, hops: i32) {
    match to.is_ipv4() {
        true => setsockopt(socket, Ipv4Ttl, &hops),
        false => setsockopt(socket, Ipv6Ttl, &hops),
    }
    .expect("a TTL");
}

#[test]
fn each_node_is_a_hop() {
    const EXCEEDED: [&str; 2] = ["icmp type time-exceeded", "icmpv6 type time-exceeded"];
    let scene = Scene::new();
    for (stream, (_, to, nodes)) in scene.warm_streams().iter().zip(scene.flows()) {
        let matching = EXCEEDED[usize::from(to.is_ipv6())];
        let exceeded = Counter::new(&scene.near.netns, "input", matching);
        let hops = nodes.len() as i32;
        for n in 1..=hops {
            let told = exceeded.packets();
            let what = payload(100, n as usize);
            let before: Vec<u64> = nodes.iter().map(|node| counts(node)["expires"]).collect();
            set_hops(stream.socket(), to, n);
            // The flow itself is told, too: each of its packets expires.
            wait_for("that it expires", || {
                let _ = stream.socket().send(&what);
                sleep(Duration::from_millis(20));
                let expired =
                    nodes.iter().zip(&before).any(|(node, n)| counts(node)["expires"] > *n);
                (expired && exceeded.packets() > told).then_some(())
            });
            set_hops(stream.socket(), to, 64);
            stream.goes_on();
            assert!(!stream.heard(&what), "{n} of {} hops to {to}", hops + 1);
            stream.warm(&nodes);
        }
        set_hops(stream.socket(), to, hops + 1);
        stream.warm(&nodes);
        arrives(stream, &payload(100, 99));
    }
}

#[test]
fn congestion_is_told_outside_and_nothing_else() {
    if REACH == Reach::Uplink {
        // The receiving node's hooks, which count here, would see a packet a second.
        return;
    }
    for v6_underlay in [false, true] {
        let scene = Scene::of(with(2, v6_underlay, &[]));
        let [a, b] = scene.nodes();
        let outer = if v6_underlay { "ip6" } else { "ip" };
        for to in scene.far.addresses() {
            let stream = Stream::udp(&scene.near.netns, &scene.far.netns, to);
            let inner = if to.is_ipv4() { "ip" } else { "ip6" };
            // DSCP 46 with each code point of ECN, and which one is outside then (RFC 6040).
            for (ecn, outside) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
                let class = 46 << 2 | ecn;
                match to.is_ipv4() {
                    true => setsockopt(stream.socket(), Ipv4Tos, &class),
                    false => setsockopt(stream.socket(), Ipv6TClass, &class),
                }
                .expect("a class");
                stream.goes_on();
                let vxlan = format!("udp dport 4789 {outer} saddr {}", a.vtep);
                let rule =
                    |what: &str| Counter::new(&b.netns, "prerouting", &format!("{vxlan} {what}"));
                let right = rule(&format!("{outer} dscp 0 {outer} ecn {outside}"));
                let (dscp, ecn_wrong) = (
                    rule(&format!("{outer} dscp != 0")),
                    rule(&format!("{outer} ecn != {outside}")),
                );
                let inside =
                    format!("udp dport {} {inner} dscp 46 {inner} ecn {ecn}", stream.server.port());
                let inside = Counter::new(&scene.far.netns, "input", &inside);
                stream.warm(&[a, b]);
                assert!(right.packets() > 50 && inside.packets() > 50, "{to}, ECN {ecn}");
                assert_eq!((dscp.packets(), ecn_wrong.packets()), (0, 0), "{to}, ECN {ecn}");
            }
        }
    }
}

/// The MTU of the way to an address, as a pod knows it.
fn known_mtu(scene: &Scene, to: IpAddr) -> String {
    let way = scene.near.netns.exec(&format!("ip route get {to}"));
    let words: Vec<&str> = way.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "mtu");
    place.map(|place| words[place + 1].to_owned()).unwrap_or_default()
}

#[test]
fn a_narrow_end_is_told_to_the_sender() {
    let scene = Scene::new();
    for (stream, (pod, to, nodes)) in scene.warm_streams().iter().zip(scene.flows()) {
        let node = nodes.last().expect("a node");
        arrives(stream, &payload(1400, 1));
        node.netns.exec(&format!("ip link set {} mtu 1300", pod.veth()));
        pod.netns.exec("ip link set eth0 mtu 1300");
        // In time the stack is asked, and tells.
        wait_for("what the path carries", || {
            let _ = stream.socket().send(&payload(1350, 2));
            sleep(Duration::from_millis(20));
            (known_mtu(&scene, to) == "1300").then_some(())
        });
        // Now the sender cuts it.
        arrives(stream, &payload(1350, 3));
        stream.warm(&nodes);
        node.netns.exec(&format!("ip link set {} mtu 1450", pod.veth()));
        pod.netns.exec("ip link set eth0 mtu 1450");
    }
}

#[test]
fn an_underlay_that_becomes_narrow_carries_all_sizes() {
    for v6_underlay in [false, true] {
        let scene = Scene::of(with(2, v6_underlay, &[]));
        let [a, b] = scene.nodes();
        let way = match v6_underlay {
            false => {
                format!("192.168.50.0/24 dev {UNDERLAY} proto kernel scope link src {}", a.vtep)
            }
            true => format!("fd00:50::/64 dev {UNDERLAY} proto kernel metric 256"),
        };
        for to in scene.far.addresses() {
            let stream = Stream::udp(&scene.near.netns, &scene.far.netns, to);
            stream.warm(&[a, b]);
            for (n, mtu) in ["mtu lock 1400", "mtu 1500"].into_iter().enumerate() {
                a.netns.exec(&format!("ip route replace {way} {mtu}"));
                let too_large = counts(a)["tooLarge"];
                wait_for("that large packets go the slow way", || {
                    arrives(&stream, &payload(1370, n));
                    (n == 1 || counts(a)["tooLarge"] > too_large).then_some(())
                });
                arrives(&stream, &payload(1370, 10 + n));
                // By a narrow way the overlay's device unwraps: each node alone.
                [a, b].into_iter().for_each(|node| stream.warm(&[node]));
            }
        }
    }
}
