//! The cluster as its objects say, unchecked: two kinds of them, whatever engine keeps them.

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
