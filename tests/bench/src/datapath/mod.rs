//! What a packet costs between two pods: on two nodes and on one, with and without masquerade, in one
//! flow and in many; flatnet with its fast path and without, what flannel sets up, and the nodes themselves.
//!
//! In each round every way is measured with one kind of traffic before the next kind begins; the
//! order of the ways turns round after each round.

pub(crate) mod cpu;
mod flannel;
mod flatnet;
pub(crate) mod path;
mod plots;
mod traffic;

use std::time::Duration;

use flatnet_tests::fast_path::Reach;

use crate::bars::{Bar, Limit};
use crate::measure::{FAST, FLATNET, Findings, Key, UPLINK};
use crate::progress::Progress;
use crate::stats::{median, quantile};
use path::{FLANNEL, HOST, NOT_FAST, Path, Server};
pub use plots::draw;
use traffic::Load;

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Extent {
    /// How long each measurement takes, after the warm-up.
    pub window: Duration,
    /// Numbers of flows, and how many rounds with each between two nodes.
    pub far: Vec<(usize, usize)>,
    /// The same between pods of one node.
    pub near: Vec<(usize, usize)>,
}

/// Where client and server are.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On two nodes.
    Far,
    /// On the same.
    Near,
}

/// What is asked of the nodes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// That pods reach each other.
    Plain,
    /// Also that what leaves the cluster is masqueraded.
    Masquerade,
    /// The same, over a wire that carries frames as network cards do: the sender cuts them to the
    /// MTU, the receiver puts together what belongs together.
    Frames,
}

/// Takes a test, its unit and a sample of it.
type Push<'a> = dyn FnMut(&str, &'static str, f64) + 'a;

/// The kinds of traffic.
const KINDS: [fn(&Load<'_>, &mut Push<'_>); 5] =
    [stream, tcp_latency, udp_latency, packets, connections];

/// The name of a case.
pub fn case(place: Place, setting: Setting, flows: usize) -> String {
    let place = match place {
        Place::Far => "two nodes",
        Place::Near => "one node",
    };
    let setting = match setting {
        Setting::Plain => "",
        Setting::Masquerade => ", masquerade",
        Setting::Frames => ", masquerade, frames",
    };
    format!("{place}{setting}, {flows} {}", if flows == 1 { "flow" } else { "flows" })
}

/// One way to measure: who talks to whom, and how it is called.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    /// The nodes and the client.
    pub path: &'a Path,
    /// The server.
    pub server: &'a Server,
    /// The name of the case.
    pub case: String,
}

/// Runs it all.
pub fn run(extent: &Extent, progress: &Progress) -> Findings {
    let mut findings = Findings::default();
    progress.stage("datapath: nodes and pods");
    let mut paths = path::all();
    let fast: Vec<Path> = [Setting::Masquerade, Setting::Frames]
        .into_iter()
        .flat_map(|setting| [(setting, Reach::Own), (setting, Reach::Uplink)])
        .filter_map(|(setting, reach)| path::fast(setting, 0, reach))
        .collect();
    if fast.is_empty() {
        findings.gaps.push(NOT_FAST.to_owned());
    }
    paths.extend(fast);
    for (place, plan) in [(Place::Far, &extent.far), (Place::Near, &extent.near)] {
        for (flows, rounds) in plan {
            progress.stage(&format!("datapath: {}", case(place, Setting::Plain, *flows)));
            let way = |path| {
                let server = server(path, place)?;
                Some(Way { path, server, case: case(place, path.setting, *flows) })
            };
            let ways: Vec<Way<'_>> = paths.iter().filter_map(way).collect();
            measure(&ways, *flows, extent.window, *rounds, progress, &mut findings);
        }
    }
    findings
}

/// Measures each way with each kind of traffic, so many times.
pub(crate) fn measure(
    ways: &[Way<'_>],
    flows: usize,
    window: Duration,
    rounds: usize,
    progress: &Progress,
    findings: &mut Findings,
) {
    for round in 0..rounds {
        for (step, kind) in KINDS.iter().enumerate() {
            progress.step(round * KINDS.len() + step, rounds * KINDS.len());
            for index in crate::attach::in_turn(round, ways.len()) {
                let Way { path, server, case } = &ways[index];
                let load = Load { client: &path.client, server, flows, window };
                kind(&load, &mut |test, unit, sample| {
                    findings.push(&Key::new(path.name, test, case.as_str()), unit, sample);
                });
            }
        }
    }
}

fn server(path: &Path, place: Place) -> Option<&Server> {
    match place {
        Place::Far => Some(&path.far),
        Place::Near => path.near.as_ref(),
    }
}

fn stream(load: &Load<'_>, push: &mut Push<'_>) {
    let throughput = load.stream();
    push("TCP stream", "Gbit/s", throughput.gigabits);
    push("CPU per gigabyte", "s", throughput.cpu_seconds);
}

fn tcp_latency(load: &Load<'_>, push: &mut Push<'_>) {
    let times = load.tcp_round_trips();
    push("TCP round trip, p50", "µs", median(&times));
    push("TCP round trip, p99", "µs", quantile(&times, 0.99));
}

fn udp_latency(load: &Load<'_>, push: &mut Push<'_>) {
    let times = load.udp_round_trips();
    push("UDP round trip, p50", "µs", median(&times));
    push("UDP round trip, p99", "µs", quantile(&times, 0.99));
}

fn packets(load: &Load<'_>, push: &mut Push<'_>) {
    push("64-byte UDP packets", "1000/s", load.packets() / 1e3);
}

fn connections(load: &Load<'_>, push: &mut Push<'_>) {
    push("TCP connections", "1000/s", load.connections_per_second() / 1e3);
}

/// The bars of this part, all of pods on two nodes with masquerade: flatnet against flannel's objects, and with
/// the fast path against these and against flatnet without.
pub fn bars() -> Vec<Bar> {
    let key =
        |contender, test: &str| Key::new(contender, test, case(Place::Far, Setting::Masquerade, 1));
    let bar = |text: &str, test: &str, limit| {
        let text = format!("{text} against flannel's objects, both with masquerade");
        Bar::new(&text, key(FLATNET, test), key(FLANNEL, test), limit)
    };
    let of = |who: &'static str, words: &str, text: &str, test: &str, peer: &'static str, limit| {
        let other = if peer == FLATNET { "flatnet without" } else { peer };
        let text = format!("{words}: {text} against {other}, both with masquerade");
        Bar::new(&text, key(who, test), key(peer, test), limit)
    };
    let fast = |text: &str, test: &str, peer, limit| of(FAST, "fast path", text, test, peer, limit);
    let uplink = |text: &str, test: &str, peer, limit| {
        of(UPLINK, "from the uplink", text, test, peer, limit)
    };
    vec![
        bar("TCP latency", "TCP round trip, p50", Limit::AtMost(0.94)),
        bar("UDP latency", "UDP round trip, p50", Limit::AtMost(0.94)),
        bar("64-byte UDP packets per second", "64-byte UDP packets", Limit::AtLeast(1.28)),
        bar("TCP stream", "TCP stream", Limit::AtLeast(1.05)),
        fast("TCP latency", "TCP round trip, p50", FLANNEL, Limit::AtMost(0.68)),
        fast("UDP latency", "UDP round trip, p50", FLANNEL, Limit::AtMost(0.68)),
        fast("64-byte UDP packets per second", "64-byte UDP packets", FLANNEL, Limit::AtLeast(1.5)),
        fast("TCP stream", "TCP stream", FLATNET, Limit::AtLeast(1.0)),
        fast("short connections per second", "TCP connections", FLATNET, Limit::AtLeast(1.0)),
        uplink("TCP latency", "TCP round trip, p50", FLANNEL, Limit::AtMost(0.60)),
        uplink("UDP latency", "UDP round trip, p50", FLANNEL, Limit::AtMost(0.60)),
        uplink(
            "64-byte UDP packets per second",
            "64-byte UDP packets",
            FLANNEL,
            Limit::AtLeast(1.7),
        ),
        uplink("TCP stream", "TCP stream", FLATNET, Limit::AtLeast(1.0)),
        uplink("short connections per second", "TCP connections", FLATNET, Limit::AtLeast(1.05)),
    ]
}
