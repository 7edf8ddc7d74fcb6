//! Reading what flatnet-agent has written down about a network on this node.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::path::PathBuf;

use flatnet_conf::matters::{FILE, Matters, Wait};
use flatnet_conf::{NetworkConf, one_line};
use flatnet_ipam::{network_folder, open_regular};

/// No more is read of it, whatever wrote it.
const AT_MOST: u64 = 1 << 20;

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
    waits.iter().map(sentence).collect()
}

/// What is waited for, and who waits.
pub fn sentence(wait: &Wait) -> String {
    format!("flatnet-agent waits: {}", one_line(&wait.why))
}

/// `<stateDir>/<network>/agent.json`
fn path(conf: &NetworkConf) -> PathBuf {
    network_folder(&conf.state_dir, &conf.name).join(FILE)
}
