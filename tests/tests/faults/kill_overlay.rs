//! SIGKILL before every change made by an ADD that makes the overlay: the first on a node, one that
//! finds the device gone, one that finds another VNI in the range file.

use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, snapshot};
use serde_json::{Value, json};

use crate::baseline::{Baseline, Tally};
use crate::inject::{Point, Verb};
use crate::kill::{NEXTS, Next, gc, recover};

/// So many nodes that one batch of netlink messages cannot hold what they need.
const NODES: u8 = 60;

/// One node that stands, and a range file with many more.
fn cluster() -> Cluster {
    let cluster = Cluster::new(1);
    write(&cluster, 4096);
    cluster
}

fn write(cluster: &Cluster, vni: u32) {
    let peer = |n: u8| {
        json!({
            "name": format!("peer-{n}"),
            "vtep": format!("192.168.50.{n}"),
            "ranges": [format!("10.244.{n}.0/24"), format!("fd00:10:244:{n:x}::/64")],
        })
    };
    let nodes: Vec<Value> =
        [cluster.nodes[0].entry()].into_iter().chain((2..=NODES).map(peer)).collect();
    cluster.write_range_file(&json!({ "version": 1, "vni": vni, "nodes": nodes }));
    cluster.settle();
}

/// Takes everything of flatnet's off a node, files and settings too.
fn clear(node: &Node) {
    for line in [format!("ip link del {}", node.overlay()), "nft delete table inet flatnet".into()]
    {
        node.netns.attempt(&line);
    }
    let _ = std::fs::remove_dir_all(&node.network.state_dir);
    kernel::set_sysctl(&node.netns, "ipv6/conf/all/forwarding", "0");
    kernel::set_sysctl(&node.netns, &format!("ipv4/conf/{UNDERLAY}/forwarding"), "0");
}

/// What must be on after every ADD, and is not.
fn settings(node: &Node) -> Vec<String> {
    ["ipv6/conf/all/forwarding".to_owned(), format!("ipv4/conf/{UNDERLAY}/forwarding")]
        .into_iter()
        .filter(|name| kernel::sysctl(&node.netns, name) != "1")
        .map(|name| format!("{name} is off"))
        .collect()
}

/// A namespace's views without the numbers of devices, which a new one changes.
fn views(node: &Node) -> Vec<String> {
    let unnumbered = |line: String| match line.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => rest.to_owned(),
        _ => line,
    };
    let mut lines: Vec<String> =
        snapshot::namespace(&node.netns).into_values().flatten().map(unnumbered).collect();
    lines.sort();
    lines
}

/// What is in one list and not in the other.
fn differ(before: &[String], after: &[String]) -> Vec<String> {
    let lacks = |list: &[String], line: &String| !list.contains(line);
    let missing = before.iter().filter(|line| lacks(after, line)).map(|line| format!("- {line}"));
    let more = after.iter().filter(|line| lacks(before, line)).map(|line| format!("+ {line}"));
    missing.chain(more).collect()
}

/// Kills an ADD everywhere after `prepare`, lets the runtime do one thing, and compares the overlay
/// after one more ADD with the one that an undisturbed ADD made.
fn killed_everywhere(title: &'static str, cluster: &Cluster, prepare: &dyn Fn(&Node)) {
    let node = &cluster.nodes[0];
    let mut tally = Tally::new(title);
    // The points come from runs that make the overlay, as all others do, and from the one of them
    // that waited least: see `add_points`.
    let run = |_| {
        prepare(node);
        let sample = Pod::new("sample");
        let points = Verb { node, name: "ADD", pod: &sample }.points();
        node.del(&sample).silent();
        points
    };
    let mut points = (0..3).map(run).min_by_key(Vec::len).expect("three runs");
    // A kill before a call that only looks leaves what a kill before the next change leaves.
    points.retain(changes);
    let whole = views(node);
    for (i, point) in points.iter().enumerate() {
        prepare(node);
        let mut pod = Pod::new("killed");
        let killed = Verb { node, name: "ADD", pod: &pod }.kill(point);
        let next = NEXTS[i % NEXTS.len()];
        let mut wrong = Vec::new();
        match next {
            // The same ADD must be enough to have everything.
            Next::Add => {}
            Next::Del => wrong.extend(recover_pod(cluster, pod_del(node, &pod))),
            Next::Gc => {
                pod = Pod::new("next");
                wrong.extend(recover_pod(cluster, gc(node)));
            }
        }
        let baseline = Baseline::as_is(node);
        wrong.extend(baseline.attach(&mut pod));
        wrong.extend(settings(node));
        node.del(&pod).silent();
        wrong.extend(differ(&whole, &views(node)));
        wrong.extend(baseline.left_of_pods());
        tally.point(&format!("{point}, {next:?}"), killed, wrong);
    }
    tally.finish();
}

/// Whether a call may change the kernel or a file: among netlink messages, all that are sent.
fn changes(point: &Point) -> bool {
    match point.syscall.as_str() {
        "openat" => point.line.contains("O_CREAT"),
        "sendto" | "sendmsg" | "write" | "pwrite64" | "mkdir" | "mkdirat" | "linkat" | "rename"
        | "unlink" | "setns" | "flock" | "exit_group" => true,
        _ => false,
    }
}

fn pod_del(node: &Node, pod: &Pod) -> Vec<String> {
    let outcome = node.del(pod);
    if outcome.status().success() { Vec::new() } else { vec![format!("{:?}", outcome.error())] }
}

/// What went wrong, and what is left of pods.
fn recover_pod(cluster: &Cluster, mut wrong: Vec<String>) -> Vec<String> {
    wrong.extend(Baseline::as_is(&cluster.nodes[0]).left_of_pods());
    wrong
}

#[test]
fn the_first_add_killed_at_every_change() {
    killed_everywhere("SIGKILL within the first ADD of a node", &cluster(), &clear);
}

#[test]
fn an_add_that_makes_the_device_again_killed_at_every_change() {
    let cluster = cluster();
    cluster.nodes[0].del(&cluster.nodes[0].add("first")).silent();
    killed_everywhere("SIGKILL within an ADD that makes the device again", &cluster, &|node| {
        node.netns.attempt(&format!("ip link del {}", node.overlay()));
    });
}

#[test]
fn an_add_that_finds_another_vni_killed_at_every_change() {
    let mut cluster = cluster();
    cluster.nodes[0].network.vni = 4097;
    let cluster = &cluster;
    killed_everywhere("SIGKILL within an ADD that changes the VNI", cluster, &|node| {
        write(cluster, 4096);
        node.del(&node.add("before")).silent();
        write(cluster, 4097);
    });
}

/// The range file is put back while the change stands half made: the next ADD takes away what was made.
#[test]
fn an_add_that_finds_the_earlier_vni_again_after_a_kill() {
    let cluster = &cluster();
    let node = &cluster.nodes[0];
    let mut tally = Tally::new("SIGKILL within an ADD that changes the VNI, which is changed back");
    let prepare = || {
        write(cluster, 4096);
        node.del(&node.add("before")).silent();
        let whole = views(node);
        write(cluster, 4097);
        whole
    };
    prepare();
    let sample = Pod::new("sample");
    let mut points = Verb { node, name: "ADD", pod: &sample }.points();
    node.del(&sample).silent();
    points.retain(changes);
    for point in &points {
        let whole = prepare();
        let pod = Pod::new("killed");
        let killed = Verb { node, name: "ADD", pod: &pod }.kill(point);
        let mut wrong = recover_pod(cluster, pod_del(node, &pod));
        write(cluster, 4096);
        node.del(&node.add("after")).silent();
        wrong.extend(differ(&whole, &views(node)));
        tally.point(&point.to_string(), killed, wrong);
    }
    tally.finish();
}

/// `recover` of the other kill tests compares with a baseline, which must itself be able to fail.
#[test]
fn what_is_left_shows() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let pod = node.add("left");
    let left = baseline.left();
    assert!(left.len() >= 3, "link, routes, files: {left:?}");
    assert!(baseline.left_of_pods().len() >= 3, "{:?}", baseline.left_of_pods());
    assert_eq!(recover(&baseline, node, pod, Next::Del), Vec::<String>::new());
}
