//! One network that is kept as its range file says: what of it is to be looked at, and looking.

use std::collections::BTreeSet;
use std::mem;
use std::time::{Duration, Instant, SystemTime};

use flatnet_conf::NetworkConf;

use super::devices::{Device, Devices};
use super::drift::Drift;
use super::follow::follow;
use super::held::Held;
use super::scope::{Scope, judge, judge_failed};
use crate::attachment::pods::{Looked, Pods};
use crate::error::Error;
use crate::kernel::{Dev, Event, Journal, Kernel, Listener, Mode, Netlink, Observe};
use crate::overlay::apply::make;
use crate::overlay::fast_path;
use crate::overlay::last_read::LastRead;
use crate::overlay::network_lock::NetworkLock;
use crate::overlay::site::{Site, Standing};
use crate::overlay::stamp::FileState;
use crate::upkeep::sync::{self, SyncReport};

/// A network, and what is known of it.
pub struct Tended {
    /// Its configuration.
    pub conf: NetworkConf,
    held: Option<Held>,
    /// Tells `remove` that what goes is brought back.
    lock: Option<NetworkLock>,
    /// The range file when it was last looked at, and whether a later change is sure to show.
    file: (Option<FileState>, bool),
    /// Since when looks at all of it have failed, and how often.
    failed: Option<Failure>,
    work: Work,
}

/// A look that failed.
struct Failure {
    times: u32,
    /// Not sooner is it tried again for an event: what was tried makes events itself.
    again: Instant,
}

impl Failure {
    fn after(before: Option<Self>) -> Self {
        let times = before.map_or(0, |before| before.times + 1).min(3);
        Self { times, again: Instant::now() + Duration::from_secs(1 << times) }
    }
}

/// What is to be looked at.
#[derive(Default)]
struct Work {
    everything: bool,
    file: bool,
    overlay: bool,
    rules: bool,
    pods: BTreeSet<String>,
    drift: Drift,
}

impl Work {
    fn is_empty(&self) -> bool {
        let Self { everything, file, overlay, rules, pods, drift } = self;
        !(*everything || *file || *overlay || *rules) && pods.is_empty() && drift.is_empty()
    }
}

impl Tended {
    /// A network of which nothing is known.
    pub fn new(conf: NetworkConf) -> Self {
        let work = Work { everything: true, ..Work::default() };
        Self { conf, held: None, lock: None, file: (None, false), failed: None, work }
    }

    /// Everything is to be looked at.
    pub fn doubt(&mut self) {
        self.work.everything = true;
    }

    /// Files may have changed: looks whether the range file is the one that was looked at last.
    pub fn look_at_file(&mut self) {
        let now = self.conf.range_file().ok().and_then(|path| FileState::of(path).ok());
        // One that had just changed may have changed again without a trace.
        let settled = now.as_ref().is_some_and(|source| source.settled(SystemTime::now()));
        let (before, was_settled) = mem::replace(&mut self.file, (now, settled));
        self.work.file |= before != self.file.0 || before.is_some() && !was_settled;
    }

    /// When there is something to look at, if there is anything; not before now.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let due = match &self.failed {
            Some(failure) if !self.work.file => failure.again.max(now),
            _ => now,
        };
        (!self.work.is_empty()).then_some(due)
    }

    /// Takes in what has happened; tells whether it concerns this network.
    pub fn hear(&mut self, devices: &Devices, was: Option<&Device>, event: &Event) -> bool {
        let Self { conf, held, failed, work, .. } = self;
        if *event == Event::Policies && !fast_path::is_wanted(conf) {
            return false;
        }
        let failed = failed.is_some() || held.is_none();
        let again = failed && judge_failed(was, event) != Scope::Nothing;
        work.everything |= again;
        let Some(held) = held else { return again };
        match judge(held, &conf.name, devices, was, event) {
            Scope::Nothing => return again,
            Scope::Pod(name) => drop(work.pods.insert(name)),
            Scope::Entry(entry) => work.drift.add(&held.entries, entry),
            Scope::Rules => work.rules = true,
            Scope::Overlay => work.overlay = true,
            Scope::Everything => work.everything = true,
        }
        true
    }

    /// Looks at what is to be looked at, and puts it right. `whole` tells whether that was everything.
    ///
    /// # Errors
    /// Those of [`sync::run`]. What could not be put right by itself is looked at with everything else.
    pub fn look(
        &mut self,
        node: &mut Netlink,
        last: &LastRead,
        listener: &mut Listener,
    ) -> (Result<SyncReport, Error>, bool) {
        let mut work = mem::take(&mut self.work);
        // What an ADD has applied meanwhile is no drift.
        self.look_at_file();
        work.file |= mem::take(&mut self.work.file);
        let mut all = work.everything || work.file && work.overlay || self.held.is_none();
        if let Some(held) = self.held.as_mut().filter(|_| !all && !work.overlay) {
            match look_closely(node, &self.conf, last, held, &work) {
                Ok(Some(report)) => return (Ok(report), false),
                Ok(None) => {}
                Err(e) => log::info!("{}: {e}; everything is looked at", self.conf.name),
            }
            all = true;
        }
        let report = self.look_at_all(node, last, listener, (!all).then_some(&work.pods));
        let before = self.failed.take();
        self.failed = report.is_err().then(|| Failure::after(before));
        (report, all)
    }

    /// The overlay, and all pods or those whose ends on the node bear one of these names.
    fn look_at_all(
        &mut self,
        node: &mut Netlink,
        last: &LastRead,
        listener: &mut Listener,
        only: Option<&BTreeSet<String>>,
    ) -> Result<SyncReport, Error> {
        let own = node.netns().inode()?;
        // Anew each time, for the state folder may have been lost meanwhile.
        self.lock = Some(NetworkLock::keep(&self.conf, own)?);
        let path = self.conf.range_file()?;
        let mtu = self.held.as_ref().map(|held| held.frame.link.mtu);
        let (site, is_new) = match self.held.take_if(|held| held.site.is_of(path)) {
            Some(mut held) => {
                held.site.find_node(node, &self.conf)?;
                (held.site, false)
            }
            None => {
                let site = Site::find_by(node, &self.conf, last)?;
                let before = self.held.as_ref().map(|held| held.site.file());
                let is_new = before != Some(site.file());
                (site, is_new)
            }
        };
        let conf = &self.conf;
        let mut journal = Journal::new(node, Mode::Apply).heard_by(listener);
        let (ways, standing, overlay) = sync::overlay(&site, &mut journal, conf, own, Mode::Apply)?;
        // The pods' follows the overlay's.
        let only = only.filter(|_| mtu == Some(standing.mtu));
        let looked = look_at_pods(&mut journal, conf, &site, &standing, own, only)?;
        let changes = journal.changes();
        let mut report = SyncReport::new(&site, changes, looked).warned(&site, conf, &ways);
        if is_new {
            report.followed = report.count();
        }
        let index = node.link(&overlay.link.name)?.map_or(0, |link| link.dev.index);
        self.held = Some(Held::new(site, ways, index, standing, overlay));
        Ok(report)
    }
}

/// Looks at what events have named; `None` if that is not enough.
fn look_closely(
    node: &mut Netlink,
    conf: &NetworkConf,
    last: &LastRead,
    held: &mut Held,
    work: &Work,
) -> Result<Option<SyncReport>, Error> {
    let own = node.netns().inode()?;
    let mut journal = Journal::new(node, Mode::Apply);
    if work.file {
        let site = Site::find_by(&mut journal, conf, last)?;
        if !follow(held, &mut journal, conf, own, site)? {
            return Ok(None);
        }
    }
    let followed = journal.count();
    if work.rules {
        let takes = held.standing.programs.is_some();
        let policy = held.site.policy(conf, &held.ways, takes);
        journal.put_rules(&policy.rules())?;
    }
    let dev = Dev { index: held.index, name: held.frame.link.name.clone() };
    for step in work.drift.plan(held) {
        make(&mut journal, &dev, &step)?;
    }
    let Held { site, standing, .. } = held;
    let looked = match work.pods.is_empty() {
        true => Looked::default(),
        false => look_at_pods(&mut journal, conf, site, standing, own, Some(&work.pods))?,
    };
    let changes = journal.changes();
    Ok(Some(SyncReport { followed, ..SyncReport::new(&held.site, changes, looked) }))
}

fn look_at_pods(
    node: &mut dyn Kernel,
    conf: &NetworkConf,
    site: &Site,
    standing: &Standing,
    own: u64,
    only: Option<&BTreeSet<String>>,
) -> Result<Looked, Error> {
    let pods = Pods::of(site, conf, standing, own, Mode::Apply);
    match only {
        Some(names) => pods.look_at(node, &|name| names.contains(name)),
        None => pods.look(node),
    }
}
