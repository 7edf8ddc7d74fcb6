//! A flow that does not end by itself, each packet of which says when it was sent: so a packet that arrives tells
//! that one sent then gets through, however late it is looked at.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::fast_path::{Status, all_fast, counts, unwraps_all};
use crate::netns::Netns;
use crate::probe::ROOM;
use crate::wait::wait_for;

/// The pause between two packets.
const PACE: Duration = Duration::from_millis(2);
/// How many packets of a flow are looked at to see which way they take.
const SAMPLE: u64 = 50;
/// How many packets meanwhile may be others, or take the other way because a second is over.
const ASKED: u64 = 10;
/// What counts packets that go the usual way.
const SLOW: [&str; 6] = ["unknown", "stale", "astray", "other", "tooLarge", "expires"];
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this a rule that anyone has added is in force for flows that were learned before.
pub const IN_FORCE: Duration = Duration::from_secs(2);

/// Nanoseconds since the first call of it.
pub fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_nanos()).expect("less than five hundred years") + 1
}

/// What both ends know of a flow, as the times at which packets were sent.
#[derive(Debug, Default)]
struct Known {
    stop: AtomicBool,
    paused: AtomicBool,
    sent: AtomicU64,
    answers: AtomicU64,
    last_sent: AtomicU64,
    last_arrived: AtomicU64,
    last_answered: AtomicU64,
    /// What the server has got beside the packets of the flow.
    others: Mutex<Vec<Vec<u8>>>,
}

/// The flow, until it is dropped.
#[derive(Debug)]
pub struct Stream {
    known: Arc<Known>,
    threads: Vec<JoinHandle<()>>,
    /// Address and port of the end that began it.
    pub client: SocketAddr,
    /// Address and port of the end that answers.
    pub server: SocketAddr,
    /// The socket of the end that began it, if it is one of datagrams.
    socket: Option<UdpSocket>,
}

impl Stream {
    /// Datagrams to a program at an address of a namespace, each of which it sends back.
    pub fn udp(client: &Netns, server: &Netns, to: IpAddr) -> Self {
        let answering = server.run(|| UdpSocket::bind((to, 0))).expect("bind the server");
        let target = answering.local_addr().expect("an address");
        Self::between(client, answering, target)
    }

    /// The same to a program that is reached by another address than its own.
    pub fn between(client: &Netns, answering: UdpSocket, to: SocketAddr) -> Self {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let asking = client.run(|| UdpSocket::bind((any, 0))).expect("bind the client");
        client.run(|| asking.connect(to)).expect("a way to the server");
        Self::of(asking, answering)
    }

    /// The same between sockets that are there.
    pub fn of(asking: UdpSocket, answering: UdpSocket) -> Self {
        let client = asking.local_addr().expect("an address");
        let server = asking.peer_addr().expect("connected");
        asking.set_nonblocking(true).expect("a setting");
        answering.set_read_timeout(Some(PACE)).expect("a setting");
        for end in [&asking, &answering] {
            setsockopt(end, RcvBufForce, &ROOM).expect("a large buffer");
        }
        let socket = Some(asking.try_clone().expect("a descriptor"));
        let known = Arc::new(Known::default());
        let (there, here) = (known.clone(), known.clone());
        let serve = move || {
            there.until_stopped(|| {
                let mut room = vec![0; 1 << 16];
                let Ok((length, from)) = answering.recv_from(&mut room) else { return };
                match <[u8; 8]>::try_from(&room[..length]) {
                    Ok(packet) => {
                        there.arrived(packet);
                        let _ = answering.send_to(&packet, from);
                    }
                    Err(_) => there.others.lock().expect("no panic").push(room[..length].to_vec()),
                }
            });
        };
        let ask = move || {
            here.until_stopped(|| {
                here.send(|packet| drop(asking.send(packet)));
                thread::sleep(PACE);
                let mut packet = [0; 8];
                while let Ok(8) = asking.recv(&mut packet) {
                    here.answered(packet);
                }
            });
        };
        let threads = vec![thread::spawn(serve), thread::spawn(ask)];
        Self { known, threads, client, server, socket }
    }

    /// A connection to a program at an address of a namespace, which sends all back.
    pub fn tcp(client: &Netns, server: &Netns, to: IpAddr) -> Self {
        let listener = server.run(|| TcpListener::bind((to, 0))).expect("listen");
        let target = listener.local_addr().expect("an address");
        Self::connected(client, &listener, target)
    }

    /// The same to a program that is reached by another address than its own.
    pub fn connected(client: &Netns, listener: &TcpListener, to: SocketAddr) -> Self {
        let asking = client.run(|| TcpStream::connect(to)).expect("connect");
        let (answering, _) = listener.accept().expect("accept");
        Self::over(asking, answering)
    }

    /// A connection that is there: both of its ends.
    pub fn over(mut asking: TcpStream, mut answering: TcpStream) -> Self {
        let own = asking.local_addr().expect("an address");
        let server = asking.peer_addr().expect("connected");
        for end in [&asking, &answering] {
            end.set_nodelay(true).expect("a setting");
            end.set_read_timeout(Some(PACE)).expect("a setting");
            end.set_write_timeout(Some(PACE)).expect("a setting");
        }
        let known = Arc::new(Known::default());
        let (there, here) = (known.clone(), known.clone());
        let serve = move || {
            let mut reader = Reader::default();
            there.until_stopped(|| {
                if let Some(packet) = reader.next(&mut answering) {
                    there.arrived(packet);
                    whole(&mut answering, packet, &there);
                }
            });
        };
        let ask = move || {
            let mut reader = Reader::default();
            here.until_stopped(|| {
                here.send(|packet| whole(&mut asking, *packet, &here));
                while let Some(packet) = reader.next(&mut asking) {
                    here.answered(packet);
                }
            });
        };
        let threads = vec![thread::spawn(serve), thread::spawn(ask)];
        Self { known, threads, client: own, server, socket: None }
    }

    /// The socket of the end that began it, of datagrams.
    pub fn socket(&self) -> &UdpSocket {
        self.socket.as_ref().expect("a flow of datagrams")
    }

    /// Whether that has come to the server beside the packets of the flow.
    pub fn heard(&self, what: &[u8]) -> bool {
        self.known.others.lock().expect("no panic").iter().any(|other| other == what)
    }

    /// When the last packet was sent that has arrived.
    pub fn arrived(&self) -> u64 {
        self.known.last_arrived.load(Ordering::SeqCst)
    }

    /// When the last packet was sent that was answered.
    pub fn answered(&self) -> u64 {
        self.known.last_answered.load(Ordering::SeqCst)
    }

    /// Waits until a packet that is sent from now on was answered.
    pub fn goes_on(&self) {
        let begin = now();
        self.answers_since(begin);
    }

    /// Waits until a packet that was sent after this moment was answered.
    pub fn answers_since(&self, moment: u64) {
        let what = format!("an answer to {} from {}", self.client, self.server);
        wait_for(&what, || (self.answered() > moment).then_some(()));
    }

    /// Waits until packets were sent for so long after a moment.
    pub fn sends_until(&self, moment: u64, after: Duration) {
        let end = moment + u64::try_from(after.as_nanos()).expect("a short time");
        wait_for("packets sent later", || {
            (self.known.last_sent.load(Ordering::SeqCst) > end).then_some(())
        });
    }

    /// How many packets took the fast path on each node while some of this flow were answered, and how many took
    /// the other although nobody was to be asked; and how many were taken at the uplink.
    fn sample<N: Status>(&self, nodes: &[&N]) -> Vec<[u64; 3]> {
        let look = |node: &&N| {
            let node: &N = node;
            let counts = counts(node);
            let sum = |names: &[&str]| names.iter().map(|name| counts[*name]).sum::<u64>();
            [all_fast(&counts), sum(&SLOW), counts["fromUplink"]]
        };
        let before: Vec<[u64; 3]> = nodes.iter().map(look).collect();
        let answers = || self.known.answers.load(Ordering::SeqCst);
        let enough = answers() + SAMPLE;
        wait_for("answers", || (answers() >= enough).then_some(()));
        let after = nodes.iter().map(look);
        after.zip(before).map(|(after, before)| [0, 1, 2].map(|n| after[n] - before[n])).collect()
    }

    /// Waits until it takes the fast path on these nodes, in both directions, and all other flows on them do.
    pub fn warm<N: Status>(&self, nodes: &[&N]) {
        let what = format!("{} to {} by the fast path", self.client, self.server);
        let between = nodes.len() > 1 && nodes.iter().all(unwraps_all);
        let received = if between { SAMPLE - ASKED } else { 0 };
        let is_warm = |&[fast, slow, at_uplink]: &[u64; 3]| {
            fast >= 2 * SAMPLE - ASKED && slow <= ASKED && at_uplink >= received
        };
        wait_for(&what, || self.sample(nodes).iter().all(is_warm).then_some(()));
    }

    /// Fails the test if any of its packets takes the fast path. It must be the only flow on these nodes.
    pub fn is_slow<N: Status>(&self, nodes: &[&N]) {
        let sample = self.sample(nodes);
        let is_slow = |&[fast, slow, _]: &[u64; 3]| fast == 0 && slow >= SAMPLE - ASKED;
        assert!(sample.iter().all(is_slow), "{} to {}: {sample:?}", self.client, self.server);
    }

    /// Sends no more, and tells how many packets were not answered in the end.
    pub fn lost(self) -> u64 {
        let Known { paused, sent, answers, .. } = &*self.known;
        paused.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        // A packet of the slow path may be overtaken.
        loop {
            let lost = sent.load(Ordering::SeqCst) - answers.load(Ordering::SeqCst);
            if lost == 0 || begin.elapsed() > PATIENCE {
                return lost;
            }
            thread::sleep(PACE);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.known.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Known {
    fn until_stopped(&self, mut work: impl FnMut()) {
        while !self.stop.load(Ordering::SeqCst) {
            work();
        }
    }

    fn send(&self, send: impl FnOnce(&[u8; 8])) {
        if self.paused.load(Ordering::SeqCst) {
            return;
        }
        let moment = now();
        self.sent.fetch_add(1, Ordering::SeqCst);
        send(&moment.to_be_bytes());
        self.last_sent.store(moment, Ordering::SeqCst);
    }

    fn arrived(&self, packet: [u8; 8]) {
        self.last_arrived.fetch_max(u64::from_be_bytes(packet), Ordering::SeqCst);
    }

    fn answered(&self, packet: [u8; 8]) {
        self.answers.fetch_add(1, Ordering::SeqCst);
        self.last_answered.fetch_max(u64::from_be_bytes(packet), Ordering::SeqCst);
    }
}

/// Puts eight bytes together that may come in parts.
#[derive(Default)]
struct Reader {
    part: Vec<u8>,
}

impl Reader {
    fn next(&mut self, stream: &mut TcpStream) -> Option<[u8; 8]> {
        let mut room = [0; 8];
        let length = stream.read(&mut room[self.part.len()..]).unwrap_or(0);
        if length == 0 {
            return None;
        }
        let begin = self.part.len();
        self.part.extend(&room[begin..begin + length]);
        let packet = <[u8; 8]>::try_from(&self.part[..]).ok()?;
        self.part.clear();
        Some(packet)
    }
}

/// Sends eight bytes, however long that takes.
fn whole(stream: &mut TcpStream, packet: [u8; 8], known: &Known) {
    let mut left = &packet[..];
    while !left.is_empty() && !known.stop.load(Ordering::SeqCst) {
        match stream.write(left) {
            Ok(length) => left = &left[length..],
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // Reset: no answer comes any more.
            Err(_) => {
                thread::sleep(PACE);
                return;
            }
        }
    }
}
