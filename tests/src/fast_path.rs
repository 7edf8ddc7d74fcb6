//! The fast path as it can be seen: what its programs have counted, and where they hang.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::flatnet;
use crate::netns::Netns;
use crate::node::Node;
use crate::program::said;
use crate::wait::{PATIENCE, again};

/// A node, of whatever cluster, on which `flatnet status` can be called.
pub trait Status {
    /// Runs `flatnet status --json` there.
    fn status(&self) -> Output;
}

impl Status for Node {
    fn status(&self) -> Output {
        flatnet(self, "status", &["--json"])
    }
}

impl<T: Status> Status for &T {
    fn status(&self) -> Output {
        (**self).status()
    }
}

/// How far the fast path reaches that a network is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is none.
    None,
    /// It begins and ends at flatnet's own devices, and at the uplink on the way out.
    Own,
    /// What comes in by the uplink takes it from there.
    Uplink,
}

impl Reach {
    /// The value of `fastPath`.
    pub fn value(self) -> Value {
        match self {
            Self::None => json!(false),
            Self::Own => json!(true),
            Self::Uplink => json!("uplink"),
        }
    }
}

/// What counts packets that pods of the other node have sent to this address, on their fast way into a pod here: by programs
/// at the uplink, where they are and may unwrap what has headers of another family inside.
pub fn counts_received(node: &Node, to: IpAddr) -> &'static str {
    let same = node.vtep.is_ipv4() == to.is_ipv4();
    let unwraps = unwraps(node) && (same || unwraps_other_families());
    if unwraps { "fromUplink" } else { "toPod" }
}

/// Whether all packets of warm flows from another node are unwrapped at an uplink.
pub fn unwraps_all(node: &impl Status) -> bool {
    unwraps(node) && unwraps_other_families()
}

fn unwraps(node: &impl Status) -> bool {
    let entrances = state(node)["unwrappedAt"].as_array().cloned().unwrap_or_default();
    entrances.iter().any(|entrance| entrance["open"] == true)
}

/// Linux 6.3.
fn unwraps_other_families() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= (6, 3)
}

/// What `flatnet status` says of the fast path of a node's network.
pub fn state(node: &impl Status) -> Value {
    let output = node.status();
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    document["networks"][0]["fastPath"].clone()
}

/// What the programs on a node have counted, by name.
pub fn counts(node: &impl Status) -> BTreeMap<String, u64> {
    let state = state(node);
    serde_json::from_value(state["counts"].clone())
        .unwrap_or_else(|_| panic!("no fast path: {state}"))
}

/// How many packets took the fast path on a node while something was done; and to where, by name.
pub fn fast_during(node: &impl Status, work: impl FnOnce()) -> BTreeMap<String, u64> {
    let before = counts(node);
    work();
    counts(node).into_iter().map(|(name, count)| (name.clone(), count - before[&name])).collect()
}

/// What counts packets that take it.
pub const FAST: [&str; 4] = ["toPod", "toOverlay", "toUplink", "fromUplink"];

/// How many of those that were counted took it.
pub fn all_fast(counted: &BTreeMap<String, u64>) -> u64 {
    FAST.iter().map(|name| counted[*name]).sum()
}

/// The filters of ours on a device, as tc(8) shows them: one line each.
pub fn filters(netns: &Netns, dev: &str) -> Vec<String> {
    ["ingress", "egress"]
        .into_iter()
        .flat_map(|hook| {
            let output = netns.attempt(&format!("tc filter show dev {dev} {hook}"));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let ours = text.lines().filter(|line| line.contains("flatnet-")).map(str::to_owned);
            ours.collect::<Vec<_>>()
        })
        .collect()
}

/// Sends datagrams of a size from one pod to another, each answered before the next; fails the test unless all arrive
/// as they were sent.
pub fn exchange(client: &Netns, server: &Netns, address: IpAddr, count: usize, size: usize) {
    let answering = server.run(|| UdpSocket::bind((address, 0))).expect("bind the server");
    answering.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let target = answering.local_addr().expect("an address");
    let any: SocketAddr =
        if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let asking = client.run(|| UdpSocket::bind(any)).expect("bind the client");
    asking.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    asking.connect(target).expect("connect");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut room = vec![0; 65_536];
            while !done.load(Ordering::Relaxed) {
                if let Ok((length, from)) = answering.recv_from(&mut room) {
                    answering.send_to(&room[..length], from).expect("answer");
                }
            }
        });
        let outcome = (0..count).try_for_each(|n| {
            let sent: Vec<u8> = (0..size).map(|place| (place + n) as u8).collect();
            let mut room = vec![0; size + 1];
            asking.send(&sent).map_err(|error| format!("packet {n}: {error}"))?;
            let length =
                again(|| asking.recv(&mut room)).map_err(|error| format!("answer {n}: {error}"))?;
            if room[..length] == sent[..] { Ok(()) } else { Err(format!("answer {n} is another")) }
        });
        done.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|error| panic!("{} to {target}: {error}", client.name()));
    });
}
