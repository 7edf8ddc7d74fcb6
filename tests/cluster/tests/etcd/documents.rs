//! The commands of docs/etcd.md, on three machines.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_cluster::daemon::Daemon;
use flatnet_cluster::machine::{Machine, PATH};
use flatnet_cluster::patience::until;
use flatnet_cluster::tools;
use flatnet_tests::carrier::Carrier;
use flatnet_tests::cluster::Cluster;
use flatnet_tests::document::{Block, blocks};
use flatnet_tests::program::{said, workspace};

/// What the document says of the first machine, said of another.
fn of_machine(text: &str, number: u8) -> String {
    text.replace("etcd-1 -", &format!("etcd-{number} -"))
        .replace("etcd-1.", &format!("etcd-{number}."))
        .replace("-urls https://192.168.50.1:", &format!("-urls https://192.168.50.{number}:"))
        .replace("node-1", &format!("node-{number}"))
        .replace("--vtep 192.168.50.1", &format!("--vtep 192.168.50.{number}"))
}

/// One of three machines, with the folder in which the commands are called.
struct Host {
    // Ended before their machine.
    daemons: Vec<Daemon>,
    machine: Machine,
    number: u8,
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

impl Host {
    fn new(cluster: &Cluster, number: u8) -> Self {
        let name = format!("machine-{number}");
        let folder = cluster.folder().join(&name);
        Machine::prepare(&name, &folder);
        // What openssl reads.
        fs::create_dir_all(folder.join("etc/ssl")).expect("a folder");
        fs::copy("/etc/ssl/openssl.cnf", folder.join("etc/ssl/openssl.cnf")).expect("a file");
        // As Debian's package of the reference plugins has it.
        let portmap = "opt/cni/bin/portmap";
        fs::copy(tools::plugins().join("portmap"), folder.join(portmap)).expect("a plugin");
        let machine = Machine::boot(&name, &folder);
        let address = IpAddr::from([192, 168, 50, number]);
        Carrier::Cable.connect(&machine.netns, &cluster.underlay, &name, 1500, address);
        let folder = cluster.folder().join("shared");
        fs::create_dir_all(&folder).expect("a folder");
        Self { daemons: Vec::new(), machine, number, folder, variables: Vec::new() }
    }

    fn shell(&self, text: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.args(["-ec", &of_machine(text, self.number)]).current_dir(&self.folder);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        // A busy disk would have members choose a leader again and again, and etcdctl give up after some seconds. What
        // they store need not outlive this machine's crash.
        let patient = [
            ("ETCD_UNSAFE_NO_FSYNC", "true"),
            ("ETCDCTL_DIAL_TIMEOUT", "30s"),
            ("ETCDCTL_COMMAND_TIMEOUT", "60s"),
        ];
        shell.env("PATH", PATH).env("ETCDCTL_API", "3").envs(patient).envs(variables);
        shell
    }

    fn run(&self, text: &str) -> String {
        let output = self.machine.finish(&mut self.shell(text));
        assert!(output.status.success(), "machine {}: {text}: {}", self.number, said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn start(&mut self, name: &str, text: &str, folder: &Path) {
        let name = format!("{name}-{}", self.number);
        // So that it is the program that is ended with it.
        let text = format!("exec {}", text.trim_start());
        let mut shell = self.shell(&text);
        self.daemons.push(self.machine.run(|| Daemon::start(&name, folder, &mut shell)));
    }
}

/// What etcd says is in the kernel a moment later.
fn until_all_is_well(hosts: &[Host]) {
    for host in hosts {
        until("a machine that is well", || {
            let output = host.machine.finish(&mut host.shell("flatnet status && flatnet doctor"));
            if output.status.success() { Ok(()) } else { Err(said(&output)) }
        });
    }
}

#[test]
fn three_machines_from_nothing() {
    let document = blocks(&workspace().join("docs/etcd.md"));
    let block = |words: &str| {
        let found = document.iter().find(|block: &&Block| block.text.contains(words));
        found.map(|block| block.text.clone()).unwrap_or_else(|| panic!("no block of {words}"))
    };
    let cluster = Cluster::new(0);
    let mut hosts: Vec<Host> = (1..=3).map(|number| Host::new(&cluster, number)).collect();
    hosts[0].run(&block("-subj /CN=etcd-ca"));
    fs::write(hosts[0].folder.join("network.json"), block("\"clusterCIDRs\"")).expect("write it");
    for host in &mut hosts {
        // Every machine has a disk of its own in the document.
        let data = format!("/var/lib/etcd-{}", host.number);
        host.start(
            "etcd",
            &block("--client-cert-auth").replace("/var/lib/etcd/flatnet", &data),
            cluster.folder(),
        );
        for line in block("OPTIONS=").lines() {
            let line = of_machine(line, host.number).replace("/etc/flatnet/etcd/", "");
            let (name, value) = line.split_once('=').expect("a variable");
            host.variables.push((name.to_owned(), value.to_owned()));
        }
    }
    let root = [("ETCDCTL_CERT", "root.crt"), ("ETCDCTL_KEY", "root.key")];
    let administer = |host: &Host, text: &str| {
        let mut shell = host.shell(text);
        host.machine.finish(shell.envs(root))
    };
    until("etcd", || match administer(&hosts[0], "etcdctl endpoint health") {
        output if output.status.success() => Ok(()),
        output => Err(said(&output)),
    });
    let output = administer(&hosts[0], &block("etcdctl auth enable"));
    assert!(output.status.success(), "{}", said(&output));

    for host in &mut hosts {
        host.start("agent", &block("etcd --network network.json --node"), cluster.folder());
    }
    for host in &hosts {
        until("configuration", || {
            let list =
                host.machine.finish(Command::new("ls").arg("/etc/cni/net.d/10-pods.conflist"));
            let log = cluster.folder().join(format!("agent-{}.log", host.number));
            let log = || fs::read_to_string(log).unwrap_or_default();
            if list.status.success() { Ok(()) } else { Err(log()) }
        });
    }
    until("all nodes", || {
        // It fails as long as something is wrong.
        let text = said(&hosts[0].machine.finish(&mut hosts[0].shell(&block("etcd list"))));
        let all = ["node-1", "node-2", "node-3", "nothing wrong"];
        if all.iter().all(|words| text.contains(words)) { Ok(()) } else { Err(text) }
    });
    until_all_is_well(&hosts);

    // A snapshot, and what has come since, which is lost but for what agents write again.
    let output = administer(&hosts[0], &block("snapshot save"));
    assert!(output.status.success(), "{}", said(&output));
    let late = "etcdctl put /flatnet/pods/nodes/late '{\"vtep\":\"192.168.50.9\"}'";
    assert!(administer(&hosts[0], late).status.success());
    // etcd was the first on each.
    hosts.iter_mut().for_each(|host| drop(host.daemons.remove(0)));
    for host in &mut hosts {
        let data = format!("/var/lib/etcd-{}", host.number);
        let on_disk = |text: String| text.replace("/var/lib/etcd/flatnet", &data);
        host.run(&on_disk(block("snapshot restore")));
        host.start("etcd", &on_disk(block("--client-cert-auth")), cluster.folder());
    }
    until("nodes of the snapshot", || {
        let table = administer(&hosts[0], &block("etcd list"));
        let text = said(&table);
        let all = ["node-1", "node-2", "node-3", "nothing wrong"];
        match all.iter().all(|words| text.contains(words)) && !text.contains("late") {
            true => Ok(()),
            false => Err(text),
        }
    });
    until_all_is_well(&hosts);
}
