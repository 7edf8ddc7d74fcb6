//! The little that is read of the objects of a cluster, and of a Node. A whole object with its `managedFields` is
//! several times as large, and one with nonsense in it, written by hand, must not end the watch of all others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::aged::Born;
use crate::aged::Made;
use crate::cluster::{BlockEntry, NodeEntry, label_name};

/// What is read of an object of either kind, of the event that brings it, and of a bookmark.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Seen {
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: Value,
}

/// What is read of an object's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// How often the spec has been another, and once.
    pub generation: i64,
    pub creation_timestamp: Option<String>,
    pub deletion_timestamp: Option<String>,
    pub owner_references: Vec<Owner>,
    pub labels: BTreeMap<String, String>,
}

/// What is read of one who owns an object.
#[derive(Clone, Debug, Deserialize)]
pub struct Owner {
    pub uid: String,
}

impl Seen {
    /// A text of the spec; empty where there is none, or something else.
    pub fn text(&self, key: &str) -> &str {
        self.spec.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// An API server tells seconds; one that told something else would be older than all.
    fn born(&self) -> Born {
        let made = self.metadata.creation_timestamp.as_deref();
        let at = made.and_then(|made| made.parse::<jiff::Timestamp>().ok());
        Born { at: at.map_or(0, |at| at.as_second()), name: self.metadata.name.clone() }
    }
}

/// One of the two kinds.
pub trait Kind: Made + Clone + PartialEq + Send + Sync + Sized + 'static {
    /// Where its objects are.
    const PATH: &'static str;
    /// What it is called for people.
    const NAME: &'static str;

    /// What an object says.
    fn read(seen: &Seen) -> Self;

    /// The node whose object it is.
    fn node(&self) -> &str;
}

impl Kind for NodeEntry {
    const PATH: &'static str = "/apis/flatnet.dev/v1alpha1/flatnetnodes";
    const NAME: &'static str = "flatnetnodes.flatnet.dev";

    fn read(seen: &Seen) -> NodeEntry {
        let mut born = seen.born();
        // Nothing tells since when it says this address. Its agent makes the object again.
        if seen.metadata.generation > 1 {
            born.at = i64::MAX;
        }
        NodeEntry::new(seen.metadata.name.clone(), seen.text("vtep"), born)
    }

    fn node(&self) -> &str {
        &self.name
    }
}

impl Kind for BlockEntry {
    const PATH: &'static str = "/apis/flatnet.dev/v1alpha1/flatnetblocks";
    const NAME: &'static str = "flatnetblocks.flatnet.dev";

    fn read(seen: &Seen) -> BlockEntry {
        let (key, node) = (seen.metadata.name.clone(), seen.text("node").to_owned());
        let retiring = seen.spec.get("retiring").and_then(Value::as_bool).unwrap_or_default();
        BlockEntry::new(key, seen.text("range"), node, retiring, seen.born(), label_name)
    }

    fn node(&self) -> &str {
        &self.node
    }
}

#[cfg(test)]
mod tests {
    use flatnet_conf::Range;
    use kube::{CustomResourceExt, Resource};
    use serde_json::json;

    use super::super::objects::{FlatnetBlock, FlatnetNode};
    use super::*;

    fn seen(object: Value) -> Seen {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_paths_are_those_of_the_types() {
        assert_eq!(FlatnetNode::url_path(&(), None), NodeEntry::PATH);
        assert_eq!(FlatnetBlock::url_path(&(), None), BlockEntry::PATH);
        assert_eq!(FlatnetNode::crd().metadata.name.as_deref(), Some(NodeEntry::NAME));
        assert_eq!(FlatnetBlock::crd().metadata.name.as_deref(), Some(BlockEntry::NAME));
    }

    #[test]
    fn an_object_says_what_is_kept_of_it() {
        let object = seen(json!({
            "apiVersion": "flatnet.dev/v1alpha1", "kind": "FlatnetBlock",
            "metadata": {
                "name": "10-244-7-0-24", "uid": "u", "resourceVersion": "7", "generation": 1,
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n7", "uid": "o"}],
                "managedFields": [{"manager": "flatnet-agent", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"range": "10.244.7.0/24", "node": "n7", "retiring": true},
        }));
        let block = BlockEntry {
            key: "10-244-7-0-24".to_owned(),
            range: Ok(Range::parse("10.244.7.0/24").unwrap()),
            node: "n7".to_owned(),
            retiring: true,
            born: Born { at: 1_767_323_045, name: "10-244-7-0-24".to_owned() },
        };
        assert_eq!(BlockEntry::read(&object), block);
        assert_eq!(object.metadata.owner_references[0].uid, "o");
    }

    /// It says since when there is an object, not since when it says this.
    #[test]
    fn a_node_that_has_said_another_address_is_younger_than_all() {
        for (kind, generation, at) in
            [("node", 1, 1_767_323_045), ("node", 2, i64::MAX), ("block", 2, 1_767_323_045)]
        {
            let object = seen(json!({
                "metadata": {
                    "name": "n7", "generation": generation, "creationTimestamp": "2026-01-02T03:04:05Z",
                },
                "spec": {"vtep": "192.0.2.7"},
            }));
            let born = match kind {
                "node" => NodeEntry::read(&object).born,
                _ => BlockEntry::read(&object).born,
            };
            assert_eq!(born.at, at, "{kind} {generation}");
        }
    }

    #[test]
    fn nonsense_is_read_as_nothing_said() {
        for spec in [json!(null), json!([1]), json!({"vtep": 1}), json!({"vtep": {"a": "b"}})] {
            let object =
                seen(json!({"metadata": {"name": "n", "creationTimestamp": "soon"}, "spec": spec}));
            let node = NodeEntry::read(&object);
            assert_eq!((&*node.name, node.born.at), ("n", 0));
            assert!(node.vtep.is_err());
        }
        assert!(NodeEntry::read(&seen(json!({"metadata": {"name": "n"}}))).vtep.is_err());
    }
}
