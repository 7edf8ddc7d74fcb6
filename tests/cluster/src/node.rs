//! A node: a machine on the underlay, and the programs that make it Kubernetes'.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flatnet_tests::fast_path::Status;
use flatnet_tests::netns::inside;
use flatnet_tests::program::said;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::kube_proxy::Mode;
use crate::machine::{Machine, PATH};
use crate::pki::Pki;
use crate::plan::addresses;
use crate::underlay::Underlay;
use crate::{containerd, kube_proxy, kubelet};

/// What runs on a node.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The container runtime.
    Containerd,
    /// What makes pods of what the API server says.
    Kubelet,
    /// What makes services of it.
    KubeProxy,
    /// `flatnet sync --watch`, as the service `flatnet-sync` runs it.
    Sync,
}

/// A node of a cluster.
#[derive(Debug)]
pub struct Node {
    /// Its name, also as Kubernetes has it.
    pub name: String,
    number: u8,
    folder: PathBuf,
    // Ended one after the other when dropped, before the machine is.
    programs: BTreeMap<Program, Daemon>,
    machine: Option<Machine>,
}

impl Node {
    /// Node `number` (from 1) with its containerd running; the kubelet is prepared.
    pub fn start(number: u8, folder: &Path, underlay: &Underlay, images: &[PathBuf]) -> Self {
        let name = name(number);
        let folder = folder.join(&name);
        Machine::prepare(&name, &folder);
        containerd::configure(&folder);
        let programs = BTreeMap::new();
        let mut node = Self { name, number, folder, programs, machine: None };
        node.boot(underlay);
        node.start_program(Program::Containerd);
        for archive in images {
            containerd::import(node.machine(), archive);
        }
        node
    }

    /// Writes what kubelet and kube-proxy need.
    pub fn configure(&self, pki: &Pki, mode: Mode) {
        kubelet::configure(&self.name, &self.folder, pki);
        kube_proxy::configure(&self.name, &self.folder, pki, mode);
    }

    fn boot(&mut self, underlay: &Underlay) {
        let machine = Machine::boot(&self.name, &self.folder);
        underlay.connect(&machine.netns, &self.name, self.number);
        self.machine = Some(machine);
    }

    /// Its namespaces.
    pub fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("a machine that runs")
    }

    /// Its underlay addresses, IPv4 first.
    pub fn addresses(&self) -> [IpAddr; 2] {
        addresses(self.number)
    }

    /// A file of its own, by its place on the node's disk.
    pub fn file(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Runs the `flatnet` that is installed on it, as its administrator does.
    pub fn flatnet(&self, words: &[&str]) -> Output {
        let mut command = Command::new("/opt/cni/bin/flatnet");
        command.env_clear().env("PATH", PATH).args(words);
        self.machine().finish(&mut command)
    }

    /// Runs `work` in the network of the pod that has an address: what it opens there is the pod's.
    pub fn in_pod<T: Send>(&self, address: IpAddr, work: impl FnOnce() -> T + Send) -> T {
        let output = self.flatnet(&["list", "--json"]);
        let list: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.name, said(&output)));
        let has = |attachment: &&Value| {
            let addresses = attachment["addresses"].as_array().into_iter().flatten();
            addresses.filter_map(Value::as_str).any(|other| other == address.to_string())
        };
        let attachments = list["attachments"].as_array().into_iter().flatten();
        let sandbox = attachments.filter(has).find_map(|attachment| attachment["sandbox"].as_str());
        let sandbox = sandbox.unwrap_or_else(|| panic!("{}: no {address} in {list}", self.name));
        self.machine().run(|| inside(sandbox.as_ref(), work))
    }

    /// Starts one of its programs. Those that others need answer when this returns.
    pub fn start_program(&mut self, program: Program) {
        let machine = self.machine();
        let (name, mut command) = match program {
            Program::Containerd => ("containerd", containerd::command()),
            Program::Kubelet => {
                let cgroup = machine.cgroup.path();
                let addresses = self.addresses();
                ("kubelet", kubelet::command(&self.name, &self.folder, &cgroup, addresses))
            }
            Program::KubeProxy => ("kube-proxy", kube_proxy::command()),
            Program::Sync => ("flatnet-sync", sync()),
        };
        let mut daemon = machine.run(|| Daemon::start(name, &self.folder, &mut command));
        match program {
            Program::Containerd => containerd::wait(machine, &mut daemon),
            Program::Kubelet => kubelet::wait(machine, &mut daemon),
            Program::KubeProxy | Program::Sync => {}
        }
        self.programs.insert(program, daemon);
    }

    /// Kills one of its programs, as an out-of-memory killer would.
    pub fn kill_program(&mut self, program: Program) {
        let daemon = self.programs.remove(&program);
        drop(daemon.unwrap_or_else(|| panic!("{}: no {program:?} runs", self.name)));
    }

    /// Takes its power away and gives it back: processes, /run and all that the kernel kept are gone.
    pub fn reboot(&mut self, underlay: &Underlay) {
        let running: Vec<Program> = self.programs.keys().copied().collect();
        self.power_off();
        underlay.unplug(&self.name);
        self.boot(underlay);
        for program in running {
            self.start_program(program);
        }
    }

    fn power_off(&mut self) {
        self.programs.clear();
        self.machine = None;
    }
}

impl Status for Node {
    fn status(&self) -> Output {
        self.flatnet(&["status", "--json"])
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// `node-a` is the first.
pub fn name(number: u8) -> String {
    format!("node-{}", char::from(b'a' + number - 1))
}

fn sync() -> Command {
    let mut command = Command::new("/opt/cni/bin/flatnet");
    command.env_clear().env("PATH", PATH).args(["sync", "--watch"]);
    command
}
