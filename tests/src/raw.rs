//! Sending any frame from inside a namespace, and seeing every frame that arrives in one.
//!
//! Each payload carries a token. That a forged frame was dropped shows when an honest one that was
//! sent after it has arrived: the kernel takes frames of one sender in order, as long as they are
//! handled on one processor.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike as _, bind, recv, send,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use crate::frame::Mac;
use crate::kernel;
use crate::netns::Netns;
use crate::wait::PATIENCE;

/// `PACKET_VNET_HDR` of linux/if_packet.h.
const PACKET_VNET_HDR: i32 = 15;

nix::setsockopt_impl!(
    VnetHeader,
    libc::SOL_PACKET,
    PACKET_VNET_HDR,
    i32,
    nix::sys::socket::sockopt::SetStruct<i32>
);

/// A `virtio_net_hdr` in front of every frame, or none.
#[derive(Copy, Clone, Debug)]
struct VnetHeader;

/// What every token begins with.
const MARK: &[u8; 8] = b"flattok:";

/// A payload that no other has.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The next one.
    #[expect(clippy::new_without_default, reason = "every one is another")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The bytes to send.
    pub fn payload(self) -> Vec<u8> {
        [&MARK[..], &self.0.to_be_bytes()].concat()
    }

    /// The tokens within a frame.
    fn within(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes
            .windows(16)
            .filter(|window| window.starts_with(MARK))
            .map(|window| Self(u64::from_be_bytes(window[8..].try_into().expect("eight bytes"))))
    }
}

/// An interface to send frames by.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    /// Its own link-layer address.
    pub mac: Mac,
}

impl Port {
    /// Opens an interface of a namespace.
    pub fn open(netns: &Netns, ifname: &str) -> Self {
        let mac = kernel::mac(netns, ifname);
        let socket = netns.run(|| {
            let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
            let raw = raw.expect("a packet socket");
            let addresses = getifaddrs().expect("the interfaces");
            let address = addresses
                .filter(|interface| interface.interface_name == ifname)
                .find_map(|interface| interface.address?.as_link_addr().copied())
                .expect("a link-layer address");
            assert_eq!(address.family(), Some(AddressFamily::Packet));
            bind(raw.as_raw_fd(), &address).expect("bind to the interface");
            raw
        });
        Self { socket, mac }
    }

    /// Sends one frame, as it is.
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).expect("send a frame");
        assert_eq!(sent, frame.len());
    }

    /// Sends a frame with a checksum left to whatever device it leaves by at last: that of all bytes from `start` on, put in
    /// at `place`.
    pub fn send_unsummed(&self, frame: &[u8], start: usize, place: usize) {
        const NEEDS_CHECKSUM: u8 = 1;
        let [start, offset] = [start, place - start].map(|it| (it as u16).to_ne_bytes());
        let header = [&[NEEDS_CHECKSUM, 0, 0, 0, 0, 0][..], &start, &offset].concat();
        setsockopt(&self.socket, VnetHeader, &1).expect("a header in front of frames");
        self.send(&[&header, frame].concat());
        setsockopt(&self.socket, VnetHeader, &0).expect("none");
    }
}

/// Keeps the calling thread on one processor, so that what it sends is handled in order.
pub fn stay_on_one_processor() {
    let mut set = CpuSet::new();
    set.set(0).expect("processor 0");
    sched_setaffinity(Pid::from_raw(0), &set).expect("stay on processor 0");
}

/// Where tokens arrive.
#[derive(Debug)]
pub struct Sink {
    socket: OwnedFd,
}

impl Sink {
    /// Every frame that a namespace sends or receives, before its packet filter.
    pub fn frames(netns: &Netns) -> Self {
        let (kind, protocol) = (SockType::Raw, SockProtocol::EthAll);
        let open = || socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, protocol);
        Self::of(netns.run(open).expect("a packet socket"))
    }

    /// What a program of the namespace gets at a UDP port of any of its addresses of a family.
    pub fn udp(netns: &Netns, ipv4: bool, port: u16) -> Self {
        let any: IpAddr = if ipv4 { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        Self::of(netns.bound(|| UdpSocket::bind((any, port))).into())
    }

    fn of(socket: OwnedFd) -> Self {
        setsockopt(&socket, RcvBufForce, &(4 << 20)).expect("a large buffer");
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, 100_000)).expect("a timeout");
        Self { socket }
    }

    /// The first frame with this token; fails the test if it does not come.
    pub fn frame_with(&self, token: Token) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 1 << 16];
        loop {
            assert!(Instant::now() < deadline, "the packet {token:?} did not arrive");
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) if Token::within(&buffer[..length]).any(|it| it == token) => {
                    return buffer[..length].to_vec();
                }
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
    }

    /// The tokens that arrived up to this one; fails the test if it does not come.
    pub fn until(&self, last: Token) -> BTreeSet<Token> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = BTreeSet::new();
        let mut buffer = vec![0; 1 << 16];
        while !seen.contains(&last) {
            assert!(Instant::now() < deadline, "the honest packet {last:?} did not arrive");
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => seen.extend(Token::within(&buffer[..length])),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
        seen
    }
}
