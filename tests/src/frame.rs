//! Frames made byte by byte: what a socket of the ordinary kind would never send. Each layer is a
//! function from the bytes within to the bytes around them, with its checksums right, so that what
//! is dropped is dropped for the one field that a test has falsified.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// A link-layer address.
pub type Mac = [u8; 6];

/// Every station of the link.
pub const BROADCAST: Mac = [0xff; 6];

/// IP protocol numbers.
const ICMP: u8 = 1;
/// The same, of UDP.
pub const UDP: u8 = 17;
const ICMP6: u8 = 58;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Bytes of an IPv4 header without options.
const V4_HEADER: usize = 20;
/// Bytes of an IPv6 header.
const V6_HEADER: usize = 40;
/// The hop limit by which neighbour discovery knows a packet of its own link (RFC 4861).
const FROM_THE_LINK: u8 = 255;

/// The address of `02:00:00:00:00:01`.
pub fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).expect("a MAC")).collect();
    bytes.try_into().expect("six bytes")
}

/// An Ethernet frame around an IP packet, whose first byte tells the family.
pub fn ethernet(to: Mac, from: Mac, packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&to, &from, &kind[..], packet].concat()
}

/// The frame with a VLAN tag. Identifier 0 is none: the tag gives the frame a priority only.
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &vlan.to_be_bytes(), &frame[12..]].concat()
}

/// An IP packet of one family.
pub fn ip(from: IpAddr, to: IpAddr, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => v4(from, to, protocol, [0; 2], hops, payload),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = (payload.len() as u16).to_be_bytes();
            let head = [0x60, 0, 0, 0, length[0], length[1], protocol, hops];
            [&head[..], &from.octets(), &to.octets(), payload].concat()
        }
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// An IPv4 packet or a fragment of one; `part` is its identifier, and the word of flags and offset.
fn v4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    part: [u16; 2],
    hops: u8,
    payload: &[u8],
) -> Vec<u8> {
    let length = ((V4_HEADER + payload.len()) as u16).to_be_bytes();
    let mut head = vec![0x45, 0, length[0], length[1]];
    head.extend(part.map(u16::to_be_bytes).concat());
    head.extend([hops, protocol, 0, 0]);
    head.extend([from.octets(), to.octets()].concat());
    let sum = checksum(&[&head]);
    head[10..12].copy_from_slice(&sum);
    [head, payload.to_vec()].concat()
}

/// A UDP datagram in an IP packet.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let mut datagram = [&ports[..], &length.to_be_bytes(), &[0, 0], payload].concat();
    let mut sum = transport_checksum(from.ip(), to.ip(), UDP, &datagram);
    if sum == [0, 0] {
        sum = [0xff, 0xff]; // zero means that there is none
    }
    datagram[6..8].copy_from_slice(&sum);
    ip(from.ip(), to.ip(), UDP, 64, &datagram)
}

/// An ICMP message: type, code, the four bytes behind the checksum, and the rest.
pub fn icmp(from: Ipv4Addr, to: Ipv4Addr, kind: [u8; 2], word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut message = [&kind[..], &[0, 0], &word, rest].concat();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum);
    v4(from, to, ICMP, [0; 2], 64, &message)
}

/// An ICMPv6 message as neighbour discovery wants it, with the hop limit of the own link.
pub fn icmp6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0][..], &word, rest].concat();
    let sum = transport_checksum(from.into(), to.into(), ICMP6, &message);
    message[2..4].copy_from_slice(&sum);
    ip(from.into(), to.into(), ICMP6, FROM_THE_LINK, &message)
}

/// An ARP frame: operation 1 asks, 2 answers.
pub fn arp(
    frame: (Mac, Mac),
    operation: u8,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut bytes = [frame.0, frame.1].concat();
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    for (mac, address) in [sender, target] {
        bytes.extend(mac);
        bytes.extend(address.octets());
    }
    bytes
}

/// What VXLAN puts in front of an inner frame (RFC 7348): the payload of a UDP datagram.
pub fn vxlan(vni: u32, inner: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), inner].concat()
}

/// The packet in two fragments, `first` bytes of its payload (a multiple of 8) in the first. No other
/// packet's fragments have the same identifier: what is left of one would spoil the next.
pub fn fragments(packet: &[u8], first: usize) -> [Vec<u8>; 2] {
    const MORE_V4: u16 = 1 << 13;
    static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    let offset = (first / 8) as u16;
    if packet[0] >> 4 == 4 {
        let (from, to): ([u8; 4], [u8; 4]) =
            (packet[12..16].try_into().expect("4 bytes"), packet[16..20].try_into().expect("4"));
        let part = |place, payload| {
            v4(from.into(), to.into(), packet[9], [identifier, place], 64, payload)
        };
        let payload = &packet[V4_HEADER..];
        [part(MORE_V4, &payload[..first]), part(offset, &payload[first..])]
    } else {
        let payload = &packet[V6_HEADER..];
        let part = |place: u16, payload: &[u8]| {
            let head = [[packet[6], 0], place.to_be_bytes(), [9, 9], identifier.to_be_bytes()];
            let head = head.concat();
            extended(packet, FRAGMENT, &[&head[..], payload].concat())
        };
        [part(1, &payload[..first]), part(offset << 3, &payload[first..])]
    }
}

/// The IPv6 packet as a single fragment, which it need not be (RFC 6946), or behind options that say
/// nothing: two ways to move what comes after the header.
pub fn behind_extensions(packet: &[u8]) -> [Vec<u8>; 2] {
    let payload = &packet[V6_HEADER..];
    let atomic = [&[packet[6], 0, 0, 0, 7, 7, 7, 7], payload].concat();
    let padded = [&[packet[6], 0, 1, 4, 0, 0, 0, 0], payload].concat();
    [extended(packet, FRAGMENT, &atomic), extended(packet, DESTINATION_OPTIONS, &padded)]
}

/// The IPv6 packet's header around another payload.
fn extended(packet: &[u8], next: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut bytes = [&packet[..V6_HEADER], payload].concat();
    bytes[4..7].copy_from_slice(&[length[0], length[1], next]);
    bytes
}

/// The checksum over a transport message and the pseudo-header of its IP packet.
pub fn transport_checksum(from: IpAddr, to: IpAddr, protocol: u8, message: &[u8]) -> [u8; 2] {
    let addresses = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let end = [&(message.len() as u32).to_be_bytes()[..], &[0, 0, 0, protocol]].concat();
    checksum(&[&addresses(from), &addresses(to), &end, message])
}

/// The Internet checksum (RFC 1071); every part but the last is of even length.
pub fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}
