//! What flatnet-agent has written down about a network on this node: what keeps the range file from being what
//! the cluster should be. Where no agent is at work there is no such file.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::path::PathBuf;

use flatnet_conf::{NetworkConf, one_line};
use flatnet_ipam::{network_folder, open_regular};
use serde::Deserialize;

/// No more is read of it, whatever wrote it.
const AT_MOST: u64 = 1 << 20;

/// What is the matter; nothing, where all is well.
#[derive(Debug, Default, Deserialize)]
pub struct Matters {
    /// That the engine does not answer.
    pub trouble: Option<Trouble>,
    /// Objects of the cluster that are left out of the range file.
    pub rejected: Vec<Rejected>,
    /// What this node waits for.
    pub waits: Vec<Wait>,
}

/// An engine that does not answer.
#[derive(Debug, Deserialize)]
pub struct Trouble {
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What was said.
    pub why: String,
}

/// An object that breaks a rule.
#[derive(Debug, Deserialize)]
pub struct Rejected {
    /// `node` or `block`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The rule.
    pub problem: String,
}

/// Something that this node is to have, and has not.
#[derive(Debug, Deserialize)]
pub struct Wait {
    /// The whole sentence.
    pub why: String,
}

/// Reads it; `None` where there is none that can be read.
pub fn matters(conf: &NetworkConf) -> Option<Matters> {
    let file = open_regular(&path(conf), OpenOptions::new().read(true)).ok()?;
    let mut text = Vec::new();
    file.take(AT_MOST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What this node waits for, where an agent is at work, in whole sentences.
pub fn waits(conf: &NetworkConf) -> Vec<String> {
    let waits = matters(conf).map(|matters| matters.waits).unwrap_or_default();
    waits.iter().map(ToString::to_string).collect()
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flatnet-agent waits: {}", one_line(&self.why))
    }
}

/// `<stateDir>/<network>/agent.json`
fn path(conf: &NetworkConf) -> PathBuf {
    network_folder(&conf.state_dir, &conf.name).join("agent.json")
}
