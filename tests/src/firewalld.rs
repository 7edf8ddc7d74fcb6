//! firewalld on a node: the real daemon, with a bus of its own. Installed, it would take over the packet filter of the
//! machine, so it is only unpacked (`.ci/install test`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::netns::Netns;
use crate::node::Node;
use crate::program::{command, finish, said, workspace};
use crate::wait::wait_for;

/// Debian's own Python, which knows the bus.
const PYTHON: &str = "/usr/bin/python3";

/// A running firewalld, ended when dropped.
#[derive(Debug)]
pub struct Firewalld<'a> {
    netns: &'a Netns,
    folder: TempDir,
    daemon: Option<Child>,
    bus: Child,
}

impl<'a> Firewalld<'a> {
    /// Starts it on a node, as Debian configures it.
    pub fn start(node: &'a Node) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bus = start_bus(folder.path());
        let mut firewalld = Self { netns: &node.netns, folder, daemon: None, bus };
        wait_for("a bus", || firewalld.socket().exists().then_some(()));
        let settings = firewalld.folder.path().join("etc");
        let copied = finish(
            command("cp", ["-r"]).arg(unpacked("firewalld").join("etc/firewalld")).arg(&settings),
            b"",
        );
        assert!(copied.status.success(), "{}", said(&copied));
        // What it keeps in /run must not stay there.
        let mut daemon = firewalld.prepared("unshare");
        daemon.args([
            "--mount",
            "sh",
            "-euc",
            "mount -t tmpfs run /run; exec \"$@\"",
            "sh",
            PYTHON,
        ]);
        daemon.arg(unpacked("firewalld").join("usr/sbin/firewalld"));
        daemon.args(["--nofork", "--nopid", "--log-target=console", "--system-config"]);
        daemon
            .arg(settings)
            .arg("--default-config")
            .arg(unpacked("firewalld").join("usr/lib/firewalld"));
        let log = fs::File::create(firewalld.log()).expect("a log");
        daemon.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        firewalld.daemon = Some(node.netns.run(|| daemon.spawn()).expect("start firewalld"));
        // Only then it is asked: each question is a Python that starts.
        wait_for("the rules of firewalld", || {
            let ended = firewalld.daemon.as_mut().and_then(|it| it.try_wait().ok().flatten());
            let log = || fs::read_to_string(firewalld.log()).unwrap_or_default();
            assert!(ended.is_none(), "firewalld: {ended:?}: {}", log());
            let rules = node.netns.attempt("nft list table inet firewalld");
            rules.status.success().then_some(())
        });
        wait_for("firewalld", || firewalld.attempt(&["--state"]).status.success().then_some(()));
        firewalld
    }

    /// `firewall-cmd` with these arguments; fails the test unless it succeeds.
    pub fn cmd(&self, args: &[&str]) {
        let output = self.attempt(args);
        assert!(output.status.success(), "firewall-cmd {args:?}: {}", said(&output));
    }

    fn attempt(&self, args: &[&str]) -> Output {
        let mut command = self.prepared(PYTHON);
        command.arg(unpacked("firewalld").join("usr/bin/firewall-cmd")).args(args);
        self.netns.finish(&mut command, b"")
    }

    fn prepared(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let modules = ["python3-firewall", "python3-nftables"]
            .map(|package| unpacked(package).join("usr/lib/python3/dist-packages"));
        command.env("PYTHONPATH", std::env::join_paths(modules).expect("folders"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let address = format!("unix:path={}", self.socket().display());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
        command
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("bus")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Firewalld<'_> {
    fn drop(&mut self) {
        for child in self.daemon.iter_mut().chain([&mut self.bus]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Where a package is unpacked.
fn unpacked(package: &str) -> PathBuf {
    let link = workspace().join("target/tools").join(package);
    link.canonicalize().unwrap_or_else(|error| {
        panic!("{}: {error}: run `.ci/install test`", link.display());
    })
}

/// A bus on which anyone may be anything: who reaches its socket is root already.
fn start_bus(folder: &Path) -> Child {
    let configuration = folder.join("bus.conf");
    let text = format!(
        "<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <policy context=\"default\">
    <allow send_destination=\"*\" eavesdrop=\"false\"/>
    <allow receive_sender=\"*\"/>
    <allow own=\"*\"/>
  </policy>
</busconfig>
",
        folder.join("bus").display()
    );
    fs::write(&configuration, text).expect("write a file");
    let mut bus = Command::new("dbus-daemon");
    bus.arg("--nofork").arg(format!("--config-file={}", configuration.display()));
    bus.stdin(Stdio::null()).spawn().expect("start dbus-daemon")
}
