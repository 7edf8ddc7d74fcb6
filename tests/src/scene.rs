//! Nodes as a reader of the documents has them: a shell as root on each, with `/etc`, `/opt`, `/run`,
//! `/usr` and `/var` of its own to write into, the executables in its path, and nothing left at the
//! end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cluster::Cluster;
use crate::netns::Netns;
use crate::program::{bin_dir, system, workspace};
use crate::wait::PATIENCE;

/// What the shell prints behind a block; no command does.
const DONE: &str = "(the block is done)";
/// What a node writes goes to a tmpfs on top of the machine's folders. /mnt is the reader's home.
const SETUP: &str = "set -euo pipefail
exec 2>&1
mount -t tmpfs scratch /mnt
for folder in etc opt run usr var; do
    mkdir -p /mnt/.$folder/upper /mnt/.$folder/work
    mount -t overlay scratch -o lowerdir=/$folder,upperdir=/mnt/.$folder/upper,workdir=/mnt/.$folder/work /$folder
done
cd /mnt
";

/// Two nodes, `node-a` and `node-b`, on one underlay (192.168.50.1 and 192.168.50.2).
#[derive(Debug)]
pub struct Scene {
    nodes: Vec<(String, Shell)>,
    _cluster: Cluster,
}

impl Scene {
    /// Nodes on which nothing was done yet.
    pub fn new() -> Self {
        let cluster = Cluster::new(2);
        let nodes = cluster.nodes.iter().map(|node| (node.name.clone(), Shell::on(&node.netns)));
        Self { nodes: nodes.collect(), _cluster: cluster }
    }

    /// Runs commands on every node, or on the one named.
    ///
    /// # Errors
    /// What was printed before the command that failed.
    pub fn run(&mut self, node: Option<&str>, commands: &str) -> Result<(), String> {
        let wanted = |name: &str| node.is_none_or(|node| node == name);
        let mut found = false;
        for (name, shell) in self.nodes.iter_mut().filter(|(name, _)| wanted(name)) {
            found = true;
            shell.run(commands).map_err(|said| format!("on {name}: {said}"))?;
        }
        if found { Ok(()) } else { Err(format!("there is no node {node:?}")) }
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// One shell that ends at the first command that fails.
#[derive(Debug)]
struct Shell {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    fn on(netns: &Netns) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = workspace().join("target/tools");
        // Behind all others: a plugin there is called `bridge` like the program of iproute2.
        let path = format!("{}:{path}:/usr/sbin:/sbin:{}", bin_dir().display(), tools.display());
        let mut unshare = Command::new(system("unshare"));
        unshare
            .args(["--mount", "--propagation", "private", "bash"])
            .env("PATH", path)
            .env_remove("CNI_COMMAND")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = netns.run(|| unshare.spawn()).expect("start a shell");
        let stdin = child.stdin.take().expect("a piped stdin");
        let stdout = BufReader::new(child.stdout.take().expect("a piped stdout"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            let said = stdout.split(b'\n').map_while(Result::ok);
            said.map(|line| String::from_utf8_lossy(&line).into_owned())
                .try_for_each(|line| sender.send(line))
        });
        let mut shell = Self { child, stdin, lines };
        shell.run(SETUP).unwrap_or_else(|said| panic!("cannot prepare a node: {said}"));
        shell
    }

    fn run(&mut self, commands: &str) -> Result<(), String> {
        // A command that reads its input must not read the commands behind it; the last line of
        // what it prints may lack its end.
        let block = format!("{{ {commands}\n}} </dev/null\nprintf '\\n{DONE}\\n'\n");
        // A shell that has ended is told by its silence.
        let _ = self.stdin.write_all(block.as_bytes());
        let mut said = String::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line == DONE => return Ok(()),
                Ok(line) => said += &format!("{line}\n"),
                Err(end) => return Err(format!("{said}({end})")),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // With all that it started in the background. Its mounts go with it, and the namespaces
        // that only they kept.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
