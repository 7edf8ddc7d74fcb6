//! containerd on a node, with the images that its pods need.

use std::fs;
use std::path::Path;
use std::process::Command;

use flatnet_tests::program::said;

use crate::daemon::Daemon;
use crate::image::PAUSE;
use crate::machine::{Machine, PATH};
use crate::patience::until;
use crate::tools;

/// Its socket, as a node has it.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// What a runtime's package has: flatnet's configuration calls `portmap`, containerd itself `loopback`.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// Writes its configuration into a node's folder, and the plugins that come with it.
pub fn configure(folder: &Path) {
    for plugin in PLUGINS {
        let target = folder.join("opt/cni/bin").join(plugin);
        fs::copy(tools::plugins().join(plugin), target).expect("copy a plugin");
    }
    fs::write(folder.join("etc/containerd/config.toml"), configuration()).expect("write a file");
}

/// The command that runs it.
pub fn command() -> Command {
    let mut command = Command::new("/opt/containerd/containerd");
    command.env("PATH", PATH).args(["--config", "/etc/containerd/config.toml"]);
    command
}

/// Waits until it answers.
pub fn wait(machine: &Machine, daemon: &mut Daemon) {
    until("containerd", || {
        daemon.check()?;
        ctr(machine, &["version"])
    });
}

/// Loads the images of an archive.
pub fn import(machine: &Machine, archive: &Path) {
    let archive = archive.display().to_string();
    ctr(machine, &["images", "import", "--snapshotter", "overlayfs", &archive])
        .unwrap_or_else(|error| panic!("cannot import {archive}: {error}"));
}

fn ctr(machine: &Machine, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("/opt/containerd/ctr");
    let output = machine.finish(command.args(["--namespace", "k8s.io"]).args(args));
    if !output.status.success() {
        return Err(said(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A container may not be spared by the out-of-memory killer where the tests may not.
fn configuration() -> String {
    format!(
        r#"version = 3
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}
