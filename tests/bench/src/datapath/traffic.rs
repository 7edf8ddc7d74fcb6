//! Traffic between two namespaces, from threads of this process: a socket stays in the namespace it
//! was made in, whatever thread uses it.
//!
//! Clients and servers each have a CPU of their own, so that a run does not depend on where the
//! scheduler happened to put them. What the kernel does for a packet on its way through both nodes
//! is done on the CPU of the one who sends it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{available_parallelism, scope, sleep};
use std::time::{Duration, Instant};

use flatnet_tests::netns::inside;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use nix::unistd::Pid;

use super::cpu;
use super::path::Server;

/// What is sent before anything counts: connections grow their windows, caches fill.
const WARM_UP: Duration = Duration::from_millis(100);
/// Nothing takes longer than this unless it is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a server that waits for packets looks whether it is still needed.
const GLANCE: Duration = Duration::from_millis(20);
/// What a stream is written in.
const BLOCK: usize = 128 * 1024;
/// The payload of a small packet.
pub const SMALL: usize = 64;

/// Who sends to whom, in how many flows, for how long.
#[derive(Debug)]
pub struct Load<'a> {
    /// The client's namespace.
    pub client: &'a Path,
    /// The server.
    pub server: &'a Server,
    /// How many sockets on each side, each with its thread.
    pub flows: usize,
    /// How long it is measured.
    pub window: Duration,
}

/// What a stream achieves.
#[derive(Copy, Clone, Debug)]
pub struct Throughput {
    /// Payload, in 10⁹ bit per second.
    pub gigabits: f64,
    /// Of all CPUs of the machine, in seconds for each 10⁹ bytes.
    pub cpu_seconds: f64,
}

impl Load<'_> {
    /// TCP, one way, as fast as it goes.
    pub fn stream(&self) -> Throughput {
        let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
        scope(|scope| {
            let (stop, received) = (&stop, &received);
            for (mut client, mut server) in self.connections() {
                scope.spawn(move || {
                    pin(Side::Server);
                    let mut block = vec![0; BLOCK];
                    while let Ok(count @ 1..) = server.read(&mut block) {
                        received.fetch_add(count as u64, Relaxed);
                    }
                });
                scope.spawn(move || {
                    pin(Side::Client);
                    let block = vec![0; BLOCK];
                    while !stop.load(Relaxed) {
                        client.write_all(&block).expect("a connection that holds");
                    }
                });
            }
            sleep(WARM_UP);
            let busy = cpu::busy();
            let (bytes, elapsed) = self.count(received);
            let cpu = cpu::busy() - busy;
            stop.store(true, Relaxed);
            Throughput { gigabits: bytes * 8.0 / elapsed / 1e9, cpu_seconds: cpu / (bytes / 1e9) }
        })
    }

    /// Small messages there and back, one at a time in each flow: the time of each, in microseconds.
    pub fn tcp_round_trips(&self) -> Vec<f64> {
        scope(|scope| {
            let clients: Vec<_> = self
                .connections()
                .into_iter()
                .map(|(mut client, mut server)| {
                    scope.spawn(move || {
                        pin(Side::Client);
                        let mut message = [0; SMALL];
                        while server.read_exact(&mut message).is_ok() {
                            server.write_all(&message).expect("a connection that holds");
                        }
                    });
                    let mut message = [0; SMALL];
                    let exchange = move || {
                        client.write_all(&message)?;
                        client.read_exact(&mut message)
                    };
                    scope.spawn(|| self.time(exchange))
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
        })
    }

    /// The same over UDP.
    pub fn udp_round_trips(&self) -> Vec<f64> {
        let stop = AtomicBool::new(false);
        scope(|scope| {
            let stop = &stop;
            let clients: Vec<_> = self
                .sockets()
                .into_iter()
                .map(|(client, server)| {
                    scope.spawn(move || {
                        pin(Side::Client);
                        let mut message = [0; SMALL];
                        while !stop.load(Relaxed) {
                            if server.recv(&mut message).is_ok() {
                                server.send(&message).expect("a route back");
                            }
                        }
                    });
                    let mut message = [0; SMALL];
                    let exchange = move || {
                        client.send(&message)?;
                        client.recv(&mut message).map(drop)
                    };
                    scope.spawn(|| self.time(exchange))
                })
                .collect();
            let times = clients.into_iter().map(|client| client.join());
            let times: Vec<_> = times.collect();
            stop.store(true, Relaxed);
            times.into_iter().flat_map(|times| times.expect("a client")).collect()
        })
    }

    /// Small UDP packets, as fast as they can be sent: how many arrive in a second. The first is answered, as in
    /// most flows: one without any answer is new to conntrack for ever, and never on the fast path.
    pub fn packets(&self) -> f64 {
        let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
        scope(|scope| {
            let (stop, received) = (&stop, &received);
            for (client, server) in self.sockets() {
                answer(&client, &server);
                scope.spawn(move || {
                    pin(Side::Server);
                    let mut packet = [0; SMALL];
                    while !stop.load(Relaxed) {
                        if server.recv(&mut packet).is_ok() {
                            received.fetch_add(1, Relaxed);
                        }
                    }
                });
                scope.spawn(move || {
                    pin(Side::Client);
                    while !stop.load(Relaxed) {
                        // A full queue is a packet that does not arrive: not counted.
                        let _ = client.send(&[0; SMALL]);
                    }
                });
            }
            let rate = self.rate(received);
            stop.store(true, Relaxed);
            rate
        })
    }

    /// TCP connections, each for one small message there and back: how many in a second.
    pub fn connections_per_second(&self) -> f64 {
        let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
        let listener = self.listener();
        let target = listener.local_addr().expect("the listener's address");
        scope(|scope| {
            let (stop, served, listener) = (&stop, &served, &listener);
            let talk = move || {
                pin(Side::Client);
                while !stop.load(Relaxed) {
                    converse(target);
                    served.fetch_add(1, Relaxed);
                }
            };
            let clients: Vec<_> = (0..self.flows)
                .map(|_| {
                    scope.spawn(move || serve(listener));
                    scope.spawn(move || inside(self.client, talk))
                })
                .collect();
            let rate = self.rate(served);
            stop.store(true, Relaxed);
            clients.into_iter().for_each(|client| client.join().expect("a client"));
            // Each server ends with a connection on which nothing is asked.
            inside(self.client, || (0..self.flows).for_each(|_| drop(connect(target))));
            rate
        })
    }

    /// Repeats an exchange until the time is over, and times each after the warm-up.
    fn time(&self, mut exchange: impl FnMut() -> std::io::Result<()>) -> Vec<f64> {
        pin(Side::Client);
        let start = Instant::now();
        let mut times = Vec::new();
        loop {
            let before = Instant::now();
            if before - start > WARM_UP + self.window && !times.is_empty() {
                return times;
            }
            exchange().expect("an answer");
            if before - start > WARM_UP {
                times.push(before.elapsed().as_secs_f64() * 1e6);
            }
        }
    }

    /// By how much a counter grows in a second, after the warm-up.
    fn rate(&self, counter: &AtomicU64) -> f64 {
        sleep(WARM_UP);
        let (count, elapsed) = self.count(counter);
        count / elapsed
    }

    /// By how much a counter grows, and in how many seconds: the window, or longer on a machine so
    /// busy that nothing arrives in it.
    fn count(&self, counter: &AtomicU64) -> (f64, f64) {
        let (before, start) = (counter.load(Relaxed), Instant::now());
        loop {
            sleep(self.window);
            let (count, elapsed) = (counter.load(Relaxed) - before, start.elapsed());
            if count > 0 {
                return (count as f64, elapsed.as_secs_f64());
            }
            assert!(elapsed < PATIENCE, "nothing arrives at {:?}", self.server);
        }
    }

    fn listener(&self) -> TcpListener {
        let Server { netns, address } = self.server;
        inside(netns, || TcpListener::bind((*address, 0))).expect("listen")
    }

    /// Connections, both ends of each, the client's first.
    fn connections(&self) -> Vec<(TcpStream, TcpStream)> {
        let listener = self.listener();
        let target = listener.local_addr().expect("the listener's address");
        let connect = || {
            let client = inside(self.client, || connect(target));
            // The connection stands: this does not wait.
            let (server, _) = listener.accept().expect("a connection");
            server.set_nodelay(true).expect("a socket without delay");
            (client, server)
        };
        std::iter::repeat_with(connect).take(self.flows).collect()
    }

    /// UDP sockets that know each other, the client's first.
    fn sockets(&self) -> Vec<(UdpSocket, UdpSocket)> {
        let Server { netns, address } = self.server;
        let pair = || {
            let server = inside(netns, || UdpSocket::bind((*address, 0))).expect("bind");
            let target = server.local_addr().expect("the server's address");
            let client = inside(self.client, || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
                socket.connect(target).expect("a route to the server");
                socket
            });
            let source = client.local_addr().expect("the client's address");
            server.connect(source).expect("a route to the client");
            server.set_read_timeout(Some(GLANCE)).expect("a timeout");
            client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            (client, server)
        };
        std::iter::repeat_with(pair).take(self.flows).collect()
    }
}

/// One message there and back.
fn answer(client: &UdpSocket, server: &UdpSocket) {
    let mut message = [0; SMALL];
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.send(&message).expect("a route to the server");
    server.recv(&mut message).expect("a message");
    server.send(&message).expect("a route back");
    client.recv(&mut message).expect("an answer");
    server.set_read_timeout(Some(GLANCE)).expect("a timeout");
}

/// Connects from the namespace of the calling thread.
fn connect(target: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)
        .unwrap_or_else(|error| panic!("connect to {target}: {error}"));
    stream.set_nodelay(true).expect("a socket without delay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Answers one message on each connection, until one ends without any.
fn serve(listener: &TcpListener) {
    pin(Side::Server);
    loop {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut message = [0; SMALL];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        stream.write_all(&message).expect("a connection that holds");
        // Until the client closes.
        let _ = stream.read(&mut message);
    }
}

/// One connection, one message there and back.
fn converse(target: SocketAddr) {
    let mut stream = connect(target);
    let mut message = [0; SMALL];
    stream.write_all(&message).expect("a connection that holds");
    stream.read_exact(&mut message).expect("an answer");
    // Closed with a reset: ports that wait for stragglers would run out within seconds.
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream.as_fd(), Linger, &at_once).expect("close at once");
}

/// Which end of a connection.
#[derive(Copy, Clone, Debug)]
enum Side {
    Client,
    Server,
}

/// Binds the calling thread to the CPU of its side.
fn pin(side: Side) {
    let cpus = available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    let cpu = match side {
        Side::Client => 0,
        Side::Server => cpus.min(2) - 1,
    };
    set.set(cpu).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("bind a thread to a CPU");
}
