//! What this node has done to its objects and not heard of yet: an engine tells of a change after it has taken
//! it. Decided is on what is known plus this; else a block would be claimed twice.

use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;
use tokio::time::Instant;

use crate::aged::Born;
use crate::cluster::{BlockEntry, Cluster, NodeEntry, label_name};
use crate::source::Deed;

/// If it has not been told of until then, it came otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for the own address: another may write over it before it is told of, and to write it twice harms nobody.
const BRIEF: Duration = Duration::from_secs(5);

/// Deeds, and when they were done.
#[derive(Debug, Default)]
pub struct Done(Vec<(Deed, Instant)>);

impl Done {
    /// It was just done.
    pub fn add(&mut self, deed: Deed) {
        self.0.push((deed, Instant::now()));
    }

    /// Whether a range was given back that the cluster may still show.
    pub fn has_released(&self, range: IpNetwork) -> bool {
        self.0.iter().any(|(deed, _)| *deed == Deed::Release(range))
    }

    /// The cluster with what it does not show yet, and nothing if it shows all; what it does is forgotten.
    pub fn shown(&mut self, cluster: &Cluster, name: &str) -> Option<Cluster> {
        // Nearly always.
        if self.0.is_empty() {
            return None;
        }
        let mut shown = cluster.clone();
        self.lapse();
        self.0.retain(|(deed, _)| put(&mut shown, deed, name));
        Some(shown)
    }

    /// Forgets what should have been told of by now. Says whether there was something.
    pub fn lapse(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|(deed, since)| since.elapsed() < patience(deed));
        self.0.len() < before
    }
}

fn patience(deed: &Deed) -> Duration {
    match deed {
        Deed::PutNode { .. } => BRIEF,
        _ => PATIENCE,
    }
}

/// Whether the cluster did not show it.
fn put(cluster: &mut Cluster, deed: &Deed, name: &str) -> bool {
    let Cluster { nodes, blocks } = cluster;
    // Younger than all.
    let born = |name: &str| Born { at: i64::MAX, name: name.to_owned() };
    let (range, retiring) = match deed {
        Deed::PutNode { vtep } => {
            if nodes.iter().any(|node| node.name == name && node.vtep == Ok(*vtep)) {
                return false;
            }
            nodes.retain(|node| node.name != name);
            let node = NodeEntry { name: name.to_owned(), vtep: Ok(*vtep), born: born(name) };
            nodes.put(Arc::new(node));
            return true;
        }
        Deed::Release(range) => {
            let before = blocks.len();
            blocks.retain(|block| block.node != name || block.subnet() != Some(*range));
            return blocks.len() < before;
        }
        Deed::Claim(range) | Deed::Reclaim(range) => (range, false),
        Deed::Retire(range) => (range, true),
    };
    let block = match blocks.iter().find(|block| block.subnet() == Some(*range)) {
        Some(block) if block.node != name || block.retiring == retiring => return false,
        Some(block) => BlockEntry { retiring, ..BlockEntry::clone(block) },
        None => {
            let key = label_name(*range);
            let (node, born) = (name.to_owned(), born(&key));
            BlockEntry::new(key, &range.to_string(), node, retiring, born, label_name)
        }
    };
    blocks.put(Arc::new(block));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{cluster, net};

    #[tokio::test(start_paused = true)]
    async fn what_was_done_counts_until_it_shows() {
        let before = cluster(&["a 192.0.2.1", "10.1.1.0/24 a", "10.1.2.0/24 a"]);
        let mut done = Done::default();
        let vtep = "192.0.2.9".parse().unwrap();
        let claim = net("10.1.3.0/24");
        for deed in [
            Deed::PutNode { vtep },
            Deed::Release(net("10.1.1.0/24")),
            Deed::Retire(net("10.1.2.0/24")),
            Deed::Claim(claim),
        ] {
            done.add(deed);
        }
        let seen = done.shown(&before, "a").unwrap();
        assert_eq!(seen.nodes[0].vtep, Ok(vtep));
        let blocks: Vec<_> = seen.blocks.iter().map(|b| (&*b.key, b.retiring)).collect();
        assert_eq!(blocks, [("10-1-2-0-24", true), ("10-1-3-0-24", false)]);

        // All of it has been heard of: what comes now is news.
        assert_eq!(done.shown(&seen, "a"), Some(seen));
        assert_eq!(done.shown(&before, "a"), None);

        done.add(Deed::Claim(claim));
        tokio::time::advance(PATIENCE).await;
        assert_eq!(done.shown(&before, "a"), Some(before.clone()), "it never came");
        assert_eq!(done.shown(&before, "a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_own_address_that_is_not_told_of_is_looked_at_again_soon() {
        let mut done = Done::default();
        done.add(Deed::PutNode { vtep: "192.0.2.9".parse().unwrap() });
        done.add(Deed::Claim(net("10.1.3.0/24")));
        for (seconds, overdue) in [(4, false), (1, true), (24, false), (1, true), (60, false)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(done.lapse(), overdue, "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_has_meanwhile_is_its() {
        let seen = cluster(&["10.1.3.0/24 b"]);
        let mut done = Done::default();
        done.add(Deed::Claim(net("10.1.3.0/24")));
        assert_eq!(done.shown(&seen, "a"), Some(seen.clone()));
        assert_eq!(done.shown(&seen, "a"), None);
    }
}
