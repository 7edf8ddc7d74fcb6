//! Docker's daemon on a node, in folders of its own, and its client. Nothing of it is left when it is dropped, also when
//! a test fails. Needs `.ci/install runtimes`.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::image::IMAGE;
use crate::leftover;
use crate::node::Node;
use crate::program::{finish, said, system, workspace};
use crate::wait::wait_for;

/// Daemon and client of one version; the machine may have others.
fn tool(name: &str) -> PathBuf {
    let path = workspace().join("target/tools").join(name);
    assert!(path.exists(), "{} is not there: run `.ci/install runtimes`", path.display());
    path
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon<'a> {
    node: &'a Node,
    folder: TempDir,
    process: Option<Child>,
}

impl<'a> Daemon<'a> {
    /// Starts it on a node with the image of the archive.
    pub fn start(node: &'a Node, archive: &Path, live_restore: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("ftest-").tempdir().expect("a folder");
        let mut daemon = Self { node, folder, process: None };
        daemon.configure(live_restore);
        daemon.launch();
        daemon.ok(&["load", "-q", "-i", &archive.display().to_string()]);
        daemon
    }

    /// Whether what is living goes on without the daemon, from its next start on.
    pub fn configure(&self, live_restore: bool) {
        let settings = json!({
            "live-restore": live_restore,
            "default-ulimits": { "nofile": { "Name": "nofile", "Hard": 1024, "Soft": 1024 } },
        });
        let file = self.folder.path().join("daemon.json");
        fs::write(file, settings.to_string()).expect("write the settings");
    }

    /// Starts it again after a kill.
    pub fn launch(&mut self) {
        let path = |name: &str| self.folder.path().join(name);
        let open = || File::options().create(true).append(true).open(path("log")).expect("the log");
        let mut dockerd = Command::new(tool("dockerd"));
        dockerd.arg("--config-file").arg(path("daemon.json"));
        dockerd.arg("--data-root").arg(path("root")).arg("--exec-root").arg(path("run"));
        dockerd.arg("-p").arg(path("pid")).arg("-H").arg(self.address());
        dockerd.args(["--bridge", "none", "--iptables=false", "--ip-masq=false"]);
        dockerd.args([
            "--storage-driver",
            "overlay2",
            "--userland-proxy=false",
            "--log-level",
            "warn",
        ]);
        dockerd.stdin(Stdio::null()).stdout(open()).stderr(open());
        self.process = Some(self.node.netns.run(|| dockerd.spawn()).expect("start dockerd"));
        wait_for(&format!("dockerd (its log: {})", path("log").display()), || {
            self.run(&["version"]).status.success().then_some(())
        });
    }

    /// A hard kill of the daemon alone.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running daemon");
        process.kill().expect("kill dockerd");
        process.wait().expect("wait for dockerd");
        // Its containerd dies with it; where nobody reaps that, the next daemon would take it for alive.
        for file in ["pid", "run/containerd/containerd.pid"] {
            drop(fs::remove_file(self.folder.path().join(file)));
        }
    }

    fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut docker = Command::new(tool("docker"));
        docker.arg("-H").arg(self.address()).args(args).env("DOCKER_CONFIG", self.folder.path());
        docker
    }

    /// Runs docker with these arguments, whatever its end.
    pub fn run(&self, args: &[&str]) -> Output {
        finish(&mut self.command(args), b"")
    }

    /// Starts docker with these arguments.
    pub fn client(&self, args: &[&str]) -> Child {
        let mut docker = self.command(args);
        docker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        docker.spawn().expect("start docker")
    }

    /// Runs docker, asserting success; returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "docker {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Runs docker-compose for a project, whatever its end.
    pub fn compose(&self, project: &Path, args: &[&str]) -> Output {
        let mut compose = Command::new(system("docker-compose"));
        compose.arg("--file").arg(project).args(args);
        compose.env("DOCKER_HOST", self.address()).env("DOCKER_CONFIG", self.folder.path());
        finish(&mut compose, b"")
    }

    /// `docker run` of a container that idles.
    pub fn idle(&self, name: &str, more: &[&str]) {
        let run = ["run", "-d", "--name", name];
        self.ok(&[&run[..], more, &[IMAGE, "sleep", "3600"]].concat());
    }

    /// One echo request from a container.
    pub fn ping(&self, container: &str, to: IpAddr) {
        self.ok(&["exec", container, "ping", "-c", "1", "-W", "5", &to.to_string()]);
    }

    /// A container's addresses in a network, IPv4 first.
    pub fn addresses(&self, container: &str, network: &str) -> Vec<IpAddr> {
        let inspected: Value =
            serde_json::from_str(&self.ok(&["inspect", container])).expect("JSON");
        let attachment = &inspected[0]["NetworkSettings"]["Networks"][network];
        let keys = ["IPAddress", "GlobalIPv6Address"].into_iter();
        keys.filter_map(|key| attachment[key].as_str()?.parse().ok()).collect()
    }

    /// What the daemon has logged, for a failure message.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Where everything of it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("dockerd of {}:\n{}", self.node.name, self.log());
        }
        if let Some(mut process) = self.process.take() {
            let listed = self.run(&["ps", "-aq"]);
            for id in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
                drop(self.run(&["rm", "-f", id]));
            }
            if let Ok(pid) = i32::try_from(process.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            drop(process.wait());
        }
        leftover::remove(self.folder.path());
    }
}
