//! Checksums that are left to the network card. A sender of raw packets says where in its packet one is to be put in
//! (`PACKET_VNET_HDR` of packet(7)), and can compute what it will be: so two bytes of its packet are others when it leaves
//! the node, behind all rules. Here they make VXLAN for another node of what was none, or was for elsewhere.

use std::net::{IpAddr, SocketAddr};

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::frame::{UDP, checksum, ip, udp, vxlan};
use flatnet_tests::node::Node;
use flatnet_tests::raw::{Sink, Token};
use serde_json::json;

use crate::scene::Scene;
use crate::tally::Tally;
use crate::translated::second;
use crate::vxlan::{VXLAN, inner_frame};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// What is left of hops behind the sender's node.
const HOPS: u8 = 63;
/// Another port than the overlay's.
const OTHER: u16 = 4000;
const ICMP6: u8 = 58;
const NODE_INFORMATION_QUERY: u8 = 139;
const DESTINATION_OPTIONS: u8 = 60;
const SCTP: u8 = 132;

/// What the two bytes are.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Trick {
    /// The destination port.
    Port,
    /// The protocol, of a query that has its type where UDP has its source port.
    Type,
    /// The protocol, of what has in that place the name of the next header.
    Extension,
    /// The last byte of the destination, and the first of the source port.
    Address,
}

/// A packet as it leaves the node, but for the two bytes.
struct Packet {
    bytes: Vec<u8>,
    /// Where the sum begins, where it is put in, and what it is to be.
    start: usize,
    place: usize,
    wanted: [u8; 2],
    /// Two bytes that say nothing, by which it becomes that.
    filler: usize,
    /// What the translation of its source changes besides: its port, and the checksum that it knows of.
    port: Option<usize>,
    sum: Option<usize>,
}

/// Adds as the Internet checksum does.
fn add(a: [u8; 2], b: [u8; 2]) -> [u8; 2] {
    not(checksum(&[&a, &b]))
}

fn not(bytes: [u8; 2]) -> [u8; 2] {
    bytes.map(|byte| !byte)
}

fn at(bytes: &[u8], place: usize) -> [u8; 2] {
    [bytes[place], bytes[place + 1]]
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

fn put(bytes: &mut [u8], place: usize, what: &[u8]) {
    bytes[place..place + what.len()].copy_from_slice(what);
}

impl Packet {
    /// `ends` are the VTEPs of the sender's node and of the one that is to unwrap it; it has this source port when it has
    /// that of its node.
    fn new(trick: Trick, ends: [IpAddr; 2], port: u16, payload: &[u8]) -> Self {
        let [from, to] = ends;
        let header = if to.is_ipv4() { 20 } else { 40 };
        let protocol_at = (6, 6, [UDP, 64]);
        let (port_then, protocol, (start, place, wanted)) = match trick {
            Trick::Port => (port, UDP, (header, header + 2, VXLAN.to_be_bytes())),
            Trick::Type => (u16::from(NODE_INFORMATION_QUERY) << 8, ICMP6, protocol_at),
            Trick::Extension => (u16::from_be_bytes([SCTP, 23]), DESTINATION_OPTIONS, protocol_at),
            Trick::Address => {
                let last = octets(to)[15];
                (0xc300 | port & 0xff, UDP, (header - 1, header - 1, [last, 0xc3]))
            }
        };
        let whole = udp((from, port_then).into(), (to, VXLAN).into(), payload);
        let mut content = whole[header..].to_vec();
        let (mut port_at, mut sum_at) = (Some(header), Some(header + 6));
        let mut filler = None;
        match trick {
            Trick::Port => put(&mut content, 2, &OTHER.to_be_bytes()),
            Trick::Address => put(&mut content, 0, &port.to_be_bytes()),
            Trick::Type => (port_at, sum_at) = (None, Some(header + 2)),
            Trick::Extension => {
                // The datagram is in an option of an unknown kind, of 181 bytes.
                content.resize(185, 0);
                content.extend([1, 5, 0, 0, 0, 0, 0]);
                (port_at, sum_at, filler) =
                    (Some(header + content.len()), None, Some(header + 160));
                content.extend(port.to_be_bytes());
                content.extend(OTHER.to_be_bytes());
                content.extend([0; 8]);
                content.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            }
        }
        // Behind the end of the datagram.
        content.resize(content.len() + 4 - usize::from(filler.is_some()) * 4, 0);
        let dest = if trick == Trick::Address { second(1, true) } else { to };
        let mut bytes = ip(from, dest, protocol, HOPS, &content);
        let last = bytes.len() - 2;
        let filler = filler.unwrap_or(last - (last - start) % 2);
        let missing = add(not(wanted), checksum(&[&bytes[start..]]));
        put(&mut bytes, filler, &missing);
        Self { bytes, start, place, wanted, filler, port: port_at, sum: sum_at }
    }

    /// As a pod sends it from its own address.
    fn sent(&self, own: SocketAddr) -> Vec<u8> {
        let v4 = own.is_ipv4();
        let (header, source, protocol) = if v4 { (20, 12, 9) } else { (40, 8, 6) };
        let length = octets(own.ip()).len();
        let node = &self.bytes[source..source + length];
        let to = &self.bytes[source + length..source + 2 * length];
        let to: IpAddr = match v4 {
            true => <[u8; 4]>::try_from(to).expect("4 bytes").into(),
            false => <[u8; 16]>::try_from(to).expect("16 bytes").into(),
        };
        let mut bytes = self.bytes.clone();
        if let Some(place) = self.port {
            put(&mut bytes, place, &own.port().to_be_bytes());
        }
        if let Some(place) = self.sum {
            let before = add(at(&bytes, place), checksum(&[node]));
            let address = octets(own.ip());
            put(&mut bytes, place, &add(before, not(checksum(&[&address]))));
        }
        ip(own.ip(), to, self.bytes[protocol], HOPS + 1, &bytes[header..])
    }
}

/// Two nodes, of which the first fills in checksums itself, as for a network card that cannot.
fn scene(v6_underlay: bool) -> Scene {
    let scene = Scene::with(v6_underlay, json!(true));
    let [a, b] = &scene.cluster.nodes[..] else { unreachable!() };
    for (n, node) in [a, b].into_iter().enumerate() {
        // As every real uplink has one: without, the kernel asks for no neighbour of what it forwards.
        node.netns.exec(&format!("ip addr add fe80::50:{n}/64 dev {UNDERLAY} nodad"));
    }
    if v6_underlay {
        b.netns.exec(&format!("ip addr add {}/64 dev {UNDERLAY} nodad", second(1, true)));
    }
    a.netns.exec(&format!("ethtool -K {UNDERLAY} tx off"));
    scene
}

struct Attempt<'a> {
    scene: &'a Scene,
    trick: Trick,
    own: SocketAddr,
    inner: IpAddr,
}

impl Attempt<'_> {
    fn node(&self) -> &Node {
        &self.scene.cluster.nodes[1]
    }

    fn packet(&self, vni: u32, port: u16, token: Token) -> Packet {
        let frame = inner_frame(self.node(), self.inner, &token.payload());
        let ends = [self.scene.node().vtep, self.node().vtep];
        Packet::new(self.trick, ends, port, &vxlan(vni, &frame))
    }

    /// The source port that packets of this flow get.
    fn translated(&self) -> u16 {
        let (token, sink) = (Token::new(), Sink::frames(&self.node().netns));
        let opening = self.packet(99, self.own.port(), token);
        let Some(place) = opening.port else { return 0 };
        let filler = ETHERNET + opening.filler;
        let frame = self.scene.frame(&opening.sent(self.own));
        // The sum of what it is put into, which is nothing.
        self.scene.port.send_unsummed(&frame, filler, filler);
        u16::from_be_bytes(at(&sink.frame_with(token), ETHERNET + place))
    }

    fn shoot(&self, port: u16) -> Token {
        let token = Token::new();
        let packet = self.packet(self.node().network.vni, port, token);
        let (start, place) = (ETHERNET + packet.start, ETHERNET + packet.place);
        assert_ne!(at(&packet.bytes, packet.place), packet.wanted);
        self.scene.port.send_unsummed(&self.scene.frame(&packet.sent(self.own)), start, place);
        token
    }
}

/// Each trick with each inner family, from several source ports.
fn attempts(scene: &Scene, v6: bool, first: u16) -> Vec<Attempt<'_>> {
    let all = [Trick::Port, Trick::Type, Trick::Extension, Trick::Address];
    let tricks = if v6 { &all[..] } else { &all[..1] };
    let own = scene.own(scene.node().vtep);
    let each = tricks.iter().flat_map(|trick| {
        scene.target.addresses().into_iter().map(|inner| (*trick, inner)).collect::<Vec<_>>()
    });
    each.zip(first..)
        .flat_map(|((trick, inner), n)| {
            // Where the port is any at all, one of them is an overlay's.
            (0..12).map(move |more| Attempt {
                scene,
                trick,
                own: (own, n + 100 * more).into(),
                inner,
            })
        })
        .collect()
}

#[test]
fn no_checksum_makes_vxlan_of_what_a_pod_sends() {
    let mut tally = Tally::new("VXLAN by a checksum");
    for v6_underlay in [false, true] {
        let scene = scene(v6_underlay);
        let sink = Sink::frames(&scene.target.netns);
        for attempt in attempts(&scene, v6_underlay, 50_000) {
            let token = attempt.shoot(attempt.translated());
            let (last, to) = (Token::new(), scene.target.v4());
            scene.port.send(&scene.datagram(scene.own(to), to, &last.payload()));
            let arrived = sink.until(last).contains(&token);
            tally.count(&format!("{:?} around {}", attempt.trick, attempt.inner), arrived);
        }
        // The same packets are unwrapped where our rules are not, and their source port stays as it was.
        scene.cluster.nodes.iter().for_each(|node| drop(node.netns.exec("nft flush ruleset")));
        for line in [
            "add table inet plain".to_owned(),
            "add chain inet plain post { type nat hook postrouting priority 100 ; }".to_owned(),
            format!("add rule inet plain post oifname {UNDERLAY} masquerade"),
        ] {
            scene.node().netns.exec(&format!("nft {line}"));
        }
        for attempt in attempts(&scene, v6_underlay, 52_000) {
            sink.until(attempt.shoot(attempt.own.port()));
        }
    }
    tally.finish();
}
