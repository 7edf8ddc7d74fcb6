//! Every system call of ADD and DEL fails once: ADD leaves everything or nothing, DEL carries on and
//! the next DEL does the rest.

use std::collections::BTreeSet;
use std::process::Output;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Pod;

use crate::baseline::{Baseline, Tally};
use crate::inject::{Point, Verb, add_points, error_object};

/// With what each call may fail. Those of the start-up of any process, and those that hand memory or
/// descriptors back, are not ours.
fn errors(point: &Point) -> &'static [&'static str] {
    match point.syscall.as_str() {
        // No program handles a lock that cannot be let go: the kernel has no way to refuse.
        "flock" if point.line.contains("LOCK_UN") => &[],
        "flock" => &["ENOLCK"],
        "sendto" | "sendmsg" => &["ENOBUFS", "EPERM"],
        "recvfrom" | "recvmsg" => &["ENOBUFS"],
        "socket" | "openat" | "open" => &["EMFILE", "EIO"],
        "write" | "pwrite64" => &["ENOSPC", "EIO"],
        "mkdir" | "mkdirat" | "link" | "linkat" | "rename" | "renameat" => &["ENOSPC", "EROFS"],
        "read" | "pread64" | "getdents64" | "statx" | "fstat" | "newfstatat" | "fstatfs" => {
            &["EIO"]
        }
        // Entering a namespace may fail, not coming back: then the plugin aborts rather than work on
        // in the pod's, which is a kill.
        "setns" if point.nth % 2 == 0 => &[],
        "clone" | "clone3" | "fork" => &["EAGAIN"],
        "pipe2" => &["EMFILE"],
        "poll" => &["ENOMEM"],
        "close_range" => &["ENOSYS"],
        "dup2" | "dup3" => &["EBUSY"],
        "unlink" | "unlinkat" | "bind" | "connect" | "setsockopt" | "setns" => &["EPERM"],
        _ => &[],
    }
}

/// Whether the call belongs to the start of the process, before the first thing we ask for.
fn ours(points: &[Point]) -> Vec<Point> {
    let start = points.iter().position(|point| point.line.starts_with("read(0,"));
    let start = start.expect("it reads its standard input");
    points[start..].iter().filter(|point| !errors(point).is_empty()).cloned().collect()
}

/// Writing the result itself: the runtime hears nothing and calls again or cleans up.
fn is_answer(point: &Point) -> bool {
    point.line.starts_with("write(1,")
}

/// What is wrong after an ADD that a fault disturbed.
fn after_add(baseline: &Baseline<'_>, pod: &mut Pod, answer: bool, output: &Output) -> Vec<String> {
    let mut wrong = Vec::new();
    if output.status.success() {
        pod.result = serde_json::from_slice(&output.stdout).expect("a result");
        wrong.extend(baseline.lives(pod));
        wrong.extend(baseline.detach(pod));
        return wrong;
    }
    if !answer {
        wrong.extend(error_object(output).err());
        wrong.extend(baseline.left());
    }
    wrong.extend(baseline.attach(pod));
    wrong.extend(baseline.detach(pod));
    wrong
}

#[test]
fn add_with_every_call_failing_once() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("one failing call within ADD");
    let points = ours(&add_points(node));
    let kinds: BTreeSet<&str> = points.iter().map(|point| point.syscall.as_str()).collect();
    for kind in ["sendto", "recvfrom", "flock", "linkat", "rename", "write"] {
        assert!(kinds.contains(kind), "no {kind} in {kinds:?}");
    }
    // One libc asks by one name, one by the other.
    assert!(kinds.contains("open") || kinds.contains("openat"), "{kinds:?}");
    for point in &points {
        for errno in errors(point) {
            let mut pod = Pod::new("failed");
            let output = Verb { node, name: "ADD", pod: &pod }.fail(point, errno, "");
            let wrong = match &output {
                Some(output) => after_add(&baseline, &mut pod, is_answer(point), output),
                None => baseline.detach(&pod),
            };
            tally.point(&format!("{errno} at {point}"), output.is_some(), wrong);
        }
    }
    tally.finish();
}

/// From some message on the kernel refuses all: what was made cannot be taken back. Then the lease
/// must stay with the interface, or another pod would get the address.
#[test]
fn add_with_no_way_back_keeps_lease_and_interface_together() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("all messages failing from one of ADD's on");
    let points = ours(&add_points(node));
    for point in points.iter().filter(|p| ["sendto", "recvfrom"].contains(&p.syscall.as_str())) {
        let pod = Pod::new("stuck");
        let output = Verb { node, name: "ADD", pod: &pod }.fail(point, "ENOBUFS", "+");
        let mut wrong = Vec::new();
        if let Some(output) = &output {
            if output.status.success() {
                wrong.push("it succeeded".to_owned());
            }
            wrong.extend(error_object(output).err());
            let veth = baseline.left_of_pods().iter().any(|left| left.starts_with("veth"));
            if veth && node.leases().is_empty() {
                wrong.push("the interface stands and the lease is gone".to_owned());
            }
        }
        wrong.extend(baseline.detach(&pod));
        tally.point(&point.to_string(), output.is_some(), wrong);
    }
    tally.finish();
}

/// An ADD that takes over what an earlier one began, and fails, leaves the attachment it found, or none:
/// never half of it.
#[test]
fn repeated_add_with_every_call_failing_once() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("one failing call within a repeated ADD");
    // The runtime tells another name of the pod the first time, so the lease is written again.
    let attached = || {
        let mut pod = Pod::new("repeated");
        let call = node.call_for("ADD", &pod).env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=old");
        pod.result = call.run().result();
        // As it is where the first was killed before its last message.
        node.unfinish(&pod);
        pod
    };
    // From a run that waited little: see `add_points`.
    let run = |_| {
        let sample = attached();
        let points = Verb { node, name: "ADD", pod: &sample }.points();
        node.del(&sample).silent();
        points
    };
    let points = ours(&(0..5).map(run).min_by_key(Vec::len).expect("five runs"));
    for point in &points {
        for errno in errors(point) {
            let mut pod = attached();
            let veth = pod.veth().to_owned();
            let output = Verb { node, name: "ADD", pod: &pod }.fail(point, errno, "");
            let mut wrong = Vec::new();
            if let Some(output) = output.as_ref().filter(|output| !output.status.success()) {
                if !is_answer(point) {
                    wrong.extend(error_object(output).err());
                }
                let standing = baseline.left_of_pods();
                let held = standing.iter().filter(|left| left.contains("/addresses/")).count();
                if standing.contains(&veth) && held < pod.addresses().len() {
                    wrong.push(format!("the pod's interface without its addresses: {standing:?}"));
                }
            }
            wrong.extend(baseline.attach(&mut pod));
            wrong.extend(baseline.detach(&pod));
            tally.point(&format!("{errno} at {point}"), output.is_some(), wrong);
        }
    }
    tally.finish();
}

#[test]
fn del_with_every_call_failing_once() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("one failing call within DEL");
    let sample = node.add("sample");
    let points = ours(&Verb { node, name: "DEL", pod: &sample }.points());
    let kinds: BTreeSet<&str> = points.iter().map(|point| point.syscall.as_str()).collect();
    for kind in ["sendto", "recvfrom", "poll", "close_range", "write", "unlink"] {
        assert!(kinds.contains(kind), "no {kind} in {kinds:?}");
    }
    for point in &points {
        for errno in errors(point) {
            let pod = node.add("failed");
            let output = Verb { node, name: "DEL", pod: &pod }.fail(point, errno, "");
            let mut wrong = Vec::new();
            if let Some(output) = &output {
                if output.status.success() {
                    wrong.extend(baseline.left());
                } else {
                    wrong.extend(error_object(output).err());
                }
            }
            wrong.extend(baseline.detach(&pod));
            tally.point(&format!("{errno} at {point}"), output.is_some(), wrong);
        }
    }
    tally.finish();
}
