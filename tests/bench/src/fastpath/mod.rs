//! The fast path beyond `datapath`: with the programs that others measure with, beside many pods, and with
//! many flows learned. All of it between pods on two nodes, with masquerade.

mod flows;
mod tools;

use std::time::Duration;

use flatnet_tests::fast_path::Reach;

use crate::datapath::path::{self, NOT_FAST, Path};
use crate::datapath::{Place, Setting, Way, case, measure};
use crate::measure::{FAST, Findings};
use crate::progress::Progress;

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Extent {
    /// How long iperf3 and sockperf measure, in whole seconds: they take nothing else.
    pub seconds: u64,
    /// Rounds of these.
    pub tool_rounds: usize,
    /// How long each measurement beside many pods or flows takes, after the warm-up.
    pub window: Duration,
    /// Rounds of these.
    pub rounds: usize,
    /// How many pods more the client's node has.
    pub pods: usize,
    /// How many flows between client and server are known.
    pub flows: usize,
}

/// Runs it all.
pub fn run(extent: &Extent, progress: &Progress) -> Findings {
    let mut findings = Findings::default();
    with_tools(extent, progress, &mut findings);
    among_many(extent, progress, &mut findings);
    beside(extent, progress, &mut findings);
    findings
}

fn with_tools(extent: &Extent, progress: &Progress, findings: &mut Findings) {
    progress.stage("fastpath: iperf3 and sockperf");
    let mut paths = vec![path::tracked(), path::flannel(Setting::Masquerade)];
    paths.extend(both(0));
    if !paths.iter().any(|path| path.name == FAST) {
        findings.gaps.push(NOT_FAST.to_owned());
    }
    tools::measure(&paths, extent.seconds, extent.tool_rounds, progress, findings);
}

/// Beside many pods, and with many flows, on nodes of their own; and with neither, in the same rounds.
fn among_many(extent: &Extent, progress: &Progress, findings: &mut Findings) {
    let Extent { window, rounds, pods, flows, .. } = *extent;
    progress.stage(&format!("fastpath: {pods} pods"));
    let crowded = both(pods);
    let [alone, busy] = [both(0), both(0)];
    progress.stage(&format!("fastpath: {flows} flows"));
    busy.iter().for_each(|path| flows::open(path, flows));
    progress.stage("fastpath: among many");
    let way = |path, what: &str| {
        let case = format!("{}, {what}", case(Place::Far, Setting::Masquerade, 1));
        Way { path, server: &path.far, case }
    };
    let crowd = format!("{pods} pods beside");
    let known = format!("{flows} flows known");
    let ways: Vec<Way<'_>> = [(&alone, "alone"), (&crowded, &crowd), (&busy, &known)]
        .into_iter()
        .flat_map(|(paths, what)| paths.iter().map(move |path| way(path, what)))
        .collect();
    measure(&ways, 1, window, rounds, progress, findings);
}

/// What nodes pay that talk to each other, past programs that are there for their pods.
fn beside(extent: &Extent, progress: &Progress, findings: &mut Findings) {
    progress.stage("fastpath: the nodes themselves");
    let reaches = [Reach::None, Reach::Own, Reach::Uplink];
    let paths: Vec<Path> = reaches.into_iter().filter_map(path::beside).collect();
    let case = || "the nodes themselves, 1 flow".to_owned();
    let ways = paths.iter().map(|path| Way { path, server: &path.far, case: case() });
    let ways: Vec<Way<'_>> = ways.collect();
    measure(&ways, 1, extent.window, 4 * extent.rounds, progress, findings);
}

/// flatnet without the fast path and with it, at its own devices and from the uplink on, if that stands on this kernel, with
/// so many pods more on the client's node.
fn both(pods: usize) -> Vec<Path> {
    let setting = Setting::Masquerade;
    let fast = [Reach::Own, Reach::Uplink];
    let fast = fast.into_iter().filter_map(|reach| path::fast(setting, pods, reach));
    [path::flatnet(setting, pods)].into_iter().chain(fast).collect()
}
