//! What flatnet-agent tells the plugin's tools of a network on its node: what keeps the range file from being what the
//! cluster should be. It is `<stateDir>/<network>/agent.json`; where no agent is at work there is no such file.

use serde::{Deserialize, Serialize};

/// The file's name.
pub const FILE: &str = "agent.json";

/// What is the matter; nothing, where all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Matters {
    /// The node's name in the cluster.
    pub node: String,
    /// What the agent goes by.
    pub engine: Engine,
    /// That the engine does not answer.
    pub trouble: Option<Trouble>,
    /// Objects of the cluster that are left out of the range file.
    pub rejected: Vec<Rejected>,
    /// What this node waits for.
    pub waits: Vec<Wait>,
}

/// What keeps a cluster's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The API server of a Kubernetes cluster.
    #[default]
    Kubernetes,
    /// An etcd of the nodes' own.
    Etcd,
}

/// An engine that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What was said.
    pub why: String,
}

/// An object that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// `node` or `block`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The node that it is about, as it says.
    pub node: String,
    /// Which kind of rule, in a word.
    pub reason: String,
    /// The rule.
    pub problem: String,
}

/// Something that this node is to have, and has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What it is, in a word.
    pub kind: String,
    /// Who has it.
    pub holder: Option<String>,
    /// The whole sentence.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = |text: &str| text.to_owned();
        let matters = Matters {
            node: text("a"),
            engine: Engine::Etcd,
            trouble: Some(Trouble { since: 7, why: text("refused") }),
            rejected: vec![Rejected {
                kind: text("block"),
                name: text("x"),
                node: text("c"),
                reason: text("taken"),
                problem: text("y"),
            }],
            waits: vec![Wait { kind: text("full"), holder: None, why: text("z") }],
        };
        let written: Value = serde_json::to_value(&matters).unwrap();
        assert_eq!(
            written,
            json!({
                "node": "a",
                "engine": "etcd",
                "trouble": { "since": 7, "why": "refused" },
                "rejected": [{ "kind": "block", "name": "x", "node": "c", "reason": "taken", "problem": "y" }],
                "waits": [{ "kind": "full", "holder": null, "why": "z" }],
            })
        );
        assert_eq!(serde_json::from_value::<Matters>(written).unwrap(), matters);
    }

    #[test]
    fn another_release_may_say_less_and_more() {
        let less: Matters = serde_json::from_str(r#"{"node":"a","waits":[],"new":7}"#).unwrap();
        assert_eq!(less, Matters { node: "a".to_owned(), ..Matters::default() });
    }
}
