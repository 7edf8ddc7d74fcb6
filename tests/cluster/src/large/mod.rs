//! `make bench-cluster`: what an agent costs in a cluster of 5,000 Nodes that send their heartbeats to a real API
//! server, and flannel's daemon beside it.
//!
//! The Nodes are objects alone, but for those of the agents that are measured: these run, each in a network namespace
//! of its own. No controller runs, so that the objects change by heartbeats and by what is measured.

mod add;
mod agents;
mod crowd;
mod flannel;
mod heartbeats;
mod host;
mod joins;
mod report;
mod routes;
mod site;

use std::path::Path;
use std::time::Duration;

use flatnet_bench::report::Machine;

use agents::Agents;
use flannel::Flannel;
use heartbeats::Heartbeats;
use report::{Figures, Report};
use site::Site;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Nodes that are objects alone.
    nodes: u32,
    /// Agents that run.
    agents: u8,
    /// For how long nothing happens but heartbeats.
    idle: Duration,
    /// Nodes that join.
    joins: u32,
    /// Rounds of ADD on a node with an agent, and on one without.
    rounds: usize,
}

impl Extent {
    /// The benchmark.
    const FULL: Self =
        Self { nodes: 5000, agents: 20, idle: Duration::from_secs(180), joins: 25, rounds: 100 };
    /// Shows that it works; the figures mean nothing.
    const SHORT: Self =
        Self { nodes: 50, agents: 2, idle: Duration::from_secs(2), joins: 2, rounds: 2 };

    /// A Node sends its heartbeat every five minutes if nothing else happens to it; of few Nodes, more often, that
    /// there are some.
    fn heartbeats_a_second(&self) -> f64 {
        (f64::from(self.nodes) / 300.0).max(5.0)
    }
}

/// Runs it; whether it could be done, not whether the bars are met.
pub fn run(short: bool, document: Option<&Path>) -> bool {
    let extent = if short { Extent::SHORT } else { Extent::FULL };
    let site = Site::start();
    say(&format!("{} Nodes", extent.nodes));
    let size = crowd::make(&site, extent.nodes);
    let heartbeats = Heartbeats::start(&site, &extent);
    let flatnet = agents_alone(&site, &extent, &heartbeats);
    let flannel = match flannel::program() {
        Some(program) => flannel_alone(&site, &extent, &heartbeats, &program),
        None => Figures::default(),
    };
    let machine = Machine::look(report::programs());
    let report = Report { extent, size, flatnet, flannel, short };
    println!("{}", report.table());
    report.keep(&machine);
    if let Some(document) = document {
        report.publish(document, &machine);
    }
    true
}

/// The agents: one of them first, then all.
fn agents_alone(site: &Site, extent: &Extent, heartbeats: &Heartbeats) -> Figures {
    let mut figures = Figures::default();
    let mut agents = Agents::prepare(site, extent.agents);
    say("one agent starts");
    figures.start = Some(agents.start_first(extent.nodes));
    say("the others start");
    agents.start_others(extent.nodes);
    say(&format!("nothing but heartbeats for {} s", extent.idle.as_secs()));
    heartbeats.alone(&agents.hosts(), extent.idle, &mut figures);
    say(&format!("{} nodes join", extent.joins));
    let known = |node: &str| agents.check(node);
    joins::measure(
        site,
        &agents.hosts(),
        extent.nodes..extent.nodes + extent.joins,
        known,
        &mut figures,
    );
    figures.memory = Some(host::worst(&agents.hosts(), |host| host.peak_memory()));
    say("pods start and stop");
    figures.add = Some(add::measure(&mut agents, extent.rounds));
    figures
}

/// flannel's daemon, on a node of its own, where no agent runs any more.
fn flannel_alone(site: &Site, extent: &Extent, heartbeats: &Heartbeats, program: &Path) -> Figures {
    let mut figures = Figures::default();
    say("flannel starts");
    let mut flannel = Flannel::prepare(site);
    let peers = extent.nodes + extent.joins;
    figures.start = Some(flannel.start(site, program, peers));
    say(&format!("nothing but heartbeats for {} s", extent.idle.as_secs()));
    heartbeats.alone(&flannel.hosts(), extent.idle, &mut figures);
    say(&format!("{} nodes join", extent.joins));
    joins::measure(site, &flannel.hosts(), peers..peers + extent.joins, |_| {}, &mut figures);
    figures.memory = Some(host::worst(&flannel.hosts(), |host| host.peak_memory()));
    figures
}

fn say(what: &str) {
    eprintln!("{what} ...");
}
