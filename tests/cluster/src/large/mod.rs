//! `make bench-cluster`: what an agent costs in a cluster of 5,000 Nodes that send their heartbeats to a real API
//! server, and among 5,000 nodes with keys in a real etcd, with flannel's daemon beside it.
//!
//! The Nodes are objects alone, but for those of the agents that are measured: these run, each in a network namespace
//! of its own. No controller runs, so that the objects change by heartbeats and by what is measured.

mod add;
mod agents;
mod crowd;
mod flannel;
mod ground;
mod heartbeats;
mod host;
mod idle;
mod joins;
mod report;
mod routes;
mod site;
mod store;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use flatnet_bench::report::Machine;

use agents::Agents;
use flannel::Flannel;
use heartbeats::Heartbeats;
use host::Host;
use report::{Both, Figures, Report};
use site::Site;
use store::Store;

/// The first of the crowd that joins; the ranges below are of those that are there, or that agents claim.
const JOINING: u32 = 10_000;

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

    /// Those that join while agents run.
    fn joining(&self) -> Range<u32> {
        JOINING..JOINING + self.joins
    }

    /// Those that join while flannel's daemon does.
    fn joining_later(&self) -> Range<u32> {
        JOINING + self.joins..JOINING + 2 * self.joins
    }

    /// A Node sends its heartbeat every five minutes if nothing else happens to it; of few Nodes, more often, that
    /// there are some.
    fn heartbeats_a_second(&self) -> f64 {
        (f64::from(self.nodes) / 300.0).max(5.0)
    }
}

/// Runs it; whether it could be done, not whether the bars are met.
pub fn run(short: bool, document: Option<&Path>) -> bool {
    let extent = if short { Extent::SHORT } else { Extent::FULL };
    let program = flannel::program();
    let (node_bytes, kubernetes) = in_kubernetes(&extent, program.as_deref());
    let (key_bytes, etcd) = with_etcd(&extent, program.as_deref());
    let machine = Machine::look(report::programs());
    let report = Report { extent, node_bytes, kubernetes, key_bytes, etcd, short };
    println!("{}", report.tables());
    report.keep(&machine);
    if let Some(document) = document {
        report.publish(document, &machine);
    }
    true
}

/// An API server that has Nodes, with their heartbeats; also how large a Node is.
fn in_kubernetes(extent: &Extent, flannel: Option<&Path>) -> (usize, Both) {
    let site = Site::start();
    say(&format!("{} Nodes", extent.nodes));
    let size = crowd::make(&site, extent.nodes);
    let heartbeats = Heartbeats::start(&site, extent);
    let idle = |hosts: &[&Host], figures: &mut Figures| {
        say(&format!("nothing but heartbeats for {} s", extent.idle.as_secs()));
        heartbeats.alone(hosts, extent.idle, figures);
    };
    let join = |index| crowd::join(&site, index);
    let mut agents = Agents::of_kubernetes(&site, extent.agents);
    let flatnet = agents_alone(&mut agents, extent, idle, join);
    drop(agents);
    let flannel = flannel.map(|program| {
        let mut flannel = Flannel::of_kubernetes(&site, program);
        // Those that have joined are its peers, too.
        flannel_alone(&mut flannel, extent, extent.nodes + extent.joins, idle, join)
    });
    (size, Both { flatnet, flannel: flannel.unwrap_or_default() })
}

/// An etcd that has the keys of nodes, which nobody changes; also how many bytes those of a node have.
fn with_etcd(extent: &Extent, flannel: Option<&Path>) -> (usize, Both) {
    let store = Store::start();
    say(&format!("an etcd with the keys of {} nodes", extent.nodes));
    let size = store.make(extent.nodes);
    let idle = |hosts: &[&Host], figures: &mut Figures| {
        say(&format!("nothing for {} s", extent.idle.as_secs()));
        idle::measure(hosts, extent.idle, figures);
    };
    let mut agents = Agents::of_etcd(&store, extent.agents);
    let flatnet = agents_alone(&mut agents, extent, idle, |index| store.join(index));
    drop(agents);
    let flannel = flannel.map(|program| {
        let mut flannel = Flannel::of_etcd(&store, program);
        flannel_alone(&mut flannel, extent, extent.nodes, idle, |index| store.join_flannel(index))
    });
    (size, Both { flatnet, flannel: flannel.unwrap_or_default() })
}

/// The agents: one of them first, then all.
fn agents_alone(
    agents: &mut Agents,
    extent: &Extent,
    idle: impl Fn(&[&Host], &mut Figures),
    join: impl Fn(u32) -> Instant,
) -> Figures {
    let mut figures = Figures::default();
    say("one agent starts");
    figures.start = Some(agents.start_first(extent.nodes));
    say("the others start");
    agents.start_others(extent.nodes);
    idle(&agents.hosts(), &mut figures);
    say(&format!("{} nodes join", extent.joins));
    joins::measure(
        &agents.hosts(),
        extent.joining(),
        join,
        |node| agents.check(node),
        &mut figures,
    );
    figures.memory = Some(host::worst(&agents.hosts(), |host| host.peak_memory()));
    say("pods start and stop");
    figures.add = Some(add::measure(agents, extent.rounds));
    figures
}

/// flannel's daemon, on a node of its own, where no agent runs any more, among so many peers.
fn flannel_alone(
    flannel: &mut Flannel,
    extent: &Extent,
    peers: u32,
    idle: impl Fn(&[&Host], &mut Figures),
    join: impl Fn(u32) -> Instant,
) -> Figures {
    let mut figures = Figures::default();
    say("flannel starts");
    figures.start = Some(flannel.start(peers));
    idle(&flannel.hosts(), &mut figures);
    say(&format!("{} nodes join", extent.joins));
    joins::measure(&flannel.hosts(), extent.joining_later(), join, |_| {}, &mut figures);
    figures.memory = Some(host::worst(&flannel.hosts(), |host| host.peak_memory()));
    figures
}

fn say(what: &str) {
    eprintln!("{what} ...");
}
