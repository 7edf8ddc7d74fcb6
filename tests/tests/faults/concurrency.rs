//! Many calls at once: two networks on one node, ranges that are nearly full, GC told that nothing
//! is alive, all beside each other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Network, Node, Pod};
use flatnet_tests::{kernel, probe};
use serde_json::json;

use crate::kill::gc;

/// Threads, each with a pod in both networks: of 20 addresses 18 are in use at times.
const THREADS: usize = 18;
/// How often each thread attaches and detaches in each network: 216 ADDs and as many DELs.
const ROUNDS: usize = 6;

/// The second network: its own name, VNI, ranges and range file.
fn second(cluster: &Cluster) -> Network {
    let first = &cluster.network;
    let range_file = cluster.folder().join("second.json");
    let range = json!({ "subnet": "10.245.1.0/24", "rangeStart": "10.245.1.10", "rangeEnd": "10.245.1.29" });
    let node = &cluster.nodes[0];
    let content = json!({
        "version": 1, "vni": 4097,
        "nodes": [{ "name": node.name, "vtep": node.vtep, "ranges": [range] }],
    });
    std::fs::write(&range_file, content.to_string()).expect("write the second range file");
    let mut configuration = first.configuration.clone();
    configuration["name"] = json!("second");
    configuration["rangeFile"] = json!(range_file);
    configuration["routes"] = json!([{ "dst": "10.245.0.0/16" }]);
    Network { configuration, range_file, state_dir: first.state_dir.clone(), vni: 4097 }
}

/// One thread's work in one network: in and out, each address noted while it is held.
fn churn(
    node: &Node,
    network: &Network,
    ifname: &str,
    pod: &Pod,
    held: &Mutex<BTreeSet<IpAddr>>,
) -> usize {
    let mut pod = pod.again(ifname);
    let input = network.configuration.to_string();
    for _ in 0..ROUNDS {
        pod.result = node.call_for("ADD", &pod).stdin(input.as_bytes()).run().result();
        let addresses = pod.addresses();
        {
            let mut held = held.lock().expect("not poisoned");
            for address in &addresses {
                assert!(held.insert(*address), "{address} was given twice");
            }
        }
        assert!(
            probe::reaches(&pod.netns, [192, 168, 50, 1].into()) || ifname != "eth0",
            "{pod:?}"
        );
        {
            let mut held = held.lock().expect("not poisoned");
            held.retain(|address| !addresses.contains(address));
        }
        node.call_for("DEL", &pod).stdin(input.as_bytes()).run().silent();
    }
    ROUNDS
}

#[test]
fn two_networks_nearly_full_with_gc_beside_them() {
    let mut cluster = Cluster::new(1);
    cluster.nodes[0].ranges = vec![json!({
        "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.10", "rangeEnd": "10.244.1.29",
    })];
    cluster.list(&[0]);
    cluster.settle();
    let (node, other) = (&cluster.nodes[0], second(&cluster));
    let (held, done) = (Mutex::new(BTreeSet::new()), AtomicBool::new(false));
    let pods: Vec<Pod> = (0..THREADS).map(|_| Pod::new("churn")).collect();
    let (adds, gcs) = thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(gc(node), Vec::<String>::new());
                count += 1;
            }
            count
        });
        let (held, other) = (&held, &other);
        let start = |pod| {
            [("eth0", &node.network), ("net1", other)].map(|(ifname, network)| {
                scope.spawn(move || churn(node, network, ifname, pod, held))
            })
        };
        let threads: Vec<_> = pods.iter().flat_map(start).collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        let adds: usize = ended.into_iter().map(|adds| adds.expect("a thread")).sum();
        (adds, collector.join().expect("the collector"))
    });
    node.assert_no_attachment_of(&other);
    // None lost: every address of the range can be given once more.
    let all: BTreeSet<IpAddr> = (0..20).map(|_| node.add("full")).map(|pod| pod.v4()).collect();
    assert_eq!(all.len(), 20, "{all:?}");
    println!("{adds} ADD and DEL in two networks, {gcs} GC beside them: no address twice or lost");
}

/// No attachment in either network.
trait BothNetworks {
    fn assert_no_attachment_of(&self, other: &Network);
}

impl BothNetworks for Node {
    fn assert_no_attachment_of(&self, other: &Network) {
        let veths =
            kernel::link_names(&self.netns).into_iter().filter(|name| name.starts_with("veth"));
        assert_eq!(veths.collect::<Vec<_>>(), Vec::<String>::new());
        assert!(self.leases().is_empty(), "{:?}", self.leases());
        for part in ["leases", "addresses"] {
            let folder = other.state_dir.join("second").join(&self.name).join(part);
            assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 0, "{folder:?}");
        }
    }
}
