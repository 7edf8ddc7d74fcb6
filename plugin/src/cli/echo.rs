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
/// Header and payload of our messages: 8 bytes each; what follows is filled with zeros.
const LENGTH: usize = 16;
/// Bytes of the IP header before them.
const IP_HEADERS: [usize; 2] = [20, 40];

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
    best: Vec<Option<Duration>>,
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
        let best = vec![None; targets.len()];
        Self { socket, v6, identity, length: LENGTH, targets, waiting: HashMap::new(), best }
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
                if silent < PATIENCE && (round == 0 || self.best[index].is_some()) {
                    self.receive(Some(tag), sent + PACE)?;
                    silent += usize::from(self.waiting.contains_key(&tag));
                } else {
                    self.drain()?;
                }
            }
        }
        Ok(())
    }

    /// Takes the answers that come until the deadline; the best round trip of each target, `None`
    /// where no answer came.
    ///
    /// # Errors
    /// The socket fails.
    pub fn finish(mut self, deadline: Instant) -> io::Result<Vec<Option<Duration>>> {
        self.receive(None, deadline)?;
        // What came while somebody else was waited for until the deadline is still there.
        self.drain()?;
        Ok(self.best)
    }

    /// Receives until the awaited answer, or all, are in, or the deadline has come.
    fn receive(&mut self, awaited: Option<u32>, deadline: Instant) -> io::Result<()> {
        loop {
            let open = match awaited {
                Some(tag) => self.waiting.contains_key(&tag),
                None => self.best.contains(&None) && !self.waiting.is_empty(),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if !open || left.is_zero() {
                return Ok(());
            }
            self.socket.set_read_timeout(Some(left))?;
            self.take()?;
        }
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
        if let Some(tag) = self.answer(buffer.get(..length).unwrap_or_default()) {
            self.note(tag, from.ip(), arrived);
        }
        Ok(true)
    }

    /// Counts an answer, if it is to a question under way and from the one that was asked.
    fn note(&mut self, tag: u32, from: IpAddr, arrived: Instant) {
        let Some((index, sent)) = self.waiting.get(&tag).copied() else { return };
        if self.targets[index] == from {
            self.waiting.remove(&tag);
            let trip = arrived - sent;
            let best = &mut self.best[index];
            *best = Some(best.map_or(trip, |best| best.min(trip)));
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

    /// The tag of a message, if it is an answer to us.
    fn answer(&self, packet: &[u8]) -> Option<u32> {
        // A raw IPv4 socket receives the IP header too, a raw IPv6 socket does not.
        let header = if self.v6 { 0 } else { usize::from(packet.first()? & 0x0f) * 4 };
        let message = packet.get(header..header + LENGTH)?;
        let reply = TYPES[usize::from(self.v6)].1;
        let ours = message[0] == reply && message[8..12] == self.identity.to_be_bytes();
        ours.then(|| u32::from_be_bytes([message[12], message[13], message[14], message[15]]))
    }
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
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_message_with_it_is_zero() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }

    #[test]
    fn only_an_answer_to_us_counts() {
        // A raw socket needs root: messages are made by hand, and none is sent.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut echo = Echo::with(socket, true, Vec::new());
        let tag = tag(70_000, 2);
        let request = echo.request(tag);
        assert_eq!(echo.answer(&request), None);
        let mut reply = request.clone();
        reply[0] = 129;
        assert_eq!(echo.answer(&reply), Some(tag));
        assert_eq!(echo.answer(&reply[..15]), None);
        reply[8] ^= 1;
        assert_eq!(echo.answer(&reply), None);
        let again = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = Echo::with(again, true, Vec::new());
        assert_ne!(other.request(tag), request, "an answer is to one question only");

        echo.v6 = false;
        let mut packet = vec![0x45; 20];
        packet.extend(echo.request(tag));
        assert_eq!(checksum(&packet[20..]), 0);
        assert_eq!(echo.answer(&packet), None);
        packet[20] = 0;
        assert_eq!(echo.answer(&packet), Some(tag));
        assert_eq!(echo.answer(&[]), None);
    }

    #[test]
    fn an_answer_that_is_there_at_the_deadline_counts() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut echo = Echo::with(socket, true, vec!["127.0.0.1".parse().unwrap()]);
        echo.waiting.insert(tag(0, 0), (0, Instant::now()));
        let mut reply = echo.request(tag(0, 0));
        reply[0] = 129;
        target.send_to(&reply, echo.socket.local_addr().unwrap()).unwrap();
        echo.socket.peek(&mut [0; 256]).unwrap();
        assert!(echo.finish(Instant::now()).unwrap()[0].is_some());
    }

    #[test]
    fn the_best_answer_of_the_one_asked_counts() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let targets: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let mut echo = Echo::with(socket, false, targets.clone());
        let start = Instant::now();
        let after = |micros| start + Duration::from_micros(micros);
        for round in 0..3 {
            echo.waiting.insert(tag(0, round), (0, start));
        }
        echo.note(tag(0, 0), targets[1], after(1));
        assert_eq!(echo.best, [None, None]);
        echo.note(tag(0, 0), targets[0], after(50));
        echo.note(tag(0, 0), targets[0], after(10));
        echo.note(tag(0, 1), targets[0], after(30));
        echo.note(tag(0, 2), targets[0], after(40));
        echo.note(tag(1, 0), targets[1], after(5));
        assert_eq!(echo.best, [Some(Duration::from_micros(30)), None]);
    }
}
