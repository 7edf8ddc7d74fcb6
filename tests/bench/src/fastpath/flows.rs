//! Many flows between a client and a server, each one that conntrack, and whatever learns from it, knows.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::scope;
use std::time::Duration;

use flatnet_tests::kernel::set_sysctl;
use flatnet_tests::netns::inside;

use crate::datapath::path::{Path, Server};

/// The client's first port; below are those that need privileges.
const FIRST: usize = 1024;
/// An answer takes longer than this only if it is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the server looks whether it is still needed.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a node remembers a flow that is silent: longer than the benchmark takes.
const MEMORY: &str = "3600";

/// Opens so many flows of UDP, each from another port to the same. Of each, both directions are seen
/// behind the first answer.
pub fn open(path: &Path, count: usize) {
    assert!(FIRST + count <= 1 << 16, "{count} flows need more ports than there are");
    for node in path.nodes() {
        for timeout in ["udp_timeout", "udp_timeout_stream"] {
            set_sysctl(node, &format!("netfilter/nf_conntrack_{timeout}"), MEMORY);
        }
    }
    let Server { netns, address } = &path.far;
    let server = inside(netns, || UdpSocket::bind((*address, 0))).expect("bind");
    server.set_read_timeout(Some(GLANCE)).expect("a timeout");
    let target = server.local_addr().expect("the server's address");
    let stop = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| answer(&server, &stop));
        inside(&path.client, || {
            for port in (FIRST..).take(count) {
                let port = u16::try_from(port).expect("a port");
                let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("bind");
                client.connect(target).expect("a route to the server");
                client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                for _ in 0..2 {
                    client.send(&[0]).expect("a route to the server");
                    client.recv(&mut [0]).expect("an answer");
                }
            }
        });
        stop.store(true, Relaxed);
    });
}

fn answer(server: &UdpSocket, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        if let Ok((count, client)) = server.recv_from(&mut [0]) {
            server.send_to(&[0][..count], client).expect("a route back");
        }
    }
}
