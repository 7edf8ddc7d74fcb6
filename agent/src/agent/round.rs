//! One round: the file, the deeds, and what is told.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use flatnet_conf::RangeFile;
use ipnetwork::IpNetwork;
use tokio::time::{Instant, timeout};

use super::{Agent, LINGER, REQUEST};
use crate::assemble::range_file;
use crate::claims::{Decision, Known, Wait, capacity, decide, outlive};
use crate::cluster::Cluster;
use crate::judge::{Judged, judge};
use crate::room::free_blocks;
use crate::source::{Deed, Notice, OwnNode, Refusal, Source};

/// A range that another was faster to claim is followed by the next at once, but not for ever.
const ATTEMPTS: usize = 16;

impl<S: Source> Agent<S> {
    /// Does what is to be done now, as far as is known.
    pub(super) async fn round(&mut self) {
        self.look_at_source();
        if let Some(cluster) = self.source.cluster() {
            self.read = true;
            for _ in 0..ATTEMPTS {
                let Decision { deeds, waits, leaving } = self.consider(&cluster);
                self.matters.waits = waits;
                if !self.leave(&leaving) && !self.carry_out(deeds).await {
                    break;
                }
            }
            self.objects = self.count_objects(&cluster);
            self.told.deeds.update(self.failing.clone());
        }
        self.tell_matters().await;
    }

    /// Brings back own objects, before anything follows from their absence.
    pub(super) async fn bring_back(&mut self) {
        let Some(cluster) = self.source.cluster() else { return };
        let mut judged = mem::take(&mut self.judged);
        judged.renew(&self.parts.network, &cluster);
        let Decision { mut deeds, .. } = self.decide(&cluster, &judged);
        self.judged = judged;
        deeds.retain(|deed| {
            matches!(deed, Deed::PutNode { .. } | Deed::Claim(_) | Deed::Reclaim(_))
        });
        self.carry_out(deeds).await;
    }

    /// The file of a cluster, and what this node should do.
    fn consider(&mut self, cluster: &Cluster) -> Decision {
        let mut judged = mem::take(&mut self.judged);
        judged.renew(&self.parts.network, cluster);
        self.show(&judged);
        let decision = self.decide(cluster, &judged);
        self.judged = judged;
        decision
    }

    /// Puts down what counts of the cluster.
    fn show(&mut self, judged: &Judged) {
        let leaves_out = |range| self.leaving.contains_key(&range) || self.done.has_released(range);
        let file = range_file(&self.parts.network, judged, &leaves_out);
        self.publish(file);
        let own = judged.of(&self.parts.name).iter().filter_map(|block| block.subnet());
        self.former.extend(own.filter(|range| !self.done.has_released(*range)));
        self.first = judged.nodes.keys().next() == Some(&self.parts.name);
        self.count(judged);
        self.matters.rejected = judged.rejected().cloned().collect();
    }

    /// What this node should do.
    fn decide(&mut self, cluster: &Cluster, judged: &Judged) -> Decision {
        let own = self.source.own();
        match &own {
            Some(own) => {
                self.addresses.clone_from(&own.addresses);
                self.missing = None;
                self.known.get_or_insert_with(Instant::now);
            }
            None => {
                self.missing.get_or_insert_with(Instant::now);
                self.known = None;
            }
        }
        self.early = self.is_early();
        let without = OwnNode { addresses: self.addresses.clone(), ranges: Vec::new() };
        let name = self.parts.name.as_str();
        let shown = self.done.shown(cluster, name);
        let shown_judged = shown.as_ref().map(|shown| judge(&self.parts.network, shown));
        let shown = shown.as_ref().unwrap_or(cluster);
        let left = self.leaving.iter().filter(|(_, since)| since.elapsed() >= LINGER);
        let left = left.map(|(range, _)| *range).collect();
        let refused = self.refused.iter().map(|(range, (holder, _))| (*range, holder.clone()));
        let refused = refused.collect();
        let known = Known {
            network: &self.parts.network,
            judged: shown_judged.as_ref().unwrap_or(judged),
            name,
            own: own.as_ref().unwrap_or(&without),
            early: self.early,
            entry: shown.nodes.iter().find(|node| node.name == name).map(Arc::as_ref),
            usage: self.usage.as_ref(),
            former: &self.former,
            left: &left,
            refused: &refused,
        };
        if own.is_some() {
            return decide(&known);
        }
        let mut decision = outlive(&known);
        if self.is_missed() {
            decision.waits.push(Wait::NoNode);
        }
        decision
    }

    /// Whether the file is to be written again, because another has changed it or taken it away.
    pub(super) fn is_touched(&mut self) -> bool {
        // Before the source was read there is nothing else to write.
        let touched = self.read && self.parts.publisher.is_touched();
        if touched {
            let path = self.parts.publisher.path();
            log::warn!("{} is not as this agent left it: it is made so again", path.display());
        }
        touched
    }

    /// Puts the file in place. One that would have no node is none: what stands goes on.
    fn publish(&mut self, file: Option<RangeFile>) {
        let Some(file) = file else { return };
        let (listed, count) = (file.node(&self.parts.name).is_some(), file.nodes.len());
        match self.parts.publisher.publish(file) {
            Ok(written) => {
                self.listed = listed;
                if written {
                    self.parts.state.metrics.written();
                    let path = self.parts.publisher.path();
                    let nodes = if count == 1 { "node" } else { "nodes" };
                    log::info!("{} has {count} {nodes} now", path.display());
                }
                self.keep();
            }
            Err(error) => {
                self.unwritten.insert(format!("{error}; it is tried again"));
            }
        }
    }

    /// What leaves is out of the file from now on; tells whether that is another one then.
    fn leave(&mut self, leaving: &BTreeSet<IpNetwork>) -> bool {
        if leaving.iter().eq(self.leaving.keys()) {
            return false;
        }
        self.leaving.retain(|range, _| leaving.contains(range));
        for range in leaving {
            self.leaving.entry(*range).or_insert_with(Instant::now);
        }
        true
    }

    /// Changes own objects; tells whether to decide again, as another was faster.
    async fn carry_out(&mut self, deeds: Vec<Deed>) -> bool {
        if self.deeds.until().is_some() {
            return false;
        }
        self.failing.clear();
        let mut again = false;
        for deed in deeds {
            let done = timeout(REQUEST, self.source.carry_out(&deed)).await;
            let done =
                done.unwrap_or_else(|_| Err(Refusal::Failed("no answer in time".to_owned())));
            let (kind, words) = words(&deed);
            let outcome = match done {
                Ok(()) => {
                    log::info!("{words}");
                    if let Deed::Release(range) = deed {
                        self.former.remove(&range);
                    }
                    self.done.add(deed);
                    "done"
                }
                Err(Refusal::Taken { range, holder }) => {
                    self.refused.insert(range, (holder, Instant::now()));
                    again = true;
                    "taken"
                }
                Err(Refusal::Failed(why)) => {
                    self.failing.insert(format!("{words}: {why}; it is tried again"));
                    "failed"
                }
            };
            self.parts.state.metrics.requested(kind, outcome);
            if outcome == "failed" {
                self.deeds.came_out(false);
                return false;
            }
        }
        self.deeds.came_out(true);
        again
    }

    /// Tells what is wrong with objects, and what is waited for, when it begins and when it ends.
    pub(super) async fn tell_matters(&mut self) {
        let metrics = &self.parts.state.metrics;
        metrics.rejected(&self.matters.rejected);
        metrics.waiting(&self.matters.waits);
        if let Err(error) = self.parts.state_file.write(&self.matters) {
            self.unwritten.insert(format!(
                "what is the matter cannot be written down: {error}; it is tried again"
            ));
        }
        self.writing.came_out(self.unwritten.is_empty());
        self.told.files.update(mem::take(&mut self.unwritten));
        let rejected = self.matters.rejected.iter().map(ToString::to_string);
        let waits = self.matters.waits.iter().map(ToString::to_string);
        let new = self.told.matters.update(rejected.chain(waits).collect());
        let notices: Vec<_> = new.iter().filter_map(|message| self.notice(message)).collect();
        let tell = async {
            for notice in &notices {
                self.source.tell(notice).await;
            }
        };
        // Who cannot hear it now has it in the log and in the file.
        let _ = timeout(REQUEST, tell).await;
    }

    /// A notice of it. Of what is wrong with others' objects each node would tell the same: that is left to the
    /// node that it is about, and to the first, for the other may not be there.
    fn notice(&self, message: &str) -> Option<Notice> {
        let notice = |reason| Notice { reason, message: message.to_owned(), warning: true };
        let mut waits = self.matters.waits.iter();
        if let Some(wait) = waits.find(|wait| wait.to_string() == message) {
            return Some(notice(wait.kind().1));
        }
        let rejected = self.matters.rejected.iter().find(|other| other.to_string() == message)?;
        (self.first || rejected.node == self.parts.name).then(|| notice("EntryRejected"))
    }

    fn count(&self, judged: &Judged) {
        let metrics = &self.parts.state.metrics;
        let mut used = [0_u64; 2];
        for (range, _) in judged.blocks.iter() {
            let [ipv4, ipv6] = &mut used;
            *(if range.is_ipv4() { ipv4 } else { ipv6 }) += 1;
        }
        metrics.cluster(judged.nodes.len(), used, free_blocks(&self.parts.network, &judged.blocks));
        let mut counts = BTreeMap::new();
        if let Some(usage) = &self.usage {
            let own = judged.of(&self.parts.name).iter();
            counts.extend(own.filter_map(|block| {
                let range = block.subnet()?;
                let used = usage.of(range);
                // No new pod has an address of a range that is kept for those that live.
                Some((range, [used, if block.retiring { used } else { capacity(range) }]))
            }));
        }
        metrics.leases(&counts);
    }
}

/// A deed's kind, and what it is in words.
fn words(deed: &Deed) -> (&'static str, String) {
    match deed {
        Deed::PutNode { vtep } => ("put_node", format!("this node is at {vtep}")),
        Deed::Claim(range) => ("claim", format!("{range} is claimed")),
        Deed::Reclaim(range) => ("claim", format!("{range} is claimed again")),
        Deed::Retire(range) => ("retire", format!("{range} is kept for the pods that live in it")),
        Deed::Release(range) => ("release", format!("{range} is given back")),
    }
}
