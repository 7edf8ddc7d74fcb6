//! The same flows as the forged packets pretend to be of, on the fast path: what is true of packets that pass the
//! network stack must be true of these.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flatnet_tests::fast_path::{counts, state};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::wait::wait_for;

use crate::scene::at;

/// The pause between two packets of a flow. Two seconds without an answer void it.
const PACE: Duration = Duration::from_millis(20);

/// Pods that talk to each other from the port of all forged datagrams to the same, until it is dropped.
pub struct Warm {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Warm {
    /// Each of them with each other, in both families. The nodes are those on which they are.
    pub fn all(pods: &[&Pod], nodes: &[Node]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let mut flows = Vec::new();
        for (n, pod) in pods.iter().enumerate() {
            for own in pod.addresses() {
                let socket = pod.netns.run(|| UdpSocket::bind(at(own))).expect("bind");
                socket.set_read_timeout(Some(PACE)).expect("a timeout");
                let others = pods.iter().enumerate().filter(|(m, _)| *m != n);
                let others = others.flat_map(|(_, other)| other.addresses());
                let others: Vec<IpAddr> =
                    others.filter(|to| to.is_ipv4() == own.is_ipv4()).collect();
                let heard = Arc::new(AtomicU64::new(0));
                flows.push((own, heard.clone()));
                let stop = stop.clone();
                threads.push(thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        talk(&socket, &others, &heard);
                    }
                }));
            }
        }
        let warm = Self { stop, threads };
        wait_for("the fast path", || warm.is_warm(nodes, &flows).then_some(()));
        warm
    }

    /// Whether most of what is heard came by the fast path.
    fn is_warm(&self, nodes: &[Node], flows: &[(IpAddr, Arc<AtomicU64>)]) -> bool {
        // A node without pods may have none.
        let fast = || {
            let standing = nodes.iter().filter(|node| state(node)["stands"] == true);
            let into_pods = ["toPod", "fromUplink"];
            let each = standing.map(|node| {
                let counts = counts(node);
                into_pods.map(|name| counts[name]).iter().sum::<u64>()
            });
            each.sum::<u64>()
        };
        let heard = || flows.iter().map(|(_, heard)| heard.load(Ordering::Relaxed)).sum::<u64>();
        let (fast_before, heard_before) = (fast(), heard());
        thread::sleep(10 * PACE);
        let heard = heard() - heard_before;
        let fast = fast() - fast_before;
        heard > 20 && fast * 10 >= heard * 8
    }
}

/// Says something to each, and hears what they say meanwhile.
fn talk(socket: &UdpSocket, others: &[IpAddr], heard: &AtomicU64) {
    for other in others {
        // The other one may be gone already.
        let _ = socket.send_to(b"warm", at(*other));
    }
    let begin = Instant::now();
    while begin.elapsed() < PACE {
        // An error is a timeout, or that of a packet which was refused.
        if let Ok((4, _)) = socket.recv_from(&mut [0; 64]) {
            heard.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
