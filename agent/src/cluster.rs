//! The cluster as its objects say: two kinds of them, whatever engine keeps them. What an object says by itself is
//! read once, when it is heard of; how it stands to the others and to the network is judged each time.

use std::net::IpAddr;

use flatnet_conf::{Error, Range, node_name_problem, parse_vtep};
use ipnetwork::IpNetwork;

use crate::aged::{Aged, Born, Made};

/// A node: where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// The node's name, which is the object's.
    pub name: String,
    /// Its address on the underlay; or which value of the object is nonsense in any network, and why.
    pub vtep: Result<IpAddr, String>,
    /// When the object was made.
    pub born: Born,
}

impl NodeEntry {
    /// What an object of this name says.
    pub fn new(name: String, vtep: &str, born: Born) -> Self {
        let vtep = match node_name_problem(&name) {
            Some(problem) => Err(format!("{name:?} {problem}")),
            None => parse_vtep(vtep),
        };
        Self { name, vtep, born }
    }
}

/// A block: a range, and which node holds it. The node that makes the object has the range, for a name exists once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The object's name.
    pub key: String,
    /// The range, all of a subnet; or which value of the object is nonsense in any network, and why.
    pub range: Result<Range, String>,
    /// The node that holds it.
    pub node: String,
    /// Whether it is held for the pods that live in it alone, and new ones are to have another.
    pub retiring: bool,
    /// When the object was made.
    pub born: Born,
}

impl BlockEntry {
    /// What an object of this name says; `named` is what its engine calls the block of a range.
    pub fn new(
        key: String,
        range: &str,
        node: String,
        retiring: bool,
        born: Born,
        named: fn(IpNetwork) -> String,
    ) -> Self {
        let range = parse_range(range).and_then(|range| {
            let subnet = range.subnet();
            let name = named(subnet);
            if key != name {
                // A node that wants a range makes the object of its name: one of another name would be no claim.
                return Err(format!("its range is {subnet}, whose block is called {name}"));
            }
            match node_name_problem(&node) {
                Some(problem) => Err(format!("node {node:?} {problem}")),
                None => Ok(range),
            }
        });
        Self { key, range, node, retiring, born }
    }

    /// The range, if it is one.
    pub fn subnet(&self) -> Option<IpNetwork> {
        self.range.as_ref().ok().map(Range::subnet)
    }
}

impl Made for NodeEntry {
    fn born(&self) -> &Born {
        &self.born
    }
}

impl Made for BlockEntry {
    fn born(&self) -> &Born {
        &self.born
    }
}

/// All objects of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Aged<NodeEntry>,
    /// Its blocks.
    pub blocks: Aged<BlockEntry>,
}

/// Reads a range, or says what is wrong with it.
pub fn parse_range(text: &str) -> Result<Range, String> {
    Range::parse(text).map_err(|error| match error {
        Error::Invalid { problem, .. } => problem,
        other => other.to_string(),
    })
}

/// A block's name as an object of Kubernetes: `10-244-7-0-24`, `fd00-10-244---120`. Each range has one, and no
/// two the same: the last part is the length of the prefix, and no address of one family is one of the other.
pub fn label_name(range: IpNetwork) -> String {
    range.to_string().replace(['.', ':', '/'], "-")
}

/// A block's name as the last part of a key of etcd: `10.244.7.0-24`.
pub fn path_name(range: IpNetwork) -> String {
    range.to_string().replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_names_its_block() {
        for (range, label, path) in [
            ("10.244.7.0/24", "10-244-7-0-24", "10.244.7.0-24"),
            ("fd00:10:244::/120", "fd00-10-244---120", "fd00:10:244::-120"),
        ] {
            let range = range.parse().unwrap();
            assert_eq!((&*label_name(range), &*path_name(range)), (label, path));
        }
    }
}
