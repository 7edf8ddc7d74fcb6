//! A network namespace with a name, removed when dropped, also when the test panics.
//!
//! A namespace is entered by a thread of its own (`setns` is per thread), and a process started
//! from that thread is born inside: the same as `nsenter --net=`. `ip netns exec` and `ip -n` would
//! also make a mount namespace, which is not always allowed, and not what runtimes do.

use std::fs::{self, File};
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::program::{command, finish, require_root, said};
use crate::wait::wait_for;

/// Where iproute2 keeps the names of namespaces.
pub const FOLDER: &str = "/run/netns";
/// What every namespace of the tests is called, followed by the process, a counter and a label.
pub const PREFIX: &str = "ftest-";

/// A named network namespace of one test.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes `ftest-<pid>-<n>-<label>` with its loopback up.
    pub fn new(label: &str) -> Self {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        static SWEEP: Once = Once::new();
        require_root();
        SWEEP.call_once(remove_orphans);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{n}-{label}", std::process::id());
        let output = finish(&mut command("ip", ["netns", "add", &name]), b"");
        assert!(output.status.success(), "cannot make namespace {name}: {}", said(&output));
        let netns = Self { name };
        netns.exec("ip link set lo up");
        netns
    }

    /// The name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace file, as `CNI_NETNS` has it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// The inode of the namespace: what makes it the same one under another path.
    pub fn inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(self.path()).expect("the namespace file").ino()
    }

    /// Takes away its name: from then on it lives as long as a process or an open file holds it.
    pub fn unname(&self) {
        drop(finish(&mut command("ip", ["netns", "del", &self.name]), b""));
    }

    /// Runs `work` on a thread inside the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.path(), work)
    }

    /// Binds a socket inside, as soon as its port is free: a program that another test starts at this moment may still hold
    /// one that was closed.
    pub fn bound<T: Send>(&self, bind: impl Fn() -> io::Result<T> + Sync) -> T {
        wait_for("a free port", || match self.run(&bind) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
            done => Some(done.expect("bind")),
        })
    }

    /// Waits until nothing has this UDP port, not even such a program. Who bound it to see would be inherited in turn.
    pub fn until_udp_is_free(&self, port: u16) {
        let line = format!("ss -Huan sport = :{port}");
        wait_for("a free port", || self.exec(&line).is_empty().then_some(()));
    }

    /// Runs a prepared command inside, with `stdin`, to its end.
    pub fn finish(&self, command: &mut Command, stdin: &[u8]) -> Output {
        // Where two call it on one machine the older iptables fails. Each namespace is a machine of its own.
        command.env("XTABLES_LOCKFILE", "/proc/self/ns/net");
        self.run(|| finish(command, stdin))
    }

    /// Runs a command line (words split at blanks) inside, whatever its end.
    pub fn attempt(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a command line with a program");
        self.finish(&mut command(name, words), b"")
    }

    /// Runs a command line inside; fails the test unless it succeeds. Returns its output.
    pub fn exec(&self, line: &str) -> String {
        let output = self.attempt(line);
        assert!(output.status.success(), "{}: `{line}`: {}", self.name, said(&output));
        String::from_utf8(output.stdout).expect("text output")
    }

    /// The IDs of the processes inside.
    pub fn processes(&self) -> Vec<String> {
        let output = finish(&mut command("ip", ["netns", "pids", &self.name]), b"");
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
    }

    /// Runs a command line that prints a JSON list (`ip -j`, `bridge -j`) and parses it.
    pub fn json(&self, line: &str) -> Vec<Value> {
        let text = self.exec(line);
        // iproute2 prints nothing, or an empty object, where a list has no entry.
        if text.trim().is_empty() {
            return Vec::new();
        }
        let list: Vec<Value> = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("`{line}` printed no JSON list: {error}: {text}"));
        list.into_iter().filter(|entry| *entry != Value::Object(Default::default())).collect()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.unname();
    }
}

/// Runs `work` on a thread inside the namespace with this file.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let enter = move || {
        setns(file, CloneFlags::CLONE_NEWNET).expect("setns into a namespace of the test");
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Removes the namespaces of test processes that were killed and so could not do it themselves. This process has none yet:
/// what bears its number is of one that had the same.
fn remove_orphans() {
    let own = std::process::id().to_string();
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| pid == own || !Path::new("/proc").join(pid).exists()) {
            drop(finish(&mut command("ip", ["netns", "del", &name]), b""));
        }
    }
}
