//! What it takes to apply a range file with many peers: flatnet, and iproute2's batch mode with the
//! same entries, from the start of the process to its end.

mod batch;
mod plots;
mod site;
mod upkeep;

use crate::bars::{Bar, Limit::AtMost};
use crate::measure::{FLATNET, Findings, Key};
use crate::process::ms;
use crate::progress::Progress;
use crate::scratch::Scratch;
use batch::{Batch, Metrics};
pub use plots::draw;
use site::Site;

/// `ip -batch` and `bridge -batch` of the same entries.
pub const BATCH: &str = "ip + bridge -batch";
/// The same without a metric of its own for each peer.
pub const PLAIN: &str = "ip + bridge -batch, no metrics";

/// Nothing stands yet.
pub const FROM_NOTHING: &str = "from nothing";
/// Nothing in it has changed.
pub const UNCHANGED: &str = "unchanged";
/// One peer has another VTEP.
pub const ONE_CHANGED: &str = "one changed";

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Numbers of peers.
    pub peers: Vec<u32>,
    /// Rounds for each number.
    pub rounds: usize,
    /// Rounds of ADD with the largest range file and with the smallest.
    pub add_rounds: usize,
    /// Pods of which a sync looks at each.
    pub pods: u32,
    /// Pods of a node that is watched.
    pub watched: u32,
    /// Rounds of a sync, and of what happens on a node that is watched.
    pub upkeep_rounds: usize,
}

impl Extent {
    fn most(&self) -> u32 {
        self.peers.iter().copied().max().expect("a number of peers")
    }
}

fn with_peers(count: u32) -> String {
    format!("{count} peers")
}

/// The name of the case of an ADD.
fn with_nodes(count: u32) -> String {
    format!("{count} nodes in the range file")
}

/// Runs it all.
pub fn run(extent: &Extent, progress: &Progress) -> Findings {
    let mut findings = Findings::default();
    for peers in &extent.peers {
        progress.stage(&format!("scale: {}", with_peers(*peers)));
        let scratch = Scratch::new();
        let batches = batches(*peers, &scratch, &mut findings);
        for round in 0..extent.rounds {
            progress.step(round, extent.rounds);
            if round % 2 == 0 {
                flatnet(*peers, &mut findings);
            }
            for (name, batch) in &batches {
                iproute(name, batch, *peers, &mut findings);
            }
            if round % 2 == 1 {
                flatnet(*peers, &mut findings);
            }
        }
    }
    add(extent, progress, &mut findings);
    upkeep::run(extent, progress, &mut findings);
    findings
}

/// Writes the batches of so many peers; on the way, what applying takes at its peak.
fn batches(peers: u32, scratch: &Scratch, findings: &mut Findings) -> [(&'static str, Batch); 2] {
    let site = Site::new(peers);
    let peak = |site: &Site, program| {
        site.node().netns.run(|| crate::attach::peak_of(program, scratch.path()))
    };
    let key = |contender| Key::new(contender, "peak memory", with_peers(peers));
    findings.push(&key(FLATNET), "MiB", peak(&site, site.sync()));
    let batches = [(BATCH, Metrics::Own), (PLAIN, Metrics::None)]
        .map(|(name, metrics)| (name, Batch::read(&site, metrics, scratch.path())));
    let fresh = Site::new(peers);
    findings.push(&key(BATCH), "MiB", peak(&fresh, batches[0].1.largest()));
    batches
}

/// flatnet on a fresh node: from nothing, unchanged, one peer changed.
fn flatnet(peers: u32, findings: &mut Findings) {
    let site = Site::new(peers);
    let mut sync = |test: &str| {
        let elapsed = site.run(&site.sync());
        findings.push(&Key::new(FLATNET, test, with_peers(peers)), "ms", ms(elapsed));
    };
    sync(FROM_NOTHING);
    sync(UNCHANGED);
    site.list(peers, 1);
    sync(ONE_CHANGED);
}

/// iproute2 on a fresh node: from nothing, and the same again.
fn iproute(name: &str, batch: &Batch, peers: u32, findings: &mut Findings) {
    let site = Site::new(peers);
    let mut push = |test: &str, elapsed| {
        findings.push(&Key::new(name, test, with_peers(peers)), "ms", ms(elapsed));
    };
    push(FROM_NOTHING, batch.make(&site));
    push(UNCHANGED, batch.again(&site));
}

/// ADD of a pod when the range file has been applied, with few nodes in it and with many.
fn add(extent: &Extent, progress: &Progress, findings: &mut Findings) {
    let sites = [3, extent.most()].map(|nodes| (nodes, Site::new(nodes - 1)));
    progress.stage(&format!("scale: ADD with {} nodes and with 3", extent.most()));
    sites[1].1.settle();
    // The first applies the file.
    for (_, site) in &sites {
        site.run(&site.call("ADD"));
        site.run(&site.call("DEL"));
    }
    for round in 0..extent.add_rounds {
        progress.step(round, extent.add_rounds);
        for index in crate::attach::in_turn(round, sites.len()) {
            let (nodes, site) = &sites[index];
            let elapsed = site.run(&site.call("ADD"));
            findings.push(&Key::new(FLATNET, "ADD", with_nodes(*nodes)), "ms", ms(elapsed));
            site.run(&site.call("DEL"));
        }
    }
}

/// The bars of this part.
pub fn bars(extent: &Extent) -> Vec<Bar> {
    let most = extent.most();
    let key = |contender: &str, test: &str| Key::new(contender, test, with_peers(most));
    let add = |nodes| Key::new(FLATNET, "ADD", with_nodes(nodes));
    let mut bars = vec![
        Bar::new(
            &format!("ADD with {most} nodes in the range file against 3"),
            add(most),
            add(3),
            AtMost(1.1),
        ),
        Bar::new(
            &format!("applying {most} peers against ip -batch and bridge -batch without metrics"),
            key(FLATNET, FROM_NOTHING),
            key(PLAIN, FROM_NOTHING),
            AtMost(0.10),
        ),
        Bar::new(
            &format!("applying {most} unchanged peers against applying them from nothing"),
            key(FLATNET, UNCHANGED),
            key(FLATNET, FROM_NOTHING),
            AtMost(0.35),
        ),
    ];
    bars.extend(upkeep::bars(extent));
    bars
}
