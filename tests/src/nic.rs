//! A network card that is wrong about VXLAN: it says that it fills in every checksum, and leaves
//! those inside of VXLAN as they are. Some cards and hypervisors are like that.
//!
//! It is a relay between a node and the underlay. A packet socket shows a frame as it leaves the
//! kernel, with the checksums that were left to the device not filled in.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc::PACKET_OUTGOING;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, recvfrom,
    send, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::cluster::Cluster;
use crate::frame::{UDP, transport_checksum};
use crate::kernel;
use crate::netns::Netns;

/// Bytes of an Ethernet header, and of one of IPv4 without options.
const ETHERNET: usize = 14;
const V4: usize = 20;
/// Bytes of the headers of UDP and VXLAN.
const UDP_HEADER: usize = 8;
const VXLAN: usize = 8;

/// The card, in use until it is dropped.
pub struct Nic {
    stop: Arc<AtomicBool>,
    relays: Vec<JoinHandle<()>>,
}

impl Nic {
    /// Puts it between a node of a cluster and the bridge.
    pub fn plug(cluster: &Cluster, node: &str) -> Self {
        let underlay = &cluster.underlay;
        underlay.exec("ip link add card type veth peer name socket");
        underlay.exec(&format!("ip link set {node} nomaster"));
        underlay.exec("ip link set socket master br0 up");
        underlay.exec("ip link set card addrgenmode none up");
        kernel::wait_until_up(underlay, "socket");
        kernel::wait_until_up(underlay, "card");
        let ends = [node, "card"].map(|dev| Arc::new(open(underlay, dev)));
        let stop = Arc::new(AtomicBool::new(false));
        let relays = [(0, 1), (1, 0)].map(|(from, to)| {
            let (from, to, stop) = (ends[from].clone(), ends[to].clone(), stop.clone());
            spawn(move || relay(from.as_raw_fd(), to.as_raw_fd(), &stop))
        });
        Self { stop, relays: relays.into() }
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.relays.drain(..).for_each(|relay| drop(relay.join()));
    }
}

/// A socket that has every frame of one device.
fn open(netns: &Netns, dev: &str) -> OwnedFd {
    netns.run(|| {
        let (kind, protocol) = (SockType::Raw, SockProtocol::EthAll);
        let raw = socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, protocol)
            .expect("a packet socket");
        let address = getifaddrs()
            .expect("the interfaces")
            .filter(|interface| interface.interface_name == dev)
            .find_map(|interface| interface.address?.as_link_addr().copied())
            .expect("a link-layer address");
        bind(raw.as_raw_fd(), &address).expect("bind to the device");
        // What came before it was bound may be of another device.
        while recv(raw.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT).is_ok() {}
        setsockopt(&raw, ReceiveTimeout, &TimeVal::new(0, 50_000)).expect("a timeout");
        raw
    })
}

fn relay(from: RawFd, to: RawFd, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let (length, sender) = match recvfrom::<LinkAddr>(from, &mut buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => continue,
            // The namespace is gone.
            Err(_) => return,
        };
        if sender.is_some_and(|sender| sender.pkttype() == PACKET_OUTGOING) {
            continue;
        }
        let frame = &mut buffer[..length];
        fill_in(frame);
        // A device that is down, or a frame that is too long for it, is a loss as on any wire.
        let _ = send(to, frame, MsgFlags::empty());
    }
}

/// Fills in the checksum of a VXLAN packet on IPv4, unless the one of a UDP datagram in it was to be
/// filled in: then the card leaves both, for it computes the outer one from the inner.
fn fill_in(frame: &mut [u8]) {
    let Some((from, to)) = udp(frame) else { return };
    let inner = ETHERNET + V4 + UDP_HEADER + VXLAN;
    if frame[ETHERNET + V4 + 2..][..2] != 4789_u16.to_be_bytes() {
        return;
    }
    if let Some((from, to)) = frame.get(inner..).and_then(udp) {
        let datagram = datagram(&frame[inner..]);
        if transport_checksum(from, to, UDP, datagram) != [0, 0] {
            return;
        }
    }
    let check = ETHERNET + V4 + 6;
    frame[check..check + 2].fill(0);
    let sum = transport_checksum(from, to, UDP, datagram(frame));
    frame[check..check + 2].copy_from_slice(&sum);
}

/// The addresses of a UDP datagram on IPv4 in a frame.
fn udp(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let head = frame.get(..ETHERNET + V4 + UDP_HEADER)?;
    let is_udp = head[12..15] == [8, 0, 0x45] && head[ETHERNET + 9] == UDP;
    let address = |at: usize| -> IpAddr {
        let bytes: [u8; 4] = head[ETHERNET + at..][..4].try_into().expect("four bytes");
        Ipv4Addr::from(bytes).into()
    };
    is_udp.then(|| (address(12), address(16)))
}

/// The datagram, without what pads the frame.
fn datagram(frame: &[u8]) -> &[u8] {
    let bytes = &frame[ETHERNET + V4..];
    let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    &bytes[..length.min(bytes.len())]
}
