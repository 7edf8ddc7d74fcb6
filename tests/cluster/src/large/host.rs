//! A node that is measured: its network namespace, the daemon that runs there, and what both have used.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flatnet_cluster::daemon::Daemon;
use flatnet_cluster::patience::until;
use flatnet_cluster::plan::addresses;
use flatnet_tests::netns::Netns;
use nix::time::clock_getcpuclockid;

use super::ground::Ground;

/// One node.
pub struct Host {
    /// Its network.
    pub netns: Netns,
    /// The folder of its files.
    pub folder: PathBuf,
    daemon: Option<Daemon>,
}

impl Host {
    /// A node with the underlay address of a number. From now on it counts what comes from these servers.
    pub fn new(ground: &Ground, name: &str, number: u8, servers: &[IpAddr]) -> Self {
        let folder = ground.folder().join(name);
        fs::create_dir_all(&folder).expect("a folder for a node");
        let netns = Netns::new(name);
        ground.underlay.connect(&netns, name, number);
        for line in [
            "add table ip count",
            "add counter ip count received",
            "add chain ip count incoming { type filter hook prerouting priority -400; }",
        ] {
            netns.exec(&format!("nft {line}"));
        }
        for server in servers {
            let rule = format!("ip saddr {server} counter name received");
            netns.exec(&format!("nft add rule ip count incoming {rule}"));
        }
        Self { netns, folder, daemon: None }
    }

    /// Its address on the underlay, by its number.
    pub fn address(number: u8) -> std::net::Ipv4Addr {
        match addresses(number) {
            [IpAddr::V4(address), _] => address,
            other => unreachable!("{other:?}"),
        }
    }

    /// Starts its daemon.
    pub fn start(&mut self, name: &str, command: &mut Command) {
        let folder: &Path = &self.folder;
        self.daemon = Some(self.netns.run(|| Daemon::start(name, folder, command)));
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop();
        }
    }

    /// Waits until it has routes to so many peers.
    pub fn until_routes(&mut self, peers: u32) {
        until("routes to all peers", || {
            self.daemon.as_mut().ok_or("no daemon")?.check()?;
            let routes = self.netns.exec("ip -4 route show");
            let routes = routes.lines().filter(|line| line.contains("/24 via ")).count();
            if routes >= peers as usize { Ok(()) } else { Err(format!("{routes} of {peers}")) }
        });
    }

    /// Bytes of all packets that came from the servers.
    pub fn received(&self) -> f64 {
        let text = self.netns.exec("nft list counter ip count received");
        let mut words = text.split_whitespace().skip_while(|word| *word != "bytes");
        words
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no count: {text}"))
    }

    /// What its daemon has used of a CPU, with all its threads.
    pub fn cpu(&self) -> Duration {
        let clock = clock_getcpuclockid(self.pid()).expect("a clock of the process");
        clock.now().expect("its time").into()
    }

    /// The most memory its daemon ever had, in MiB.
    pub fn peak_memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let words = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        words.expect("kibibytes") / 1024.0
    }

    fn pid(&self) -> nix::unistd::Pid {
        self.daemon.as_ref().expect("a running daemon").pid()
    }
}

/// The largest of something that each host has.
pub fn worst(hosts: &[&Host], of: impl Fn(&Host) -> f64) -> f64 {
    worst_of(hosts.iter().map(|host| of(host)))
}

/// The largest of some values.
pub fn worst_of(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}
