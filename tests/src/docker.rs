//! Docker's daemon on a node, and flatnet's driver beside it: folders of their own for each, and a driver's name of
//! its own, by which the daemon finds the socket. Nothing of it is left when it is dropped, also when a test
//! fails. Needs `.ci/install runtimes`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli;
use crate::cluster::Cluster;
use crate::leftover;
use crate::node::Node;
use crate::program::{finish, ours, said, workspace};
use crate::wait::wait_for;

/// Where Docker looks for the sockets of drivers.
const PLUGINS: &str = "/run/docker/plugins";

/// Daemon and client of one version; the machine may have others.
fn tool(name: &str) -> PathBuf {
    let path = workspace().join("target/tools").join(name);
    assert!(path.exists(), "{} is not there: run `.ci/install runtimes`", path.display());
    path
}

/// The driver on a node.
#[derive(Debug)]
pub struct Driver<'a> {
    node: &'a Node,
    /// What Docker calls it by.
    pub name: String,
    conf_dir: PathBuf,
    process: Option<Child>,
}

impl<'a> Driver<'a> {
    /// Starts it with the node's network, and these plugins behind it.
    pub fn start(node: &'a Node, behind: &[Value]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ftest-{}-{number}", std::process::id());
        let mut driver = Self { node, name, conf_dir: cli::conf_dir(node, behind), process: None };
        driver.launch();
        driver
    }

    /// Starts it again after a kill.
    pub fn launch(&mut self) {
        let mut program = Command::new(ours("flatnet-docker"));
        program.arg("--conf-dir").arg(&self.conf_dir).arg("--socket").arg(self.socket());
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(self.node.netns.run(|| program.spawn()).expect("start the driver"));
        wait_for("the driver", || UnixStream::connect(self.socket()).ok());
    }

    /// A hard kill.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kill the driver");
            process.wait().expect("wait for the driver");
        }
    }

    /// Sends it the signal of a hard kill, without waiting for its end.
    pub fn shoot(&self) {
        let pid = self.process.as_ref().and_then(|process| i32::try_from(process.id()).ok());
        kill(Pid::from_raw(pid.expect("a running driver")), Signal::SIGKILL)
            .expect("kill the driver");
    }

    fn socket(&self) -> PathBuf {
        Path::new(PLUGINS).join(format!("{}.sock", self.name))
    }

    /// A call as Docker makes it; `None` if the driver ended before it answered.
    pub fn call(&self, method: &str, body: &Value) -> Option<Value> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let body = body.to_string();
        let head = format!(
            "POST /{method} HTTP/1.1\r\nHost: driver\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, document) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(document).ok()
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_file(self.socket()));
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Docker<'a> {
    node: &'a Node,
    folder: TempDir,
    daemon: Option<Child>,
    /// The driver of its networks.
    pub driver: Driver<'a>,
}

impl<'a> Docker<'a> {
    /// Starts it on a node with the image of the archive, and makes the network `pods`, of both families.
    pub fn start(cluster: &Cluster, node: &'a Node, behind: &[Value], archive: &Path) -> Self {
        let driver = Driver::start(node, behind);
        let folder = tempfile::Builder::new().prefix("ftest-").tempdir().expect("a folder");
        // What is living goes on without the daemon.
        let settings = json!({
            "live-restore": true,
            "default-ulimits": { "nofile": { "Name": "nofile", "Hard": 1024, "Soft": 1024 } },
        });
        let file = folder.path().join("daemon.json");
        fs::write(file, settings.to_string()).expect("write the settings");
        let mut docker = Self { node, folder, daemon: None, driver };
        docker.launch();
        docker.ok(&["load", "-q", "-i", &archive.display().to_string()]);
        docker.create(
            "pods",
            &["--ipv6", "--subnet", "10.244.0.0/16", "--subnet", "fd00:10:244::/56"],
        );
        assert!(cluster.network.name() == "pods", "the cluster's network is made");
        docker
    }

    /// `docker network create` with our driver.
    pub fn create(&self, name: &str, more: &[&str]) {
        let driver = self.driver.name.as_str();
        let create = ["network", "create", "-d", driver, "--ipam-driver", driver];
        self.ok(&[&create[..], more, &[name]].concat());
    }

    /// Starts the daemon again after a kill.
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
        self.daemon = Some(self.node.netns.run(|| dockerd.spawn()).expect("start dockerd"));
        wait_for(&format!("dockerd (its log: {})", path("log").display()), || {
            self.run(&["version"]).status.success().then_some(())
        });
    }

    /// A hard kill of the daemon alone.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        daemon.kill().expect("kill dockerd");
        daemon.wait().expect("wait for dockerd");
        // Its containerd dies with it; where nobody reaps that, the next daemon would take it for alive.
        for file in ["pid", "run/containerd/containerd.pid"] {
            drop(fs::remove_file(self.folder.path().join(file)));
        }
    }

    fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Runs docker with these arguments, whatever its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut docker = Command::new(tool("docker"));
        docker.arg("-H").arg(self.address()).args(args).env("DOCKER_CONFIG", self.folder.path());
        finish(&mut docker, b"")
    }

    /// Runs docker, asserting success; returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "docker {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
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

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("dockerd of {}:\n{}", self.node.name, self.log());
        }
        if self.daemon.is_some() {
            let listed = self.run(&["ps", "-aq"]);
            for id in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
                drop(self.run(&["rm", "-f", id]));
            }
        }
        if let Some(daemon) = &mut self.daemon {
            if let Ok(pid) = i32::try_from(daemon.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            drop(daemon.wait());
        }
        leftover::remove(self.folder.path());
    }
}
