//! Reading what flatnet-agent has written down about a network on this node, by which is known that one is at work.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flatnet_conf::matters::{FILE, Matters, Wait};
use flatnet_conf::{NetworkConf, one_line};
use flatnet_ipam::{Error as LeaseError, network_folder, open_regular};

use crate::author::Author;
use crate::error::Error;

/// No more is read of it, whatever wrote it.
const AT_MOST: u64 = 1 << 20;

/// Reads it; `None` where there is none that can be read.
pub fn matters(conf: &NetworkConf) -> Option<Matters> {
    read(&conf.state_dir, &conf.name)
}

fn read(state_dir: &Path, network: &str) -> Option<Matters> {
    let file = open_regular(&path(state_dir, network), OpenOptions::new().read(true)).ok()?;
    let mut text = Vec::new();
    file.take(AT_MOST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Who writes the network's range file.
pub fn author(conf: &NetworkConf) -> Author {
    author_of(&conf.state_dir, &conf.name)
}

/// The same of a network that may have no configuration any more.
pub fn author_of(state_dir: &Path, network: &str) -> Author {
    read(state_dir, network).map_or(Author::Operator, |matters| Author::Agent(matters.engine))
}

/// An error, with what is done about it where an agent is at work.
pub fn advised(conf: &NetworkConf, error: Error) -> Error {
    match error {
        Error::Clash(clash) => Error::Clash(clash.beside(author(conf))),
        Error::Lease(LeaseError::Exhausted { node, ranges }) => match author(conf) {
            Author::Operator => LeaseError::Exhausted { node, ranges }.into(),
            agent => Error::Full { mend: agent.full(&node, "", ""), node, ranges },
        },
        other => other,
    }
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
fn path(state_dir: &Path, network: &str) -> PathBuf {
    network_folder(state_dir, network).join(FILE)
}
