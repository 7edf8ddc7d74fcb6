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
use crate::plan::addresses;
use crate::tools;

/// The last part of the first member's address.
const FIRST: u8 = 101;
/// What is said while members choose a leader, as they may at any time on a machine that is busy: it is asked again.
const NO_LEADER: [&str; 4] = [
    "etcdserver: leader changed",
    "etcdserver: no leader",
    "etcdserver: not leader",
    "etcdserver: request timed out",
];

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
        let host = |name: &str, number| cluster.host_called(name, v4(number));
        Self::on(&cluster.folder().join("etcd"), host, options)
    }

    /// The same on hosts that are made for them, each by its name and the number of its address.
    pub fn on(folder: &Path, host: impl Fn(&str, u8) -> Netns, options: &[&str]) -> Self {
        let numbers = [0, 1, 2].map(|n| FIRST + n);
        let certificates = Certificates::new(&folder.join("pki"), &numbers.map(v4));
        certificates.client("agent");
        let member = |number: u8| {
            let name = format!("etcd-{}", number - FIRST);
            Member {
                netns: host(&name, number),
                name,
                address: v4(number),
                options: options.iter().map(|&option| option.to_owned()).collect(),
                daemon: None,
            }
        };
        let members = numbers.map(member).into();
        let mut etcd = Self { certificates, members, folder: folder.to_owned() };
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

    /// What each member says of itself.
    pub fn status(&self) -> Vec<Value> {
        let text = self.ctl(&["endpoint", "status", "--write-out=json"]);
        let all: Vec<Value> = serde_json::from_str(&text).expect("a status of each member");
        all.into_iter().map(|member| member["Status"].clone()).collect()
    }

    /// Which member leads.
    pub fn leader(&self) -> usize {
        let leads = |status: &Value| status["leader"] == status["header"]["member_id"];
        until("leader", || self.status().iter().position(leads).ok_or_else(|| "none".to_owned()))
    }

    /// The places of all files of a member.
    pub fn data(&self, index: usize) -> PathBuf {
        data(&self.folder, &self.members[index].name)
    }

    /// Where it is asked, as `--endpoints` has it.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(Member::client).collect::<Vec<_>>().join(",")
    }

    /// The options that tell an agent where it is, and who asks.
    pub fn access(&self) -> Vec<String> {
        let file = |name| self.certificates.file(name);
        let options = [
            ("--endpoints", self.endpoints()),
            ("--cacert", file("ca.crt")),
            ("--cert", file("agent.crt")),
            ("--key", file("agent.key")),
        ];
        options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }

    /// The addresses of its members.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// `etcdctl`, as `agent`.
    pub fn ctl(&self, args: &[&str]) -> String {
        self.ctl_with(args, b"")
    }

    /// The same, which reads this.
    pub fn ctl_with(&self, args: &[&str], stdin: &[u8]) -> String {
        let done = self.called("agent", args, stdin);
        done.unwrap_or_else(|error| panic!("etcdctl {args:?}: {error}"))
    }

    /// The same, whatever its end.
    pub fn try_ctl(&self, args: &[&str]) -> Result<String, String> {
        self.try_ctl_as("agent", args)
    }

    /// `etcdctl`, with the certificate of another.
    pub fn try_ctl_as(&self, user: &str, args: &[&str]) -> Result<String, String> {
        self.called(user, args, b"")
    }

    fn called(&self, user: &str, args: &[&str], stdin: &[u8]) -> Result<String, String> {
        let call = || {
            let mut ctl = command("etcdctl", args);
            ctl.envs(self.variables(user));
            let output = self.members[0].netns.run(|| finish(&mut ctl, stdin));
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => Err(said(&output)),
            }
        };
        until("leader of etcd", || match call() {
            Err(error) if NO_LEADER.iter().any(|words| error.contains(words)) => Err(error),
            done => Ok(done),
        })
    }

    /// What `etcdctl` finds in its environment, with the certificate of a user.
    pub fn variables(&self, user: &str) -> [(&'static str, String); 7] {
        let file = |name: &str| self.certificates.file(name);
        [
            ("ETCDCTL_API", "3".to_owned()),
            // By default it gives up after two seconds, and after five.
            ("ETCDCTL_DIAL_TIMEOUT", "30s".to_owned()),
            ("ETCDCTL_COMMAND_TIMEOUT", "60s".to_owned()),
            ("ETCDCTL_ENDPOINTS", self.endpoints()),
            ("ETCDCTL_CACERT", file("ca.crt")),
            ("ETCDCTL_CERT", file(&format!("{user}.crt"))),
            ("ETCDCTL_KEY", file(&format!("{user}.key"))),
        ]
    }

    /// The lease that a key hangs on; 0 if none.
    pub fn lease_of(&self, key: &str) -> i64 {
        let text = self.ctl(&["get", key, "--write-out=json"]);
        let answer: Value = serde_json::from_str(&text).expect("an answer");
        answer["kvs"][0]["lease"].as_i64().unwrap_or_default()
    }

    /// All keys below a prefix with their values.
    pub fn keys(&self, prefix: &str) -> Vec<(String, String)> {
        let text = self.ctl(&["get", "--prefix", prefix]);
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }
}

fn v4(number: u8) -> IpAddr {
    let [v4, _] = addresses(number);
    v4
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
