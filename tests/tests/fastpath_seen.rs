//! What a person sees of the fast path: where tcpdump shows packets that take it, and what `flatnet trace` and `flatnet
//! status` tell.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use flatnet_tests::capture::{Capture, Packet};
use flatnet_tests::cli::{document, flatnet, text};
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::fast_path::{self, exchange};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::wait::wait_for;
use serde_json::json;

/// Datagrams of one exchange, and how many of them may go the usual way.
const MANY: usize = 200;
const FEW: usize = 20;

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.configure("fastPath", json!(true));
    cluster
}

/// How many of the packets go from one address to another, and how many back.
fn there_and_back(packets: &[Packet], from: IpAddr, to: IpAddr) -> [usize; 2] {
    let count = |from, to| {
        let goes = |packet: &&Packet| packet.source == from && packet.destination == to;
        packets.iter().filter(goes).count()
    };
    [count(from, to), count(to, from)]
}

#[test]
fn tcpdump_shows_packets_at_the_ends_of_the_fast_path() {
    let cluster = cluster();
    let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
    let (near, far) = (a.add("near"), b.add("far"));
    let (from, to) = (near.v4(), far.v4());
    let at = [
        ("the pod", Capture::start(&near.netns, "eth0")),
        ("its veth", Capture::start(&a.netns, near.veth())),
        ("the overlay", Capture::start(&a.netns, &a.overlay())),
    ];
    let uplink = Capture::start(&a.netns, UNDERLAY);
    let begin = Instant::now();
    exchange(&near.netns, &far.netns, to, MANY, 100);
    // In every second one of each direction goes the usual way, to be approved.
    let few = FEW + begin.elapsed().as_secs() as usize;
    assert!(few < MANY, "the exchange took {:?}", begin.elapsed());
    let seen = at.map(|(name, capture)| (name, there_and_back(&capture.packets(), from, to)));
    let inner: Vec<Packet> =
        uplink.overlay(a.network.vni).into_iter().map(|(_, inner)| inner).collect();
    assert_eq!(there_and_back(&inner, from, to), [MANY; 2], "the uplink");
    let [(_, pod), (_, veth), (_, overlay)] = seen;
    assert_eq!(pod, [MANY; 2], "{seen:?}");
    assert!(veth[0] == MANY && veth[1] < few, "what the pod sends: {seen:?}");
    assert!(overlay[0] < few && overlay[1] == MANY, "what comes from the other node: {seen:?}");
}

#[test]
fn a_router_can_tell_fragments_of_outer_packets_apart() {
    let cluster = cluster();
    let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
    let (near, far) = (a.add("near"), b.add("far"));
    let uplink = Capture::start(&a.netns, UNDERLAY);
    exchange(&near.netns, &far.netns, far.v4(), MANY, 100);
    let outer: Vec<Packet> =
        uplink.overlay(a.network.vni).into_iter().map(|(outer, _)| outer).collect();
    for from in [a.vtep, b.vtep] {
        let sent = outer.iter().filter(|packet| packet.source == from);
        assert!(sent.clone().all(|packet| !packet.unfragmentable), "{from}");
        let numbers: BTreeSet<_> = sent.map(|packet| packet.identification).collect();
        // Those of two CPUs, or of the usual way, may meet.
        assert!(numbers.len() > MANY - FEW, "{from}: {} of {MANY}", numbers.len());
    }
}

/// What `flatnet trace` says of the fast path.
fn traced(node: &Node, from: &str, to: &str) -> Option<String> {
    let document = document(&flatnet(node, "trace", &[from, to, "--json"]), 0);
    let mut hops = document["hops"].as_array().expect("a list").iter();
    let hop = hops.find(|hop| hop["at"] == "fast path")?;
    Some(hop["what"].as_str().expect("words").to_owned())
}

#[test]
fn trace_tells_what_may_take_it() {
    let mut cluster = cluster();
    let (near, far) = (cluster.nodes[0].add("near"), cluster.nodes[1].add("far"));
    let beside = cluster.nodes[0].add("beside");
    let [from, to, other] = [&near, &far, &beside].map(|pod: &Pod| pod.v4().to_string());
    let node = &cluster.nodes[0];
    let told = traced(node, &from, &to).expect("a station");
    let veth = near.veth();
    let way = format!(
        "from {veth} to {UNDERLAY}, encapsulated; tcpdump shows it on both, not on flat.4096"
    );
    assert!(told.ends_with(&way), "{told}");
    let told = traced(node, &from, &other).expect("a station");
    let way = format!("tcpdump shows it on {veth} and in the pods, not on {}", beside.veth());
    assert!(told.ends_with(&way), "{told}");
    node.netns.exec(&format!("tc qdisc add dev {veth} root tbf rate 1gbit burst 1mb latency 50ms"));
    let told = traced(node, &from, &other).expect("a station");
    assert!(told.contains("queueing discipline tbf is on the device"), "{told}");
    cluster.configure("fastPath", json!(false));
    assert_eq!(traced(&cluster.nodes[0], &from, &to), None);
}

#[test]
fn status_tells_how_many_packets_take_it_and_why_others_do_not() {
    let cluster = cluster();
    let pods = cluster.fill(1);
    let node = &cluster.nodes[0];
    exchange(&pods[0][0].netns, &pods[1][0].netns, pods[1][0].v4(), MANY, 100);
    let told = text(&flatnet(node, "status", &[]), 0);
    let line = told
        .lines()
        .find(|line| line.starts_with("  BPF      fast path by under0: "))
        .unwrap_or_else(|| panic!("{told}"));
    assert!(line.ends_with(" %)"), "{line}");
    let document = document(&flatnet(node, "status", &["--json"]), 0);
    let state = &document["networks"][0]["fastPath"];
    assert_eq!(state["uplinks"], json!([UNDERLAY]), "{state}");
    assert!(state["flows"]["known"].as_u64() > Some(0), "{state}");
    assert_eq!(state["flows"]["most"], 65536, "{state}");
    // The first packet has no learned flow.
    assert!(state["counts"]["unknown"].as_u64() > Some(0), "{state}");
    // A slow machine may look after it went stale.
    wait_for("a flow that was approved a moment ago", || {
        exchange(&pods[0][0].netns, &pods[1][0].netns, pods[1][0].v4(), FEW, 100);
        (fast_path::state(node)["flows"]["fresh"].as_u64() > Some(0)).then_some(())
    });
}
