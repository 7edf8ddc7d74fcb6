//! What a failed run leaves to be read: the logs of all programs, and what the API server knew.

use std::fs;
use std::path::{Path, PathBuf};

use flatnet_tests::program::{command, finish, workspace};

use crate::cluster::Cluster;

/// What is asked of the API server, with the file that gets the answer.
const QUESTIONS: [(&str, &[&str]); 3] = [
    ("objects", &["get", "nodes,pods,services,endpointslices", "-A", "-o", "wide"]),
    ("pods.yaml", &["get", "nodes,pods", "-A", "-o", "yaml"]),
    ("events", &["get", "events", "-A", "--sort-by=.lastTimestamp"]),
];

/// Copies all into `target/cluster/NAME`, which is emptied before.
pub fn keep(cluster: &Cluster, name: &str) -> PathBuf {
    let kept = workspace().join("target/cluster").join(name);
    drop(fs::remove_dir_all(&kept));
    let control = fs::read_dir(cluster.folder().join("control")).into_iter().flatten().flatten();
    let control = control.map(|entry| entry.path());
    copy(control.filter(|path| path.extension().is_some_and(|end| end == "log")), &kept, "control");
    for node in &cluster.nodes {
        copy(node.logs().into_iter(), &kept, &node.name);
    }
    for (file, question) in QUESTIONS {
        // A second panic, in a drop, would end the process.
        let ask = || cluster.kubectl().run(question);
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask));
        let text = answer.unwrap_or_else(|_| Err("interrupted".to_owned())).unwrap_or_else(|e| e);
        drop(fs::write(kept.join(file), text));
    }
    kept.canonicalize().unwrap_or(kept)
}

fn copy(sources: impl Iterator<Item = PathBuf>, kept: &Path, name: &str) {
    let folder = kept.join(name);
    if fs::create_dir_all(&folder).is_ok() {
        for source in sources {
            finish(command("cp", ["-r"]).arg(source).arg(&folder), b"");
        }
    }
}
