//! The loop: what the source tells becomes a range file, and what this node should have among the cluster's
//! objects becomes deeds. It lives in one task; the kernel is another thread's.
//!
//! While the source is away nothing changes: the file stands, and the upkeep goes on from it.

mod outage;
mod round;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flatnet_conf::ClusterNetwork;
use ipnetwork::IpNetwork;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::claims::Wait;
use crate::conflist::Conflist;
use crate::done::Done;
use crate::install::Installer;
use crate::judge::Judged;
use crate::keep::Report;
use crate::patience::Patience;
use crate::publish::Publisher;
use crate::source::Source;
use crate::state::{Matters, State, StateFile};
use crate::told::Told;
use crate::usage::Usage;
use outage::Outage;

/// How often the clock is looked at, and the books.
const TICK: Duration = Duration::from_secs(1);
/// A request that takes longer has failed.
const REQUEST: Duration = Duration::from_secs(10);
/// A range that is to go is out of the file for so long before it is given back: an ADD that had read the file
/// before is over by then.
const LINGER: Duration = Duration::from_secs(10);
/// A node may be given its ranges so long after it came; then it claims some. A controller manager that ended without
/// a word is followed by another within this.
const GIVEN: Duration = Duration::from_secs(20);
/// A range that another held is asked for again.
const REFUSED: Duration = Duration::from_secs(30);

/// What of the world the loop needs, beside the source.
pub struct Parts {
    /// What all nodes have in common.
    pub network: ClusterNetwork,
    /// This node's name.
    pub name: String,
    /// Where the range file is.
    pub publisher: Publisher,
    /// Where the configuration goes, and which it is.
    pub installer: Installer,
    /// See there.
    pub conflist: Conflist,
    /// What is told of the loop.
    pub state: Arc<State>,
    /// The same for the plugin's tools.
    pub state_file: StateFile,
    /// Starts the upkeep, when there is a file.
    pub upkeep: Box<dyn FnMut() -> io::Result<()>>,
    /// What comes of it.
    pub reports: Receiver<Report>,
    /// The addresses of all pods, if they have changed.
    pub books: Box<dyn FnMut() -> Option<Result<Usage, String>>>,
}

/// The agent of one node.
pub struct Agent<S> {
    source: S,
    parts: Parts,
    /// Whether the upkeep has begun.
    kept: bool,
    /// Whether the source was read once.
    read: bool,
    /// What counts of the cluster, as of the last round.
    judged: Judged,
    /// How many nodes and blocks there were then, and how many of both were this node's.
    objects: [usize; 3],
    /// Whether this node is in the file.
    listed: bool,
    /// Whether it is the first of it.
    first: bool,
    /// Whether its overlay stands.
    stands: bool,
    /// Whether the configuration is in place.
    installed: bool,
    /// Whether the source is to be told that the network stands.
    unsaid: bool,
    /// Since when the cluster has no node of this name, as far as is known.
    missing: Option<Instant>,
    /// Since when it has one, and whether that was too short a time to claim a range.
    known: Option<Instant>,
    early: bool,
    /// The pods' addresses, as soon as all of the network was looked at once: before, books may have been lost.
    usage: Option<Usage>,
    counts: bool,
    /// Where this node is, as was said last.
    addresses: Vec<IpAddr>,
    former: BTreeSet<IpNetwork>,
    leaving: BTreeMap<IpNetwork, Instant>,
    refused: BTreeMap<IpNetwork, (String, Instant)>,
    done: Done,
    deeds: Patience,
    saying: Patience,
    installing: Patience,
    writing: Patience,
    outage: Option<Outage>,
    matters: Matters,
    /// Deeds that failed.
    failing: BTreeSet<String>,
    /// Files that could not be written in this round.
    unwritten: BTreeSet<String>,
    told: Tolds,
}

/// What has been told of each thing that can be wrong.
#[derive(Default)]
struct Tolds {
    matters: Told,
    deeds: Told,
    files: Told,
    network: Told,
    books: Told,
    configuration: Told,
}

enum News {
    Source,
    Report(Report),
    Tick,
}

impl<S: Source> Agent<S> {
    /// The agent of a node, whose file may be there from before.
    pub fn new(source: S, parts: Parts) -> Self {
        let standing = parts.publisher.standing();
        let own = standing.as_ref().and_then(|file| file.node(&parts.name));
        let former =
            own.into_iter().flat_map(|node| node.ranges.iter().map(|range| range.subnet()));
        let former = former.collect();
        Self {
            source,
            kept: false,
            read: false,
            judged: Judged::default(),
            objects: [0; 3],
            listed: own.is_some(),
            first: false,
            stands: false,
            installed: false,
            unsaid: true,
            missing: None,
            known: None,
            early: false,
            usage: None,
            counts: false,
            addresses: own.map(|node| node.vtep).into_iter().collect(),
            former,
            leaving: BTreeMap::new(),
            refused: BTreeMap::new(),
            done: Done::default(),
            deeds: Patience::default(),
            saying: Patience::default(),
            installing: Patience::default(),
            writing: Patience::default(),
            outage: None,
            matters: Matters::default(),
            failing: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            told: Tolds::default(),
            parts,
        }
    }

    /// Goes on until `end`.
    pub async fn run(mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.keep();
        self.tell_matters().await;
        loop {
            let news = tokio::select! {
                () = &mut end => return,
                () = self.source.changed() => News::Source,
                Some(report) = self.parts.reports.recv() => News::Report(report),
                _ = tick.tick() => News::Tick,
            };
            self.parts.state.beat();
            match news {
                News::Source => {
                    // That it is away nobody has told.
                    if self.source.trouble().is_none() {
                        self.parts.state.metrics.heard(SystemTime::now());
                    }
                    self.settle().await;
                    self.unsaid = true;
                    self.round().await;
                }
                News::Report(report) => self.hear(report),
                News::Tick => {
                    if self.look_at_books() | self.is_due() | self.look_at_clock() {
                        self.round().await;
                    }
                }
            }
            self.stand_up().await;
            self.parts.state.metrics.traffic(&self.source.traffic());
        }
    }

    /// Starts the upkeep, if there is a file that lists this node.
    fn keep(&mut self) {
        if self.kept || !self.listed {
            return;
        }
        match (self.parts.upkeep)() {
            Ok(()) => self.kept = true,
            Err(error) => log::error!("the upkeep cannot be started: {error}"),
        }
    }

    /// Takes in what came of a look at the network.
    fn hear(&mut self, report: Report) {
        let Report { outcome, problems, whole, took } = report;
        let metrics = &self.parts.state.metrics;
        metrics.applied(outcome.is_ok(), took);
        let mut wrong: BTreeSet<String> = problems.into_iter().collect();
        match outcome {
            Ok(mended) => {
                metrics.mended(mended);
                self.stands = true;
                self.counts |= whole;
            }
            Err(error) => {
                self.stands = false;
                // Until the file lists it that is no news.
                if self.listed {
                    wrong.insert(format!("network {}: {error}", self.parts.network.name));
                }
            }
        }
        if whole || !self.stands {
            self.told.network.update(wrong);
        }
    }

    /// What follows when the overlay stands.
    async fn stand_up(&mut self) {
        if !(self.stands && self.listed) {
            return;
        }
        if self.read && !self.parts.state.is_ready() {
            log::info!("node {} is up", self.parts.name);
            self.parts.state.set_ready();
        }
        if !self.installed && self.installing.until().is_none() {
            let done = self.parts.installer.configuration(&self.parts.conflist);
            self.installed = done.is_ok();
            self.installing.came_out(self.installed);
            if done == Ok(true) {
                log::info!("{} is in place", self.parts.conflist.file);
            }
            let wrong =
                done.err().map(|why| format!("the configuration is not put in place: {why}"));
            self.told.configuration.update(wrong.into_iter().collect());
        }
        if self.unsaid && self.read && self.source.own().is_some() && self.saying.until().is_none()
        {
            let said = timeout(REQUEST, self.source.available()).await;
            let said = said
                .map_err(|_| "no answer in time".to_owned())
                .and_then(|said| said.map_err(|refusal| refusal.to_string()));
            self.unsaid = said.is_err();
            self.saying.came_out(!self.unsaid);
            if let Err(error) = said {
                log::debug!("that the network stands cannot be told: {error}");
            }
        }
    }

    /// Whether the pods' addresses are others than they were.
    fn look_at_books(&mut self) -> bool {
        if !self.counts {
            return false;
        }
        let Some(news) = (self.parts.books)() else { return false };
        let wrong = news.as_ref().err().map(|why| format!("the leases cannot be counted: {why}"));
        self.told.books.update(wrong.into_iter().collect());
        let usage = news.ok();
        let changed = self.usage != usage;
        self.usage = usage;
        changed
    }

    /// Whether something is to be done because time has passed.
    fn is_due(&mut self) -> bool {
        let refused = self.refused.len();
        self.refused.retain(|_, (_, since)| since.elapsed() < REFUSED);
        let again = self.deeds.is_over() | self.writing.is_over() | self.is_touched();
        let again = again | self.done.lapse();
        let ripe = self.leaving.values().any(|since| since.elapsed() >= LINGER);
        let missed = self.is_missed() && !self.matters.waits.contains(&Wait::NoNode);
        let given = self.early && !self.is_early();
        again || ripe || missed || given || self.refused.len() < refused
    }

    /// Whether this node is missing in the cluster for longer than it takes to read it.
    fn is_missed(&self) -> bool {
        self.missing.is_some_and(|since| since.elapsed() >= REQUEST)
    }

    /// Whether this node may still be given ranges.
    fn is_early(&self) -> bool {
        self.source.gives_ranges() && self.known.is_some_and(|since| since.elapsed() < GIVEN)
    }

    /// Notes whether the source answers.
    fn look_at_source(&mut self) {
        self.outage = match (self.source.trouble(), self.outage.take()) {
            (Some(why), Some(mut outage)) => {
                if outage.goes_on(why.clone()) {
                    log::warn!("the source still does not answer: {why}");
                }
                Some(outage)
            }
            (Some(why), None) => {
                log::warn!("the source does not answer: {why}; this node stays as it is");
                Some(Outage::new(why, SystemTime::now()))
            }
            (None, Some(outage)) => {
                log::info!("the source answers again, after {} s", outage.lasted().as_secs());
                None
            }
            (None, None) => None,
        };
        self.matters.trouble = self.outage.as_ref().map(Outage::told);
        self.parts.state.metrics.source(self.matters.trouble.as_ref().map(|(since, _)| *since));
    }

    /// Whether the wall clock was set since the source does not answer.
    fn look_at_clock(&mut self) -> bool {
        self.outage.as_mut().is_some_and(|outage| outage.look_at_clock(SystemTime::now()))
    }
}

#[cfg(test)]
mod tests;
