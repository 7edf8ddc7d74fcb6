//! When a burst of changes is over, and what is waited for meanwhile.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Agent;
use crate::cluster::Cluster;
use crate::source::Source;

/// A burst of changes is one file: it is over when nothing came for so long ...
const SETTLED: Duration = Duration::from_millis(75);
/// ... or has lasted so long.
const BURST: Duration = Duration::from_millis(500);
/// ... or, where objects are gone, so long: an engine that has much to do takes longer until they are back ...
const GONE: Duration = Duration::from_secs(1);
/// ... or, where it has forgotten them, so long.
const REMINDED: Duration = Duration::from_secs(10);

impl<S: Source> Agent<S> {
    /// Waits until a burst of changes is over. What has gone may be back in a moment, when a Node was deleted whose
    /// agent claims again what its pods live in: it is waited for. What is this node's own is brought back at once, as all
    /// others wait for it.
    pub(super) async fn settle(&mut self) {
        let begun = Instant::now();
        loop {
            let quiet = timeout(SETTLED, self.source.changed()).await.is_err();
            if quiet && self.lacks_own() {
                self.bring_back().await;
            }
            let missing = self.lacks_objects();
            let gone = if self.source.forgets() { REMINDED } else { GONE };
            let longest = if missing { gone } else { BURST };
            if begun.elapsed() >= longest || (quiet && !missing) {
                return;
            }
        }
    }

    /// Whether fewer objects say something than in the last round, and it is not this node that is to go.
    fn lacks_objects(&self) -> bool {
        let [nodes, blocks, _] = self.objects;
        let fewer = |now: [usize; 3]| now[0] < nodes || now[1] < blocks;
        self.source.own().is_some() && self.counted().is_some_and(fewer)
    }

    /// Whether there are fewer of this node's own.
    fn lacks_own(&self) -> bool {
        self.counted().is_some_and(|now| now[2] < self.objects[2])
    }

    fn counted(&self) -> Option<[usize; 3]> {
        Some(self.count_objects(&self.source.cluster()?))
    }

    /// One whose address is nonsense, or of the other family, its node mends as if it were gone.
    pub(super) fn count_objects(&self, cluster: &Cluster) -> [usize; 3] {
        let Cluster { nodes, blocks } = cluster;
        let family = |vtep: &IpAddr| self.judged.ipv4.is_none_or(|ipv4| ipv4 == vtep.is_ipv4());
        let nodes = nodes.iter().filter(|node| node.vtep.as_ref().is_ok_and(family));
        let blocks = blocks.iter().filter(|block| block.range.is_ok());
        let name = &self.parts.name;
        let own = nodes.clone().filter(|node| node.name == *name).count()
            + blocks.clone().filter(|block| block.node == *name).count();
        [nodes.count(), blocks.count(), own]
    }
}
