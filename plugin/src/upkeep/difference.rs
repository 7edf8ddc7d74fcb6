//! A new range file against the one that stands: where only peers differ, what is done about it is as
//! much as they are, however many the others.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use flatnet_conf::{Node, RangeFile};

/// The peers that differ; one that has changed is gone and new.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those that the old file has like this.
    pub gone: Vec<Node>,
    /// Those that the new one has like this.
    pub new: Vec<Node>,
}

impl Difference {
    /// Between two range files on one node; `None` if more than peers differs.
    pub fn of(old: &RangeFile, new: &RangeFile, own: &Node) -> Option<Self> {
        let rest = |file: &RangeFile| (file.vni, file.port, file.direct_routing);
        let same = rest(old) == rest(new) && old.cluster_cidrs == new.cluster_cidrs;
        if !same || old.node(&own.name) != Some(own) {
            return None;
        }
        let (old, new) = apart(&old.nodes, &new.nodes);
        fn by_name(nodes: &[Node]) -> HashMap<&str, &Node> {
            nodes.iter().map(|node| (&*node.name, node)).collect()
        }
        let (before, after) = (by_name(old), by_name(new));
        let lacking = |from: &[Node], than: &HashMap<&str, &Node>| -> Vec<Node> {
            from.iter().filter(|node| than.get(&*node.name) != Some(node)).cloned().collect()
        };
        Some(Self { gone: lacking(old, &after), new: lacking(new, &before) })
    }

    /// The VTEPs that no node has any more, and those that none had.
    pub fn vteps(&self) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let of =
            |nodes: &[Node]| -> HashSet<IpAddr> { nodes.iter().map(|node| node.vtep).collect() };
        let (gone, new) = (of(&self.gone), of(&self.new));
        let only = |one: &HashSet<IpAddr>, other| {
            let mut only: Vec<_> = one.difference(other).copied().collect();
            only.sort_unstable();
            only
        };
        (only(&gone, &new), only(&new, &gone))
    }
}

/// What is left of two lists without what both begin with, and what both end with: where one node has come among
/// thousands, little.
fn apart<'a, T: PartialEq>(old: &'a [T], new: &'a [T]) -> (&'a [T], &'a [T]) {
    let begin = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[begin..], &new[begin..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    (&old[..old.len() - end], &new[..new.len() - end])
}

/// A range file with this node and these peers only.
pub fn part(file: &RangeFile, own: &Node, peers: &[Node]) -> RangeFile {
    let nodes = std::iter::once(own).chain(peers).cloned().collect();
    let RangeFile { vni, port, direct_routing, ref cluster_cidrs, .. } = *file;
    RangeFile { vni, port, direct_routing, cluster_cidrs: cluster_cidrs.clone(), nodes }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file(rest: &str, nodes: &[(&str, &str, &str)]) -> RangeFile {
        let node = |(name, vtep, range): &(&str, &str, &str)| {
            format!(r#"{{"name":"{name}","vtep":"192.0.2.{vtep}","ranges":["10.1.{range}.0/24"]}}"#)
        };
        let nodes: Vec<_> = nodes.iter().map(node).collect();
        let text = format!(r#"{{"version":1{rest},"nodes":[{}]}}"#, nodes.join(","));
        RangeFile::parse(Path::new("r.json"), text.as_bytes()).unwrap()
    }

    const ALL: &str = r#","clusterCIDRs":["10.1.0.0/16"]"#;

    fn differ(
        old: &[(&str, &str, &str)],
        new: &[(&str, &str, &str)],
    ) -> Option<(Vec<String>, Vec<String>)> {
        let (old, new) = (file(ALL, old), file(ALL, new));
        let names = |nodes: Vec<Node>| nodes.into_iter().map(|node| node.name).collect();
        let difference = Difference::of(&old, &new, &new.nodes[0])?;
        Some((names(difference.gone), names(difference.new)))
    }

    #[test]
    fn peers_that_come_go_or_change_are_the_difference() {
        let some = |gone: &[&str], new: &[&str]| {
            let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Some((strings(gone), strings(new)))
        };
        let (a, b, c) = (("a", "1", "1"), ("b", "2", "2"), ("c", "3", "3"));
        assert_eq!(differ(&[a, b], &[a, b]), some(&[], &[]));
        assert_eq!(differ(&[a, b, c], &[a, c, b]), some(&[], &[]), "the order says nothing");
        assert_eq!(differ(&[a, b], &[a, b, c]), some(&[], &["c"]));
        assert_eq!(differ(&[a, b, c], &[a, c]), some(&["b"], &[]));
        assert_eq!(differ(&[a, b], &[a, ("b", "2", "9")]), some(&["b"], &["b"]));
        assert_eq!(
            differ(&[a, b, c], &[a, ("b", "3", "2"), ("c", "2", "3")]),
            some(&["b", "c"], &["b", "c"])
        );
        assert_eq!(differ(&[a, b], &[("a", "1", "9"), b]), None, "the node itself");
        assert_eq!(differ(&[b], &[a, b]), None, "it was not listed");
    }

    #[test]
    fn what_is_not_a_peers_is_more_than_a_difference() {
        let nodes = [("a", "1", "1"), ("b", "2", "2")];
        let old = file(ALL, &nodes);
        for rest in [
            r#","clusterCIDRs":["10.1.0.0/16"],"vni":7"#,
            r#","clusterCIDRs":["10.1.0.0/16"],"port":7"#,
            r#","clusterCIDRs":["10.1.0.0/16"],"directRouting":true"#,
            r#","clusterCIDRs":["10.0.0.0/8"]"#,
            "",
        ] {
            let new = file(rest, &nodes);
            assert_eq!(Difference::of(&old, &new, &new.nodes[0]), None, "{rest}");
        }
    }

    #[test]
    fn a_vtep_that_moves_to_another_node_stays_one() {
        let old = file(ALL, &[("a", "1", "1"), ("b", "2", "2"), ("c", "3", "3")]);
        let new = file(ALL, &[("a", "1", "1"), ("b", "9", "2"), ("d", "2", "4")]);
        let difference = Difference::of(&old, &new, &new.nodes[0]).unwrap();
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        assert_eq!(difference.vteps(), (vec![ip(3)], vec![ip(9)]));
    }
}
