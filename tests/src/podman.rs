//! podman on a node: 4 with its CNI backend, 5 with netavark. No daemon, but folders of its own for each node. Nothing
//! of it is left when it is dropped, also when a test fails.

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::mount::{MntFlags, umount2};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::cnitool::{CHAIN_VERSION, entry};
use crate::image::IMAGE;
use crate::leftover;
use crate::node::Node;
use crate::program::{bin_dir, command, ours, reference_plugins, said, system, workspace};

/// podman with one network, that of the cluster.
#[derive(Debug)]
pub struct Podman<'a> {
    node: &'a Node,
    folder: TempDir,
    program: &'static str,
    apart: Option<Child>,
}

impl<'a> Podman<'a> {
    /// Sets up podman 4 for a node, with the image of the archive.
    pub fn new(cluster: &Cluster, node: &'a Node, behind: &[Value], archive: &Path) -> Self {
        let podman = Self { node, folder: folder(), program: "podman", apart: None };
        podman.configure(cluster, behind, &cni(&podman.path("net.d")));
        podman.load(archive);
        podman
    }

    /// Sets up podman 5, which has made the network. Needs `.ci/install runtimes`.
    pub fn five(cluster: &Cluster, node: &'a Node, behind: &[Value], archive: &Path) -> Self {
        let podman = Self { node, folder: folder(), program: "podman5", apart: None };
        let plugins = podman.path("plugins");
        fs::create_dir(&plugins).expect("make a folder");
        symlink(ours("flatnet"), plugins.join("flatnet")).expect("link the plugin");
        podman.configure(cluster, behind, &netavark(&podman.path("networks"), &plugins));
        podman.create("pods", &format!("conf={}", podman.list().display()));
        podman.load(archive);
        podman
    }

    /// Has it keep its containers' namespaces in a folder of its own, with which they end: of those that it has made when it
    /// is killed podman knows nothing.
    pub fn apart(mut self) -> Self {
        let script = "mount -t tmpfs none /run/netns && echo ready && exec sleep 3600";
        let mut keeper =
            command("unshare", ["--mount", "--propagation", "private", "sh", "-c", script]);
        let mut keeper = keeper.stdout(Stdio::piped()).spawn().expect("start unshare");
        let mut ready = [0; 6];
        keeper.stdout.take().expect("a pipe").read_exact(&mut ready).expect("a mount");
        self.apart = Some(keeper);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The CNI configuration of the cluster's network.
    pub fn list(&self) -> PathBuf {
        self.path("net.d/pods.conflist")
    }

    /// Writes that, and podman's own configuration.
    fn configure(&self, cluster: &Cluster, behind: &[Value], network: &str) {
        ours("flatnet");
        fs::create_dir(self.path("net.d")).expect("make a folder");
        let plugins: Vec<Value> =
            [entry(cluster)].into_iter().chain(behind.iter().cloned()).collect();
        let list = json!({
            "cniVersion": CHAIN_VERSION, "name": cluster.network.name(), "plugins": plugins,
        });
        fs::write(self.list(), list.to_string()).expect("write the list");
        let configuration = format!("{}{network}", engine());
        fs::write(self.path("containers.conf"), configuration).expect("write the configuration");
    }

    fn load(&self, archive: &Path) {
        self.ok(&["load", "-q", "-i", &archive.display().to_string()]);
    }

    /// `podman network create` of a network of flatnet's with this option.
    pub fn create(&self, name: &str, option: &str) {
        self.ok(&["network", "create", "-d", "flatnet", "-o", option, name]);
    }

    /// podman with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut podman = match &self.apart {
            Some(keeper) => {
                let mount = format!("--mount=/proc/{}/ns/mnt", keeper.id());
                command("nsenter", [mount.as_ref(), system(self.program).as_os_str()])
            }
            None => command(self.program, [""; 0]),
        };
        podman.args(["--storage-driver", "overlay", "--root"]);
        podman.arg(self.path("root")).arg("--runroot").arg(self.path("run"));
        podman.arg("--tmpdir").arg(self.path("tmp"));
        podman.args(args).env("CONTAINERS_CONF", self.path("containers.conf"));
        podman.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "true");
        podman
    }

    /// Runs podman with these arguments on the node, whatever its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.node.netns.finish(&mut self.command(args), b"")
    }

    /// Runs podman, asserting success; returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "podman {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// `podman run` of a container that idles, on a network as given.
    pub fn idle(&self, name: &str, network: &str) {
        self.ok(&["run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "3600"]);
    }

    /// One echo request from a container.
    pub fn ping(&self, container: &str, to: IpAddr) {
        self.ok(&["exec", container, "ping", "-c", "1", "-W", "5", &to.to_string()]);
    }

    /// The page that a web server answers with (`10.244.1.7 80`), as a container gets it.
    pub fn get(&self, container: &str, server: &str) -> String {
        let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {server}");
        self.ok(&["exec", container, "sh", "-c", &script])
    }

    /// What `podman inspect` says of a container's attachment to the cluster's network.
    pub fn attachment(&self, container: &str) -> Value {
        let inspected: Value =
            serde_json::from_str(&self.ok(&["inspect", container])).expect("JSON");
        inspected[0]["NetworkSettings"]["Networks"][self.node.network.name()].clone()
    }

    /// A container's addresses there, as podman tells them: the IPv4 address, then the IPv6 address.
    pub fn addresses(&self, container: &str) -> [IpAddr; 2] {
        let attachment = self.attachment(container);
        ["IPAddress", "GlobalIPv6Address"].map(|key| {
            let text = attachment[key].as_str().unwrap_or_default();
            text.parse().unwrap_or_else(|error| panic!("{container}: {error}: {attachment}"))
        })
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
        if let Some(mut keeper) = self.apart.take() {
            drop(keeper.kill());
            drop(keeper.wait());
        }
        // podman's namespaces are not below its folder; a lease that is still there names one.
        for path in leases.iter().filter_map(|lease| lease["sandbox"].as_str()) {
            let name = path.trim_start_matches("/var").trim_start_matches("/run/netns/");
            if name.starts_with("cni-") || name.starts_with("netns-") {
                let _ = umount2(path, MntFlags::MNT_DETACH);
                drop(fs::remove_file(path));
            }
        }
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("ftest-").tempdir().expect("a folder")
}

/// No default_network: a bad configuration of that name is replaced by a bridge in silence.
fn cni(net_d: &Path) -> String {
    let plugin_dirs: [PathBuf; 2] = [bin_dir(), reference_plugins()];
    format!(
        r#"[network]
network_backend = "cni"
cni_plugin_dirs = {plugin_dirs:?}
network_config_dir = {net_d:?}
"#
    )
}

/// What netavark makes of the firewall is for bridges. Our build of podman 5 has no seccomp, which is a C library; and it
/// lets no container ping if it is not told so.
fn netavark(networks: &Path, plugins: &Path) -> String {
    format!(
        r#"seccomp_profile = "unconfined"
default_capabilities = ["DAC_OVERRIDE", "KILL", "NET_BIND_SERVICE", "NET_RAW"]
[network]
network_backend = "netavark"
netavark_plugin_dirs = [{plugins:?}]
network_config_dir = {networks:?}
firewall_driver = "none"
"#
    )
}

/// Where CAP_SYS_RESOURCE is missing podman's default limits cannot be set. The last section is that of containers.
fn engine() -> String {
    format!(
        r#"[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
helper_binaries_dir = [{tools:?}]
[engine.runtimes]
runc = [{runc:?}]
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"#,
        tools = workspace().join("target/tools"),
        runc = system("runc"),
    )
}
