//! What it takes to attach a pod and to detach it: flatnet, the reference plugins `ptp` and `bridge`,
//! and flannel's plugin.
//!
//! In each round every contender attaches and detaches one pod on a node that has no other, and one
//! on a node that has many; the order of the contenders turns round after each round.

mod contender;
mod cost;
mod plots;

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread::scope;
use std::time::{Duration, Instant};

use flatnet_tests::netns::inside;

use crate::measure::{FAST, FLATNET, Findings, Key};
use crate::pods::Pods;
use crate::process::{ms, rest};
use crate::progress::Progress;
use crate::scratch::Scratch;
pub use contender::tool;
use contender::{BRIDGE, Contender, Node, PTP};
pub use cost::peak_of;
pub use plots::draw;

/// How many pods are attached at a time while a node is filled.
const FILLERS: usize = 2;

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Extent {
    /// How many pods the filled node has, one stage after the other; the first must be 0.
    pub pods: Vec<usize>,
    /// Rounds of ADD and DEL in each stage.
    pub rounds: usize,
    /// How many ADDs, then DELs, run at once.
    pub parallel: Vec<usize>,
    /// Rounds of these.
    pub parallel_rounds: usize,
    /// How often instructions, system calls and memory are counted.
    pub counts: usize,
}

/// The name of a case.
pub fn with_pods(count: usize) -> String {
    format!("{count} pods")
}

/// The name of a case with so many calls at a time.
pub fn at_once(count: usize) -> String {
    format!("{count} at once")
}

/// The name of a case with a full node, on the empty node and in the same round.
pub fn beside(count: usize) -> String {
    format!("0 pods, beside {count}")
}

/// Runs it all.
pub fn run(extent: &Extent, progress: &Progress) -> Findings {
    let scratch = Scratch::new();
    let contenders = contender::all(scratch.path());
    let mut findings = Findings::default();
    // The first ADD on a node also makes what the node needs once.
    for node in contenders.iter().flat_map(|contender| &contender.nodes) {
        let pod = Pods::new(1);
        add_and_del(node, &pod.paths()[0]);
    }
    let spare = Spare::new(&contenders, extent.parallel.iter().copied().max().unwrap_or(1));
    cost::measure(extent.counts, &contenders, &spare, progress, &mut findings);
    for count in &extent.parallel {
        progress.stage(&format!("attach: {}", at_once(*count)));
        parallel(*count, extent.parallel_rounds, &contenders, &spare, progress, &mut findings);
    }
    let mut standing: Vec<Vec<Pods>> = contenders.iter().map(|_| Vec::new()).collect();
    for count in &extent.pods {
        for (contender, pods) in contenders.iter().zip(&mut standing) {
            fill(contender, *count, pods, progress, &mut findings);
        }
        progress.stage(&format!("attach: one at a time, {}", with_pods(*count)));
        one_at_a_time(*count, extent.rounds, &contenders, &spare, progress, &mut findings);
    }
    findings
}

/// Namespaces for the pods that come and go, some for each contender: what one plugin leaves in a
/// namespace does not concern the next.
pub struct Spare(Vec<Pods>);

impl Spare {
    fn new(contenders: &[Contender], count: usize) -> Self {
        Self(contenders.iter().map(|_| Pods::new(count)).collect())
    }

    /// The namespaces of a contender.
    pub fn of(&self, index: usize) -> &Pods {
        &self.0[index]
    }
}

/// The indices of so many contenders in the order of a round.
pub fn in_turn(round: usize, count: usize) -> Vec<usize> {
    if round % 2 == 0 { (0..count).collect() } else { (0..count).rev().collect() }
}

/// Attaches a pod, detaches it, and tells how long each took.
fn add_and_del(node: &Node, pod: &Path) -> (Duration, Duration) {
    let (add, del) = (node.call("ADD", pod), node.call("DEL", pod));
    let times = inside(&node.netns, || (add.run(), del.run()));
    rest();
    times
}

fn one_at_a_time(
    count: usize,
    rounds: usize,
    contenders: &[Contender],
    spare: &Spare,
    progress: &Progress,
    findings: &mut Findings,
) {
    for round in 0..rounds {
        progress.step(round, rounds);
        for index in in_turn(round, contenders.len()) {
            let contender = &contenders[index];
            if contender.most_pods <= count {
                continue;
            }
            let pod = &spare.of(index).paths()[0];
            let mut measure = |node: &Node, case: &str| {
                let (add, del) = add_and_del(node, pod);
                findings.push(&Key::new(contender.name, "ADD", case), "ms", ms(add));
                findings.push(&Key::new(contender.name, "DEL", case), "ms", ms(del));
            };
            if count == 0 {
                measure(&contender.nodes[0], &with_pods(0));
            } else {
                measure(&contender.nodes[0], &beside(count));
                measure(&contender.nodes[1], &with_pods(count));
            }
        }
    }
}

/// Times so many ADDs at once, and the DELs after them, from the start of the first to the end of
/// the last.
fn parallel(
    count: usize,
    rounds: usize,
    contenders: &[Contender],
    spare: &Spare,
    progress: &Progress,
    findings: &mut Findings,
) {
    for round in 0..rounds {
        progress.step(round, rounds);
        for index in in_turn(round, contenders.len()) {
            let (contender, pods) = (&contenders[index], &spare.of(index).paths()[..count]);
            for verb in ["ADD", "DEL"] {
                let elapsed = run_at_once(&contender.nodes[0], verb, pods);
                let key = Key::new(contender.name, verb, at_once(count));
                findings.push(&key, "ms", ms(elapsed));
                rest();
            }
        }
    }
}

fn run_at_once(node: &Node, verb: &str, pods: &[PathBuf]) -> Duration {
    let barrier = Barrier::new(pods.len() + 1);
    scope(|scope| {
        let call = |pod| {
            let call = node.call(verb, pod);
            inside(&node.netns, || {
                barrier.wait();
                call.run();
            });
        };
        let calls: Vec<_> = pods.iter().map(|pod| scope.spawn(move || call(pod))).collect();
        barrier.wait();
        let start = Instant::now();
        for call in calls {
            call.join().expect("an attachment");
        }
        start.elapsed()
    })
}

/// Attaches pods on the second node until it has `count`, or tells why it cannot have them.
fn fill(
    contender: &Contender,
    count: usize,
    standing: &mut Vec<Pods>,
    progress: &Progress,
    findings: &mut Findings,
) {
    if contender.most_pods <= count {
        let (name, most) = (contender.name, contender.most_pods);
        findings.gaps.push(format!("{name} with {count} pods: a bridge has {most} ports at most"));
        return;
    }
    let missing = count - standing.iter().map(|pods| pods.paths().len()).sum::<usize>();
    if missing == 0 {
        return;
    }
    progress.stage(&format!("attach: {missing} more pods for {}", contender.name));
    let pods = Pods::new(missing);
    let node = &contender.nodes[1];
    scope(|scope| {
        for half in pods.paths().chunks(missing.div_ceil(FILLERS)) {
            let attach = move |pod: &PathBuf| node.call("ADD", pod).run();
            let attach_all = move || half.iter().map(attach).for_each(drop);
            scope.spawn(move || inside(&node.netns, attach_all));
        }
    });
    standing.push(pods);
}

/// The bars of this part.
pub fn bars(extent: &Extent) -> Vec<crate::bars::Bar> {
    use crate::bars::{Bar, Limit::AtMost};
    let key = |contender: &str, test: &str| Key::new(contender, test, with_pods(0));
    let most = extent.pods.iter().copied().max().unwrap_or(0);
    vec![
        Bar::new(
            "ADD against ptp + host-local",
            key(FLATNET, "ADD"),
            key(PTP, "ADD"),
            AtMost(0.20),
        ),
        Bar::new(
            "ADD against bridge + host-local",
            key(FLATNET, "ADD"),
            key(BRIDGE, "ADD"),
            AtMost(0.18),
        ),
        Bar::new(
            "DEL against ptp + host-local",
            key(FLATNET, "DEL"),
            key(PTP, "DEL"),
            AtMost(0.10),
        ),
        Bar::new(
            &format!("ADD at {most} pods against ADD at 0 pods"),
            Key::new(FLATNET, "ADD", with_pods(most)),
            // Not the empty node of the same round: what pods cost the whole machine counts, too.
            key(FLATNET, "ADD"),
            AtMost(2.5),
        ),
        Bar::new(
            "fast path: ADD against ptp + host-local",
            key(FAST, "ADD"),
            key(PTP, "ADD"),
            AtMost(0.20),
        ),
    ]
}
