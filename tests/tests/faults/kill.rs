//! SIGKILL before every system call of ADD, DEL and GC, and then each verb that can come next.

use std::sync::Arc;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::{Node, Pod};
use serde_json::json;

use crate::baseline::{Baseline, Tally};
use crate::inject::{Point, Verb, add_points};

/// What the runtime does after the kill.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// The same ADD again, without a DEL; then DEL.
    Add,
    /// DEL alone.
    Del,
    /// The namespace goes, then GC with an empty list; no DEL ever.
    Gc,
}

/// All of them.
pub const NEXTS: [Next; 3] = [Next::Add, Next::Del, Next::Gc];

/// GC with an empty list; says what is wrong with it.
pub fn gc(node: &Node) -> Vec<String> {
    let mut configuration = node.network.configuration.clone();
    configuration["cni.dev/valid-attachments"] = json!([]);
    let outcome = node.call("GC").stdin(configuration.to_string().as_bytes()).run();
    if outcome.status().success() { Vec::new() } else { vec![format!("GC: {:?}", outcome.error())] }
}

/// Does what comes next for a pod and tells what is wrong or left then.
pub fn recover(baseline: &Baseline<'_>, node: &Node, mut pod: Pod, next: Next) -> Vec<String> {
    match next {
        Next::Add => {
            let mut wrong = baseline.attach(&mut pod);
            wrong.extend(baseline.detach(&pod));
            wrong
        }
        Next::Del => baseline.detach(&pod),
        Next::Gc => {
            drop(pod);
            let mut wrong = gc(node);
            wrong.extend(baseline.left());
            wrong
        }
    }
}

/// A node whose overlay stands, so that a verb looks at it and changes nothing.
fn settled(cluster: &Cluster) -> &Node {
    cluster.settle();
    &cluster.nodes[0]
}

#[test]
fn add_killed_at_every_system_call() {
    let cluster = Cluster::new(1);
    let node = settled(&cluster);
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("SIGKILL within ADD, then ADD, DEL or GC");
    let points = add_points(node);
    for point in &points {
        for next in NEXTS {
            let pod = Pod::new("killed");
            let killed = Verb { node, name: "ADD", pod: &pod }.kill(point);
            let wrong = recover(&baseline, node, pod, next);
            tally.point(&format!("{point}, {next:?}"), killed, wrong);
        }
    }
    tally.finish();
}

#[test]
fn del_killed_at_every_system_call() {
    let cluster = Cluster::new(1);
    let node = settled(&cluster);
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("SIGKILL within DEL, then ADD, DEL or GC");
    let sample = node.add("sample");
    let points = Verb { node, name: "DEL", pod: &sample }.points();
    for point in &points {
        for next in NEXTS {
            let pod = node.add("killed");
            let killed = Verb { node, name: "DEL", pod: &pod }.kill(point);
            let wrong = recover(&baseline, node, pod, next);
            tally.point(&format!("{point}, {next:?}"), killed, wrong);
        }
    }
    tally.finish();
}

/// An attachment whose namespace is gone without a DEL; its container comes back in another. The
/// veth may stand for a moment yet: the kernel takes it away in its own time.
fn lost(node: &Node) -> Pod {
    let mut pod = node.add("lost");
    pod.netns = Arc::new(Netns::new("back"));
    pod
}

#[test]
fn gc_killed_at_every_system_call() {
    let cluster = Cluster::new(1);
    let node = settled(&cluster);
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("SIGKILL within GC, then ADD, DEL or GC");
    let sample = lost(node);
    let mut points: Vec<Point> = Verb { node, name: "GC", pod: &sample }.points();
    // Depending on whether the kernel was faster, GC finds the veth or does not.
    points.extend({
        let sample = lost(node);
        let veth = sample.veth().to_owned();
        kernel::wait_until_gone(&node.netns, &veth);
        let seen: Vec<(String, usize)> =
            points.iter().map(|point| (point.syscall.clone(), point.nth)).collect();
        let mut more = Verb { node, name: "GC", pod: &sample }.points();
        more.retain(|point| !seen.contains(&(point.syscall.clone(), point.nth)));
        more
    });
    for point in &points {
        for next in NEXTS {
            let pod = lost(node);
            let killed = Verb { node, name: "GC", pod: &pod }.kill(point);
            let wrong = recover(&baseline, node, pod, next);
            tally.point(&format!("{point}, {next:?}"), killed, wrong);
        }
    }
    tally.finish();
}
