//! The members of an etcd, each in a network namespace of its own.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::netns::Netns;
use flatnet_tests::program::{command, finish, said};
use serde_json::Value;

use super::certificates::Certificates;
use crate::daemon::Daemon;
use crate::patience::until;
use crate::tools;

/// The last part of the first member's address.
const FIRST: u8 = 101;

/// Three members.
#[derive(Debug)]
pub struct Etcd {
    /// Who may be asked for certificates; `agent` has one, and is a user.
    pub certificates: Certificates,
    members: Vec<Member>,
    folder: PathBuf,
}

#[derive(Debug)]
struct Member {
    netns: Netns,
    name: String,
    address: IpAddr,
    options: Vec<String>,
    daemon: Option<Daemon>,
}

impl Etcd {
    /// Starts three members on the underlay of a cluster, with these further options each. They answer when this
    /// returns.
    pub fn start(cluster: &Cluster, options: &[&str]) -> Self {
        let folder = cluster.folder().join("etcd");
        let addresses = [0, 1, 2].map(|n| IpAddr::from([192, 168, 50, FIRST + n]));
        let certificates = Certificates::new(&folder.join("pki"), &addresses);
        certificates.client("agent");
        let member = |(number, address): (usize, IpAddr)| Member {
            netns: cluster.host_called(&format!("etcd-{number}"), address),
            name: format!("etcd-{number}"),
            address,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            daemon: None,
        };
        let members = addresses.into_iter().enumerate().map(member).collect();
        let mut etcd = Self { certificates, members, folder };
        for index in 0..3 {
            etcd.start_member(index);
        }
        etcd.until_it_answers();
        etcd
    }

    /// Waits until it answers.
    pub fn until_it_answers(&self) {
        until("etcd", || self.try_ctl(&["endpoint", "health"]));
    }

    /// Starts a member, with what it has on its disk.
    pub fn start_member(&mut self, index: usize) {
        let peers: Vec<_> =
            self.members.iter().map(|m| format!("{}={}", m.name, m.peer())).collect();
        let files = ["server.crt", "server.key", "ca.crt"].map(|name| self.certificates.file(name));
        let member = &mut self.members[index];
        let [cert, key, ca] = files;
        let mut etcd = Command::new(tools::kubernetes().join("etcd"));
        for (option, value) in [
            ("name", member.name.clone()),
            ("data-dir", data(&self.folder, &member.name).display().to_string()),
            ("listen-client-urls", member.client()),
            ("advertise-client-urls", member.client()),
            ("listen-peer-urls", member.peer()),
            ("initial-advertise-peer-urls", member.peer()),
            ("initial-cluster", peers.join(",")),
            ("cert-file", cert),
            ("key-file", key),
            ("trusted-ca-file", ca),
            ("heartbeat-interval", "50".to_owned()),
            ("election-timeout", "500".to_owned()),
        ] {
            etcd.arg(format!("--{option}={value}"));
        }
        // What it stores need not outlive this machine's crash.
        etcd.args(["--client-cert-auth", "--unsafe-no-fsync"]).args(&member.options);
        let (name, folder) = (&member.name, &self.folder);
        member.daemon = Some(member.netns.run(|| Daemon::start(name, folder, &mut etcd)));
    }

    /// Kills a member.
    pub fn kill_member(&mut self, index: usize) {
        drop(self.members[index].daemon.take().expect("a running member"));
    }

    /// Which member leads.
    pub fn leader(&self) -> usize {
        let text = self.ctl(&["endpoint", "status", "--write-out=json"]);
        let all: Vec<Value> = serde_json::from_str(&text).expect("a status of each member");
        let status = |status: &Value| status["Status"].clone();
        let leads = |s: &Value| status(s)["leader"] == status(s)["header"]["member_id"];
        all.iter().position(leads).expect("a leader")
    }

    /// The places of all files of a member.
    pub fn data(&self, index: usize) -> PathBuf {
        data(&self.folder, &self.members[index].name)
    }

    /// Where it is asked, as `--endpoints` has it.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(Member::client).collect::<Vec<_>>().join(",")
    }

    /// The addresses of its members.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// `etcdctl`, as `agent`.
    pub fn ctl(&self, args: &[&str]) -> String {
        self.try_ctl(args).unwrap_or_else(|error| panic!("etcdctl {args:?}: {error}"))
    }

    /// The same, whatever its end.
    pub fn try_ctl(&self, args: &[&str]) -> Result<String, String> {
        self.try_ctl_as("agent", args)
    }

    /// `etcdctl`, with the certificate of another.
    pub fn try_ctl_as(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let mut ctl = command("etcdctl", args);
        ctl.env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", self.endpoints());
        for (variable, file) in [
            ("ETCDCTL_CACERT", "ca.crt".to_owned()),
            ("ETCDCTL_CERT", format!("{user}.crt")),
            ("ETCDCTL_KEY", format!("{user}.key")),
        ] {
            ctl.env(variable, self.certificates.file(&file));
        }
        let output = self.members[0].netns.run(|| finish(&mut ctl, b""));
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(said(&output)),
        }
    }

    /// All keys below a prefix with their values.
    pub fn keys(&self, prefix: &str) -> Vec<(String, String)> {
        let text = self.ctl(&["get", "--prefix", prefix]);
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }
}

fn data(folder: &Path, name: &str) -> PathBuf {
    let data = folder.join(format!("{name}.data"));
    fs::create_dir_all(&data).expect("a folder of a member");
    data
}

impl Member {
    fn client(&self) -> String {
        format!("https://{}:2379", self.address)
    }

    fn peer(&self) -> String {
        format!("http://{}:2380", self.address)
    }
}
