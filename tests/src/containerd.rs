//! containerd on a node: a daemon of its own in the node's namespace, with its own folders and
//! socket, driven over the CRI. Nothing of it is left when it is dropped, also when a test fails.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::cnitool::{CHAIN_VERSION, entry};
use crate::cri::Cri;
use crate::image::IMAGE;
use crate::leftover;
use crate::node::Node;
use crate::program::{command, executable, finish, ours, reference_plugins, said, system};
use crate::wait::wait_for;

/// A running containerd.
#[derive(Debug)]
pub struct Containerd<'a> {
    /// Its interface.
    pub cri: Cri,
    node: &'a Node,
    folder: TempDir,
    daemon: Option<Child>,
}

impl<'a> Containerd<'a> {
    /// Starts it on a node, with flatnet as the cluster configures it and these plugins behind, and
    /// with the image of the archive.
    pub fn start(cluster: &Cluster, node: &'a Node, behind: &[Value], archive: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("ftest-").tempdir().expect("a folder");
        install(cluster, folder.path(), behind);
        let cri = Cri::new(&folder.path().join("grpc.sock"));
        let mut containerd = Self { cri, node, folder, daemon: None };
        containerd.launch();
        containerd.import(archive);
        containerd
    }

    /// Where everything of it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the executable `flatnet`, as its configuration finds it, by a script.
    pub fn replace_flatnet(&self, script: &str) {
        let path = self.folder.path().join("bin/flatnet");
        fs::remove_file(&path).expect("remove the link");
        executable(&path, format!("#!/bin/sh\n{script}\n"));
    }

    /// A hard kill: containerd alone dies, its shims and the pods live on.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a running containerd");
        daemon.kill().expect("kill containerd");
        daemon.wait().expect("wait for containerd");
    }

    /// Starts it again after a kill.
    pub fn launch(&mut self) {
        let log = self.folder.path().join("log");
        let open = || File::options().create(true).append(true).open(&log).expect("open the log");
        let mut containerd = Command::new(system("containerd"));
        containerd
            .arg("--config")
            .arg(self.folder.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open());
        let daemon = self.node.netns.run(|| containerd.spawn()).expect("start containerd");
        self.daemon = Some(daemon);
        wait_for(&format!("containerd (its log: {})", log.display()), || {
            self.cri.is_ready(false).then_some(())
        });
    }

    /// Loads the image, and waits until the CRI has heard of it.
    fn import(&self, archive: &Path) {
        self.ctr(&["images", "import", &archive.display().to_string()]);
        wait_for("the image", || self.cri.is_ready(true).then_some(()));
    }

    /// Runs `ctr` in the namespace of the CRI, asserting success; returns what it printed.
    pub fn ctr(&self, args: &[&str]) -> String {
        let output = self.run_ctr(args);
        assert!(output.status.success(), "ctr {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The same, whatever its end.
    pub fn run_ctr(&self, args: &[&str]) -> Output {
        let mut ctr = command("ctr", ["--namespace", "k8s.io", "--address"]);
        finish(ctr.arg(self.folder.path().join("grpc.sock")).args(args), b"")
    }

    /// `ctr run` with these options, and then image, name and command.
    pub fn run_container(&self, args: &[&str]) -> Output {
        let runc = system("runc").display().to_string();
        let root = self.folder.path().join("runc").display().to_string();
        let run = ["run", "--runc-binary", &runc, "--runc-root", &root];
        self.run_ctr(&[&run[..], args].concat())
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            for pod in self.cri.pods().unwrap_or_default() {
                // What fails here is ended below.
                drop(self.cri.stop_pod(&pod).and_then(|()| self.cri.remove_pod(&pod)));
            }
            if let Ok(pid) = i32::try_from(daemon.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            drop(daemon.wait());
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("containerd of {}:\n{}", self.node.name, lines[last..].join("\n"));
        }
        leftover::remove(self.folder.path());
    }
}

/// Writes all that a containerd of its own needs into a folder.
fn install(cluster: &Cluster, folder: &Path, behind: &[Value]) {
    // containerd looks in one folder only, and needs the reference loopback there.
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("make a folder");
    let reference = reference_plugins();
    let plugins = ["loopback", "portmap"].map(|name| reference.join(name));
    for program in plugins.into_iter().chain([ours("flatnet")]) {
        let name = program.file_name().expect("a program's name");
        symlink(&program, bin.join(name)).expect("link a plugin");
    }
    let net_d = folder.join("net.d");
    fs::create_dir(&net_d).expect("make a folder");
    let plugins: Vec<Value> = [entry(cluster)].into_iter().chain(behind.iter().cloned()).collect();
    let list = serde_json::json!({
        "cniVersion": CHAIN_VERSION, "name": cluster.network.name(), "plugins": plugins,
    });
    fs::write(net_d.join("10-pods.conflist"), list.to_string()).expect("write the list");
    fs::write(folder.join("config.toml"), config(folder)).expect("write the configuration");
}

/// The daemon's configuration.
fn config(folder: &Path) -> String {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let cri = r#"plugins."io.containerd.grpc.v1.cri""#;
    format!(
        r#"version = 2
root = {root:?}
state = {state:?}
disabled_plugins = [
  "io.containerd.internal.v1.restart", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = {socket:?}
[plugins."io.containerd.internal.v1.opt"]
path = {opt:?}
[{cri}]
sandbox_image = "{IMAGE}"
netns_mounts_under_state_dir = true
# Without CAP_SYS_RESOURCE no process may be spared by the out-of-memory killer.
restrict_oom_score_adj = true
disable_apparmor = true
[{cri}.cni]
bin_dir = {bin:?}
conf_dir = {net_d:?}
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
BinaryName = {runc:?}
Root = {runc_root:?}
"#,
        root = path("root"),
        state = path("run"),
        socket = path("grpc.sock"),
        opt = path("opt"),
        bin = path("bin"),
        net_d = path("net.d"),
        runc = system("runc"),
        runc_root = path("runc"),
    )
}
