//! Several networks in one cluster. Where a node is, is the same for all of them: they share the FlatnetNodes. Their ranges
//! are apart, and so are the names of their FlatnetBlocks; those of a secondary network bear its name as a label,
//! by which the API server tells them from the others'.

use serde_json::{Value, json};

use super::seen::Seen;

/// The label of a secondary network's blocks.
const LABEL: &str = "flatnet.dev/network";
/// The same in a query.
const SELECTOR: &str = "flatnet.dev%2Fnetwork";

/// One of a cluster's networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The one that pods have without asking: Nodes are given ranges of it, and are ready when it stands.
    #[default]
    Primary,
    /// Another, of this name.
    Secondary(String),
}

impl Network {
    /// Whether its name can be a label's value.
    pub fn has_label_value(&self) -> bool {
        let Self::Secondary(name) = self else { return true };
        let end = |end: Option<char>| end.is_some_and(|letter| letter.is_ascii_alphanumeric());
        let inner = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        name.len() <= 63
            && end(name.chars().next())
            && end(name.chars().next_back())
            && name.chars().all(inner)
    }

    /// What a query for blocks has, so that only its own are told of.
    pub fn selector(&self) -> String {
        match self {
            Self::Primary => format!("&labelSelector=%21{SELECTOR}"),
            Self::Secondary(name) => format!("&labelSelector={SELECTOR}%3D{name}"),
        }
    }

    /// The labels of a block of it.
    pub fn labels(&self) -> Value {
        match self {
            Self::Primary => json!({}),
            Self::Secondary(name) => json!({ LABEL: name }),
        }
    }

    /// Whether a block is of it.
    pub fn has(&self, block: &Seen) -> bool {
        match (self, block.metadata.labels.get(LABEL)) {
            (Self::Primary, None) => true,
            (Self::Secondary(name), Some(label)) => name == label,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_told_apart_by_their_label() {
        let block = |labels: Value| -> Seen {
            serde_json::from_value(json!({ "metadata": { "name": "n", "labels": labels } }))
                .unwrap()
        };
        let (first, storage) = (Network::Primary, Network::Secondary("storage".to_owned()));
        let blocks = [json!({}), json!({ LABEL: "storage" }), json!({ LABEL: "other" })].map(block);
        assert_eq!(blocks.each_ref().map(|block| first.has(block)), [true, false, false]);
        assert_eq!(blocks.each_ref().map(|block| storage.has(block)), [false, true, false]);
        for network in [first, storage] {
            assert!(network.has(&block(network.labels())), "{network:?}");
        }
    }

    #[test]
    fn a_name_that_is_no_label_is_refused() {
        let long = "a".repeat(64);
        for (name, good) in [("storage", true), ("A_b.c-1", true), ("a.", false), (&long, false)] {
            assert_eq!(Network::Secondary(name.to_owned()).has_label_value(), good, "{name}");
        }
        assert!(Network::Primary.has_label_value());
    }
}
