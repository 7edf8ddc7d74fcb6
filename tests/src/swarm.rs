//! Docker's daemons of several nodes in one Swarm, with our driver as a managed plugin of each. Needs
//! `.ci/install runtimes`.

use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;

use crate::cli;
use crate::cluster::Cluster;
use crate::dockerd::Daemon;
use crate::image::{IMAGE, archive};
use crate::program::{bin_dir, finish, said, workspace};
use crate::wait::wait_for;

/// What the plugin is called.
pub const PLUGIN: &str = "flatnet:latest";
/// The network that is a node's own, of which the Swarm's takes all but the name.
const HERE: &str = "pods-here";

/// A container of a service.
#[derive(Clone, Debug)]
pub struct Task {
    /// The node that it is on, by its index.
    pub node: usize,
    /// The container's ID.
    pub id: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

/// The daemons, the first of which is the manager.
#[derive(Debug)]
pub struct Swarm<'a> {
    cluster: &'a Cluster,
    /// A daemon for each node.
    pub daemons: Vec<Daemon<'a>>,
}

impl<'a> Swarm<'a> {
    /// Starts them, and makes a network `pods` of services.
    pub fn start(cluster: &'a Cluster, behind: &[Value]) -> Self {
        let image = archive(cluster.folder());
        let daemons = cluster.nodes.iter().map(|node| Daemon::start(node, &image, false));
        let swarm = Self { cluster, daemons: daemons.collect() };
        for (index, daemon) in swarm.daemons.iter().enumerate() {
            swarm.install(index, behind);
            let family = ["--ipv6", "--subnet", "10.244.0.0/16", "--subnet", "fd00:10:244::/56"];
            let create = ["network", "create", "--config-only", "--ipam-driver", PLUGIN];
            daemon.ok(&[&create[..], &family, &[HERE]].concat());
        }
        swarm.join();
        let create = ["network", "create", "-d", PLUGIN, "--scope", "swarm", "--config-from", HERE];
        swarm.daemons[0].ok(&[&create[..], &["--attachable", "pods"]].concat());
        swarm
    }

    /// Puts the plugin on a node.
    fn install(&self, index: usize, behind: &[Value]) {
        let daemon = &self.daemons[index];
        let folder = daemon.folder().join("plugin");
        let mut build = Command::new(workspace().join("packaging/docker-plugin/build"));
        build.arg(&folder).env("BIN", bin_dir());
        let built = finish(&mut build, b"");
        assert!(built.status.success(), "{}", said(&built));
        daemon.ok(&["plugin", "create", PLUGIN, &folder.display().to_string()]);
        let conf_dir = cli::conf_dir(&self.cluster.nodes[index], behind);
        let args = format!("args=--conf-dir={}", conf_dir.display());
        daemon.ok(&["plugin", "set", PLUGIN, &args]);
        daemon.ok(&["plugin", "enable", PLUGIN]);
    }

    fn join(&self) {
        let place = |index: usize| self.cluster.nodes[index].vtep.to_string();
        let here = |index| {
            [
                format!("--advertise-addr={}", place(index)),
                format!("--listen-addr={}:2377", place(index)),
            ]
        };
        let [advertise, listen] = here(0);
        self.daemons[0].ok(&["swarm", "init", &advertise, &listen]);
        let token = self.daemons[0].ok(&["swarm", "join-token", "-q", "worker"]);
        let manager = format!("{}:2377", place(0));
        for index in 1..self.daemons.len() {
            let [advertise, listen] = here(index);
            let join = ["swarm", "join", "--token", &token, &advertise, &listen, &manager];
            self.daemons[index].ok(&join);
        }
    }

    /// `docker service create` of a service that idles.
    pub fn serve(&self, name: &str, more: &[&str]) {
        let create = ["service", "create", "--detach", "--no-resolve-image", "--name", name];
        let network =
            ["--network", "pods", "--endpoint-mode", "dnsrr", "--stop-grace-period", "0s"];
        let runs = [IMAGE, "sleep", "3600"];
        self.daemons[0].ok(&[&create[..], &network, more, &runs].concat());
    }

    /// The containers of a service, which are to be so many.
    pub fn tasks(&self, service: &str, number: usize) -> Vec<Task> {
        wait_for(&format!("{number} tasks of {service}"), || {
            let found: Vec<Task> =
                (0..self.daemons.len()).flat_map(|node| self.tasks_on(node, service)).collect();
            (found.len() == number).then_some(found)
        })
    }

    fn tasks_on(&self, node: usize, service: &str) -> Vec<Task> {
        let daemon = &self.daemons[node];
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let ids = daemon.ok(&["ps", "-q", "--no-trunc", "--filter", &filter]);
        let task = |id: &str| {
            let addresses = daemon.addresses(id, "pods");
            Task { node, id: id.to_owned(), addresses }
        };
        ids.lines().map(task).collect()
    }

    /// What the manager says of a service's tasks, for a failure message.
    pub fn told(&self, service: &str) -> String {
        self.daemons[0].ok(&["service", "ps", "--no-trunc", service])
    }
}
