//! Probes of what really passes between two namespaces: single packets of a given size, a TCP
//! stream compared byte by byte, and a stream of numbered packets that shows each one lost.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::netns::Netns;
use crate::wait::wait_for;

/// How long a probe waits for an answer before it calls it lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two packets of a `Flow`.
const PACE: Duration = Duration::from_millis(2);
/// Bytes of room for small packets whose receiver does not run for many seconds: what is lost is lost on the way.
pub(crate) const ROOM: usize = 8 << 20;

/// One echo request; fails the test unless it is answered.
pub fn ping(from: &Netns, to: IpAddr) {
    from.exec(&format!("ping -n -c 1 -W 5 {to}"));
}

/// One echo request from one of the namespace's own addresses, as source-based routing needs it;
/// fails the test unless it is answered.
pub fn ping_as(from: &Netns, source: IpAddr, to: IpAddr) {
    from.exec(&format!("ping -n -c 1 -W 5 -I {source} {to}"));
}

/// Whether one echo request is answered within a second.
pub fn reaches(from: &Netns, to: IpAddr) -> bool {
    from.attempt(&format!("ping -n -c 1 -W 1 {to}")).status.success()
}

/// One echo request in an IP packet of exactly `size` bytes that must not be fragmented.
pub fn ping_of_size(from: &Netns, to: IpAddr, size: u32) -> Output {
    // IPv4 header 20 bytes, IPv6 header 40, ICMP header 8 in both.
    let headers = if to.is_ipv4() { 28 } else { 48 };
    from.attempt(&format!("ping -n -c 1 -W 5 -M do -s {} {to}", size - headers))
}

/// Sends `bytes` over TCP from `client` to a server in `server` at `address`; fails the test
/// unless the same bytes arrive.
pub fn transfer(client: &Netns, server: &Netns, address: IpAddr, bytes: usize) {
    let payload = noise(bytes);
    let listener = server.run(|| TcpListener::bind((address, 0))).expect("listen");
    let target = listener.local_addr().expect("the listener's address");
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener, bytes));
        let sent = client.run(|| send(target, &payload));
        (sent, receiver.join().expect("the receiver"))
    });
    sent.unwrap_or_else(|error| panic!("{} to {target}: {error}", client.name()));
    let received = received.unwrap_or_else(|error| panic!("{target} received: {error}"));
    assert!(received == payload, "{target}: {} of {bytes} bytes, or others", received.len());
}

/// Accepts one connection and reads it to its end. A socket stays in the namespace it was made in,
/// whatever thread uses it.
fn receive(listener: &TcpListener, bytes: usize) -> std::io::Result<Vec<u8>> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut received = Vec::with_capacity(bytes);
    stream.read_to_end(&mut received)?;
    Ok(received)
}

/// Connects and sends it all.
fn send(target: SocketAddr, payload: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(payload)
}

/// Bytes that repeat nowhere near, so that a lost or swapped block shows (xorshift).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next()).collect();
    noise.truncate(bytes);
    noise
}

/// Receives datagrams at any address of a namespace, also at one that it gets later: so the first
/// packet to a new pod finds a receiver.
#[derive(Debug)]
pub struct Inbox {
    socket: UdpSocket,
    port: u16,
}

impl Inbox {
    /// Waits at a port that the kernel chooses, for both families.
    pub fn open(netns: &Netns) -> Self {
        let any = IpAddr::from([0_u16; 8]);
        let socket = netns.run(|| UdpSocket::bind((any, 0))).expect("bind the inbox");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let port = socket.local_addr().expect("the inbox's address").port();
        Self { socket, port }
    }

    /// Sends one datagram from a namespace to this inbox at one of its addresses, without a
    /// second try, and returns the source it arrived with; fails the test if it does not arrive.
    pub fn post(&self, from: &Netns, to: IpAddr) -> IpAddr {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        from.run(|| UdpSocket::bind((any, 0))?.send_to(b"first", (to, self.port)))
            .unwrap_or_else(|error| panic!("{} to {to}: {error}", from.name()));
        let received = crate::wait::again(|| self.socket.recv_from(&mut [0; 16]));
        let (_, source) = received
            .unwrap_or_else(|error| panic!("{}: the packet to {to} is lost: {error}", from.name()));
        source.ip().to_canonical()
    }
}

/// Counts the packets that pass a hook of a namespace and match, in an nftables table of its own.
#[derive(Debug)]
pub struct Counter<'a> {
    netns: &'a Netns,
    table: String,
}

impl<'a> Counter<'a> {
    /// Counts what matches (words of `nft`) at a hook, behind all rules of ours.
    pub fn new(netns: &'a Netns, hook: &str, matching: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let table = format!("probe-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let chain = format!("inet {table} {hook}");
        netns.exec(&format!("nft add table inet {table}"));
        netns.exec(&format!("nft add chain {chain} {{ type filter hook {hook} priority 300 ; }}"));
        netns.exec(&format!("nft add rule {chain} {matching} counter"));
        Self { netns, table }
    }

    /// How many passed since it was made.
    pub fn packets(&self) -> u64 {
        let listed = self.netns.exec(&format!("nft list table inet {}", self.table));
        let words: Vec<&str> = listed.split_whitespace().collect();
        let position = words.windows(2).position(|pair| pair == ["counter", "packets"]);
        words[position.expect("a counter") + 2].parse().expect("a number")
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        self.netns.attempt(&format!("nft delete table inet {}", self.table));
    }
}

/// A stream of numbered UDP packets that are echoed, running until it is asked for its tally.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    echo: JoinHandle<()>,
    sender: JoinHandle<Tally>,
}

/// What became of a flow's packets.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many were sent.
    pub sent: u64,
    /// How many came back.
    pub answered: u64,
}

impl Flow {
    /// Starts to send from one namespace to an address of another.
    pub fn start(client: &Netns, server: &Netns, address: IpAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let echo = server.run(|| UdpSocket::bind((address, 0))).expect("bind the echo");
        let target = echo.local_addr().expect("the echo's address");
        let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = client.run(|| {
            let socket = UdpSocket::bind((any, 0)).expect("bind the sender");
            socket.connect(target).expect("a route to the echo");
            socket
        });
        echo.set_read_timeout(Some(PACE)).expect("a timeout");
        socket.set_nonblocking(true).expect("a nonblocking socket");
        for end in [&echo, &socket] {
            setsockopt(end, RcvBufForce, &ROOM).expect("a large buffer");
        }
        let (echo_stop, sender_stop) = (stop.clone(), stop.clone());
        let sent = Arc::new(AtomicU64::new(0));
        let counted = sent.clone();
        Self {
            stop,
            sent,
            echo: thread::spawn(move || answer(&echo, &echo_stop)),
            sender: thread::spawn(move || count(&socket, &sender_stop, &counted)),
        }
    }

    /// Waits until so many more packets were sent.
    fn sends(&self, more: u64) {
        let enough = self.sent.load(Ordering::Relaxed) + more;
        wait_for("packets of a flow", || {
            (self.sent.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    /// Stops and tells; packets are sent for at least `least` first, so that there was traffic after
    /// whatever the test did last.
    pub fn finish(self, least: Duration) -> Tally {
        thread::sleep(least);
        // One may have been under way before.
        self.sends(2);
        self.stop.store(true, Ordering::Relaxed);
        let tally = self.sender.join().expect("the sender");
        // The echo hears of the stop only when the sender has had its last answers.
        self.echo.join().expect("the echo");
        tally
    }
}

/// Echoes until told to stop and nothing has come for a while.
fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 64];
    let mut idle = Instant::now();
    while !stop.load(Ordering::Relaxed) || idle.elapsed() < PATIENCE / 10 {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            idle = Instant::now();
            drop(socket.send_to(&buffer[..length], from));
        }
    }
}

/// Sends numbered packets until told to stop, then waits for the answers still under way.
fn count(socket: &UdpSocket, stop: &AtomicBool, sent: &AtomicU64) -> Tally {
    let mut tally = Tally { sent: 0, answered: 0 };
    let mut deadline = Instant::now();
    loop {
        if !stop.load(Ordering::Relaxed) {
            // A send that fails (no route, no buffer) is a packet lost.
            drop(socket.send(&tally.sent.to_le_bytes()));
            tally.sent += 1;
            sent.store(tally.sent, Ordering::Relaxed);
            deadline = Instant::now() + PATIENCE / 10;
        }
        // Not a timeout of the socket: those are as coarse as the kernel's tick.
        thread::sleep(PACE);
        while socket.recv(&mut [0; 8]).is_ok() {
            tally.answered += 1;
        }
        let complete = stop.load(Ordering::Relaxed) && tally.answered == tally.sent;
        if complete || Instant::now() > deadline {
            return tally;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two namespaces joined by a veth, addresses 10.7.0.1 and 10.7.0.2.
    fn pair() -> (Netns, Netns, IpAddr) {
        let (left, right) = (Netns::new("left"), Netns::new("right"));
        let peer = right.name();
        left.exec(&format!("ip link add v0 mtu 1400 type veth peer name v0 mtu 1400 netns {peer}"));
        for (netns, n) in [(&left, 1), (&right, 2)] {
            netns.exec(&format!("ip addr add 10.7.0.{n}/24 dev v0"));
            netns.exec("ip link set v0 up");
        }
        // Until the kernel has reported an end as up, what it sends is dropped.
        for netns in [&left, &right] {
            crate::kernel::wait_until_up(netns, "v0");
        }
        (left, right, [10, 7, 0, 2].into())
    }

    #[test]
    fn probes_tell_what_passes() {
        let (left, right, to) = pair();
        ping(&left, to);
        assert!(!reaches(&left, [10, 7, 0, 3].into()));
        assert!(ping_of_size(&left, to, 1400).status.success());
        let output = ping_of_size(&left, to, 1401);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("essage too long"), "{output:?}");
        transfer(&left, &right, to, 3_000_001);
        let counter = Counter::new(&right, "input", "ip saddr 10.7.0.1 icmp type echo-request");
        assert_eq!(counter.packets(), 0);
        ping(&left, to);
        assert_eq!(counter.packets(), 1);
    }

    #[test]
    fn a_flow_counts_what_is_lost() {
        let (left, right, to) = pair();
        let flow = Flow::start(&left, &right, to);
        flow.sends(50);
        let tally = flow.finish(Duration::ZERO);
        assert!(tally.sent > 50, "{tally:?}");
        assert_eq!(tally.sent, tally.answered);
        let flow = Flow::start(&left, &right, to);
        flow.sends(50);
        right.exec("ip link set v0 down");
        let tally = flow.finish(Duration::ZERO);
        assert!(tally.answered < tally.sent, "{tally:?}");
    }
}
