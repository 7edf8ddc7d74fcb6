//! DEL returns when the device is gone, and a child of it waits until the kernel has tidied up: what
//! the runtime sees of that child, and what becomes of an error.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::kernel;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{command, ours, said};
use flatnet_tests::wait::wait_for;

use crate::baseline::Baseline;
use crate::inject::{Verb, error_object};

/// How often the same pod comes and goes.
const ROUNDS: usize = 1000;

/// Waits until no process is left in the node's namespace.
fn wait_for_children(node: &Node) {
    wait_for("the end of DEL's children", || node.netns.processes().is_empty().then_some(()));
}

#[test]
fn the_same_pod_comes_and_goes_a_thousand_times() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let pod = Pod::new("again");
    for round in 0..ROUNDS {
        let added = node.call_for("ADD", &pod).run();
        added.result();
        // An ADD that finds an interface of an earlier one removes it, and says so.
        assert_eq!(added.stderr(), "", "round {round}");
        node.del(&pod).silent();
    }
    assert_eq!(baseline.left(), Vec::<String>::new());
    wait_for_children(node);
}

/// A running strace, killed when dropped. What it traces runs on.
struct Tracer(Child);

impl Tracer {
    /// Attaches to a process and its children, and holds each for a minute when it comes back from a
    /// write.
    fn attach(process: u32) -> Self {
        let mut strace = command("strace", ["-f", "-qq", "-o", "/dev/null", "-e", "trace=write"]);
        strace.args(["-e", "inject=write:delay_exit=60000000", "-p", &process.to_string()]);
        let tracer = Self(strace.stdin(Stdio::null()).spawn().expect("strace"));
        wait_for("strace", || {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
            (tracer.trim() != "0").then_some(())
        });
        tracer
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn no_runtime_waits_for_the_child() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let verb = Verb { node, name: "DEL", pod: &pod };
    let mut del = Command::new(ours("flatnet"));
    verb.set_environment(&mut del);
    del.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut del = node.netns.run(|| del.spawn()).expect("flatnet");
    // It reads its configuration before anything else.
    let tracer = Tracer::attach(del.id());
    let mut stdin = del.stdin.take().expect("a piped stdin");
    stdin.write_all(verb.configuration().as_bytes()).expect("write the configuration");
    drop(stdin);

    // Both streams to their ends, and then the process: as a runtime does.
    let output = del.wait_with_output().expect("flatnet");
    assert!(output.status.success(), "{}", said(&output));
    node.assert_no_attachment();
    let children = node.netns.processes();
    let [child] = children.as_slice() else { panic!("not one child outlives DEL: {children:?}") };
    let open: Vec<String> = fs::read_dir(format!("/proc/{child}/fd"))
        .expect("its descriptors")
        .map(|entry| fs::read_link(entry.expect("an entry").path()).expect("what it stands for"))
        .map(|target| target.display().to_string())
        .map(|target| target.split(':').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(open, ["socket", "pipe"]);
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).expect("its state");
    let (_, fields) = stat.rsplit_once(") ").expect("the end of its name");
    let session = fields.split(' ').nth(3).expect("its session");
    assert_eq!(session, child, "{stat}");
    drop(tracer);
    wait_for_children(node);
}

#[test]
fn an_error_of_the_removal_reaches_the_caller() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let pod = node.add("pod");
    let verb = Verb { node, name: "DEL", pod: &pod };
    let mut powerless = command("setpriv", ["--bounding-set", "-net_admin"]);
    verb.set_environment(powerless.arg(ours("flatnet")));
    let output = node.netns.finish(&mut powerless, verb.configuration().as_bytes());
    let error = error_object(&output).expect("an error");
    let refused = format!("ip link delete {}: Operation not permitted", pod.veth());
    assert_eq!(error["code"], 103, "{error}");
    assert!(error["msg"].as_str().is_some_and(|msg| msg.starts_with(&refused)), "{error}");
    // What the pod can still use is not given back.
    assert!(kernel::link(&node.netns, pod.veth()).is_some());
    assert_eq!(node.leases().len(), 1);
    assert_eq!(baseline.detach(&pod), Vec::<String>::new());
}

/// A PID namespace whose first process collects no one; it ends when dropped.
struct Careless {
    unshare: Child,
    first: String,
}

impl Careless {
    fn new() -> Self {
        let mut unshare = command("unshare", ["--pid", "--fork", "--kill-child", "sleep", "600"]);
        let unshare = unshare.stdin(Stdio::null()).spawn().expect("unshare");
        let first = wait_for("the first process", || children(&unshare.id().to_string()).pop());
        Self { unshare, first }
    }
}

impl Drop for Careless {
    fn drop(&mut self) {
        drop(self.unshare.kill());
        drop(self.unshare.wait());
    }
}

fn children(process: &str) -> Vec<String> {
    let all = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    all.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn no_child_is_left_to_a_process_that_collects_none() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let careless = Careless::new();
    for _ in 0..5 {
        let pod = node.add("pod");
        let verb = Verb { node, name: "DEL", pod: &pod };
        let mut del = command("nsenter", ["--target", &careless.first, "--pid"]);
        verb.set_environment(del.arg(ours("flatnet")));
        let output = node.netns.finish(&mut del, verb.configuration().as_bytes());
        assert!(output.status.success(), "{}", said(&output));
        node.assert_no_attachment();
    }
    assert_eq!(children(&careless.first), Vec::<String>::new());
    // So it is seen: one that is left there stays.
    let orphan = ["--target", &careless.first, "--pid", "sh", "-c", "(sleep 0.1 &)"];
    assert!(command("nsenter", orphan).status().expect("nsenter").success());
    wait_for("an orphan", || (children(&careless.first).len() == 1).then_some(()));
}
