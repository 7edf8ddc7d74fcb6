//! What the agent tells of itself: to who asks by HTTP, and to the plugin's tools, in a file beside the leases.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flatnet::cli::put;
use flatnet_conf::matters::{self, Engine, Trouble};
use flatnet_ipam::create_network_folder;

use crate::claims::Wait;
use crate::metrics::Metrics;
use crate::rejected::Rejected;

/// A loop that was not heard of for so long is dead: a deed and all else that it waits for is over sooner.
const DEAD: Duration = Duration::from_secs(60);

/// What is asked by HTTP.
#[derive(Debug)]
pub struct State {
    /// What is counted.
    pub metrics: Metrics,
    begun: Instant,
    /// When the loop last went round, in seconds since it began.
    beat: AtomicU64,
    ready: AtomicBool,
}

impl State {
    /// At the beginning.
    pub fn new() -> Self {
        let (beat, ready) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { metrics: Metrics::new(), begun: Instant::now(), beat, ready }
    }

    /// The loop has gone round.
    pub fn beat(&self) {
        self.beat.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Whether it does.
    pub fn lives(&self) -> bool {
        let age = self.begun.elapsed().as_secs().saturating_sub(self.beat.load(Ordering::Relaxed));
        age < DEAD.as_secs()
    }

    /// This node has been brought up; whatever comes, it is and stays so.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
        self.metrics.ready();
    }

    /// Whether it has been.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// What does not show in the kernel or in the range file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matters {
    /// Since when the source does not answer, and why.
    pub trouble: Option<(SystemTime, String)>,
    /// What is left out.
    pub rejected: Vec<Rejected>,
    /// What this node waits for.
    pub waits: Vec<Wait>,
}

impl Matters {
    fn document(&self, node: &str, engine: Engine) -> matters::Matters {
        let trouble = self.trouble.as_ref().map(|(since, why)| {
            let since = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            Trouble { since, why: why.clone() }
        });
        matters::Matters {
            node: node.to_owned(),
            engine,
            trouble,
            rejected: self.rejected.iter().map(rejected).collect(),
            waits: self.waits.iter().map(wait).collect(),
        }
    }
}

fn rejected(Rejected { kind, name, node, reason, problem }: &Rejected) -> matters::Rejected {
    matters::Rejected {
        kind: (*kind).to_owned(),
        name: name.clone(),
        node: node.clone(),
        reason: reason.word().to_owned(),
        problem: problem.clone(),
    }
}

fn wait(wait: &Wait) -> matters::Wait {
    matters::Wait {
        kind: wait.kind().0.to_owned(),
        holder: wait.holder().map(str::to_owned),
        why: wait.to_string(),
    }
}

/// The file for the plugin's tools: `<stateDir>/<network>/agent.json`.
#[derive(Debug)]
pub struct StateFile {
    state_dir: PathBuf,
    network: String,
    node: String,
    engine: Engine,
    /// What is in it.
    last: Option<Matters>,
}

impl StateFile {
    /// The one of a network on a node whose agent goes by this engine.
    pub fn new(state_dir: &Path, network: &str, node: &str, engine: Engine) -> Self {
        let (network, node) = (network.to_owned(), node.to_owned());
        Self { state_dir: state_dir.to_owned(), network, node, engine, last: None }
    }

    /// Writes it, if it is to say something else.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, matters: &Matters) -> Result<(), String> {
        if self.last.as_ref() == Some(matters) {
            return Ok(());
        }
        let folder = create_network_folder(&self.state_dir, &self.network);
        let document = matters.document(&self.node, self.engine);
        let text = serde_json::to_string_pretty(&document).map_err(|e| e.to_string())? + "\n";
        put(&folder.map_err(|e| e.to_string())?, matters::FILE, text.as_bytes(), 0o600)
            .map_err(|e| e.to_string())?;
        self.last = Some(matters.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use serde_json::{Value, json};

    use super::*;
    use crate::rejected::Reason;

    #[test]
    fn what_the_tools_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = StateFile::new(&folder.path().join("run"), "pods", "a", Engine::Etcd);
        file.write(&Matters::default()).unwrap();
        let path = folder.path().join("run/pods/agent.json");
        let read = || serde_json::from_str::<Value>(&fs::read_to_string(&path).unwrap()).unwrap();
        let nothing = json!({
            "node": "a", "engine": "etcd", "trouble": null, "rejected": [], "waits": []
        });
        assert_eq!(read(), nothing);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let (kind, name, problem) = ("block", "x".to_owned(), "y".to_owned());
        let node = "c".to_owned();
        let rejected = Rejected { kind, name, node, reason: Reason::Taken, problem };
        let range = "10.1.1.0/24".parse().unwrap();
        let matters = Matters {
            trouble: Some((UNIX_EPOCH + Duration::from_secs(7), "refused".to_owned())),
            rejected: vec![rejected],
            waits: vec![Wait::Held { range, block: range, holder: "b".to_owned() }],
        };
        file.write(&matters).unwrap();
        let expected = json!({
            "node": "a",
            "engine": "etcd",
            "trouble": { "since": 7, "why": "refused" },
            "rejected": [{ "kind": "block", "name": "x", "node": "c", "reason": "taken", "problem": "y" }],
            "waits": [{ "kind": "held", "holder": "b", "why": "the node is to have 10.1.1.0/24, which b still holds" }],
        });
        assert_eq!(read(), expected);
        let inode = fs::metadata(&path).unwrap().ino();
        file.write(&matters).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "the same is not written again");
    }

    #[test]
    fn ready_stays_so() {
        let state = State::new();
        assert!(!state.is_ready());
        state.set_ready();
        assert!(state.is_ready() && state.lives());
    }
}
