//! SIGKILL before every system call of ADD, DEL and GC, and then each verb that can come next.

use std::fs::File;
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

/// An attachment whose namespace is gone without a DEL; its container comes back in another. The veth stands as long as
/// the file is open, or is gone, as the kernel takes it away in its own time.
fn lost(node: &Node, stands: bool) -> (Pod, Option<File>) {
    let mut pod = node.add("lost");
    let veth = pod.veth().to_owned();
    let open = stands.then(|| File::open(pod.netns.path()).expect("the namespace"));
    pod.netns = Arc::new(Netns::new("back"));
    if !stands {
        kernel::wait_until_gone(&node.netns, &veth);
    }
    (pod, open)
}

#[test]
fn gc_killed_at_every_system_call() {
    let cluster = Cluster::new(1);
    let node = settled(&cluster);
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("SIGKILL within GC, then ADD, DEL or GC");
    let points = |stands| -> Vec<Point> {
        let (sample, _open) = lost(node, stands);
        Verb { node, name: "GC", pod: &sample }.points()
    };
    let (standing, mut gone) = (points(true), points(false));
    let same = |one: &Point, other: &Point| (&one.syscall, one.nth) == (&other.syscall, other.nth);
    gone.retain(|point| !standing.iter().any(|other| same(point, other)));
    let standing = standing.iter().map(|point| (point, true));
    for (point, stands) in standing.chain(gone.iter().map(|point| (point, false))) {
        for next in NEXTS {
            let (pod, open) = lost(node, stands);
            let killed = Verb { node, name: "GC", pod: &pod }.kill(point);
            // From now on the kernel takes the veth away, if it is still there, while the next verb works.
            drop(open);
            let wrong = recover(&baseline, node, pod, next);
            tally.point(&format!("{point}, {next:?}"), killed, wrong);
        }
    }
    tally.finish();
}
