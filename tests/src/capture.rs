//! What is on the wire: the packets that cross one device, taken apart down to the overlay's inner
//! packet, so that a test can say which address, port and VNI a packet really had there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
};

use crate::kernel;
use crate::netns::Netns;

/// Room for what a test lets pass between two looks, in bytes.
const BUFFER: usize = 16 << 20;
/// Bytes of an Ethernet header without a tag.
const ETHERNET: usize = 14;
/// The UDP port of VXLAN.
const VXLAN: u16 = 4789;
const UDP: u8 = 17;
const V6_FRAGMENT: u8 = 44;

/// One IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Bytes of the whole packet, its IP header included, as that header says.
    pub length: usize,
    /// By which its fragments are told from those of others (RFC 791); none for IPv6.
    pub identification: Option<u16>,
    /// Whether no router may fragment it: the DF bit of IPv4, always for IPv6.
    pub unfragmentable: bool,
    /// Whether it is a fragment.
    pub fragment: bool,
    /// The transport protocol's number.
    pub protocol: u8,
    /// Source and destination port of UDP.
    pub ports: Option<(u16, u16)>,
    /// VNI and inner packet, where it is one of VXLAN.
    pub inner: Option<(u32, Box<Packet>)>,
}

/// A listener on one device.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    device: usize,
}

impl Capture {
    /// Takes what crosses a device from now on, in both directions.
    pub fn start(netns: &Netns, device: &str) -> Self {
        let link = kernel::link(netns, device).unwrap_or_else(|| panic!("no device {device}"));
        let index = link["ifindex"].as_u64().expect("an index");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
        let socket = netns.run(open).expect("a packet socket");
        setsockopt(&socket, RcvBufForce, &BUFFER).expect("a large buffer");
        Self { socket, device: usize::try_from(index).expect("a small index") }
    }

    /// The IP packets since the start, or since the last call. A packet that was answered is
    /// among them: the kernel hands it to listeners before it goes on.
    pub fn packets(&self) -> Vec<Packet> {
        let mut frame = vec![0; 1 << 16];
        let mut packets = Vec::new();
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) {
                Ok((length, Some(from))) if from.ifindex() == self.device => {
                    packets.extend(decode(&frame[..length]));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return packets,
                Err(error) => panic!("cannot capture: {error}"),
            }
        }
    }

    /// The inner packets of the overlay with this VNI since the last call, with the outer ones.
    pub fn overlay(&self, vni: u32) -> Vec<(Packet, Packet)> {
        let of_vni = |packet: Packet| match packet.inner.clone() {
            Some((carried, inner)) if carried == vni => Some((packet, *inner)),
            _ => None,
        };
        self.packets().into_iter().filter_map(of_vni).collect()
    }
}

/// The IP packet in an Ethernet frame; none in one of ARP.
fn decode(frame: &[u8]) -> Option<Packet> {
    let packet = frame.get(ETHERNET..)?;
    match word(frame, 12)? {
        0x0800 => v4(packet),
        0x86dd => v6(packet),
        _ => None,
    }
}

fn v4(packet: &[u8]) -> Option<Packet> {
    let address = |at| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(Ipv4Addr::from);
    let place = word(packet, 6)?;
    let header = usize::from(packet.first()? & 0xf) * 4;
    let decoded = Packet {
        source: address(12)?.into(),
        destination: address(16)?.into(),
        length: word(packet, 2)?.into(),
        identification: word(packet, 4),
        unfragmentable: place & 0x4000 != 0,
        fragment: place & 0x3fff != 0,
        protocol: *packet.get(9)?,
        ports: None,
        inner: None,
    };
    Some(transport(decoded, packet.get(header..)?))
}

fn v6(packet: &[u8]) -> Option<Packet> {
    let address = |at| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(Ipv6Addr::from);
    let protocol = *packet.get(6)?;
    let decoded = Packet {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        length: usize::from(word(packet, 4)?) + 40,
        identification: None,
        unfragmentable: true,
        fragment: protocol == V6_FRAGMENT,
        protocol,
        ports: None,
        inner: None,
    };
    Some(transport(decoded, packet.get(40..)?))
}

/// Adds what the transport header tells. A fragment is left alone.
fn transport(packet: Packet, payload: &[u8]) -> Packet {
    if packet.protocol != UDP || packet.fragment {
        return packet;
    }
    let ports = word(payload, 0).zip(word(payload, 2));
    let inner = match ports {
        Some((_, VXLAN)) => payload.get(12..15).zip(payload.get(16..).and_then(decode)),
        _ => None,
    };
    let vni = |bytes: &[u8]| bytes.iter().fold(0, |vni, byte| vni << 8 | u32::from(*byte));
    Packet { ports, inner: inner.map(|(bytes, inner)| (vni(bytes), Box::new(inner))), ..packet }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Inbox, ping_of_size};

    #[test]
    fn takes_a_packet_of_the_overlay_apart() {
        let (left, right) = (Netns::new("left"), Netns::new("right"));
        let peer = right.name();
        left.exec(&format!("ip link add v0 type veth peer name v0 netns {peer}"));
        for (netns, n, other) in [(&left, 1, 2), (&right, 2, 1)] {
            for line in [
                format!("ip addr add 10.7.0.{n}/24 dev v0"),
                "ip link set v0 up".to_owned(),
                format!("ip link add x0 type vxlan id 7 remote 10.7.0.{other} dstport 4789 dev v0"),
                format!("ip addr add fd00:7::{n}/64 dev x0 nodad"),
                "ip link set x0 up".to_owned(),
            ] {
                netns.exec(&line);
            }
        }
        // Until the kernel has reported an end as up, what it sends is dropped.
        for netns in [&left, &right] {
            kernel::wait_until_up(netns, "v0");
        }
        let capture = Capture::start(&left, "v0");
        let elsewhere = Capture::start(&left, "lo");
        let to: IpAddr = [0xfd00, 7, 0, 0, 0, 0, 0, 2].into();
        assert!(ping_of_size(&left, to, 1400).status.success());
        let seen = capture.overlay(7);
        let (outer, inner) = seen
            .iter()
            .find(|(_, inner)| inner.length == 1400 && inner.destination == to)
            .unwrap_or_else(|| panic!("{seen:?}"));
        assert_eq!(outer.source, IpAddr::from([10, 7, 0, 1]));
        assert_eq!((outer.length, outer.unfragmentable, outer.fragment), (1450, false, false));
        assert_eq!(outer.ports.map(|(_, port)| port), Some(4789));
        assert_eq!((inner.protocol, inner.inner.clone()), (58, None));
        assert_eq!((capture.overlay(8), elsewhere.packets()), (vec![], vec![]));

        let inbox = Inbox::open(&right);
        assert_eq!(inbox.post(&left, [10, 7, 0, 2].into()), IpAddr::from([10, 7, 0, 1]));
        let plain = capture.packets();
        assert!(plain.iter().any(|packet| packet.length == 20 + 8 + 5), "{plain:?}");
    }
}
