//! What a watch sends to the kernel, as strace shows it.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use flatnet_tests::cli::{conf_dir, prepared};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Node;
use flatnet_tests::program::command;
use flatnet_tests::wait::wait_for;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A watch under strace that has looked at everything, and the file of what it sends.
pub fn traced(cluster: &Cluster, node: &Node) -> (std::path::PathBuf, Traced) {
    let trace = cluster.folder().join("trace");
    let out = cluster.folder().join("told");
    let folder = conf_dir(node, &[]).display().to_string();
    let watch = prepared("sync", &["--watch", "--conf-dir", &folder]);
    let mut strace = command("strace", ["-qq", "-e", "trace=sendto,poll", "-o"]);
    strace.arg(&trace).arg(watch.get_program()).args(watch.get_args());
    strace.stdin(Stdio::null()).stdout(fs::File::create(&out).expect("a file")).process_group(0);
    let child = node.netns.run(|| strace.spawn()).expect("start the watch");
    let watch = Traced(child);
    wait_for("the watch to wait", || waits(&trace).then_some(()));
    (trace, watch)
}

/// Whether the last thing that it did is to wait for events: a call without its result.
pub fn waits(trace: &std::path::Path) -> bool {
    let text = fs::read_to_string(trace).unwrap_or_default();
    text.lines().last().is_some_and(|line| line.starts_with("poll(")) && !text.ends_with('\n')
}

/// Ends strace and what it runs when the test does.
pub struct Traced(pub Child);

impl Drop for Traced {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.0.wait());
    }
}

/// What it has sent so far, without what differs each time.
pub fn messages(trace: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(trace).expect("the trace");
    let sent = text.lines().filter(|line| line.contains("sendto("));
    let kind = |line: &str| {
        let words = line.split("nlmsg_").skip(1);
        let of = |key: &'static str| {
            words.clone().filter_map(move |word| word.strip_prefix(key)).collect::<Vec<_>>()
        };
        format!("{:?} {:?}", of("type="), of("flags="))
    };
    sent.map(kind).collect()
}
