//! Two nodes; on the first an attacker and its neighbour, on the second the pod they both talk to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use flatnet_tests::cluster::{Cluster, Settings};
use flatnet_tests::fast_path::Reach;
use flatnet_tests::frame::{Mac, ethernet, udp};
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe;
use flatnet_tests::raw::{Port, Sink};
use serde_json::{Value, json};

use crate::REACH;
use crate::tally::{Shot, Tally};
use crate::warm::Warm;

/// Where forged packets go; no program need listen.
pub const PORT: u16 = 4444;

/// All nodes of a link, as an address and as a MAC.
pub const ALL_NODES: (Ipv6Addr, Mac) =
    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), [0x33, 0x33, 0, 0, 0, 1]);

/// The cluster and who is who in it.
pub struct Scene {
    _warm: Option<Warm>,
    pub cluster: Cluster,
    pub attacker: Pod,
    pub neighbour: Pod,
    pub target: Pod,
    /// The attacker's interface.
    pub port: Port,
    /// The MAC of its gateway.
    pub gateway: Mac,
}

impl Scene {
    /// Everyone has talked to everyone, so that every neighbour entry is there.
    pub fn new(v6_underlay: bool) -> Self {
        Self::of(cluster(2, v6_underlay))
    }

    /// The same with `ipMasq` as it is given.
    pub fn with(v6_underlay: bool, masquerade: Value) -> Self {
        let mut cluster = cluster(2, v6_underlay);
        cluster.configure("ipMasq", masquerade);
        Self::of(cluster)
    }

    /// The same in a cluster that is prepared already.
    pub fn of(cluster: Cluster) -> Self {
        // Some are taken for free.
        cluster.begin_with_the_first();
        let [attacker, neighbour] = ["attacker", "neighbour"].map(|pod| cluster.nodes[0].add(pod));
        let target = cluster.nodes[1].add("target");
        for (from, to) in [(&attacker, &target), (&target, &neighbour), (&neighbour, &attacker)] {
            to.addresses().into_iter().for_each(|address| probe::ping(&from.netns, address));
        }
        let port = Port::open(&attacker.netns, "eth0");
        let gateway = kernel::mac(&cluster.nodes[0].netns, attacker.veth());
        let _warm = warm(&cluster, &[&attacker, &neighbour, &target]);
        Self { _warm, cluster, attacker, neighbour, target, port, gateway }
    }

    /// The attacker's node.
    pub fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    /// The attacker's own address of the family of another.
    pub fn own(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.attacker.v4() } else { self.attacker.v6() }
    }

    /// A frame from the attacker's interface to its gateway.
    pub fn frame(&self, packet: &[u8]) -> Vec<u8> {
        ethernet(self.gateway, self.port.mac, packet)
    }

    /// A datagram in such a frame, from any source.
    pub fn datagram(&self, from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
        self.frame(&udp(at(from), at(to), payload))
    }

    /// Sends frames that carry no token, and waits until an honest datagram behind them has arrived.
    pub fn send_all(&self, frames: &[Vec<u8>]) {
        frames.iter().for_each(|frame| self.port.send(frame));
        let to = self.target.v4();
        let honest = |payload: &[u8]| vec![self.datagram(self.own(to), to, payload)];
        let sink = Sink::frames(&self.target.netns);
        Tally::new("a marker").volley(&self.port, &sink, (&self.port, honest), Vec::new());
    }

    /// What the target sends to the neighbour comes to it, and not to the attacker.
    pub fn count_eavesdropping(&self, tally: &mut Tally) {
        let from = Port::open(&self.target.netns, "eth0");
        let gateway = kernel::mac(&self.cluster.nodes[1].netns, self.target.veth());
        let (attacker, neighbour) =
            (Sink::frames(&self.attacker.netns), Sink::frames(&self.neighbour.netns));
        for own in self.target.addresses() {
            let send = |pod: &Pod, payload: &[u8]| {
                let to = pod.addresses().into_iter().find(|to| to.is_ipv4() == own.is_ipv4());
                vec![ethernet(gateway, from.mac, &udp(at(own), at(to.expect("both")), payload))]
            };
            let heard = |payload: &[u8]| send(&self.neighbour, payload);
            tally.volley(&from, &neighbour, (&from, heard), Vec::new());
            let shot = Shot::new(format!("{own} to the neighbour"), heard);
            let honest = |payload: &[u8]| send(&self.attacker, payload);
            tally.volley(&from, &attacker, (&from, honest), vec![shot]);
        }
    }

    /// Who everyone takes everyone for: address, device and MAC of each neighbour entry, and each FDB
    /// entry, of all namespaces. Not their state, which ages.
    pub fn acquaintances(&self) -> BTreeSet<String> {
        let pods = [&self.attacker, &self.neighbour, &self.target].map(|pod| &*pod.netns);
        let nodes = self.cluster.nodes.iter().map(|node| &node.netns);
        pods.into_iter().chain(nodes).flat_map(acquaintances).collect()
    }
}

/// A cluster for hostile pods.
pub fn cluster(nodes: u8, v6_underlay: bool) -> Cluster {
    let mut cluster = Cluster::with(Settings { nodes, mtu: 1500, v6_underlay });
    if REACH != Reach::None {
        cluster.configure("fastPath", REACH.value());
    }
    cluster
}

/// The same with a pod on each node, each the first of its node, and their flows.
pub fn filled(nodes: u8, v6_underlay: bool) -> (Cluster, Vec<Vec<Pod>>, Option<Warm>) {
    let cluster = cluster(nodes, v6_underlay);
    cluster.begin_with_the_first();
    let pods = cluster.fill(1);
    let warm = warm(&cluster, &pods.iter().flatten().collect::<Vec<_>>());
    (cluster, pods, warm)
}

/// The flows of these pods on the fast path, where there is one.
pub fn warm(cluster: &Cluster, pods: &[&Pod]) -> Option<Warm> {
    (REACH != Reach::None).then(|| Warm::all(pods, &cluster.nodes))
}

/// The neighbour and FDB entries of one namespace.
pub fn acquaintances(netns: &Netns) -> Vec<String> {
    let neighbours = netns.json("ip -j neigh show nud all").into_iter().filter_map(|entry| {
        // One without a MAC is only asked for; that of a multicast address is no one's.
        let mac = entry["lladdr"].as_str().filter(|_| entry["state"] != json!(["NOARP"]))?;
        Some(format!("{}: {} dev {} {mac}", netns.name(), entry["dst"], entry["dev"]))
    });
    let fdb = netns.exec("bridge fdb");
    let fdb = fdb.lines().map(|line| format!("{}: {line}", netns.name()));
    neighbours.chain(fdb).collect()
}

/// The address with the port of all forged datagrams.
pub fn at(address: IpAddr) -> SocketAddr {
    (address, PORT).into()
}
