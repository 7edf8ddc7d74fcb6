//! What the keys of a network are called, and what is read of them. A user who may write below the prefix may write
//! nonsense there: it is read as such and ends nothing.

use std::sync::Arc;

use flatnet_conf::{one_line, printable};
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::wire::KeyValue;
use crate::aged::Born;
use crate::cluster::{BlockEntry, NodeEntry, path_name};
use crate::kubernetes::objects::{FlatnetBlockSpec, FlatnetNodeSpec};

const NODES: &str = "nodes/";
const BLOCKS: &str = "blocks/";
/// No value that the agent writes is as long.
const LONGEST_VALUE: usize = 4096;
/// No name, range or address is as long. More of one is not kept.
const LONGEST_WORD: usize = 256;

/// The keys of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

/// What a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Where a node is.
    Node(Arc<NodeEntry>),
    /// Which node holds a block.
    Block(Arc<BlockEntry>),
}

impl Entry {
    /// The node whose key it is, as it says.
    pub fn node(&self) -> &str {
        match self {
            Self::Node(node) => &node.name,
            Self::Block(block) => &block.node,
        }
    }
}

impl Keys {
    /// Those of the network of a name, which can be a part of a path.
    pub fn of(network: &str) -> Self {
        Self { prefix: format!("/flatnet/{network}/") }
    }

    /// What all begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A node's.
    pub fn node(&self, name: &str) -> Vec<u8> {
        format!("{}{NODES}{name}", self.prefix).into_bytes()
    }

    /// A block's.
    pub fn block(&self, range: IpNetwork) -> Vec<u8> {
        format!("{}{BLOCKS}{}", self.prefix, path_name(range)).into_bytes()
    }

    /// What a key of the network says; `None` if it is neither a node's nor a block's.
    pub fn read(&self, kv: &KeyValue) -> Option<Entry> {
        let key = String::from_utf8_lossy(kv.key.strip_prefix(self.prefix.as_bytes())?);
        let said = Said::read(&kv.value);
        if let Some(name) = key.strip_prefix(NODES) {
            let name = word(name);
            let born = Born { at: kv.mod_revision, name: name.clone() };
            let entry = NodeEntry::new(name, &said.text("vtep"), born);
            return Some(Entry::Node(Arc::new(entry)));
        }
        let key = word(key.strip_prefix(BLOCKS)?);
        let (range, node) = (said.text("range"), said.text("node"));
        let retiring = said.value.get("retiring").and_then(Value::as_bool).unwrap_or_default();
        let born = Born { at: kv.create_revision, name: key.clone() };
        let entry = BlockEntry::new(key, &range, node, retiring, born, path_name);
        Some(Entry::Block(Arc::new(entry)))
    }
}

/// A value that is read.
struct Said<'a> {
    bytes: &'a [u8],
    value: Value,
}

impl<'a> Said<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let short = bytes.len() <= LONGEST_VALUE;
        let value = short.then(|| serde_json::from_slice(bytes).ok()).flatten();
        Self { bytes, value: value.unwrap_or_default() }
    }

    /// A word of it. Where there is no such word, the beginning of the whole: so that a reader who is told that it is
    /// left out sees why.
    fn text(&self, key: &str) -> String {
        match self.value.get(key).and_then(Value::as_str) {
            Some(text) => word(text),
            None => {
                let start = self.bytes.get(..64).unwrap_or(self.bytes);
                one_line(&String::from_utf8_lossy(start))
            }
        }
    }
}

/// A word that can be printed and kept, however it was written.
fn word(text: &str) -> String {
    let end = (0..=text.len().min(LONGEST_WORD)).rev().find(|end| text.is_char_boundary(*end));
    printable(text.get(..end.unwrap_or_default()).unwrap_or_default())
}

/// A node's value.
pub fn node_value(vtep: &str) -> Vec<u8> {
    json!(FlatnetNodeSpec { vtep: vtep.to_owned() }).to_string().into_bytes()
}

/// A block's.
pub fn block_value(range: IpNetwork, node: &str, retiring: bool) -> Vec<u8> {
    let (range, node) = (range.to_string(), node.to_owned());
    json!(FlatnetBlockSpec { range, node, retiring }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::fixture::{net, network};
    use crate::judge::judge;

    fn kv(key: &[u8], value: &[u8]) -> KeyValue {
        let (key, value) = (key.to_vec(), value.to_vec());
        KeyValue { key, value, create_revision: 5, mod_revision: 6, lease: 7 }
    }

    fn keys() -> Keys {
        Keys::of("pods")
    }

    #[test]
    fn what_is_written_is_read() {
        let node = kv(&keys().node("a"), &node_value("192.0.2.1"));
        assert_eq!(node.key, b"/flatnet/pods/nodes/a");
        assert_eq!(node.value, br#"{"vtep":"192.0.2.1"}"#);
        let born = Born { at: 6, name: "a".to_owned() };
        let entry = NodeEntry::new("a".to_owned(), "192.0.2.1", born);
        assert_eq!(keys().read(&node), Some(Entry::Node(Arc::new(entry))));

        let block =
            kv(&keys().block(net("fd00::/120")), &block_value(net("fd00::/120"), "a", true));
        assert_eq!(block.key, b"/flatnet/pods/blocks/fd00::-120");
        let written: Value = serde_json::from_slice(&block.value).unwrap();
        assert_eq!(written, json!({ "range": "fd00::/120", "node": "a", "retiring": true }));
        let key = "fd00::-120".to_owned();
        let born = Born { at: 5, name: key.clone() };
        let entry = BlockEntry::new(key, "fd00::/120", "a".to_owned(), true, born, path_name);
        assert!(entry.range.is_ok());
        assert_eq!(keys().read(&block), Some(Entry::Block(Arc::new(entry))));
    }

    #[test]
    fn other_keys_are_nobodys() {
        for key in
            ["/flatnet/pods/", "/flatnet/pods/x", "/flatnet/podsnodes/a", "/flatnet/p/nodes/a"]
        {
            assert_eq!(keys().read(&kv(key.as_bytes(), b"{}")), None, "{key}");
        }
    }

    /// What the judge says of one.
    fn rejected(kv: &KeyValue) -> String {
        let mut cluster = Cluster::default();
        match keys().read(kv).unwrap() {
            Entry::Node(node) => cluster.nodes.put(node),
            Entry::Block(block) => cluster.blocks.put(block),
        }
        let network = network();
        let judged = judge(&network, &cluster);
        let rejected: Vec<_> = judged.rejected().map(ToString::to_string).collect();
        assert_eq!(rejected.len(), 1, "{cluster:?}");
        rejected.join("")
    }

    #[test]
    fn nonsense_is_left_out_and_told_in_one_line() {
        let long = "x".repeat(1 << 20);
        let good = br#"{"vtep":"192.0.2.1"}"#;
        for key in [
            "",
            "a/b",
            "../../etc/passwd",
            "a\nflatnet: all is well",
            "\u{1b}[2J",
            "A",
            "a b",
            long.as_str(),
        ] {
            let told = rejected(&kv(format!("/flatnet/pods/nodes/{key}").as_bytes(), good));
            assert!(told.len() < 1000 && !told.contains(char::is_control), "{told}");
        }
        let mut invalid = b"/flatnet/pods/nodes/a".to_vec();
        invalid.push(0xff);
        rejected(&kv(&invalid, good));
        let huge = format!(r#"{{"vtep":"192.0.2.1","x":"{long}"}}"#);
        let deep = "[".repeat(4000);
        let address = format!(r#"{{"vtep":"{}"}}"#, "1".repeat(4000));
        for value in ["", "{", "\n\n", "null", r#"{"vtep":7}"#, &deep, &huge, &address] {
            let told = rejected(&kv(b"/flatnet/pods/nodes/a", value.as_bytes()));
            assert!(told.len() < 1000 && !told.contains(char::is_control), "{told}");
        }
        for value in [
            r#"{"range":"10.1.1.0/24"}"#,
            r#"{"range":"10.1.2.0/24","node":"a"}"#,
            r#"{"range":"10.1.1.7/24","node":"a"}"#,
            r#"{"range":"10.1.1.0/24","node":"../a"}"#,
        ] {
            let told = rejected(&kv(b"/flatnet/pods/blocks/10.1.1.0-24", value.as_bytes()));
            assert!(told.starts_with("block 10.1.1.0-24 is left out: "), "{told}");
        }
    }
}
