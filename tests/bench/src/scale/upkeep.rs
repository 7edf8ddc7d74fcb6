//! What keeping a node as its range file says costs: a full `flatnet sync`, and the CPU time of
//! `flatnet sync --watch` for what happens on the node.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use flatnet_tests::program::ours;
use flatnet_tests::watcher::Watcher;
use serde_json::json;

use super::Extent;
use super::site::Site;
use crate::bars::{Bar, Limit::AtMost};
use crate::measure::{FLATNET, Findings, Key};
use crate::process::ms;
use crate::progress::Progress;

/// What a figure is held to where it is no comparison: a series of its own.
pub const ALLOWED: &str = "allowed";
/// A sync that finds all as it should be.
pub const SYNC: &str = "sync with pods";
/// CPU time of the watch.
pub const FOR_ADD: &str = "CPU of the watch for an ADD";
/// The same.
pub const FOR_DEL: &str = "CPU of the watch for a DEL";
/// The same, without what reading the file takes.
pub const FOR_PEER: &str = "CPU of the watch for one changed peer";
/// What that is: a file that says the same, in other bytes, for the same bytes are not parsed again.
pub const FOR_FILE: &str = "CPU of the watch for a file that says the same";
/// An ADD beside all of it.
pub const BESIDE: &str = "ADD on a node";
/// What of it the kernel takes for any veth: iproute2 makes one, switches it on, and routes to it.
pub const VETH: &str = "ip: a veth on a node";
/// What either takes more beside all of it.
pub const MORE: &str = "more on a node";
/// The kernel's share, by iproute2.
const IP: &str = "ip";

/// Milliseconds that are allowed.
const SYNC_MS: f64 = 500.0;
const POD_MS: f64 = 5.0;
const PEER_MS: f64 = 10.0;
/// Networks that have a file each on the large node.
const NETWORKS: u32 = 40;

fn key(contender: &str, test: &str, case: &str) -> Key {
    Key::new(contender, test, case)
}

fn with_pods(pods: u32, peers: u32) -> String {
    format!("{pods} pods, {peers} peers")
}

fn push(findings: &mut Findings, test: &str, case: &str, value: f64, allowed: f64) {
    findings.push(&key(FLATNET, test, case), "ms", value);
    findings.push(&key(ALLOWED, test, case), "ms", allowed);
}

/// Runs it all.
pub fn run(extent: &Extent, progress: &Progress, findings: &mut Findings) {
    let most = extent.most();
    sync(extent, progress, findings);
    let site = Site::new(most);
    progress.stage(&format!("scale: the watch with {}", with_pods(extent.watched, most)));
    let _standing = site.attach(extent.watched);
    let watch = Watch::start(&site);
    let case = with_pods(extent.watched, most);
    for round in 0..extent.upkeep_rounds {
        progress.step(round, extent.upkeep_rounds);
        let cost = watch.cost(|| _ = site.run(&site.call("ADD")));
        push(findings, FOR_ADD, &case, cost, POD_MS);
        let cost = watch.cost(|| _ = site.run(&site.call("DEL")));
        push(findings, FOR_DEL, &case, cost, POD_MS);
        let moved = u32::try_from(round).expect("few rounds");
        let read = watch.cost(|| site.reword());
        findings.push(&key(FLATNET, FOR_FILE, &case), "ms", read);
        let cost = watch.cost(|| site.list(most, moved + 1));
        push(findings, FOR_PEER, &case, (cost - read).max(0.0), PEER_MS);
    }
    drop(watch);
    beside(&site, extent, progress, findings);
}

/// A full sync, with a quarter of the pods and few peers, with all, and with most peers.
fn sync(extent: &Extent, progress: &Progress, findings: &mut Findings) {
    let few = extent.peers.iter().copied().min().expect("a number of peers");
    let all = extent.pods;
    for (pods, peers) in [(all / 4, few), (all, few), (all, extent.most())] {
        let case = with_pods(pods, peers);
        progress.stage(&format!("scale: sync with {case}"));
        let site = Site::new(peers);
        site.run(&site.sync());
        let _standing = site.attach(pods);
        for round in 0..extent.upkeep_rounds {
            progress.step(round, extent.upkeep_rounds);
            push(findings, SYNC, &case, ms(site.run(&site.sync())), SYNC_MS);
        }
    }
}

/// ADDs on the large node, which now has many networks as well, and on a small one.
fn beside(large: &Site, extent: &Extent, progress: &Progress, findings: &mut Findings) {
    progress.stage(&format!("scale: ADD beside {NETWORKS} networks"));
    let files = large.more_networks(NETWORKS);
    large.run(&crate::process::Program::new(&ours("flatnet"), {
        let names = files.iter().map(|file| file.display().to_string());
        std::iter::once("sync".to_owned()).chain(names).collect::<Vec<_>>()
    }));
    let small = Site::new(2);
    small.run(&small.sync());
    for site in [large, &small] {
        site.settle();
        site.run(&site.call("ADD"));
        site.run(&site.call("DEL"));
    }
    let cases = [beside_all(extent), beside_none()];
    for round in 0..extent.add_rounds {
        progress.step(round, extent.add_rounds);
        for index in crate::attach::in_turn(round, 2) {
            let site = [large, &small][index];
            let elapsed = site.run(&site.call("ADD"));
            findings.push(&key(FLATNET, BESIDE, &cases[index]), "ms", ms(elapsed));
            site.run(&site.call("DEL"));
            let elapsed = site.veth();
            findings.push(&key(IP, VETH, &cases[index]), "ms", ms(elapsed));
        }
    }
    for (contender, test) in [(FLATNET, BESIDE), (IP, VETH)] {
        let median = |case: &String| {
            findings.series(&key(contender, test, case)).expect("what was measured").median()
        };
        let more = median(&cases[0]) - median(&cases[1]);
        findings.push(&key(contender, MORE, &cases[0]), "ms", more);
    }
}

fn beside_all(extent: &Extent) -> String {
    let case = with_pods(extent.watched, extent.most());
    format!("{case}, {NETWORKS} networks")
}

fn beside_none() -> String {
    "2 peers".into()
}

/// The bars of this part.
pub fn bars(extent: &Extent) -> Vec<Bar> {
    let most = extent.most();
    let few = extent.peers.iter().copied().min().expect("a number of peers");
    let allowed = |test: &str, case: &str, words: &str| {
        Bar::new(words, key(FLATNET, test, case), key(ALLOWED, test, case), AtMost(1.0))
    };
    let full = with_pods(extent.pods, most);
    let watched = with_pods(extent.watched, most);
    let sync = |pods| key(FLATNET, SYNC, &with_pods(pods, few));
    vec![
        Bar::new(
            &format!("a sync with {} pods against one with {}", extent.pods, extent.pods / 4),
            sync(extent.pods),
            sync(extent.pods / 4),
            AtMost(4.4),
        ),
        allowed(SYNC, &full, &format!("a sync with {full} against {SYNC_MS} ms")),
        allowed(FOR_ADD, &watched, &format!("{FOR_ADD} among {watched} against {POD_MS} ms")),
        allowed(FOR_DEL, &watched, &format!("{FOR_DEL} among {watched} against {POD_MS} ms")),
        allowed(FOR_PEER, &watched, &format!("{FOR_PEER} among {most} against {PEER_MS} ms")),
        Bar::new(
            &format!("an ADD among {} against one among 2 peers", beside_all(extent)),
            key(FLATNET, BESIDE, &beside_all(extent)),
            key(FLATNET, BESIDE, &beside_none()),
            AtMost(1.1),
        ),
        Bar::new(
            &format!(
                "what an ADD takes more among {} against what a veth of ip does",
                beside_all(extent)
            ),
            key(FLATNET, MORE, &beside_all(extent)),
            key(IP, MORE, &beside_all(extent)),
            AtMost(1.2),
        ),
    ]
}

/// `flatnet sync --watch` on a site, ended when dropped.
struct Watch(Watcher);

impl Watch {
    /// Starts it, and waits until it has looked at everything.
    fn start(site: &Site) -> Self {
        let watch = Self(Watcher::start(site.node()));
        watch.rest();
        watch
    }

    /// The CPU time that it takes for what happens, in milliseconds.
    fn cost(&self, what: impl FnOnce()) -> f64 {
        let before = self.rest();
        what();
        self.rest() - before
    }

    /// Waits until it has nothing to do; its CPU time so far.
    fn rest(&self) -> f64 {
        // It waits for quiet before it looks.
        const QUIET: Duration = Duration::from_millis(600);
        let mut before = self.cpu();
        loop {
            sleep(QUIET);
            let now = self.cpu();
            if now - before < 0.1 {
                return now;
            }
            before = now;
        }
    }

    /// The CPU time so far, in milliseconds.
    fn cpu(&self) -> f64 {
        let path = format!("/proc/{}/schedstat", self.0.pid());
        let text = fs::read_to_string(&path).expect("the times of a process");
        let nanoseconds = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
        nanoseconds.expect("a time") / 1e6
    }
}

/// The files of another network of a node, and its range file.
pub fn another(
    own: &str,
    vtep: std::net::IpAddr,
    n: u32,
) -> (serde_json::Value, serde_json::Value) {
    let node = |name: &str, vtep: &str, third: u32| json!({ "name": name, "vtep": vtep, "ranges": [format!("11.{n}.{third}.0/24")] });
    let nodes = [node(own, &vtep.to_string(), 1), node("peer-1", "172.16.0.1", 2)];
    let range_file = json!({
        "version": 1, "vni": 5000 + n, "clusterCIDRs": [format!("11.{n}.0.0/16")], "nodes": nodes,
    });
    let network = json!({ "cniVersion": "1.1.0", "name": format!("net-{n}"), "type": "flatnet" });
    (network, range_file)
}
