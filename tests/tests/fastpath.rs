//! The fast path: that packets take it, arrive as they were sent, and that it comes and goes with the configuration.

use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use flatnet_tests::cluster::{Cluster, Settings, UNDERLAY};
use flatnet_tests::fast_path::{
    Reach, counts, counts_received, exchange, fast_during, filters, state,
};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe::{self, transfer};
use flatnet_tests::program::said;
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;
use flatnet_tests::{kernel, sync};
use serde_json::{Value, json};

/// Datagrams of one exchange.
const MANY: usize = 200;

fn cluster(nodes: u8, v6_underlay: bool, configuration: &[(&str, Value)]) -> Cluster {
    let mut cluster = Cluster::with(Settings { nodes, mtu: 1500, v6_underlay });
    cluster.configure("fastPath", json!(true));
    for (key, value) in configuration {
        cluster.configure(key, value.clone());
    }
    cluster
}

/// All packets but the first few, and one of each direction in every second, took the fast path, counted by any of these names.
fn assert_fast(node: &Node, names: &[&str], at_least: usize, work: impl FnOnce()) {
    let begin = Instant::now();
    let counted = fast_during(node, work);
    let approving = 2 * begin.elapsed().as_secs();
    let fast: u64 = names.iter().map(|name| counted[*name]).sum();
    assert!(
        (fast + approving) as usize >= at_least,
        "{}: {fast} by {names:?}, and {approving} to approve the flow: {counted:?}",
        node.name
    );
    assert_eq!(counted["failed"], 0, "{counted:?}");
}

fn of(pod: &Pod, ipv4: bool) -> IpAddr {
    if ipv4 { pod.v4() } else { pod.v6() }
}

#[test]
fn packets_between_two_nodes_take_it_and_arrive() {
    between_two_nodes(Reach::Own);
}

#[test]
fn packets_are_unwrapped_at_the_uplink_and_arrive() {
    between_two_nodes(Reach::Uplink);
}

fn between_two_nodes(reach: Reach) {
    for v6_underlay in [false, true] {
        for ip_masq in [true, false] {
            let configuration = [("ipMasq", json!(ip_masq)), ("fastPath", reach.value())];
            let cluster = cluster(2, v6_underlay, &configuration);
            let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
            let (near, far) = (a.add("near"), b.add("far"));
            for ipv4 in [true, false] {
                let address = of(&far, ipv4);
                let case =
                    format!("underlay IPv6 {v6_underlay}, pods IPv4 {ipv4}, ipMasq {ip_masq}");
                println!("{case}");
                // Without offload the checksums that are on the cable are compared, those of outer packets too.
                let offload = if ipv4 == ip_masq { "on" } else { "off" };
                a.netns.exec(&format!("ethtool -K {UNDERLAY} tx {offload}"));
                for size in [1, 64, 1000, 1300, 1301] {
                    let talk = || exchange(&near.netns, &far.netns, address, MANY, size);
                    // Each packet once on its way out, by the uplink, and once into the pod.
                    assert_fast(a, &["toUplink"], MANY - 20, || {
                        assert_fast(b, &[counts_received(b, address)], MANY - 20, talk);
                    });
                }
                let bulk = || transfer(&near.netns, &far.netns, address, 20_000_000);
                assert_fast(a, &["toUplink", "toOverlay"], 300, || {
                    // What was put together is for the overlay's device.
                    assert_fast(b, &["toPod", "fromUplink"], 300, bulk);
                });
            }
        }
    }
}

#[test]
fn packets_between_two_pods_of_a_node_take_it_and_arrive() {
    for ip_masq in [true, false] {
        let cluster = cluster(1, false, &[("ipMasq", json!(ip_masq))]);
        let node = &cluster.nodes[0];
        let (one, other) = (node.add("one"), node.add("other"));
        for ipv4 in [true, false] {
            let address = of(&other, ipv4);
            let talk = || exchange(&one.netns, &other.netns, address, MANY, 500);
            assert_fast(node, &["toPod"], 2 * (MANY - 20), talk);
            let bulk = || transfer(&one.netns, &other.netns, address, 20_000_000);
            assert_fast(node, &["toPod"], 300, bulk);
        }
    }
}

#[test]
fn without_it_there_is_nothing_of_it() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    assert_eq!(filters(&node.netns, pod.veth()), [""; 0]);
    assert_eq!(filters(&node.netns, &node.overlay()), [""; 0]);
    assert_eq!(state(node)["wanted"], false);
    assert!(!node.netns.exec("nft list table inet flatnet").contains("fast-path"));
}

/// Whether both filters hang on the overlay's device and on all of these pods'.
fn assert_hangs(node: &Node, pods: &[&Pod], there: bool) {
    let devices = pods.iter().map(|pod| pod.veth().to_owned()).chain([node.overlay()]);
    for dev in devices {
        let found = filters(&node.netns, &dev);
        assert_eq!(found.len(), if there { 2 } else { 0 }, "{dev}: {found:?}");
    }
    let chain = format!("fast-path-{}", node.network.vni);
    let rules = node.netns.exec("nft list table inet flatnet");
    assert_eq!(rules.contains(&chain), there, "{rules}");
}

#[test]
fn it_is_switched_on_and_off_under_living_pods() {
    let mut cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    let talk = |cluster: &Cluster| {
        let (near, far) = (&pods[0][0], &pods[1][0]);
        exchange(&near.netns, &far.netns, far.v4(), MANY, 100);
        let _ = cluster;
    };
    for on in [true, false, true] {
        cluster.configure("fastPath", json!(on));
        for (node, pods) in cluster.nodes.iter().zip(&pods) {
            sync::apply(node);
            assert_hangs(node, &[&pods[0]], on);
            assert_eq!(sync::plan(node), [""; 0], "all of it stands");
            if !on {
                let qdiscs = node.netns.exec("tc qdisc show");
                assert!(!qdiscs.contains("clsact"), "{qdiscs}");
            }
        }
        match on {
            true => assert_fast(&cluster.nodes[0], &["toUplink"], MANY - 20, || talk(&cluster)),
            false => talk(&cluster),
        }
    }
    assert_eq!(
        kernel::sysctl(&cluster.nodes[0].netns, "netfilter/nf_conntrack_tcp_be_liberal"),
        "1"
    );
}

#[test]
fn what_was_removed_by_hand_comes_back() {
    let cluster = cluster(1, false, &[]);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    assert_hangs(node, &[&pod], true);
    for dev in [node.overlay(), pod.veth().to_owned()] {
        for spoil in [
            format!("tc filter del dev {dev} ingress pref 65535"),
            format!("tc filter del dev {dev} egress pref 65535"),
            format!("tc qdisc del dev {dev} clsact"),
        ] {
            node.netns.exec(&spoil);
            assert_ne!(sync::plan(node), [""; 0], "{spoil}");
            sync::apply(node);
            assert_hangs(node, &[&pod], true);
            assert_eq!(sync::plan(node), [""; 0], "{spoil}");
        }
    }
}

#[test]
fn what_other_programs_hang_there_stays() {
    let mut cluster = cluster(1, false, &[]);
    cluster.configure("fastPath", json!(false));
    let pod = cluster.nodes[0].add("pod");
    let veth = pod.veth().to_owned();
    let overlay = cluster.nodes[0].overlay();
    let foreign = |node: &Node| -> Vec<String> {
        let shown = |dev: &str| node.netns.exec(&format!("tc filter show dev {dev} ingress"));
        let lines = |text: String| {
            text.lines().filter(|line| line.contains("bytecode")).count().to_string()
        };
        [&veth, &overlay].map(|dev| lines(shown(dev))).into()
    };
    for dev in [&veth, &overlay] {
        let netns = &cluster.nodes[0].netns;
        netns.exec(&format!("tc qdisc add dev {dev} clsact"));
        // Says nothing of any packet.
        let filter =
            ["filter", "add", "dev", dev, "ingress", "pref", "7", "protocol", "all", "bpf"];
        let mut add = Command::new("tc");
        add.args(filter).args(["bytecode", "1,6 0 0 0"]);
        let output = netns.finish(&mut add, b"");
        assert!(output.status.success(), "{}", said(&output));
    }
    let before = foreign(&cluster.nodes[0]);
    for on in [true, false] {
        cluster.configure("fastPath", json!(on));
        let node = &cluster.nodes[0];
        sync::apply(node);
        assert_hangs(node, &[&pod], on);
        assert_eq!(foreign(node), before);
    }
    // A place for filters is another program's also before there is any filter in it.
    let node = &cluster.nodes[0];
    for dev in [&veth, &overlay] {
        node.netns.exec(&format!("tc filter del dev {dev} ingress pref 7"));
    }
    // How many there are when it was switched on, and off again.
    let places = |cluster: &mut Cluster| {
        [true, false].map(|on| {
            cluster.configure("fastPath", json!(on));
            let node = &cluster.nodes[0];
            sync::apply(node);
            node.netns.exec("tc qdisc show").matches("clsact").count()
        })
    };
    assert_eq!(places(&mut cluster), [2, 2]);
    // A control: one that is made for the fast path goes with it.
    cluster.nodes[0].netns.exec(&format!("tc qdisc del dev {veth} clsact"));
    assert_eq!(places(&mut cluster), [2, 1]);
}

#[test]
fn a_pod_whose_bandwidth_is_limited_has_none() {
    let cluster = cluster(1, false, &[]);
    let node = &cluster.nodes[0];
    let free = node.add("free");
    let mut limited = Pod::new("limited");
    let mut of_limited = node.network.configuration.clone();
    of_limited["runtimeConfig"] =
        json!({ "bandwidth": { "egressRate": 1_000_000, "egressBurst": 1_000_000 } });
    let call = node.call_for("ADD", &limited).stdin(of_limited.to_string().as_bytes());
    limited.result = call.run().result();
    assert_hangs(node, &[&free], true);
    assert_eq!(filters(&node.netns, limited.veth()), [""; 0]);
    sync::apply(node);
    assert_eq!(filters(&node.netns, limited.veth()), [""; 0], "nor after a sync");
    exchange(&free.netns, &limited.netns, limited.v4(), MANY, 100);
    assert_eq!(counts(node)["toPod"], 0, "nothing passes by the limits");
    probe::ping(&free.netns, limited.v4());
}

#[test]
fn beside_ipsec_policies_there_is_none() {
    let cluster = cluster(1, false, &[]);
    let node = &cluster.nodes[0];
    let first = node.add("first");
    assert_hangs(node, &[&first], true);
    // Packets on the fast path would not be asked.
    node.netns.exec("ip xfrm policy add src 10.9.9.8 dst 10.9.9.9 dir out action block");
    let second = node.add("second");
    assert_eq!(filters(&node.netns, &node.overlay()), [""; 0], "an ADD sees it");
    assert_eq!(filters(&node.netns, second.veth()), [""; 0]);
    sync::apply(node);
    assert_hangs(node, &[&first, &second], false);
    exchange(&first.netns, &second.netns, second.v4(), 10, 100);
    node.netns.exec("ip xfrm policy flush");
    sync::apply(node);
    assert_hangs(node, &[&first, &second], true);
}

#[test]
fn a_watch_takes_it_away_as_soon_as_an_ipsec_policy_comes() {
    let cluster = cluster(1, false, &[]);
    let node = &cluster.nodes[0];
    node.add("pod");
    let watcher = Watcher::ready(node, "watch");
    let stands = |there: bool| {
        let reached = || filters(&node.netns, &node.overlay()).is_empty() != there;
        wait_for("that it comes or goes", || reached().then_some(()));
    };
    stands(true);
    node.netns.exec("ip xfrm policy add src 10.9.9.8 dst 10.9.9.9 dir out action block");
    stands(false);
    node.netns.exec("ip xfrm policy flush");
    stands(true);
    drop(watcher);
}

#[test]
fn pods_that_stay_take_it_again_when_the_overlay_is_made_anew() {
    let cluster = cluster(2, false, &[]);
    let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
    let (near, far) = (a.add("near"), b.add("far"));
    let talk = || exchange(&near.netns, &far.netns, far.v4(), MANY, 100);
    assert_fast(a, &["toUplink"], MANY - 20, talk);
    a.netns.exec(&format!("ip link del {}", a.overlay()));
    // Not a sync: the next pod that comes.
    let later = a.add("later");
    assert_hangs(a, &[&near, &later], true);
    assert_fast(a, &["toUplink"], MANY - 20, talk);
}
