//! Applying a range file twice changes nothing the second time: shown by what the kernel
//! announces, and by counting the messages that are sent.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::event::Monitor;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{command, ours, said};
use flatnet_tests::{cni, kernel, snapshot};

#[test]
fn a_second_application_announces_nothing() {
    let cluster = Cluster::new(3);
    let node = &cluster.nodes[0];
    let _first = node.add("first");
    let rules = node.netns.exec("nft -a list ruleset");
    node.forget_overlay();
    let monitor = Monitor::start(&node.netns);
    let second = node.add("second");
    let events = monitor.events();
    assert!(
        events.iter().any(|line| line.contains(second.veth())),
        "the monitor hears: {events:?}"
    );
    let overlay: Vec<&String> = events.iter().filter(|line| line.contains("flat.")).collect();
    assert!(overlay.is_empty(), "{overlay:#?}");
    // Handles grow with every replacement, so the same handles are the same rules.
    assert_eq!(node.netns.exec("nft -a list ruleset"), rules);
    assert!(node.state().join("overlay.json").is_file(), "the stamp is written again");
}

#[test]
fn a_second_application_sends_no_change() {
    let cluster = Cluster::new(3);
    let node = &cluster.nodes[0];
    let applied = changes(node, &Pod::new("first"), &cluster);
    let stamped = changes(node, &Pod::new("second"), &cluster);
    node.forget_overlay();
    let compared = changes(node, &Pod::new("third"), &cluster);
    assert!(applied["RTM_NEWROUTE"] > stamped["RTM_NEWROUTE"], "{applied:?}\n{stamped:?}");
    assert_eq!(compared, stamped, "the same as an ADD that does not look at the overlay");
}

/// How many messages of each changing kind (RTM_NEW..., RTM_DEL..., RTM_SET..., and those of
/// nftables) one ADD sends, as strace decodes them.
fn changes(node: &Node, pod: &Pod, cluster: &Cluster) -> BTreeMap<String, usize> {
    let trace = cluster.folder().join(&pod.container_id);
    let path = trace.to_str().expect("a text path");
    let flags = ["-f", "-v", "-s", "1000000", "-e", "trace=sendto,sendmsg,sendmmsg,write,writev"];
    let mut strace: Command = command("strace", flags);
    strace.args(["-e", "abbrev=none", "-o", path]).arg(ours("flatnet"));
    strace.env_clear().env("CNI_COMMAND", "ADD").env("CNI_IFNAME", &pod.ifname);
    strace.env("CNI_PATH", "/").env("CNI_CONTAINERID", &pod.container_id);
    strace.env("CNI_NETNS", pod.netns.path());
    let input = node.network.configuration.to_string();
    let output = node.netns.finish(&mut strace, input.as_bytes());
    assert!(output.status.success(), "{}", said(&output));
    let trace = fs::read_to_string(&trace).expect("a trace");
    let mut counts = BTreeMap::new();
    for kind in trace.split("nlmsg_type=").skip(1) {
        let kind: String = kind.chars().take_while(|c| !matches!(c, ',' | '}' | ' ')).collect();
        if ["RTM_NEW", "RTM_DEL", "RTM_SET", "NFT_MSG_NEW", "NFT_MSG_DEL"]
            .iter()
            .any(|part| kind.contains(part))
        {
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    counts
}

#[test]
fn what_drifted_is_put_right_and_nothing_else_is_touched() {
    let cluster = Cluster::new(3);
    let node = &cluster.nodes[0];
    let first = node.add("first");
    kernel::wait_until_up(&node.netns, first.veth());
    let before = snapshot::namespace(&node.netns);
    let dev = node.overlay();
    node.netns.exec("ip route del 10.244.2.0/24");
    node.netns.exec(&format!("ip neigh del 10.244.3.0 dev {dev}"));
    let (mac, vtep) = kernel::fdb(&node.netns, &dev).pop_first().expect("an FDB entry");
    node.netns.exec(&format!("bridge fdb del {mac} dev {dev} dst {vtep} self"));
    // What others put there stays: another protocol's route, a neighbour of another device.
    node.netns.exec(&format!("ip route add 10.99.0.0/16 dev {dev} proto static"));
    node.forget_overlay();
    let second = node.add("second");
    node.del(&second).silent();
    node.netns.exec(&format!("ip route del 10.99.0.0/16 dev {dev} proto static"));
    let changed = snapshot::difference(&before, &snapshot::namespace(&node.netns));
    assert_eq!(changed, Vec::<String>::new());
}

#[test]
fn the_overlay_device_is_made_again_when_it_is_gone() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    let node = &cluster.nodes[0];
    let mac = kernel::link(&node.netns, "flat.4096").expect("a device")["address"].clone();
    node.netns.exec("ip link del flat.4096");
    let second = node.add("second");
    let link = kernel::link(&node.netns, "flat.4096").expect("a device again");
    assert_eq!(link["address"], mac, "the MAC is a function of VNI and VTEP");
    for address in pods[1][0].addresses() {
        flatnet_tests::probe::ping(&second.netns, address);
        flatnet_tests::probe::ping(&pods[0][0].netns, address);
    }
}

#[test]
fn adds_of_different_pods_run_side_by_side() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pods: Vec<Pod> = (0..12).map(|_| Pod::new("parallel")).collect();
    let outcomes: Vec<cni::Outcome> = std::thread::scope(|scope| {
        let add = |pod| scope.spawn(move || node.call_for("ADD", pod).run());
        let threads: Vec<_> = pods.iter().map(add).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut given: Vec<String> =
        outcomes.iter().map(|o| o.result()["ips"][0]["address"].as_str().unwrap().into()).collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), pods.len(), "no address twice: {given:?}");
    for pod in &pods {
        node.del(pod).silent();
    }
    assert!(kernel::link_names(&node.netns).iter().all(|name| !name.starts_with("veth")));
}
