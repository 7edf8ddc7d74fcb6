//! Outer packets that come in by the uplink as if the peer of a warm flow had sent them: what the kernel would unwrap arrives, and
//! nothing else does.

use std::net::{IpAddr, SocketAddr};

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::fast_path::{counts_received, fast_during};
use flatnet_tests::frame::{Mac, checksum, ethernet, tagged, udp, vxlan};
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use flatnet_tests::probe::Counter;
use flatnet_tests::raw::{Port, Token, stay_on_one_processor};
use flatnet_tests::stream::Stream;
use flatnet_tests::wait::wait_for;

use crate::scene::{Scene, with};

/// Bytes in front of the outer UDP header, of an IPv4 packet.
const IPV4: usize = 20;
/// How many good packets are sent at once.
const MANY: usize = 500;

/// A host on the underlay that says it is the first node, whose pod talks to one of the second's.
struct Forger<'a> {
    port: Port,
    /// The MAC of the second node there.
    node: Mac,
    /// The overlay devices' of both.
    overlays: [Mac; 2],
    vteps: [IpAddr; 2],
    stream: &'a Stream,
    vni: u32,
}

fn mac_of(node: &Node, device: &str) -> Mac {
    kernel::mac(&node.netns, device)
}

impl<'a> Forger<'a> {
    fn at(netns: &Netns, nodes: [&Node; 2], stream: &'a Stream) -> Self {
        Self {
            port: Port::open(netns, UNDERLAY),
            node: mac_of(nodes[1], UNDERLAY),
            overlays: nodes.map(|node| mac_of(node, &node.overlay())),
            vteps: nodes.map(|node| node.vtep),
            stream,
            vni: nodes[0].network.vni,
        }
    }

    /// A packet of the flow itself.
    fn inner(&self, payload: &[u8]) -> Vec<u8> {
        udp(self.stream.client, self.stream.server, payload)
    }

    fn frame(&self, inner: &[u8]) -> Vec<u8> {
        ethernet(self.overlays[1], self.overlays[0], inner)
    }

    fn wrapped_by(&self, from: (IpAddr, u16), vni: u32, frame: &[u8]) -> Vec<u8> {
        let [from, to] = [from, (self.vteps[1], 4789)].map(SocketAddr::from);
        udp(from, to, &vxlan(vni, frame))
    }

    fn wrapped(&self, frame: &[u8]) -> Vec<u8> {
        self.wrapped_by((self.vteps[0], PORT), self.vni, frame)
    }

    fn send(&self, outer: &[u8]) {
        self.port.send(&ethernet(self.node, self.port.mac, outer));
    }
}

/// Sets the code point of congestion in an IP packet, its checksum right.
fn congested(packet: &[u8], ecn: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 6 {
        packet[1] |= ecn << 4;
        return packet;
    }
    packet[1] |= ecn;
    packet[10..12].fill(0);
    let sum = checksum(&[&packet[..IPV4]]);
    packet[10..12].copy_from_slice(&sum);
    packet
}

fn changed(packet: &[u8], place: usize, by: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[place] ^= by;
    packet
}

/// One of the source ports of overlays.
const PORT: u16 = 50_000;

/// The flows of both families between two nodes, each warm alone.
fn each_flow(v6_underlay: bool, check: impl Fn(&Scene, &Forger<'_>)) {
    stay_on_one_processor();
    let scene = Scene::of(with(2, v6_underlay, &[]));
    let outsider = scene.cluster.stranger();
    for to in scene.far.addresses() {
        let stream = Stream::udp(&scene.near.netns, &scene.far.netns, to);
        stream.warm(&scene.nodes());
        check(&scene, &Forger::at(&outsider, scene.nodes(), &stream));
    }
}

#[test]
fn what_the_kernel_would_not_unwrap_goes_nowhere() {
    for v6_underlay in [false, true] {
        each_flow(v6_underlay, |_, forger| {
            let udp_at = if v6_underlay { 40 } else { IPV4 };
            let vxlan_at = udp_at + 8;
            let honest = |payload: &[u8]| forger.wrapped(&forger.frame(&forger.inner(payload)));
            let bad_mac = ethernet([2; 6], forger.overlays[0], &forger.inner(b"to another MAC"));
            let stranger: IpAddr = match v6_underlay {
                false => [192, 168, 50, 77].into(),
                true => "fd00:50::77".parse().expect("an address"),
            };
            let around = |payload: &[u8]| forger.frame(&forger.inner(payload));
            let changing = honest(b"a changed byte");
            let (vni, [own, other]) = (forger.vni, forger.vteps);
            let mut bad = vec![
                ("another VNI", forger.wrapped_by((own, PORT), 9, &around(b"another VNI"))),
                ("a stranger", forger.wrapped_by((stranger, PORT), vni, &around(b"a stranger"))),
                ("itself", forger.wrapped_by((other, PORT), vni, &around(b"itself"))),
                ("another port", forger.wrapped_by((own, 49_151), vni, &around(b"another port"))),
                ("no VNI flag", changed(&honest(b"no VNI flag"), vxlan_at, 8)),
                ("a reserved bit", changed(&honest(b"a reserved bit"), vxlan_at + 3, 1)),
                ("to another MAC", forger.wrapped(&bad_mac)),
                ("with a VLAN", forger.wrapped(&tagged(&around(b"with a VLAN"), 7))),
                // Of the pod's datagram, which its own checksum must show.
                ("a changed byte", changed(&changing, changing.len() - 1, 1)),
                (
                    "congestion that cannot be told",
                    congested(&honest(b"congestion that cannot be told"), 3),
                ),
            ];
            if !v6_underlay {
                bad.push(("a wrong header", changed(&honest(b"a wrong header"), 4, 1)));
            }
            if !v6_underlay {
                // Not for a checksum, which there need not be over IPv4.
                bad.iter_mut().for_each(|(_, packet)| packet[udp_at + 6..udp_at + 8].fill(0));
            }
            for (what, packet) in &bad {
                forger.send(packet);
                forger.send(&honest(format!("behind {what}").as_bytes()));
            }
            for (what, _) in &bad {
                let behind = format!("behind {what}");
                wait_for(&behind, || forger.stream.heard(behind.as_bytes()).then_some(()));
            }
            forger.stream.goes_on();
            let through: Vec<_> =
                bad.iter().filter(|(what, _)| forger.stream.heard(what.as_bytes())).collect();
            assert!(through.is_empty(), "{}: {through:?}", forger.stream.server);
            assert!(!forger.stream.heard(b"a changed bytd"), "{}", forger.stream.server);
        });
    }
}

#[test]
fn good_ones_are_unwrapped_at_the_uplink() {
    for v6_underlay in [false, true] {
        each_flow(v6_underlay, |scene, forger| {
            let payloads: Vec<Vec<u8>> = (0..MANY).map(|_| Token::new().payload()).collect();
            let counted = fast_during(scene.nodes()[1], || {
                // As many as the server's socket holds while nobody reads it.
                for several in payloads.chunks(100) {
                    for payload in several {
                        forger.send(&forger.wrapped(&forger.frame(&forger.inner(payload))));
                    }
                    let last = several.last().expect("some");
                    wait_for("the last", || forger.stream.heard(last).then_some(()));
                }
            });
            let heard = payloads.iter().filter(|payload| forger.stream.heard(payload)).count();
            assert_eq!(heard, MANY, "{}", forger.stream.server);
            let name = counts_received(scene.nodes()[1], forger.stream.server.ip());
            let fast = counted[name] as usize;
            assert!(fast >= MANY - 50, "{counted:?}");
        });
    }
}

/// RFC 6040: what is noted outside is told inside.
#[test]
fn congestion_on_the_way_is_told_to_the_pod() {
    for v6_underlay in [false, true] {
        each_flow(v6_underlay, |scene, forger| {
            let family = if forger.stream.server.is_ipv4() { "ip" } else { "ip6" };
            for (inside, outside, told) in [(1, 0, 1), (2, 2, 2), (2, 3, 3), (1, 3, 3), (3, 2, 3)] {
                let what = format!("{inside} in {outside} on {}", forger.stream.server);
                let matching = format!(
                    "udp dport {} udp length {} {family} ecn",
                    forger.stream.server.port(),
                    8 + what.len()
                );
                let right = Counter::new(&scene.far.netns, "input", &format!("{matching} {told}"));
                let others =
                    Counter::new(&scene.far.netns, "input", &format!("{matching} != {told}"));
                let inner = congested(&forger.inner(what.as_bytes()), inside);
                let outer = forger.wrapped(&forger.frame(&inner));
                let counted = fast_during(scene.nodes()[1], || {
                    for _ in 0..MANY {
                        forger.send(&congested(&outer, outside));
                    }
                    wait_for(&what, || (right.packets() >= MANY as u64).then_some(()));
                });
                assert_eq!(others.packets(), 0, "{what}");
                let name = counts_received(scene.nodes()[1], forger.stream.server.ip());
                assert!(counted[name] as usize >= MANY - 50, "{what}: {counted:?}");
            }
        });
    }
}
