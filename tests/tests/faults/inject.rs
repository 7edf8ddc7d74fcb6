//! Faults at system calls: a verb runs under strace, which lists its calls, kills the process before
//! one of them is carried out, or makes one fail.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{command, ours, said, system};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// One system call of a run: the n-th of its name in its process, which is how strace finds it again.
#[derive(Clone, Debug)]
pub struct Point {
    /// The call's name.
    pub syscall: String,
    /// Its number among those of the same name in the same process, from 1.
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
        let mut strace = match self.name {
            "GC" => alone(self.pod),
            _ => command("strace", Vec::<&str>::new()),
        };
        strace.args(["-f", "-q"]).args(flags).arg(ours("flatnet"));
        self.set_environment(&mut strace);
        self.node.netns.finish(&mut strace, self.configuration().as_bytes())
    }

    /// Gives a command the protocol's variables, and no others.
    pub fn set_environment(self, command: &mut Command) {
        command.env_clear().env("CNI_COMMAND", self.name).env("CNI_PATH", "/opt/cni/bin");
        command.env("CNI_CONTAINERID", &self.pod.container_id).env("CNI_IFNAME", &self.pod.ifname);
        command.env("CNI_NETNS", self.pod.netns.path());
    }

    /// What the plugin reads on standard input.
    pub fn configuration(self) -> String {
        let mut configuration = self.node.network.configuration.clone();
        if self.name == "GC" {
            configuration["cni.dev/valid-attachments"] = json!([]);
        }
        configuration.to_string()
    }

    /// Runs to the end, which must be a good one, and lists the system calls. What strace could not
    /// tell from a call of another process of the run is listed once.
    pub fn points(self) -> Vec<Point> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace");
        let output = self.run(&["-o", path.to_str().expect("a text path")]);
        assert!(output.status.success(), "{} under strace: {}", self.name, said(&output));
        let trace = std::fs::read_to_string(&path).expect("a trace");
        let mut points: Vec<Point> = Vec::new();
        let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
        for line in trace.lines() {
            let (process, line) = line.split_once(' ').expect("a line starts with its process");
            let line = line.trim_start();
            let Some((name, _)) = line.split_once('(') else { continue };
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                continue;
            }
            let nth = counts.entry((process, name)).and_modify(|count| *count += 1).or_insert(1);
            if !points.iter().any(|point| point.syscall == name && point.nth == *nth) {
                points.push(Point { syscall: name.to_owned(), nth: *nth, line: line.to_owned() });
            }
        }
        points
    }

    /// Kills the process when it enters this call; the call is not carried out. Says whether it came
    /// to that: a run may need fewer calls of a kind than the one before. Where a child makes the
    /// call, the child is killed, and the verb must do without it.
    pub fn kill(self, point: &Point) -> bool {
        let (output, trace) = self.inject(point, "signal=KILL", "");
        let signal = Signal::SIGKILL as i32;
        let killed = [output.status.signal(), output.status.code().map(|code| code - 128)]
            .contains(&Some(signal));
        assert!(killed || output.status.success(), "{} at {point}: {}", self.name, said(&output));
        trace.contains("+++ killed by SIGKILL")
    }

    /// Makes this call fail, or with `more` = `+` this and all later ones of its name.
    /// None if it did not come to that.
    pub fn fail(self, point: &Point, errno: &str, more: &str) -> Option<Output> {
        let (output, trace) = self.inject(point, &format!("error={errno}"), more);
        trace.contains("(INJECTED)").then_some(output)
    }

    fn inject(self, point: &Point, how: &str, more: &str) -> (Output, String) {
        let Point { syscall, nth, .. } = point;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace");
        let file = path.to_str().expect("a text path");
        let trace = format!("trace={syscall}");
        let inject = format!("inject={syscall}:{how}:when={nth}{more}");
        // Not with `--seccomp-bpf`: strace 6.1 then injects nothing, and says nothing either.
        let output = self.run(&["-o", file, "-e", &trace, "-e", &inject]);
        (output, std::fs::read_to_string(&path).expect("a trace"))
    }
}

/// strace where GC sees no processes but its own and no namespaces but one pod's: it looks at all of both, and how many there
/// are depends on the machine. A shell is the first process, which no signal of its own would end, and says by its code what
/// ended strace.
fn alone(pod: &Pod) -> Command {
    const SCRIPT: &str = r#"
        exec 3<"$0" || exit
        # Not all are still there: whose name is removed meanwhile is gone here, too.
        umount --all --lazy --types nsfs 2>/dev/null
        mount --no-canonicalize --bind /proc/self/fd/3 "$0" && exec 3<&- || exit
        "$@"; exit $?
    "#;
    let netns = pod.netns.path().display().to_string();
    let strace = system("strace").display().to_string();
    let unshare = ["--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT, &netns, &strace];
    command("unshare", unshare)
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
