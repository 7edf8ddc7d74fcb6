//! The cluster as its objects say, unchecked: two kinds of them, whatever engine keeps them.

use ipnetwork::IpNetwork;

/// When an object was made, as far as its engine tells: of two that contradict each other the older one is
/// right, on every node the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Born {
    /// Kubernetes: `creationTimestamp` in seconds. etcd: the create revision.
    pub at: i64,
    /// What tells apart those of one moment: the object's name.
    pub name: String,
}

/// A node: where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// The node's name, which is the object's.
    pub name: String,
    /// Its address on the underlay.
    pub vtep: String,
    /// When the object was made.
    pub born: Born,
}

/// A block: a range, and which node holds it. Whoever makes the object has the range, for a name exists once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The object's name.
    pub key: String,
    /// The range, as a subnet.
    pub range: String,
    /// The node that holds it.
    pub node: String,
    /// Whether it is held for the pods that live in it alone, and new ones are to have another.
    pub retiring: bool,
    /// When the object was made.
    pub born: Born,
}

/// All objects of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its nodes, in no order.
    pub nodes: Vec<NodeEntry>,
    /// Its blocks, in no order.
    pub blocks: Vec<BlockEntry>,
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
