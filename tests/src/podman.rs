//! podman on a node, with its CNI backend: no daemon, but folders of its own for each node. Nothing
//! of it is left when it is dropped, also when a test fails.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::mount::{MntFlags, umount2};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::cnitool::{CHAIN_VERSION, entry};
use crate::leftover;
use crate::node::Node;
use crate::program::{bin_dir, command, ours, reference_plugins, said, system};

/// podman with one network, that of the cluster.
#[derive(Debug)]
pub struct Podman<'a> {
    node: &'a Node,
    folder: TempDir,
}

impl<'a> Podman<'a> {
    /// Sets it up for a node, with the image of the archive.
    pub fn new(cluster: &Cluster, node: &'a Node, behind: &[Value], archive: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("ftest-").tempdir().expect("a folder");
        install(cluster, folder.path(), behind);
        let podman = Self { node, folder };
        podman.ok(&["load", "-q", "-i", &archive.display().to_string()]);
        podman
    }

    /// Runs podman with these arguments on the node, whatever its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let path = |name: &str| self.folder.path().join(name);
        let mut podman = command("podman", ["--storage-driver", "overlay", "--root"]);
        podman.arg(path("root")).arg("--runroot").arg(path("run")).arg("--tmpdir").arg(path("tmp"));
        podman.args(args).env("CONTAINERS_CONF", path("containers.conf"));
        self.node.netns.finish(&mut podman, b"")
    }

    /// Runs podman, asserting success; returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "podman {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// What `podman inspect` says of a container's attachment to the cluster's network.
    pub fn attachment(&self, container: &str) -> Value {
        let inspected: Value =
            serde_json::from_str(&self.ok(&["inspect", container])).expect("JSON");
        inspected[0]["NetworkSettings"]["Networks"][self.node.network.name()].clone()
    }

    /// A container's IPv4 address, as podman tells it.
    pub fn v4(&self, container: &str) -> IpAddr {
        let attachment = self.attachment(container);
        let text = attachment["IPAddress"].as_str().unwrap_or_default();
        text.parse().unwrap_or_else(|error| panic!("{container}: {error}: {attachment}"))
    }

    /// Where everything of it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // Without `-t0` it gives each container ten seconds to end by itself.
        drop(self.run(&["pod", "rm", "-f", "-t0", "-a"]));
        drop(self.run(&["rm", "-f", "-t0", "-a"]));
        let leases = self.node.leases();
        leftover::remove(self.folder.path());
        // podman's namespaces are not below its folder; a lease that is still there names one.
        for path in leases.iter().filter_map(|lease| lease["sandbox"].as_str()) {
            if path.starts_with("/run/netns/cni-") || path.starts_with("/var/run/netns/cni-") {
                let _ = umount2(path, MntFlags::MNT_DETACH);
                drop(fs::remove_file(path));
            }
        }
    }
}

/// Writes all that a podman of its own needs into a folder.
fn install(cluster: &Cluster, folder: &Path, behind: &[Value]) {
    ours("flatnet");
    let net_d = folder.join("net.d");
    fs::create_dir(&net_d).expect("make a folder");
    let plugins: Vec<Value> = [entry(cluster)].into_iter().chain(behind.iter().cloned()).collect();
    let list = json!({
        "cniVersion": CHAIN_VERSION, "name": cluster.network.name(), "plugins": plugins,
    });
    fs::write(net_d.join("pods.conflist"), list.to_string()).expect("write the list");
    let plugin_dirs: [PathBuf; 2] = [bin_dir(), reference_plugins()];
    // Where CAP_SYS_RESOURCE is missing podman's default limits cannot be set. No default_network:
    // a bad configuration of that name is replaced by a bridge in silence.
    let configuration = format!(
        r#"[network]
network_backend = "cni"
cni_plugin_dirs = {plugin_dirs:?}
network_config_dir = {net_d:?}
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
[engine.runtimes]
runc = [{runc:?}]
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"#,
        runc = system("runc"),
    );
    fs::write(folder.join("containers.conf"), configuration).expect("write the configuration");
}
