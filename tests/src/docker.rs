//! flatnet's driver on a node, under a name of its own, by which the daemon beside it finds the socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::dockerd::Daemon;
use crate::image::archive;
use crate::node::Node;
use crate::program::ours;
use crate::wait::wait_for;
use crate::{cli, kernel};

/// Where Docker looks for the sockets of drivers.
const PLUGINS: &str = "/run/docker/plugins";

/// The driver on a node.
#[derive(Debug)]
pub struct Driver<'a> {
    /// Where it is.
    pub node: &'a Node,
    /// What Docker calls it by.
    pub name: String,
    /// The folder of its configurations.
    pub conf_dir: PathBuf,
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

    /// Puts another configuration beside that of the node's network.
    pub fn configure(&self, name: &str, plugins: &Value) {
        let list = json!({ "cniVersion": "1.0.0", "name": name, "plugins": plugins });
        let file = self.conf_dir.join(format!("20-{name}.conflist"));
        fs::write(file, list.to_string()).expect("write a configuration");
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
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

/// An endpoint's calls, as Docker makes them.
#[derive(Debug)]
pub struct Calls<'a> {
    /// Whom they are made to.
    pub driver: Driver<'a>,
    /// That of the container's interface.
    pub mac: &'static str,
    endpoint: String,
}

impl<'a> Calls<'a> {
    /// Those of one endpoint.
    pub fn by(driver: Driver<'a>) -> Self {
        Self { driver, mac: "02:42:0a:00:00:07", endpoint: "3f".repeat(32) }
    }

    /// Asks for an address; `None` if the driver ended before it answered.
    pub fn address(&self) -> Option<String> {
        let options = json!({ "com.docker.network.endpoint.macaddress": self.mac });
        let body = json!({ "PoolID": "pods/4", "Address": "", "Options": options });
        let answer = self.driver.call("IpamDriver.RequestAddress", &body)?;
        let address = answer["Address"].as_str().unwrap_or_else(|| panic!("{answer}"));
        Some(address.to_owned())
    }

    /// A call about the endpoint, with more beside its ID.
    pub fn endpoint(&self, method: &str, more: Value) -> Option<Value> {
        let mut body = json!({ "NetworkID": "n", "EndpointID": self.endpoint });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("more").clone());
        let answer = self.driver.call(&format!("NetworkDriver.{method}"), &body)?;
        assert!(answer.get("Err").is_none(), "{method}: {answer}");
        Some(answer)
    }

    /// Has it made with this address.
    pub fn create(&self, address: &str) -> Option<Value> {
        let interface = json!({ "Address": address, "AddressIPv6": "", "MacAddress": self.mac });
        self.endpoint("CreateEndpoint", json!({ "Interface": interface, "Options": {} }))
    }

    /// Has it removed.
    pub fn delete(&self) -> Option<Value> {
        self.endpoint("DeleteEndpoint", json!({}))
    }
}

/// A running daemon with its driver.
#[derive(Debug)]
pub struct Docker<'a> {
    daemon: Daemon<'a>,
    /// The driver of its networks.
    pub driver: Driver<'a>,
}

impl<'a> Docker<'a> {
    /// Starts both on a node with the image of the archive, and makes the network `pods`, of both families.
    pub fn start(cluster: &Cluster, node: &'a Node, behind: &[Value], archive: &Path) -> Self {
        let driver = Driver::start(node, behind);
        let docker = Self { daemon: Daemon::start(node, archive, true), driver };
        docker.create(
            "pods",
            &["--ipv6", "--subnet", "10.244.0.0/16", "--subnet", "fd00:10:244::/56"],
        );
        assert!(cluster.network.name() == "pods", "the cluster's network is made");
        docker
    }

    /// Starts one on each node of a cluster.
    pub fn everywhere(cluster: &'a Cluster, behind: &[Value]) -> Vec<Self> {
        let image = archive(cluster.folder());
        cluster.nodes.iter().map(|node| Self::start(cluster, node, behind, &image)).collect()
    }

    /// `docker network create` with our driver.
    pub fn create(&self, name: &str, more: &[&str]) {
        let driver = self.driver.name.as_str();
        let create = ["network", "create", "-d", driver, "--ipam-driver", driver];
        self.ok(&[&create[..], more, &[name]].concat());
    }
}

impl<'a> Deref for Docker<'a> {
    type Target = Daemon<'a>;

    fn deref(&self) -> &Daemon<'a> {
        &self.daemon
    }
}

impl DerefMut for Docker<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.daemon
    }
}

/// How many ends of veth pairs are on a node.
pub fn veths(node: &Node) -> usize {
    let is_ours = |name: &&String| name.starts_with("veth") || name.starts_with("pod");
    kernel::link_names(&node.netns).iter().filter(is_ours).count()
}

/// Asserts that nothing of containers is left on a node, within a moment: a namespace goes behind its last process.
pub fn assert_clean(node: &Node) {
    wait_for("the veths to go", || (veths(node) == 0).then_some(()));
    node.assert_no_attachment();
}
