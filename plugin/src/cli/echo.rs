//! Who answers, and how fast: ICMP and ICMPv6 echo (RFC 792, RFC 4443) on raw sockets.
//!
//! Raw ones, because unprivileged ping sockets are closed to every group in a new namespace
//! (`net.ipv4.ping_group_range`), and no settings are changed for a question.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::sockopt::SetUsize;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};

use super::asker::Asker;

/// How often each target is asked; its best answer counts.
pub const TRIES: u8 = 3;
/// How long the next question waits for an answer: long enough that answers are timed undisturbed,
/// and no second lost for each target that does not answer.
const PACE: Duration = Duration::from_millis(5);
/// How many may not answer at once before none is waited for any more, and only what has come in
/// is taken between two questions: where thousands are silent, waiting for each takes minutes.
const PATIENCE: usize = 100;
/// Echo request and reply of ICMP, then of ICMPv6.
const TYPES: [(u8, u8); 2] = [(8, 0), (128, 129)];
/// Destination unreachable of ICMP and of ICMPv6, with the codes that say that the way ends before the target: no route, no
/// such host. The others are a firewall's, or the target's own.
const UNREACHABLE: [(u8, [u8; 2]); 2] = [(3, [0, 1]), (1, [0, 3])];
/// Header and payload of our messages: 8 bytes each; what follows is filled with zeros.
const LENGTH: usize = 16;
/// Bytes of the IP header before them.
const IP_HEADERS: [usize; 2] = [20, 40];

/// What came back from a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Echo replies; the best round trip.
    Reply(Duration),
    /// No reply, but that the target is unreachable.
    Unreachable {
        /// Who says so: a router, this node, or the target, which then lives.
        by: IpAddr,
        /// Whether the way ends there; else the packet is not let through, or not taken.
        ends: bool,
    },
}

impl Heard {
    /// The round trip, if there was a reply.
    pub fn trip(self) -> Option<Duration> {
        match self {
            Self::Reply(trip) => Some(trip),
            Self::Unreachable { .. } => None,
        }
    }
}

/// Questions to targets of one family, from the network namespace in which it was made.
pub struct Echo {
    socket: UdpSocket,
    v6: bool,
    /// Tells the answers to these questions from others': in the header, and again in the payload.
    identity: u32,
    /// Bytes of a message, ICMP header included.
    length: usize,
    targets: Vec<IpAddr>,
    /// The questions under way, by their tag: which target, and when.
    waiting: HashMap<u32, (usize, Instant)>,
    heard: Vec<Option<Heard>>,
}

impl Echo {
    /// Opens a raw socket in the calling thread's namespace.
    ///
    /// # Errors
    /// The socket is refused: CAP_NET_RAW is missing, or the kernel has no IPv6.
    pub fn open(v6: bool, targets: Vec<IpAddr>) -> io::Result<Self> {
        let (family, protocol) = if v6 {
            (AddressFamily::Inet6, SockProtocol::IcmpV6)
        } else {
            (AddressFamily::Inet, SockProtocol::Icmp)
        };
        let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(protocol))?;
        // To the standard library any socket that sends and receives datagrams is of this type.
        Ok(Self::with(UdpSocket::from(raw), v6, targets))
    }

    /// The same with packets of this many bytes, IP header included, that no router may fragment,
    /// whatever is remembered of the path's MTU.
    ///
    /// # Errors
    /// As [`Echo::open`].
    pub fn of_size(v6: bool, targets: Vec<IpAddr>, size: u32) -> io::Result<Self> {
        let echo = Self::open(v6, targets)?;
        if v6 {
            setsockopt(&echo.socket, ProbeV6, &(libc::IPV6_PMTUDISC_PROBE as usize))?;
        } else {
            setsockopt(&echo.socket, ProbeV4, &(libc::IP_PMTUDISC_PROBE as usize))?;
        }
        let length = (size as usize).saturating_sub(IP_HEADERS[usize::from(v6)]).max(LENGTH);
        Ok(Self { length, ..echo })
    }

    /// Asks as the asker from now on.
    ///
    /// # Errors
    /// What says who asks is there no more.
    pub fn ask_as(&self, asker: &Asker) -> io::Result<()> {
        asker.bind(&self.socket)
    }

    fn with(socket: UdpSocket, v6: bool, targets: Vec<IpAddr>) -> Self {
        static QUESTIONERS: AtomicU32 = AtomicU32::new(0);
        // Another process has another number in the header, which is the upper half.
        let count = QUESTIONERS.fetch_add(1, Ordering::Relaxed);
        let identity = (process::id() << 16).wrapping_add(count);
        let heard = vec![None; targets.len()];
        Self { socket, v6, identity, length: LENGTH, targets, waiting: HashMap::new(), heard }
    }

    /// Asks each target a few times and takes the answers that come at once.
    ///
    /// # Errors
    /// The socket fails; that a target cannot be sent to only leaves it unreached.
    pub fn ask(&mut self) -> io::Result<()> {
        let mut silent = 0;
        for round in 0..TRIES {
            for index in 0..self.targets.len() {
                let tag = tag(index, round);
                let message = self.request(tag);
                let target = SocketAddr::new(self.targets[index], 0);
                let sent = Instant::now();
                if self.socket.send_to(&message, target).is_err() {
                    continue;
                }
                self.waiting.insert(tag, (index, sent));
                // Who did not answer the first question at once is not waited for again here.
                if silent < PATIENCE && (round == 0 || self.heard[index].is_some()) {
                    self.receive(Some(tag), sent + PACE)?;
                    silent += usize::from(self.waiting.contains_key(&tag));
                } else {
                    self.drain()?;
                }
            }
        }
        Ok(())
    }

    /// Takes the answers that come until the deadline; what came from each target, `None` where nothing did.
    ///
    /// # Errors
    /// The socket fails.
    pub fn finish(mut self, deadline: Instant) -> io::Result<Vec<Option<Heard>>> {
        self.receive(None, deadline)?;
        // What came while somebody else was waited for until the deadline is still there.
        self.drain()?;
        Ok(self.heard)
    }

    /// Receives until the awaited answer, or all, are in, or the deadline has come.
    fn receive(&mut self, awaited: Option<u32>, deadline: Instant) -> io::Result<()> {
        loop {
            let open = match awaited {
                Some(tag) => self.waiting.contains_key(&tag),
                None => self.is_open() && !self.waiting.is_empty(),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if !open || left.is_zero() {
                return Ok(());
            }
            self.socket.set_read_timeout(Some(left))?;
            self.take()?;
        }
    }

    /// Whether a reply of some target is still to come.
    fn is_open(&self) -> bool {
        self.heard.iter().any(|heard| heard.and_then(Heard::trip).is_none())
    }

    /// Receives what has come in.
    fn drain(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        while self.take()? {}
        self.socket.set_nonblocking(false)
    }

    /// Receives one packet; `false` if none comes.
    fn take(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 256];
        let (length, from) = match self.socket.recv_from(&mut buffer) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            received => received?,
        };
        let arrived = Instant::now();
        let packet = buffer.get(..length).unwrap_or_default();
        if let Some(tag) = self.answer(packet) {
            self.note(tag, from.ip(), arrived);
        } else if let Some((tag, ends)) = self.error(packet) {
            self.give_up(tag, from.ip(), ends);
        }
        Ok(true)
    }

    /// Counts an answer, if it is to a question under way and from the one that was asked.
    fn note(&mut self, tag: u32, from: IpAddr, arrived: Instant) {
        let Some((index, sent)) = self.waiting.get(&tag).copied() else { return };
        if self.targets[index] == from {
            self.waiting.remove(&tag);
            let trip = arrived - sent;
            let best = self.heard[index].and_then(Heard::trip);
            self.heard[index] = Some(Heard::Reply(best.map_or(trip, |best| best.min(trip))));
        }
    }

    /// Counts an error about a question under way. That the target itself speaks, or has, says more.
    fn give_up(&mut self, tag: u32, by: IpAddr, ends: bool) {
        let Some((index, _)) = self.waiting.remove(&tag) else { return };
        if self.heard[index].is_none() || self.targets[index] == by {
            let error = Heard::Unreachable { by, ends };
            let heard = self.heard[index].get_or_insert(error);
            if heard.trip().is_none() {
                *heard = error;
            }
        }
    }

    fn request(&self, tag: u32) -> Vec<u8> {
        let mut message = vec![0; self.length];
        message[0] = TYPES[usize::from(self.v6)].0;
        message[4..8].copy_from_slice(&self.identity.to_be_bytes());
        message[8..12].copy_from_slice(&self.identity.to_be_bytes());
        message[12..16].copy_from_slice(&tag.to_be_bytes());
        if !self.v6 {
            // For ICMPv6 the kernel does it: only it knows the source address that goes into it.
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// The tag of a packet, if it is an answer to us.
    fn answer(&self, packet: &[u8]) -> Option<u32> {
        self.tag_of(self.message(packet)?, TYPES[usize::from(self.v6)].1)
    }

    /// The tag of one of our questions that a packet says did not arrive, and whether its way ended.
    fn error(&self, packet: &[u8]) -> Option<(u32, bool)> {
        let message = self.message(packet)?;
        let (unreachable, ends) = UNREACHABLE[usize::from(self.v6)];
        // It quotes the question, here with the IP header of both families.
        let quoted = message.get(8..).filter(|_| message[0] == unreachable)?;
        let header = if self.v6 { IP_HEADERS[1] } else { header_v4(quoted)? };
        let tag = self.tag_of(quoted.get(header..)?, TYPES[usize::from(self.v6)].0)?;
        Some((tag, ends.contains(&message[1])))
    }

    /// What a raw socket received, from the ICMP header on: that of IPv4 receives the IP header too.
    fn message<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let header = if self.v6 { 0 } else { header_v4(packet)? };
        packet.get(header..).filter(|message| message.len() >= 8)
    }

    /// The tag of a message, if it is of this type and ours.
    fn tag_of(&self, message: &[u8], kind: u8) -> Option<u32> {
        let message = message.get(..LENGTH)?;
        let ours = message[0] == kind && message[8..12] == self.identity.to_be_bytes();
        ours.then(|| u32::from_be_bytes([message[12], message[13], message[14], message[15]]))
    }
}

/// Bytes of the IPv4 header that a packet begins with.
fn header_v4(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0x0f) * 4)
}

// The kernel's own estimate of a path's MTU neither splits a packet nor keeps one back.
nix::setsockopt_impl!(ProbeV4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, usize, SetUsize);
nix::setsockopt_impl!(ProbeV6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, usize, SetUsize);

/// `IP_MTU_DISCOVER`, ip(7).
#[derive(Clone, Copy)]
struct ProbeV4;
/// `IPV6_MTU_DISCOVER`, ipv6(7).
#[derive(Clone, Copy)]
struct ProbeV6;

/// Which target, and which round: a late answer must not count for a later question.
fn tag(index: usize, round: u8) -> u32 {
    ((index as u32) << 8) | u32::from(round)
}

/// The Internet checksum, RFC 1071.
fn checksum(message: &[u8]) -> u16 {
    let mut sum: u32 = message
        .chunks(2)
        .map(|pair| (u32::from(pair[0]) << 8) | pair.get(1).copied().map_or(0, u32::from))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
