//! Faults at system calls: a verb runs under strace, which lists its calls, kills the process before
//! one of them is carried out, or makes one fail.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{command, ours, said};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// One system call of a run: the n-th of its name, which is how strace finds it again.
#[derive(Clone, Debug)]
pub struct Point {
    /// The call's name.
    pub syscall: String,
    /// Its number among those of the same name, from 1.
    pub nth: usize,
    /// How strace showed it.
    pub line: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line: String = self.line.chars().take(120).collect();
        write!(f, "{} {}, {line}", self.syscall, self.nth)
    }
}

/// The call of a verb for a pod, or for none of them (GC).
#[derive(Clone, Copy, Debug)]
pub struct Verb<'a> {
    /// The node it runs on.
    pub node: &'a Node,
    /// `CNI_COMMAND`.
    pub name: &'static str,
    /// The pod; it is named to GC too, which does not look.
    pub pod: &'a Pod,
}

impl Verb<'_> {
    fn run(self, flags: &[&str]) -> Output {
        let mut strace: Command = command("strace", ["-f", "-qq"]);
        strace.args(flags).arg(ours("flatnet")).env_clear();
        strace.env("CNI_COMMAND", self.name).env("CNI_PATH", "/opt/cni/bin");
        strace.env("CNI_CONTAINERID", &self.pod.container_id).env("CNI_IFNAME", &self.pod.ifname);
        strace.env("CNI_NETNS", self.pod.netns.path());
        let mut configuration = self.node.network.configuration.clone();
        if self.name == "GC" {
            configuration["cni.dev/valid-attachments"] = json!([]);
        }
        self.node.netns.finish(&mut strace, configuration.to_string().as_bytes())
    }

    /// Runs to the end, which must be a good one, and lists the system calls.
    pub fn points(self) -> Vec<Point> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace");
        let output = self.run(&["-o", path.to_str().expect("a text path")]);
        assert!(output.status.success(), "{} under strace: {}", self.name, said(&output));
        let trace = std::fs::read_to_string(&path).expect("a trace");
        let mut points: Vec<Point> = Vec::new();
        for line in trace.lines() {
            let line = line.split_once(' ').map_or(line, |(_pid, rest)| rest.trim_start());
            let Some((name, _)) = line.split_once('(') else { continue };
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                continue;
            }
            let nth = 1 + points.iter().filter(|point| point.syscall == name).count();
            points.push(Point { syscall: name.to_owned(), nth, line: line.to_owned() });
        }
        points
    }

    /// Kills the process when it enters this call; the call is not carried out. Says whether it came
    /// to that: a run may need fewer calls of a kind than the one before.
    pub fn kill(self, point: &Point) -> bool {
        let output = self.inject(point, "signal=KILL", "", "/dev/null");
        let killed = output.status.signal() == Some(Signal::SIGKILL as i32);
        assert!(killed || output.status.success(), "{} at {point}: {}", self.name, said(&output));
        killed
    }

    /// Makes this call fail, or with `more` = `+` this and all later ones of its name.
    /// None if it did not come to that.
    pub fn fail(self, point: &Point, errno: &str, more: &str) -> Option<Output> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace");
        let file = path.to_str().expect("a text path");
        let output = self.inject(point, &format!("error={errno}"), more, file);
        let trace = std::fs::read_to_string(&path).expect("a trace");
        trace.contains("(INJECTED)").then_some(output)
    }

    fn inject(self, point: &Point, how: &str, more: &str, trace_file: &str) -> Output {
        let Point { syscall, nth, .. } = point;
        let trace = format!("trace={syscall}");
        let inject = format!("inject={syscall}:{how}:when={nth}{more}");
        // Not with `--seccomp-bpf`: strace 6.1 then injects nothing, and says nothing either.
        self.run(&["-o", trace_file, "-e", &trace, "-e", &inject])
    }
}

/// The system calls of an ADD that waits for nothing: while it waits for an address it asks again and
/// again, how often depends on the machine, and a fault at the last time would seldom happen.
pub fn add_points(node: &Node) -> Vec<Point> {
    let run = |_| {
        let pod = Pod::new("sample");
        let points = Verb { node, name: "ADD", pod: &pod }.points();
        node.del(&pod).silent();
        points
    };
    (0..5).map(run).min_by_key(Vec::len).expect("five runs")
}

/// The error object of a failed run, or what is wrong with it.
pub fn error_object(output: &Output) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("no error object ({error}): {}", said(output)))?;
    let whole = value["code"].is_u64() && value["msg"].as_str().is_some_and(|msg| !msg.is_empty());
    if whole && output.status.code().is_some() { Ok(value) } else { Err(said(output)) }
}
